//! The handle by which the rest of the worker reaches a connection that hyper has.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use engineioxide::Delivery;
use futures_util::task::AtomicWaker;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::time::Instant;

use crate::ipc::conn::Conn;

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

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            abort: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            state: Mutex::new(State {
                activity: Activity::Busy,
                answer: Answer::None,
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
