//! The handle by which the rest of the worker reaches a connection that hyper has.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use bytes::Bytes;
use engineioxide::Delivery;
use futures_util::task::AtomicWaker;
use rustix::event::{PollFd, PollFlags, Timespec};
use socketioxide::socket::Sid;
use tokio::time::Instant;

use crate::ipc::conn::Conn;

/// A smaller answer is not worth being held, in bytes.
const WORTH_HOLDING: usize = 16 * 1024;

/// Shared with the connection's [`Stream`](super::Stream): either may outlive the other.
#[derive(Debug)]
pub(crate) struct Control {
    abort: AtomicBool,
    stalled: AtomicBool,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    activity: Activity,
    answer: Answer,
    held: Held,
}

/// What is in memory for a connection's requests: a body that arrives, an answer that leaves, and what is kept of that
/// until its client is known to have it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    /// Of whose session the last request was; none: another worker's.
    pub(crate) sid: Option<Sid>,
}

/// A part of what is held. Dropped, it is not any more.
#[derive(Debug)]
pub(crate) struct Holding {
    control: Arc<Control>,
    bytes: usize,
}

impl Holding {
    /// It is so much now, in bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        let mut state = self.control.state();
        state.held.bytes = state.held.bytes.saturating_sub(self.bytes) + bytes;
        drop(state);
        self.bytes = bytes;
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// An answer's body, which is held until hyper has written all of it.
struct HeldBody(
    Bytes,
    #[expect(dead_code, reason = "it is dropped with the body")] Holding,
);

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What an HTTP connection is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activity {
    /// Nothing, since then.
    Idle(Instant),
    /// A request's head is arriving, since then.
    Head(Instant),
    /// A request is being answered.
    Busy,
}

/// To be told that an answer was delivered; dropped without it, it was not.
pub(crate) enum Receipt {
    /// A session of this worker's polled.
    Poll(engineioxide::Receipt),
    /// One of another worker's did.
    Detour(Box<dyn FnOnce() + Send>),
}

impl Receipt {
    pub(super) fn delivered(self) {
        match self {
            Self::Poll(receipt) => receipt.delivered(),
            Self::Detour(delivered) => delivered(),
        }
    }

    /// What it keeps of the answer, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Poll(receipt) => receipt.bytes(),
            Self::Detour(_) => 0,
        }
    }

    /// It has left whole, over this connection. The session asks a client's own one whether it lives, should the
    /// client poll again over another; a proxy's it does not: that is used for others, and lives.
    fn left(&self, conn: &Conn) {
        let Self::Poll(receipt) = self else { return };
        let watched = match conn {
            Conn::Tcp(_) => conn.as_fd().try_clone_to_owned().ok(),
            Conn::Unix(_) => None,
        };
        receipt.left(watched.map(|fd| Arc::new(Watched(fd)) as _));
    }
}

/// A connection that has an answer.
struct Watched(OwnedFd);

impl Delivery for Watched {
    fn has_failed(&self) -> bool {
        // It is only looked at: the error stays for the reader.
        let mut polled = [PollFd::new(&self.0, PollFlags::empty())];
        let _ = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        let [polled] = polled;
        polled.revents().contains(PollFlags::ERR)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").finish_non_exhaustive()
    }
}

/// An answer with a receipt, on its way out.
#[derive(Debug)]
enum Answer {
    None,
    /// hyper has all of it.
    Leaves(Receipt),
    /// The kernel has all of it.
    Left(Receipt),
}

impl Answer {
    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Leaves(receipt) | Self::Left(receipt) => receipt.bytes(),
        }
    }
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            abort: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            state: Mutex::new(State {
                activity: Activity::Busy,
                answer: Answer::None,
                held: Held::default(),
            }),
            reader: AtomicWaker::new(),
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.state().activity
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        self.state().activity = activity;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is a write waiting for the client?
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Relaxed)
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Relaxed);
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.abort.load(Relaxed)
    }

    /// Whoever reads the stream waits.
    pub(super) fn reads(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    pub(super) fn wake_reader(&self) {
        self.reader.wake();
    }

    /// Ends the connection wherever it is.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Relaxed);
        self.reader.wake();
    }

    /// What is in memory for this connection's requests.
    pub(crate) fn held(&self) -> Held {
        let state = self.state();
        Held {
            bytes: state.held.bytes + state.answer.bytes(),
            ..state.held
        }
    }

    /// Something is in memory from now on for a request of this session: so far nothing.
    pub(crate) fn hold(self: &Arc<Self>, sid: Option<Sid>) -> Holding {
        self.state().held.sid = sid;
        Holding {
            control: Arc::clone(self),
            bytes: 0,
        }
    }

    /// An answer to a request of this session, which is held until hyper has written all of it.
    pub(crate) fn hold_answer(self: &Arc<Self>, sid: Option<Sid>, body: Bytes) -> Bytes {
        let mut holding = self.hold(sid);
        if body.len() < WORTH_HOLDING {
            return body;
        }
        holding.set(body.len());
        Bytes::from_owner(HeldBody(body, holding))
    }

    /// hyper has taken all of an answer.
    pub(crate) fn answer_leaves(&self, receipt: Receipt) {
        let before = std::mem::replace(&mut self.state().answer, Answer::Leaves(receipt));
        settle(before);
    }

    /// All that hyper had, the kernel has.
    pub(super) fn flushed(&self, conn: Option<&Conn>) {
        let mut state = self.state();
        state.answer = match std::mem::replace(&mut state.answer, Answer::None) {
            Answer::Leaves(receipt) => {
                conn.inspect(|conn| receipt.left(conn));
                Answer::Left(receipt)
            }
            other => other,
        };
    }

    /// The client goes on: with the next request it says that it has the answer to the one before.
    pub(crate) fn goes_on(&self) {
        let mut state = self.state();
        if let Answer::Left(_) = state.answer {
            let answer = std::mem::replace(&mut state.answer, Answer::None);
            drop(state);
            settle(answer);
        }
    }

    /// The connection is over: the receipt of an answer that has left whole. One that has not is not
    /// delivered.
    pub(super) fn take_left(&self) -> Option<Receipt> {
        let answer = std::mem::replace(&mut self.state().answer, Answer::None);
        match answer {
            Answer::Left(receipt) => Some(receipt),
            _ => None,
        }
    }
}

/// The client has gone on; what has left whole it has.
fn settle(answer: Answer) {
    if let Answer::Left(receipt) = answer {
        receipt.delivered();
    }
}
