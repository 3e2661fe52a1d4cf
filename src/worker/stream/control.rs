//! The handle by which the rest of the worker reaches a connection that hyper has.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::ipc::conn::Conn;

/// How long another worker may take to tell what became of an answer, once somebody waits for it. It tells at
/// once, unless its client keeps the connection and says nothing more over it.
const WORD_WITHIN: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Control {
    /// Gone when it was taken out, or has ended.
    conn: Mutex<Option<Conn>>,
    internal: bool,
    abort: AtomicBool,
    stalled: AtomicBool,
    /// Does another worker of ours tell what becomes of an answer, as soon as it knows?
    told: AtomicBool,
    state: Mutex<State>,
    reader: AtomicWaker,
    settled: Notify,
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
pub(crate) struct Receipt(Box<dyn FnOnce() + Send>);

impl Receipt {
    pub(crate) fn new(delivered: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(delivered))
    }

    pub(super) fn delivered(self) {
        (self.0)();
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
    /// Of a client's connection, or of another worker's (`internal`).
    pub(super) fn new(conn: Conn, internal: bool) -> Self {
        Self {
            conn: Mutex::new(Some(conn)),
            internal,
            abort: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            told: AtomicBool::new(false),
            state: Mutex::new(State {
                activity: Activity::Busy,
                answer: Answer::None,
            }),
            reader: AtomicWaker::new(),
            settled: Notify::new(),
        }
    }

    pub(super) fn conn(&self) -> MutexGuard<'_, Option<Conn>> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Did another worker open it?
    pub(super) fn is_internal(&self) -> bool {
        self.internal
    }

    /// The other worker's client is no proxy: what becomes of its connection tells what becomes of an answer.
    pub(crate) fn is_told(&self, told: bool) {
        self.told.store(told, Relaxed);
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
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        state.answer = match std::mem::replace(&mut state.answer, Answer::None) {
            Answer::Leaves(receipt) => Answer::Left(receipt),
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
            self.settled.notify_waiters();
        }
    }

    /// The connection is over: the receipt of an answer that has left whole. One that has not is not
    /// delivered.
    pub(super) fn take_left(&self) -> Option<Receipt> {
        let answer = std::mem::replace(&mut self.state().answer, Answer::None);
        self.settled.notify_waiters();
        match answer {
            Answer::Left(receipt) => Some(receipt),
            _ => None,
        }
    }

    fn has_answer(&self) -> bool {
        !matches!(self.state().answer, Answer::None)
    }

    /// The session is polled over another connection: did the answer over this one arrive? One that has not
    /// left whole has not; nor one whose connection was reset.
    pub(crate) async fn settle(&self) {
        if self.internal && self.told.load(Relaxed) {
            let told = async {
                loop {
                    let settled = self.settled.notified();
                    if !self.has_answer() {
                        return;
                    }
                    settled.await;
                }
            };
            // Without a word, all is well.
            let _ = timeout(WORD_WITHIN, told).await;
        }
        let failed = match &*self.conn() {
            Some(conn) => conn.has_failed(self.internal),
            None => true,
        };
        if let Some(receipt) = self.take_left().filter(|_| !failed) {
            receipt.delivered();
        }
    }
}

/// The client has gone on; what has left whole it has.
fn settle(answer: Answer) {
    if let Answer::Left(receipt) = answer {
        receipt.delivered();
    }
}
