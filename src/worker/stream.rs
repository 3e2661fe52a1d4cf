//! The byte stream under the engine and under hyper.
//!
//! It adds to a connection what neither of them has:
//!
//! - **Bytes read ahead** by the intake come first, and a **greeting** (the `101` answer) goes out
//!   in one write with the engine's first packet.
//! - **A WebSocket is read by the window**: the engine's buffer, which each session keeps, is small;
//!   what the kernel has beyond it is taken with the same call and kept until the engine asks again.
//! - **The write-stall rule.** While a write waits for its client, little is read from a
//!   WebSocket's client; after `write_stall_timeout` without progress the connection is dead.
//!   It is dead, too, that long after the engine gave the session up and only its backlog is left.
//! - **The gate.** While the bus is full, a WebSocket's client that sends much is read no further.
//! - **A dead peer is reported on the read side.** A WebSocket's writes never fail: engineioxide
//!   leaks a session whose open packet cannot be written.
//! - **A transport-level close**: asked to end, it lets the engine read a close frame (1001) as if
//!   the client had sent it, once the client is between two frames; queued data goes out first.
//! - **A lingering end**: closing a socket with unread data in it resets the connection, and the
//!   client loses what it had not read yet. So the write side is shut first, and what still
//!   arrives is read for a moment.

mod control;
mod shared;

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tracing::debug;

pub(crate) use control::{Activity, Control};
pub(crate) use shared::SharedStream;

use super::frames::FrameTracker;
use super::sessions::{ConnectionGuard, SessionGuard};
use crate::bus::Allowance;
use crate::ipc::conn::Conn;

/// A masked close frame with status 1001, "going away" (RFC 6455 section 7.4.1). The mask is zero.
const CLOSE_FRAME: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// How often it is looked whether a client that is behind reads at all.
const STALL_TICK: Duration = Duration::from_millis(500);

/// How much is read from a WebSocket at one time. Of what a flood sends, as many messages share a call.
const WINDOW: usize = 32 * 1024;

thread_local! {
    /// What is read goes on in the same poll, so all connections share one.
    static WINDOW_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; WINDOW].into());
}

/// Pieces that are no longer than this together are written as one: most answers to polls are.
const SHORT: usize = 512;

/// A client that is behind may send as much as it takes, up to this: its pongs, above all.
const CREDIT: u16 = 8 * 1024;

/// How long, and for how many bytes, a connection that we end may still send.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// A write that waits for its client.
struct Stall {
    since: Instant,
    tick: Pin<Box<Sleep>>,
}

/// See the module's text.
pub(crate) struct Stream {
    /// Gone only while the stream is dropped, or when the connection was passed on.
    conn: Option<Conn>,
    control: Arc<Control>,
    /// What the control says, once it is so: every write asks, and the control is elsewhere in memory.
    websocket: bool,
    unread: Bytes,
    /// Few sessions have one for long.
    greeting: Option<Box<Bytes>>,
    frames: FrameTracker,
    close_was_fed: bool,
    dead: Option<io::ErrorKind>,
    peer_closed: bool,
    /// Few streams have one, and every session has a stream.
    stall: Option<Box<Stall>>,
    /// How much may be read while a write waits.
    credit: u16,
    /// What it has sent while others were held back.
    allowance: Allowance,
    /// Since when the reader was called and did not come: the engine has given the session up.
    deserted: Option<Box<Instant>>,
    /// Counts the connection, and lets a drain find it.
    guard: Option<ConnectionGuard>,
    /// Counts the session of a WebSocket that began as one.
    session: Option<SessionGuard>,
}

impl Stream {
    /// Wraps a connection of which `unread` was read already.
    pub(crate) fn new(
        conn: Conn,
        unread: Bytes,
        (guard, control): (ConnectionGuard, Arc<Control>),
    ) -> Self {
        Self {
            conn: Some(conn),
            control,
            websocket: false,
            unread,
            greeting: None,
            frames: FrameTracker::default(),
            close_was_fed: false,
            dead: None,
            peer_closed: false,
            stall: None,
            credit: 0,
            allowance: Allowance::default(),
            deserted: None,
            guard: Some(guard),
            session: None,
        }
    }

    /// The session lives as long as this stream does.
    pub(crate) fn holds(&mut self, session: SessionGuard) {
        self.session = Some(session);
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Sends `greeting` before, and together with, whatever is written first.
    pub(crate) fn greet(&mut self, greeting: Bytes) {
        self.greeting = Some(Box::new(greeting));
    }

    fn is_websocket(&mut self) -> bool {
        self.websocket = self.websocket || self.control.is_websocket();
        self.websocket
    }

    /// Takes the connection out, to be passed on: nothing of it is closed or shut here.
    pub(crate) fn take(&mut self) -> io::Result<OwnedFd> {
        self.conn
            .take()
            .ok_or(io::ErrorKind::NotConnected)?
            .into_fd()
    }

    /// Must this client wait because the bus does not take what others send? Its reader is woken
    /// when it needs no longer.
    fn is_held_back(&self) -> bool {
        let Some(guard) = &self.guard else {
            return false;
        };
        let held_back = !self.control.is_closing() && guard.gate().holds_back(&self.allowance);
        if held_back && self.control.hold_back() {
            let waker = Waker::from(Arc::clone(&self.control));
            guard.gate().wake_when_open(waker);
        }
        held_back
    }

    fn die(&mut self, why: io::ErrorKind) {
        self.dead = Some(why);
        self.stall = None;
        self.control.set_stalled(false);
        self.greeting = None;
        if let Some(conn) = &self.conn {
            conn.abort();
        }
        self.control.wake_reader();
    }

    /// Applies the write-stall rule to the outcome of a write that begins with `first` and has
    /// `len` bytes in all.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
        first: &[u8],
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let error = match outcome {
            Poll::Ready(Ok(written)) => {
                self.progressed(written);
                return Poll::Ready(Ok(written));
            }
            Poll::Ready(Err(error)) => error,
            Poll::Pending => match ready!(self.poll_stall(cx, first)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => error,
            },
        };
        self.die(error.kind());
        Poll::Ready(if self.is_websocket() {
            Ok(len)
        } else {
            Err(error)
        })
    }

    /// Waits with a write that the socket is not ready for. A slow reader may have made a little
    /// room, not enough to be told of: that is progress, too.
    fn poll_stall(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<usize>> {
        let guard = self.guard.as_ref();
        let timeout = guard.map_or(Duration::ZERO, ConnectionGuard::stall_timeout);
        self.control.set_stalled(true);
        self.control.waits_for_client();
        let stall = self.stall.get_or_insert_with(|| {
            Box::new(Stall {
                since: Instant::now(),
                tick: Box::pin(sleep(STALL_TICK.min(timeout))),
            })
        });
        loop {
            if self
                .deserted
                .as_ref()
                .is_some_and(|since| since.elapsed() >= timeout)
            {
                debug!("what was left of a session that has ended was not read in time");
                break;
            }
            ready!(stall.tick.as_mut().poll(cx));
            if let Some(Ok(written @ 1..)) = self.conn.as_ref().map(|conn| conn.push(first)) {
                self.progressed(written);
                return Poll::Ready(Ok(written));
            }
            if stall.since.elapsed() >= timeout {
                if let Some(guard) = &self.guard {
                    guard.stalled();
                }
                break;
            }
            stall
                .tick
                .as_mut()
                .reset(Instant::now() + STALL_TICK.min(timeout));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The socket took `written` bytes.
    fn progressed(&mut self, written: usize) {
        if self.stall.take().is_some() {
            self.control.set_stalled(false);
            self.control.waits_for_client();
            let more = u16::try_from(written).unwrap_or(CREDIT);
            self.credit = self.credit.saturating_add(more).min(CREDIT);
            if self.is_websocket() {
                self.deserted
                    .get_or_insert_with(|| Box::new(Instant::now()));
            }
            self.control.wake_reader();
        }
        // A WebSocket has no requests.
        if !self.is_websocket()
            && let Activity::Idle(_) = self.control.activity()
        {
            // The answer is still on its way.
            self.control.set_activity(Activity::Idle(Instant::now()));
        }
    }

    /// Reads from the connection, which is there.
    fn poll_conn(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.conn.as_mut() {
            Some(conn) => Pin::new(conn).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads from a WebSocket: what there is room for, and the rest ahead. Of a client that is behind, no
    /// more than its credit.
    fn poll_window(
        &mut self,
        cx: &mut Context<'_>,
        behind: bool,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let most = if behind { self.credit.into() } else { WINDOW };
        WINDOW_BUFFER.with_borrow_mut(|window| {
            let window = window.get_mut(..most).unwrap_or_default();
            let mut window = ReadBuf::new(window);
            ready!(self.poll_conn(cx, &mut window))?;
            let came = window.filled();
            if let Some(guard) = &self.guard {
                guard.gate().read(&mut self.allowance, came.len());
            }
            let (piece, rest) = came.split_at(came.len().min(buf.remaining()));
            buf.put_slice(piece);
            self.frames.follow(piece);
            if behind {
                self.uses_credit(piece.len());
            }
            if !rest.is_empty() {
                self.unread = Bytes::copy_from_slice(rest);
            }
            Poll::Ready(Ok(came.len()))
        })
    }

    /// The reader of a client that is behind got so many bytes.
    fn uses_credit(&mut self, bytes: usize) {
        let used = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.credit = self.credit.saturating_sub(used);
    }

    /// So much was written; how much of it was the greeting?
    fn greeted(&mut self, written: usize) -> usize {
        let Some(greeting) = &mut self.greeting else {
            return 0;
        };
        let greeted = written.min(greeting.len());
        greeting.advance(greeted);
        if greeting.is_empty() {
            self.greeting = None;
        }
        greeted
    }

    /// Writes the greeting out.
    fn poll_greeting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let (Some(greeting), Some(conn)) = (&self.greeting, self.conn.as_mut()) {
            let greeting = Bytes::clone(greeting);
            let outcome = Pin::new(conn).poll_write(cx, &greeting);
            let written = ready!(self.wrote(cx, outcome, &greeting, greeting.len()))?;
            self.greeted(written);
        }
        Poll::Ready(Ok(()))
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
        this.deserted = None;
        let websocket = this.is_websocket();
        let behind = websocket && this.stall.is_some();
        if behind && this.credit == 0 {
            this.control.reads(cx);
            return Poll::Pending;
        }
        if websocket && this.is_held_back() {
            this.control.reads(cx);
            return Poll::Pending;
        }
        let close = this.control.is_closing() && websocket && !this.close_was_fed;
        if close && this.unread.is_empty() && this.frames.at_boundary() {
            this.close_was_fed = true;
            this.unread = Bytes::from_static(CLOSE_FRAME);
        }
        if this.unread.has_remaining() {
            let most = if behind {
                this.credit.into()
            } else {
                usize::MAX
            };
            let count = this.unread.len().min(buf.remaining()).min(most);
            let piece = this.unread.get(..count).unwrap_or_default();
            buf.put_slice(piece);
            if websocket {
                this.frames.follow(piece);
            }
            if behind {
                this.uses_credit(count);
            }
            this.unread.advance(count);
            if this.unread.is_empty() {
                // It would keep the memory of what was read.
                this.unread = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if this.conn.is_none() || this.close_was_fed {
            return Poll::Ready(Ok(()));
        }
        let read = if websocket {
            this.poll_window(cx, behind, buf)
        } else {
            let before = buf.filled().len();
            let read = this.poll_conn(cx, buf);
            read.map_ok(|()| buf.filled().len() - before)
        };
        match read {
            Poll::Pending => {
                this.control.reads(cx);
                Poll::Pending
            }
            Poll::Ready(Err(error)) => {
                this.peer_closed = true;
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(count)) => {
                if count == 0 {
                    this.peer_closed = true;
                } else if !websocket && matches!(this.control.activity(), Activity::Idle(_)) {
                    this.control.set_activity(Activity::Head(Instant::now()));
                }
                Poll::Ready(Ok(()))
            }
        }
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
    if bufs.iter().all(|buf| left.write_all(buf).is_ok()) {
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
        let len = bufs.iter().map(|buf| buf.len()).sum();
        let first = bufs
            .iter()
            .find(|buf| !buf.is_empty())
            .map_or(&[][..], |buf| buf);
        loop {
            if let Some(dead) = this.dead {
                // A WebSocket's reader has been told; see the module's text.
                let websocket = this.is_websocket();
                return Poll::Ready(if websocket { Ok(len) } else { Err(dead.into()) });
            }
            let Some(conn) = this.conn.as_mut() else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let Some(greeting) = &this.greeting else {
                let outcome = poll_write_all(conn, cx, bufs);
                return this.wrote(cx, outcome, first, len);
            };
            let greeting = Bytes::clone(greeting);
            let both = [io::IoSlice::new(&greeting), io::IoSlice::new(first)];
            let outcome = poll_write_all(conn, cx, &both);
            let written = ready!(this.wrote(cx, outcome, &greeting, len))?;
            let greeted = this.greeted(written);
            if written > greeted {
                return Poll::Ready(Ok(written - greeted));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_greeting(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_greeting(cx))?;
        match this.conn.as_mut() {
            Some(conn) if this.dead.is_none() => Pin::new(conn).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.peer_closed || self.dead.is_some() {
            return;
        }
        // Outside a runtime the process is about to end, and the kernel closes everything.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger(conn, self.guard.take()));
        }
    }
}

/// Shuts the write side and reads on for a moment, so that the client gets to read its answer. The
/// connection counts until then.
async fn linger(mut conn: Conn, _counted: Option<ConnectionGuard>) {
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
    // However it ends, the connection is closed now.
    let _ = timeout_at(deadline, read_on).await;
}

#[cfg(test)]
mod tests;
