//! One process's connection with the hub, and what has come over it. It is in one place, and not in whoever works on it:
//! between any two of their steps it can be seen whole.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;

use super::Hub;
use crate::ipc::bus::{BusError, Queue, Received};
use crate::wire::frame::Role;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: UnixStream,
    pub(super) received: RefCell<Received>,
    /// The frame that was read last, until it is passed on.
    pub(super) in_hand: RefCell<Option<Bytes>>,
}

impl Line {
    pub(super) fn new(stream: UnixStream) -> Rc<Self> {
        Rc::new(Self {
            stream,
            received: RefCell::default(),
            in_hand: RefCell::default(),
        })
    }

    /// The next frame, whole. It is the same again until it is [done](Self::done).
    ///
    /// # Errors
    /// [`BusError::Closed`] at the end; what had come of a frame by then is lost.
    pub(super) async fn next(&self) -> Result<Bytes, BusError> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(frame);
            }
            poll_fn(|cx| self.stream.poll_read_ready(cx)).await?;
            let mut received = self.received.borrow_mut();
            match self.stream.try_read_buf(received.room()?) {
                Ok(0) => return Err(BusError::Closed),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
    }

    fn frame(&self) -> Result<Option<Bytes>, BusError> {
        let mut in_hand = self.in_hand.borrow_mut();
        if in_hand.is_none() {
            *in_hand = self.received.borrow_mut().frame().transpose()?;
        }
        Ok(in_hand.clone())
    }

    /// The frame that came last is passed on. Nothing may wait between the two.
    pub(super) fn done(&self) {
        self.in_hand.take();
    }

    /// Writes what waits in `queue` and what will, until the other side is gone.
    pub(super) async fn write(&self, queue: &Queue, wrote: impl FnMut()) -> BusError {
        queue.write_to(&mut Writing(&self.stream), wrote).await
    }
}

/// A stream that is written to by who does not own it.
struct Writing<'a>(&'a UnixStream);

impl Writing<'_> {
    fn poll(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Writing<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A process that has not yet said who it is.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) pid: u32,
    pub(super) role: Role,
    pub(super) slot: u16,
    pub(super) line: Rc<Line>,
}

/// It is on the hub's list until dropped.
pub(super) struct Listed<'a> {
    hub: &'a Hub,
    pub(super) joining: Rc<Joining>,
}

impl Hub {
    /// Puts a process on the list of those that have not yet said who they are.
    pub(super) fn list(&self, joining: Joining) -> Listed<'_> {
        let joining = Rc::new(joining);
        self.joining.borrow_mut().push(Rc::clone(&joining));
        Listed { hub: self, joining }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut all = self.hub.joining.borrow_mut();
        all.retain(|it| !Rc::ptr_eq(it, &self.joining));
    }
}
