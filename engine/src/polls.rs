//! What the requests of a polling session hold: a poll that waits, an answer on its way, a post. Each tells its
//! session when it is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::delivery::Delivery;
use crate::hooks::EndReason;
use crate::packet::Packet;
use crate::polling::Polled;

/// A poll that waits for its answer. Dropped before, its client is gone: the session is over.
pub struct PollAnswer {
    session: Arc<dyn Polled>,
    serial: u64,
    done: bool,
}

/// The answer to a poll.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
    /// Is it of bytes (revision 3), or text?
    pub binary: bool,
    /// To be told what became of it.
    pub receipt: Receipt,
}

impl PollAnswer {
    pub(crate) fn new(session: Arc<dyn Polled>, serial: u64) -> Self {
        Self {
            session,
            serial,
            done: false,
        }
    }
}

impl Future for PollAnswer {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = self.get_mut();
        let (body, binary, packets) = ready!(this.session.answer(this.serial, cx));
        this.done = true;
        Poll::Ready(Answer {
            body: body.into(),
            binary,
            receipt: Receipt {
                session: Arc::clone(&this.session),
                serial: this.serial,
                packets,
            },
        })
    }
}

impl Drop for PollAnswer {
    fn drop(&mut self) {
        if !self.done {
            self.session.abandon_poll(self.serial);
        }
    }
}

/// What an answer took. Dropped before it was delivered, that is sent again with the next poll.
pub struct Receipt {
    session: Arc<dyn Polled>,
    serial: u64,
    packets: Vec<Packet>,
}

impl Receipt {
    /// What it keeps for the next poll, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(Packet::data_len).sum()
    }

    /// The answer left whole, and its connection has not failed since.
    pub fn delivered(mut self) {
        self.packets = Vec::new();
        self.session.delivered(self.serial);
    }

    /// The answer has left whole. `connection` is asked whether it has failed, should the client poll again before
    /// it is known that it was delivered.
    pub fn left(&self, connection: Option<Arc<dyn Delivery>>) {
        if !self.packets.is_empty() {
            self.session.left(self.serial, connection);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let packets = std::mem::take(&mut self.packets);
        if !packets.is_empty() {
            self.session.undelivered(self.serial, packets);
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt")
            .field("packets", &self.packets.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostState {
    Begun,
    Handling,
    Done,
}

/// A post that is under way. Dropped before its body was there, its client is gone: the session is over.
pub struct Posting {
    session: Arc<dyn Polled>,
    serial: u64,
    state: PostState,
}

impl Posting {
    pub(crate) fn new(session: Arc<dyn Polled>, serial: u64) -> Self {
        Self {
            session,
            serial,
            state: PostState::Begun,
        }
    }

    /// The body is not handled, and the session goes on.
    pub fn refuse(mut self) {
        self.state = PostState::Done;
        self.session.end_post(self.serial, None);
    }

    /// The same, because it is too large.
    pub fn refuse_too_large(self) {
        self.session.too_large();
        self.refuse();
    }

    /// The body is none that this session may send: the session is over.
    pub fn reject(mut self) {
        self.state = PostState::Done;
        self.session
            .end_post(self.serial, Some(EndReason::ProtocolError));
    }

    /// Hands the body on; ready when all of it is handled, or the session has ended. A client that has too much to
    /// take waits here until it polls.
    pub async fn deliver(mut self, body: Bytes, binary: bool) {
        self.state = PostState::Handling;
        self.session.post(self.serial, &body, binary);
        drop(body);
        std::future::poll_fn(|cx| self.session.poll_posted(self.serial, cx)).await;
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        let reason = match self.state {
            PostState::Begun => Some(EndReason::TransportClosed),
            PostState::Handling => None,
            PostState::Done => return,
        };
        self.session.end_post(self.serial, reason);
    }
}

impl std::fmt::Debug for Posting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Posting")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PollAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollAnswer").finish_non_exhaustive()
    }
}
