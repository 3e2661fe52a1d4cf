//! Who waits for a worker that may be given one more new session.
//!
//! Connections wait in the order in which they came, accepted and unread: whoever is first has the door until a worker
//! has room. Those that came to a worker's own port have a door of their own. Requests of sessions that there are pass
//! by no door.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::Pool;
use crate::master::balance::preferred;
use crate::master::member::Member;

/// So many may wait.
const MOST_WAITING: usize = 16_384;

/// So long: half of what socket.io-client waits for its connection (`timeout`).
const PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody waits for a worker while there is none: a crashed one is replaced sooner.
pub(crate) const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// A worker that answers again is noticed within this time.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why a new session has no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// There are as many sessions as there may be.
    Full,
    /// There is no worker, or none that answers.
    NoWorker,
    /// More wait already than may, or it has waited for too long.
    Busy,
}

/// The doors, and how many wait at them.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By the worker whose own port it is.
    doors: RefCell<BTreeMap<Option<u16>, Rc<Mutex<()>>>>,
    waiting: Cell<usize>,
}

impl Turns {
    fn door(&self, port_of: Option<u16>) -> Rc<Mutex<()>> {
        Rc::clone(self.doors.borrow_mut().entry(port_of).or_default())
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<usize>) -> Option<Self> {
        if count.get() >= MOST_WAITING {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pool {
    /// The worker that gets the next connection, that of `port_of` if it answers; one that `opens` a session is
    /// counted at once, and goes only to a worker that has room for one more on its way.
    pub(crate) fn choose(&self, opens: bool, port_of: Option<u16>) -> Option<Rc<Member>> {
        let mut candidates = preferred(self.candidates(), port_of);
        if opens {
            let has_room = |home| self.at(home).is_some_and(|member| member.has_room());
            candidates.retain(|candidate| has_room(candidate.home));
        }
        let home = self.balancer.borrow_mut().choose(&candidates)?;
        let member = self.at(home)?;
        if opens {
            member.dispatches();
        }
        Some(member)
    }

    /// The worker that gets a new session, if nobody waits and one has room; it is counted there at once.
    ///
    /// # Errors
    /// Why there is none now.
    pub(crate) fn admit(&self, port_of: Option<u16>) -> Result<Rc<Member>, NoTurn> {
        if self.is_full() {
            return Err(NoTurn::Full);
        }
        let door = self.turns.door(port_of);
        let free = door.try_lock();
        free.ok()
            .and_then(|_free| self.choose(true, port_of))
            .ok_or(NoTurn::Busy)
    }

    /// As [`Pool::admit`], when its turn has come.
    ///
    /// # Errors
    /// Why it does not come.
    pub(crate) async fn wait_for_turn(&self, port_of: Option<u16>) -> Result<Rc<Member>, NoTurn> {
        let began = Instant::now();
        let _waiting = Waiting::begin(&self.turns.waiting).ok_or(NoTurn::Busy)?;
        let door = self.turns.door(port_of);
        let turn = timeout_at(began + PATIENCE, door.lock()).await;
        let Ok(_turn) = turn else {
            return Err(self.no_turn());
        };
        loop {
            let changed = self.changed();
            if self.is_full() {
                return Err(NoTurn::Full);
            }
            if let Some(member) = self.choose(true, port_of) {
                return Ok(member);
            }
            let why = self.no_turn();
            let patience = match why {
                NoTurn::NoWorker => WORKER_PATIENCE,
                NoTurn::Full | NoTurn::Busy => PATIENCE,
            };
            if began.elapsed() >= patience {
                return Err(why);
            }
            let _ = timeout(LOOK_AGAIN, changed).await;
        }
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.turns.waiting.get()
    }

    fn no_turn(&self) -> NoTurn {
        if self.candidates().is_empty() {
            NoTurn::NoWorker
        } else {
            NoTurn::Busy
        }
    }

    /// A worker may have room.
    pub(crate) fn look_again(&self) {
        if self.turns.waiting.get() > 0 {
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
