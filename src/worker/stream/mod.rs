//! The byte stream under hyper.
//!
//! It adds to a connection what hyper does not have:
//!
//! - **Bytes read ahead** by the intake come first.
//! - **Targets are escaped** where browsers leave them unescaped; see [`requests`].
//! - **The write-stall rule.** A connection that takes nothing for `write_stall_timeout` is dead.
//! - **Receipts.** The answer to a poll is delivered when all of it has left, and its connection has gone on with
//!   the next request or ended without an error since; until then, what was in it may have to be sent again.
//! - **A lingering end**: closing a socket with unread data in it resets the connection, and the
//!   client loses what it had not read yet. So the write side is shut first, and what still
//!   arrives is read for a moment.

mod control;
mod requests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tracing::warn;

pub(crate) use control::{Activity, Control, Receipt};
pub(crate) use requests::MAX_HEADERS;

use self::requests::Requests;
use super::sessions::ConnectionGuard;
use crate::ipc::conn::Conn;

/// How often it is looked whether a client that is behind reads at all.
const STALL_TICK: Duration = Duration::from_millis(500);

/// Pieces that are no longer than this together are written as one: most answers to polls are.
const SHORT: usize = 512;

/// How long, and for how many bytes, a connection that we end may still send.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// How long after a client's end it may turn out that it has not read what was sent to it.
const RESET_WITHIN: Duration = Duration::from_secs(1);

/// A write that waits for its client.
struct Stall {
    since: Instant,
    tick: Pin<Box<Sleep>>,
}

/// What hyper reads from and writes to.
pub(crate) struct Stream {
    /// Gone only while the stream is dropped, or when the connection was taken out.
    conn: Option<Conn>,
    control: Arc<Control>,
    unread: Bytes,
    requests: Requests,
    dead: Option<io::ErrorKind>,
    peer_closed: bool,
    stall: Option<Stall>,
    stall_timeout: Duration,
    /// Counts the connection, and lets a drain find it.
    guard: Option<ConnectionGuard>,
}

impl Stream {
    /// Wraps a connection of which `unread` was read already.
    pub(crate) fn new(
        conn: Conn,
        unread: Bytes,
        mut guard: ConnectionGuard,
        stall_timeout: Duration,
    ) -> Self {
        let control = Arc::new(Control::new());
        guard.found_by(Arc::clone(&control));
        let mut requests = Requests::default();
        let unread = match requests.follow(&unread) {
            Some(escaped) => escaped.into(),
            None => unread,
        };
        Self {
            conn: Some(conn),
            control,
            unread,
            requests,
            dead: None,
            peer_closed: false,
            stall: None,
            stall_timeout,
            guard: Some(guard),
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Takes the connection out, and what was read of it ahead: nothing of it is closed or shut here.
    pub(crate) fn take(&mut self) -> Option<(Conn, Bytes, ConnectionGuard)> {
        if self.dead.is_some() || self.peer_closed {
            return None;
        }
        let conn = self.conn.take()?;
        let guard = self.guard.take()?;
        Some((conn, std::mem::take(&mut self.unread), guard))
    }

    fn is_internal(&self) -> bool {
        self.guard
            .as_ref()
            .is_some_and(ConnectionGuard::is_internal)
    }

    fn die(&mut self, why: io::ErrorKind) {
        self.dead = Some(why);
        self.stall = None;
        self.control.set_stalled(false);
        drop(self.control.take_left());
        if let Some(conn) = &self.conn {
            conn.abort();
        }
        self.control.wake_reader();
    }

    /// Applies the write-stall rule to the outcome of a write that begins with `first`.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
        first: &[u8],
    ) -> Poll<io::Result<usize>> {
        let error = match outcome {
            Poll::Ready(Ok(written)) => {
                self.progressed();
                return Poll::Ready(Ok(written));
            }
            Poll::Ready(Err(error)) => error,
            Poll::Pending => match ready!(self.poll_stall(cx, first)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => error,
            },
        };
        self.die(error.kind());
        Poll::Ready(Err(error))
    }

    /// Waits with a write that the socket is not ready for. A slow reader may have made a little
    /// room, not enough to be told of: that is progress, too.
    fn poll_stall(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<usize>> {
        self.control.set_stalled(true);
        let tick = STALL_TICK.min(self.stall_timeout);
        let stall = self.stall.get_or_insert_with(|| Stall {
            since: Instant::now(),
            tick: Box::pin(sleep(tick)),
        });
        loop {
            ready!(stall.tick.as_mut().poll(cx));
            if let Some(Ok(written @ 1..)) = self.conn.as_ref().map(|conn| conn.push(first)) {
                self.progressed();
                return Poll::Ready(Ok(written));
            }
            if stall.since.elapsed() >= self.stall_timeout {
                warn!(
                    after = %humantime::format_duration(self.stall_timeout),
                    "a client does not read its answer; its connection was closed"
                );
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stall.tick.as_mut().reset(Instant::now() + tick);
        }
    }

    /// The socket took something.
    fn progressed(&mut self) {
        if self.stall.take().is_some() {
            self.control.set_stalled(false);
        }
        if let Activity::Idle(_) = self.control.activity() {
            // The answer is still on its way.
            self.control.set_activity(Activity::Idle(Instant::now()));
        }
    }

    /// So many bytes came, the last in `buf`.
    fn came(&mut self, count: usize, buf: &mut ReadBuf<'_>) {
        self.control.goes_on();
        if let Activity::Idle(_) = self.control.activity() {
            self.control.set_activity(Activity::Head(Instant::now()));
        }
        let before = buf.filled().len() - count;
        let came = buf.filled().get(before..).unwrap_or_default();
        if let Some(escaped) = self.requests.follow(came) {
            buf.set_filled(before);
            self.unread = escaped.into();
            self.hand_out(buf);
        }
    }

    /// Hands out what was read ahead.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..count).unwrap_or_default());
        self.unread.advance(count);
        if self.unread.is_empty() {
            // It would keep the memory of what was read.
            self.unread = Bytes::new();
        }
    }

    /// The client has finished.
    fn finished(&mut self) {
        self.peer_closed = true;
        let Some(receipt) = self.control.take_left() else {
            return;
        };
        match self.conn.take() {
            // Another worker, whose own client did not get the answer.
            _ if self.is_internal() => drop(receipt),
            Some(conn) => {
                tokio::spawn(settle(conn, receipt, self.guard.take()));
            }
            None => {}
        }
    }
}

/// A client has finished after its answer had left. If it had not read that, the connection is reset now.
async fn settle(conn: Conn, receipt: Receipt, _counted: Option<ConnectionGuard>) {
    if let Conn::Unix(_) = conn {
        // There, an end is a reset at once.
        return receipt.delivered();
    }
    // That it was ended before is no fault.
    let _ = rustix::net::shutdown(&conn, Shutdown::Write);
    let reset = conn.failed();
    if timeout(RESET_WITHIN, reset).await.is_err() {
        receipt.delivered();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.control.is_aborted() && this.dead.is_none() {
            this.die(io::ErrorKind::ConnectionAborted);
        }
        if let Some(dead) = this.dead {
            return Poll::Ready(Err(dead.into()));
        }
        if !this.unread.is_empty() {
            this.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        let Some(conn) = this.conn.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        match Pin::new(conn).poll_read(cx, buf) {
            Poll::Pending => {
                this.control.reads(cx);
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => {
                this.peer_closed = true;
                drop(this.control.take_left());
                return Poll::Ready(Err(error));
            }
            Poll::Ready(Ok(())) => {}
        }
        match buf.filled().len() - before {
            0 => this.finished(),
            count => this.came(count, buf),
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes what there is with one call. To the kernel, one short piece is less work than two.
fn poll_write_all(
    conn: &mut Conn,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [buf] = bufs {
        return Pin::new(conn).poll_write(cx, buf);
    }
    let mut short = [0; SHORT];
    let mut left = short.as_mut_slice();
    if bufs
        .iter()
        .all(|buf| io::Write::write_all(&mut left, buf).is_ok())
    {
        let len = SHORT - left.len();
        return Pin::new(conn).poll_write(cx, short.get(..len).unwrap_or_default());
    }
    Pin::new(conn).poll_write_vectored(cx, bufs)
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.iter().find(|buf| !buf.is_empty());
        let first = first.map_or(&[][..], |buf| buf);
        if this.control.is_aborted() && this.dead.is_none() {
            this.die(io::ErrorKind::ConnectionAborted);
        }
        if let Some(dead) = this.dead {
            return Poll::Ready(Err(dead.into()));
        }
        let Some(conn) = this.conn.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let outcome = poll_write_all(conn, cx, bufs);
        this.wrote(cx, outcome, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written all that it had.
        self.control.flushed(self.conn.as_ref());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.conn.as_mut() {
            Some(conn) if this.dead.is_none() => Pin::new(conn).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let internal = self.is_internal();
        let receipt = self.control.take_left().filter(|_| !internal);
        let Some(conn) = self.conn.take() else { return };
        if self.peer_closed || self.dead.is_some() {
            return;
        }
        // Outside a runtime the process is about to end, and the kernel closes everything.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger(conn, receipt, self.guard.take()));
        }
    }
}

/// Shuts the write side and reads on for a moment, so that the client gets to read its answer. The
/// connection counts until then.
async fn linger(mut conn: Conn, receipt: Option<Receipt>, counted: Option<ConnectionGuard>) {
    let deadline = Instant::now() + LINGER;
    let mut scrap = [0; 2048];
    let mut left = LINGER_BYTES;
    let read_on = async {
        conn.shutdown().await?;
        while left > 0 {
            match conn.read(&mut scrap).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    let ended = timeout_at(deadline, read_on).await;
    // However it ended, the connection is closed now.
    match (ended, receipt) {
        (Ok(Ok(())), Some(receipt)) => settle(conn, receipt, counted).await,
        (Err(_), Some(receipt)) => receipt.delivered(),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
