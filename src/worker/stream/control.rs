//! The handle by which the rest of the worker reaches a stream that hyper or the engine owns.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// What the rest of the worker may do to a stream that hyper or the engine owns.
#[derive(Debug)]
pub(crate) struct Control {
    internal: bool,
    websocket: AtomicBool,
    close: AtomicBool,
    abort: AtomicBool,
    stalled: AtomicBool,
    held_back: AtomicBool,
    /// Is what began at [`State::since`] a head?
    head: AtomicBool,
    state: Mutex<State>,
    reader: AtomicWaker,
}

/// Every session has one of these: it is kept small.
#[derive(Debug)]
struct State {
    /// None: busy.
    since: Option<Instant>,
    behind: Option<Box<Behind>>,
}

/// How long writes must go without waiting for a client that reads all that it gets.
const CAUGHT_UP: Duration = Duration::from_millis(20);

/// Writes that wait for a client again and again.
#[derive(Debug)]
struct Behind {
    since: Instant,
    last: Instant,
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

impl Control {
    /// Of a connection that another worker opened (`internal`) or a client did. It is busy.
    pub(crate) fn new(internal: bool) -> Self {
        Self {
            internal,
            websocket: AtomicBool::new(false),
            close: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            held_back: AtomicBool::new(false),
            head: AtomicBool::new(false),
            state: Mutex::new(State {
                since: None,
                behind: None,
            }),
            reader: AtomicWaker::new(),
        }
    }

    /// Did another worker open it?
    pub(crate) fn is_internal(&self) -> bool {
        self.internal
    }

    pub(crate) fn activity(&self) -> Activity {
        match self.state().since {
            None => Activity::Busy,
            Some(since) if self.head.load(Relaxed) => Activity::Head(since),
            Some(since) => Activity::Idle(since),
        }
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        let (since, head) = match activity {
            Activity::Busy => (None, false),
            Activity::Idle(since) => (Some(since), false),
            Activity::Head(since) => (Some(since), true),
        };
        let mut state = self.state();
        state.since = since;
        self.head.store(head, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on the client's bytes are WebSocket frames.
    pub(crate) fn becomes_websocket(&self) {
        self.websocket.store(true, Relaxed);
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.websocket.load(Relaxed)
    }

    /// Is a write waiting for the client?
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Relaxed)
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Relaxed);
    }

    /// A write waits, or has waited until now. Between two such moments of a client that is behind there
    /// is next to nothing; one that is not has all it gets meanwhile.
    pub(super) fn waits_for_client(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let behind = state.behind.get_or_insert_with(|| {
            Box::new(Behind {
                since: now,
                last: now,
            })
        });
        if behind.last.elapsed() >= CAUGHT_UP {
            behind.since = now;
        }
        behind.last = now;
    }

    /// Since when has there been something to write all the time?
    pub(crate) fn behind_since(&self) -> Option<Instant> {
        let state = self.state();
        let behind = state.behind.as_ref();
        behind
            .filter(|behind| self.is_stalled() || behind.last.elapsed() < CAUGHT_UP)
            .map(|behind| behind.since)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.close.load(Relaxed)
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.abort.load(Relaxed)
    }

    /// Whoever reads the stream waits.
    pub(super) fn reads(&self, cx: &Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// The reader is not let through the gate. Is that new? Waking this handle lets it go on.
    pub(super) fn hold_back(&self) -> bool {
        !self.held_back.swap(true, Relaxed)
    }

    pub(super) fn wake_reader(&self) {
        self.reader.wake();
    }

    /// Ends a WebSocket at its next frame boundary.
    pub(crate) fn close(&self) {
        self.close.store(true, Relaxed);
        self.reader.wake();
    }

    /// Ends the connection wherever it is.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Relaxed);
        self.reader.wake();
    }
}

impl Wake for Control {
    fn wake(self: Arc<Self>) {
        self.held_back.store(false, Relaxed);
        self.reader.wake();
    }
}
