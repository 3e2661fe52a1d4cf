//! What is to be done next: lists of sessions, filled from anywhere, emptied by the pump.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use futures_util::task::AtomicWaker;

use crate::counts::Counts;
use crate::hooks::Hooks;

/// Where a session stands in the table of sessions. It may be given again after the session's end: whoever
/// looks finds another session, or none, which costs a look.
pub(crate) type Key = u32;

/// One for a worker.
#[derive(Default)]
pub(crate) struct Work {
    /// Sessions whose connection has something to read, or has room again, or that have messages to hand on.
    pub(crate) ready: List,
    /// Sessions that have something to be written.
    pub(crate) dirty: List,
    /// Sessions that were closed by the application.
    pub(crate) closed: List,
    pump: AtomicWaker,
    /// Is the pump at work? Then it finds what is pushed, and need not be woken.
    running: AtomicBool,
    serial: AtomicU64,
    /// Live sessions.
    pub(crate) sessions: AtomicUsize,
    /// Each a `WebSocket` whose session is over, and to which something is to be written yet.
    pub(crate) closing: AtomicUsize,
    /// Likewise, of which the client is to answer the close frame yet.
    pub(crate) unanswered: AtomicUsize,
    /// How often those were given up for which much waits.
    pub(crate) given_up: AtomicUsize,
    /// Bytes that wait for clients, or of clients for handlers, over all sessions.
    pub(crate) waiting: AtomicUsize,
    /// What is counted.
    pub(crate) counts: Counts,
    /// Who is told that nothing refers to a session any more.
    pub(crate) hooks: OnceLock<Arc<dyn Hooks>>,
}

/// Sessions, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct List(Mutex<Vec<Key>>);

impl List {
    /// Appends a session; is it the first?
    fn push(&self, key: Key) -> bool {
        let mut keys = self.lock();
        keys.push(key);
        keys.len() == 1
    }

    /// Takes all, and leaves the room that `empty` has.
    pub(crate) fn take(&self, empty: &mut Vec<Key>) {
        std::mem::swap(&mut *self.lock(), empty);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    pub(crate) fn push_ready(&self, key: Key) {
        if self.ready.push(key) {
            self.wake_pump();
        }
    }

    pub(crate) fn push_dirty(&self, key: Key) {
        if self.dirty.push(key) {
            self.wake_pump();
        }
    }

    pub(crate) fn push_closed(&self, key: Key) {
        if self.closed.push(key) {
            self.wake_pump();
        }
    }

    /// Wakes the pump, unless it is at work.
    pub(crate) fn wake_pump(&self) {
        if !self.running.load(SeqCst) {
            self.pump.wake();
        }
    }

    /// The pump begins its turn.
    pub(crate) fn begin_turn(&self) {
        self.running.store(true, SeqCst);
    }

    /// Is the pump at work? Then it is what calls.
    pub(crate) fn is_in_turn(&self) -> bool {
        self.running.load(SeqCst)
    }

    /// The pump ends its turn; was something pushed that it has not done?
    pub(crate) fn end_turn(&self) -> bool {
        self.running.store(false, SeqCst);
        !(self.ready.is_empty() && self.dirty.is_empty() && self.closed.is_empty())
    }

    pub(crate) fn register_pump(&self, cx: &Context<'_>) {
        self.pump.register(cx.waker());
    }

    /// So many bytes more wait.
    pub(crate) fn count_waiting(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Relaxed);
    }

    /// A number that nobody else has.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Relaxed) + 1
    }
}

/// Somebody who waits for one thing of a session.
#[derive(Debug, Default)]
pub(crate) struct Waiter(Option<Waker>);

impl Waiter {
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        match &mut self.0 {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
