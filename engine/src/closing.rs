//! The end of a WebSocket: what was queued, the close frame, and time in which the client may read it.
//!
//! The connection stays open until the client has answered with a close frame of its own (RFC 6455 section 7.1.1), and has
//! so read all: a proxy that sees our end would close its connection to the client, and what is still on its way there
//! would be lost as soon as the client sends something. Closing a socket with unread data in it resets the connection,
//! too. So then the write side is shut first, and what still arrives is read until the client closes. The session is over
//! by then; this is a task of its own, with a deadline.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rustix::net::Shutdown;
use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep, timeout};

use crate::assembly::Assembly;
use crate::conn::Conn;
use crate::frame::write_close;
use crate::line::{Line, Out, Transport, WebSocket};
use crate::skim::Skim;
use crate::work::Work;
use crate::write::{Scratch, Written};

/// For how many bytes a client may go on sending.
const LINGER_BYTES: usize = 4 << 20;
/// How often a socket without room is asked again: a slow reader's is told of late.
const ASK: Duration = Duration::from_millis(500);
/// Where more than this waits, in bytes, it is given up when the memory is full.
const MUCH: usize = 64 * 1024;

/// What is left of a session that has ended.
pub(crate) struct Rest {
    line: Line,
    work: Arc<Work>,
    /// Is there something to be written yet?
    unwritten: bool,
    /// Looks for the client's close frame, if that is still to come.
    answer: Option<Skim>,
}

impl Rest {
    /// Takes the connection of `line`, and what waits for it. None if there is nobody to be told.
    pub(crate) fn of(line: &mut Line, work: &Arc<Work>, payload: &[u8]) -> Option<Self> {
        let mut socket = match std::mem::replace(&mut line.transport, Transport::Gone) {
            Transport::WebSocket(socket) if !socket.broken => socket,
            _ => return None,
        };
        let assembly = std::mem::take(&mut socket.assembly);
        // What deflates is the pump's, and not worth having another one for this.
        let socket = WebSocket {
            deflate: None,
            ..socket
        };
        let mut frame = Vec::new();
        write_close(payload, &mut frame);
        line.queue_out(work, Out::Raw(Bytes::from(frame)));
        let mut rest = Line::new(Transport::WebSocket(socket), line.revision3);
        rest.queue = std::mem::take(&mut line.queue);
        rest.waiting = std::mem::take(&mut line.waiting);
        let mut rest = Self::counted(rest, work);
        rest.answer = Skim::after(assembly);
        if rest.answer.is_some() {
            work.unanswered.fetch_add(1, Relaxed);
        }
        Some(rest)
    }

    /// A connection that has no session: it is sent these bytes, and a close frame with this payload.
    pub(crate) fn of_conn(
        conn: Conn,
        mut bytes: Vec<u8>,
        work: &Arc<Work>,
        payload: &[u8],
    ) -> Self {
        write_close(payload, &mut bytes);
        let socket = WebSocket::new(conn, Assembly::default(), None);
        let mut line = Line::new(Transport::WebSocket(socket), false);
        line.queue_out(work, Out::Raw(Bytes::from(bytes)));
        Self::counted(line, work)
    }

    fn counted(line: Line, work: &Arc<Work>) -> Self {
        work.closing.fetch_add(1, Relaxed);
        Self {
            line,
            work: Arc::clone(work),
            unwritten: true,
            answer: None,
        }
    }

    /// All is written, or cannot be.
    fn settle(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            self.work.closing.fetch_sub(1, Relaxed);
        }
    }

    /// The client has answered, or will not.
    fn answered(&mut self) {
        if self.answer.take().is_some() {
            self.work.unanswered.fetch_sub(1, Relaxed);
        }
    }

    /// What waits, and how much of its first piece is written: a long one may take long.
    fn left(&self) -> (usize, usize) {
        match &self.line.transport {
            Transport::WebSocket(socket) => (self.line.waiting, socket.written),
            _ => (self.line.waiting, 0),
        }
    }

    /// Writes what is left, unless its client takes nothing of it for `stall`, and closes.
    pub(crate) async fn close(mut self, stall: Duration) {
        let mut scratch = Scratch::default();
        let mut left = self.left();
        let mut since = Instant::now();
        let given_up = self.work.given_up.load(Relaxed);
        let all = loop {
            let wrote =
                poll_fn(|cx| Poll::Ready(self.line.write(&self.work, 0, &mut scratch, cx))).await;
            if self.left() != left {
                (left, since) = (self.left(), Instant::now());
            }
            match wrote {
                Written::All => break true,
                Written::Broken => break false,
                Written::More => tokio::task::yield_now().await,
                Written::Waits if since.elapsed() >= stall => break false,
                Written::Waits if left.0 > MUCH && self.work.given_up.load(Relaxed) != given_up => {
                    break false;
                }
                Written::Waits => {
                    if let Transport::WebSocket(socket) = &self.line.transport {
                        let _ = timeout(ASK.min(stall), socket.conn.writable()).await;
                    } else {
                        sleep(ASK).await;
                    }
                }
            }
        };
        self.settle();
        self.line.clear(&self.work);
        let Transport::WebSocket(mut socket) =
            std::mem::replace(&mut self.line.transport, Transport::Gone)
        else {
            return;
        };
        if !all {
            return socket.conn.shut(Shutdown::Both);
        }
        if self.answer.is_none() {
            socket.conn.shut(Shutdown::Write);
        }
        let mut scrap = [0; 4096];
        let mut left = LINGER_BYTES;
        // What was written may be in this machine's socket still. A reset would throw it away, and only a client that
        // has read everything closes; so it has as long as one that takes nothing.
        let read = async {
            while left > 0 {
                let mut buf = ReadBuf::new(&mut scrap);
                let read = poll_fn(|cx| socket.conn.poll_read(cx, &mut buf)).await;
                if read.is_err() || buf.filled().is_empty() {
                    break;
                }
                left = left.saturating_sub(buf.filled().len());
                if let Some(skim) = &mut self.answer
                    && skim.is_over(buf.filled())
                {
                    self.answered();
                    socket.conn.shut(Shutdown::Write);
                }
            }
        };
        let _ = timeout(stall, read).await;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.settle();
        self.answered();
    }
}
