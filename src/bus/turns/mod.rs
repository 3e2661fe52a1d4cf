//! Who asks: questions take turns, and who asks much waits for itself.
//!
//! The adapter is told what is asked, not for whom: `io.within("room").fetch_sockets()` names no socket. So each
//! handler's task knows whose event it handles, and its questions are that socket's. A handler has one turn, which
//! all its questions share: one that waits has none, so that no handler waits for itself.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use socketioxide_core::Sid;
use tokio::sync::oneshot;

/// Turns of one worker at one time; more wait. Questions that clients answer, which may take long, have a
/// limit of their own, of the same size.
const MOST: usize = 1024;
/// Turns of one socket at one time.
const QUOTA: usize = 64;
/// What clients may acknowledge the open questions of one socket with, in bytes; of nobody known, one question. It
/// counts from when it comes until the question is over, whoever keeps it meanwhile.
const ANSWERS: usize = 64 << 20;
/// The same of all sockets of a worker.
const ALL_ANSWERS: usize = 256 << 20;
/// Who has no more than this is not refused because of others, in bytes.
const FEW_ANSWERS: usize = 1 << 20;

tokio::task_local! {
    /// Whose event this task handles.
    static ASKER: Asker;
}

struct Asker {
    id: Sid,
    /// Made when it first asks.
    shared: OnceLock<Arc<[Shared; 2]>>,
}

/// The turn that a handler's questions share, while there is one. Locked by who waits for it.
type Shared = tokio::sync::Mutex<Weak<Turn>>;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responder {
    Worker,
    Client,
}

/// The questions of what runs in the future are this socket's.
pub(crate) fn asking<F: Future>(id: Sid, future: F) -> impl Future<Output = F::Output> {
    let shared = OnceLock::new();
    ASKER.scope(Asker { id, shared }, future)
}

/// All turns of a worker.
#[derive(Debug, Default)]
pub(super) struct Turns {
    workers: Arc<Row>,
    clients: Arc<Row>,
}

impl Turns {
    /// Waits for a turn. `named`: whose it is, if the task does not know. None if that socket's session is over.
    pub(super) async fn take(&self, responder: Responder, named: Option<Sid>) -> Option<Arc<Turn>> {
        let row = match responder {
            Responder::Worker => &self.workers,
            Responder::Client => &self.clients,
        };
        let known =
            ASKER.try_with(|asker| (asker.id, Arc::clone(asker.shared.get_or_init(Arc::default))));
        let Ok((id, shared)) = known else {
            return row.take(named).await.map(Arc::new);
        };
        let [workers, clients] = &*shared;
        let shared = match responder {
            Responder::Worker => workers,
            Responder::Client => clients,
        };
        let mut shared = shared.lock().await;
        if let Some(turn) = shared.upgrade() {
            return Some(turn);
        }
        let turn = Arc::new(row.take(Some(id)).await?);
        *shared = Arc::downgrade(&turn);
        Some(turn)
    }

    /// Is it known whose questions these are?
    pub(super) fn is_known(named: Option<Sid>) -> bool {
        named.is_some() || ASKER.try_with(|_| ()).is_ok()
    }

    /// Do questions of this socket wait?
    pub(super) fn is_held(&self, id: Sid) -> bool {
        self.workers.is_held(id) || self.clients.is_held(id)
    }

    /// Wakes somebody when no question of this socket waits.
    pub(super) fn wake_when_free(&self, id: Sid, waker: Waker) {
        let waker = self.workers.wake_when_free(id, waker);
        let waker = waker.and_then(|waker| self.clients.wake_when_free(id, waker));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A session is over: its questions that wait are not asked.
    pub(super) fn ended(&self, id: Sid) {
        self.workers.ended(id);
        self.clients.ended(id);
    }
}

/// A row of askers. Who has a question waiting, and no quota used up, has the next turn after all others
/// that do.
#[derive(Debug, Default)]
struct Row {
    state: Mutex<State>,
    /// Sockets that have questions waiting.
    held: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    askers: HashMap<Option<Sid>, Questions>,
    /// Who is next.
    next: VecDeque<Option<Sid>>,
    /// Of all acknowledgements, in bytes.
    answers: usize,
}

/// The questions of one asker; those of nobody known are one asker's without a quota.
#[derive(Debug, Default)]
struct Questions {
    open: usize,
    /// What they were acknowledged with, in bytes.
    answers: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// Does it stand in the row?
    stands: bool,
    is_over: bool,
    held_back: Option<Waker>,
}

/// The right to ask, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    row: Arc<Row>,
    asker: Option<Sid>,
    /// What its questions were acknowledged with, in bytes.
    answers: AtomicUsize,
}

impl Row {
    async fn take(self: &Arc<Self>, asker: Option<Sid>) -> Option<Turn> {
        let waits = {
            let mut state = self.lock();
            let (sender, turn) = oneshot::channel();
            let questions = state.askers.entry(asker).or_default();
            if questions.is_over && questions.is_exhausted(asker) {
                return None;
            }
            if questions.waiting.is_empty() && asker.is_some() {
                self.held.fetch_add(1, Relaxed);
            }
            questions.waiting.push_back(sender);
            state.stand(asker);
            turn
        };
        self.give();
        waits.await.ok()
    }

    /// Gives the turns that there are.
    fn give(self: &Arc<Self>) {
        // Whoever does not want it any more gives it back, with the lock open.
        while let Some((sender, turn)) = self.next() {
            drop(sender.send(turn));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut state = self.lock();
        while state.open < MOST {
            let asker = state.next.pop_front()?;
            let Some(questions) = state.askers.get_mut(&asker) else {
                continue;
            };
            questions.stands = false;
            let Some(sender) = questions.waiting.pop_front() else {
                // Its session has ended meanwhile.
                state.forget_idle(asker);
                continue;
            };
            questions.open += 1;
            if questions.waiting.is_empty() {
                self.free(asker, questions);
            }
            state.open += 1;
            state.stand(asker);
            let row = Arc::clone(self);
            let answers = AtomicUsize::new(0);
            let turn = Turn {
                row,
                asker,
                answers,
            };
            return Some((sender, turn));
        }
        None
    }

    /// Nothing of this asker waits any more.
    fn free(&self, asker: Option<Sid>, questions: &mut Questions) {
        if asker.is_some() {
            self.held.fetch_sub(1, Relaxed);
        }
        if let Some(waker) = questions.held_back.take() {
            waker.wake();
        }
    }

    fn is_held(&self, id: Sid) -> bool {
        if self.held.load(Relaxed) == 0 {
            return false;
        }
        let state = self.lock();
        let questions = state.askers.get(&Some(id));
        questions.is_some_and(|questions| !questions.waiting.is_empty())
    }

    /// Gives the waker back if nothing of this socket waits.
    fn wake_when_free(&self, id: Sid, waker: Waker) -> Option<Waker> {
        let mut state = self.lock();
        match state.askers.get_mut(&Some(id)) {
            Some(questions) if !questions.waiting.is_empty() => {
                questions.held_back = Some(waker);
                None
            }
            _ => Some(waker),
        }
    }

    fn ended(&self, id: Sid) {
        let mut state = self.lock();
        let Some(questions) = state.askers.get_mut(&Some(id)) else {
            return;
        };
        questions.is_over = true;
        let waiting = std::mem::take(&mut questions.waiting);
        if !waiting.is_empty() {
            self.free(Some(id), questions);
        }
        drop(state);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has an asker stand in the row, if it may have a turn.
    fn stand(&mut self, asker: Option<Sid>) {
        let Some(questions) = self.askers.get_mut(&asker) else {
            return;
        };
        let may = !questions.waiting.is_empty() && !questions.is_exhausted(asker);
        if may && !questions.stands {
            questions.stands = true;
            self.next.push_back(asker);
        }
    }

    /// Keeps nothing of an asker that has no questions.
    fn forget_idle(&mut self, asker: Option<Sid>) {
        let questions = self.askers.get(&asker);
        if questions.is_some_and(|it| it.open == 0 && it.waiting.is_empty() && !it.stands) {
            self.askers.remove(&asker);
        }
    }
}

impl Questions {
    fn is_exhausted(&self, asker: Option<Sid>) -> bool {
        asker.is_some() && self.open >= QUOTA
    }
}

impl Turn {
    /// Counts an acknowledgement of so many bytes, if there is room for it.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        let mut state = self.row.lock();
        let all = state.answers.saturating_add(bytes);
        let Some(questions) = state.askers.get_mut(&self.asker) else {
            return false;
        };
        let own = match self.asker {
            Some(_) => questions.answers,
            None => self.answers.load(Relaxed),
        };
        let own = own.saturating_add(bytes);
        if own > ANSWERS || own > FEW_ANSWERS && all > ALL_ANSWERS {
            return false;
        }
        questions.answers = questions.answers.saturating_add(bytes);
        state.answers = all;
        self.answers.fetch_add(bytes, Relaxed);
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let answers = self.answers.load(Relaxed);
        let mut state = self.row.lock();
        state.open -= 1;
        state.answers = state.answers.saturating_sub(answers);
        if let Some(questions) = state.askers.get_mut(&self.asker) {
            questions.open -= 1;
            questions.answers = questions.answers.saturating_sub(answers);
        }
        state.stand(self.asker);
        state.forget_idle(self.asker);
        drop(state);
        self.row.give();
    }
}
