//! The two halves of a bus connection, as both of its ends have them: a stream socket that carries
//! [frames](crate::wire::frame).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::wire::frame::{self, FrameError};

/// What is read at once, in bytes.
const READ: usize = 64 * 1024;
/// Frames that one system call may write. The kernel takes 1024 (`writev(2)`).
const BATCH: usize = 256;

/// A bus connection broke, or what came over it is no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    /// The other side is gone.
    #[error("the other side of the bus is gone")]
    Closed,
    /// A system call failed.
    #[error("the bus failed: {0}")]
    Io(#[from] io::Error),
    /// Not a frame.
    #[error("the bus: {0}")]
    Frame(#[from] FrameError),
}

/// What has come of a stream, and is not yet cut into frames.
#[derive(Debug, Default)]
pub(crate) struct Received(BytesMut);

impl Received {
    /// Begins with these bytes.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The next frame, if it has come whole already.
    pub(crate) fn frame(&mut self) -> Option<Result<Bytes, BusError>> {
        match frame::length(&self.0) {
            Ok(Some(len)) if self.0.len() >= len => Some(Ok(self.0.split_to(len).freeze())),
            Ok(_) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Where more is read to, when there is no whole frame.
    ///
    /// # Errors
    /// When what has come begins no frame.
    pub(crate) fn room(&mut self) -> Result<&mut BytesMut, BusError> {
        let len = frame::length(&self.0)?;
        let missing = len.unwrap_or(0).saturating_sub(self.0.len());
        self.0.reserve(missing.max(READ));
        Ok(&mut self.0)
    }
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: R,
    received: Received,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads frames from `stream`.
    pub(crate) fn new(stream: R) -> Self {
        let received = Received::default();
        Self { stream, received }
    }

    /// The next frame, whole. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// [`BusError::Closed`] at the end; what had come of a frame by then is lost.
    pub(crate) async fn next(&mut self) -> Result<Bytes, BusError> {
        loop {
            if let Some(frame) = self.buffered() {
                return frame;
            }
            if self.stream.read_buf(self.received.room()?).await? == 0 {
                return Err(BusError::Closed);
            }
        }
    }

    /// The next frame, if it has come whole already.
    pub(crate) fn buffered(&mut self) -> Option<Result<Bytes, BusError>> {
        self.received.frame()
    }
}

/// Frames that wait to be written. Its users bound it: see [`Queue::bytes`].
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Parts>,
    /// In all frames, what is written already of the first not counted.
    bytes: usize,
    /// How much of the first frame is written.
    written: usize,
}

/// A frame: a head of its own, if it has one, and what others may share.
pub(crate) type Parts = [Bytes; 2];

fn len(parts: &Parts) -> usize {
    parts.iter().map(Bytes::len).sum()
}

impl Queue {
    /// Appends a frame.
    pub(crate) fn push(&self, frame: Bytes) {
        self.push_parts([frame, Bytes::new()]);
    }

    /// Appends a frame that comes in two parts.
    pub(crate) fn push_parts(&self, parts: Parts) {
        let mut waiting = self.waiting();
        waiting.bytes += len(&parts);
        waiting.frames.push_back(parts);
        drop(waiting);
        self.filled.notify_one();
    }

    /// How much waits, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.waiting().bytes
    }

    /// Drops what waits, but for a frame that is written in part. Returns how many frames that were.
    pub(crate) fn forget(&self) -> usize {
        let mut waiting = self.waiting();
        let kept = usize::from(waiting.written > 0);
        let dropped = waiting.frames.len().saturating_sub(kept);
        waiting.frames.truncate(kept);
        waiting.bytes = waiting.frames.iter().map(len).sum::<usize>() - waiting.written;
        drop(waiting);
        // Who writes has a batch of the old ones.
        self.changed.notify_one();
        dropped
    }

    /// Takes all that waits, whole: who was written to is gone, and has nothing of a frame that it has not all of.
    pub(crate) fn take(&self) -> VecDeque<Parts> {
        let mut waiting = self.waiting();
        (waiting.bytes, waiting.written) = (0, 0);
        let frames = std::mem::take(&mut waiting.frames);
        drop(waiting);
        self.changed.notify_one();
        frames
    }

    /// Writes what waits and what will, for ever. After each write `wrote` is called.
    ///
    /// # Errors
    /// [`BusError::Closed`] when the other side is gone.
    pub(crate) async fn write_to(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        mut wrote: impl FnMut(),
    ) -> BusError {
        loop {
            while let batch = self.batch()
                && !batch.is_empty()
            {
                let slices: Vec<_> = batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
                let written = tokio::select! {
                    biased;
                    // A write that is pending has written nothing.
                    () = self.changed.notified() => continue,
                    written = stream.write_vectored(&slices) => written,
                };
                match written {
                    Ok(0) => return BusError::Closed,
                    Ok(bytes) => self.advance(bytes),
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return BusError::Closed;
                    }
                    Err(error) => return error.into(),
                }
                wrote();
            }
            self.filled.notified().await;
        }
    }

    /// What is written next: never an empty piece.
    fn batch(&self) -> Vec<Bytes> {
        let waiting = self.waiting();
        let mut skipped = waiting.written;
        let frames = waiting.frames.iter().take(BATCH);
        let parts = frames.flatten().filter_map(|part| {
            let skip = skipped.min(part.len());
            skipped -= skip;
            (skip < part.len()).then(|| part.slice(skip..))
        });
        parts.collect()
    }

    fn advance(&self, written: usize) {
        let mut waiting = self.waiting();
        waiting.bytes = waiting.bytes.saturating_sub(written);
        waiting.written += written;
        while let Some(first) = waiting.frames.front().map(len)
            && waiting.written >= first
        {
            waiting.written -= first;
            waiting.frames.pop_front();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Body, Frame};
    use socketioxide_core::Sid;
    use std::time::Duration;
    use tokio::time::timeout;

    fn event(data: Vec<u8>) -> Bytes {
        let frame = Frame {
            to: None,
            from: Sid::ZERO,
            body: Body::ServerSide {
                event: "e".into(),
                data: data.into(),
            },
        };
        frame.encode().unwrap()
    }

    #[tokio::test]
    async fn frames_of_all_sizes_arrive_in_order_over_a_narrow_pipe() {
        let (near, far) = tokio::io::duplex(1000);
        let frames: Vec<_> = (0..600_usize)
            .map(|n| event(vec![0; n * n % 7000]))
            .collect();
        let queue = Queue::default();
        for frame in &frames {
            queue.push(frame.clone());
        }
        let total = queue.bytes();
        assert_eq!(total, frames.iter().map(Bytes::len).sum::<usize>());
        let (_, mut writer) = tokio::io::split(near);
        let mut reader = Reader::new(far);
        let write = queue.write_to(&mut writer, || ());
        let read = async {
            for frame in &frames {
                assert_eq!(&reader.next().await.unwrap(), frame);
            }
        };
        tokio::select! {
            error = write => panic!("{error}"),
            () = read => {}
        }
        assert_eq!(queue.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_forgotten_cuts_no_frame() {
        let (near, far) = tokio::io::duplex(100);
        let (_, mut writer) = tokio::io::split(near);
        let mut reader = Reader::new(far);
        let queue = Queue::default();
        let halves = |frame: Bytes| [frame.slice(..60), frame.slice(60..)];
        for at in [30, 61, 200] {
            // A pipe that has taken some of the first frame, and the end of the one before, by then.
            let frames: Vec<_> = (1..4).map(|n| event(vec![n; at * 10])).collect();
            for frame in &frames {
                queue.push_parts(halves(frame.clone()));
            }
            let write = queue.write_to(&mut writer, || ());
            assert!(timeout(Duration::from_millis(20), write).await.is_err());
            assert_eq!(queue.forget(), 2);
            let last = event(vec![9]);
            queue.push(last.clone());
            let read = async { [reader.next().await.unwrap(), reader.next().await.unwrap()] };
            tokio::select! {
                error = queue.write_to(&mut writer, || ()) => panic!("{error}"),
                read = read => assert_eq!(read, [frames[0].clone(), last]),
            }
            assert_eq!(queue.bytes(), 0);
            assert_eq!(queue.forget(), 0);
        }
    }

    #[tokio::test]
    async fn a_frame_that_was_not_written_to_its_end_is_taken_whole() {
        let queue = Queue::default();
        let frames = [event(vec![1; 500]), event(vec![2; 10])];
        for frame in &frames {
            queue.push_parts([frame.slice(..60), frame.slice(60..)]);
        }
        let (near, _far) = tokio::io::duplex(100);
        let (_, mut writer) = tokio::io::split(near);
        let write = queue.write_to(&mut writer, || ());
        assert!(timeout(Duration::from_millis(20), write).await.is_err());
        let taken: Vec<_> = queue
            .take()
            .into_iter()
            .map(|parts| parts.concat())
            .collect();
        assert_eq!(taken, frames);
        assert_eq!(queue.bytes(), 0);
    }

    #[tokio::test]
    async fn the_end_is_noticed_on_both_sides() {
        let (near, far) = tokio::io::duplex(100);
        let mut reader = Reader::new(near);
        drop(far);
        assert!(matches!(reader.next().await, Err(BusError::Closed)));
        let queue = Queue::default();
        queue.push(event(vec![]));
        let (mut near, far) = tokio::io::duplex(100);
        drop(far);
        let wrote = queue.write_to(&mut near, || ());
        let wrote = timeout(Duration::from_secs(1), wrote).await;
        assert!(matches!(wrote, Ok(BusError::Closed)));
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let mut reader = Reader::new(&[0xff; 64][..]);
        assert!(matches!(reader.next().await, Err(BusError::Frame(_))));
    }
}
