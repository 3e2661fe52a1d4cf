//! The workers that take connections, and how many sessions each has.
//!
//! A worker's load is what it reported plus what was dispatched to it since: a burst spreads
//! evenly although no report comes back in time. A session that comes over a connection that some worker
//! has already is reserved: it counts as if it had been dispatched to the worker that is to have it, until
//! one of the two workers tells what became of it, or is gone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use super::balance::{Balancer, Candidate, Room};
use crate::config::Balance;
use crate::ipc::link::Link;
use crate::wire::link::{Handoff, Origin, Place, Report, ToWorker};
use crate::wire::session_id::{BARE_LEN, Home, Keyring};

/// Handoffs to one worker that it has not acknowledged yet.
const WINDOW: usize = 256;

/// How long a handoff may wait for a worker that has its window full.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection that was handed off and may still be lost with its worker.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) conn: OwnedFd,
    pub(crate) handoff: Handoff,
}

/// A worker that takes connections.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) home: Home,
    pub(crate) pid: u32,
    pub(crate) link: Link,
    report: Cell<Report>,
    dispatched: Cell<u64>,
    window: Semaphore,
    unacknowledged: RefCell<VecDeque<Unacknowledged>>,
    stalled: Cell<bool>,
}

impl Member {
    pub(crate) fn new(home: Home, pid: u32, link: Link) -> Self {
        Self {
            home,
            pid,
            link,
            report: Cell::default(),
            dispatched: Cell::new(0),
            window: Semaphore::new(WINDOW),
            unacknowledged: RefCell::default(),
            stalled: Cell::new(false),
        }
    }

    fn load(&self) -> u64 {
        let report = self.report.get();
        report.sessions + self.dispatched.get().saturating_sub(report.resolved)
    }

    /// One session more is on its way.
    fn count_up(&self) {
        self.dispatched.set(self.dispatched.get() + 1);
    }

    /// It does not come on that way.
    fn count_down(&self) {
        self.dispatched.set(self.dispatched.get().saturating_sub(1));
    }

    /// Hands a connection off. The descriptor is kept until the worker has said that it took it.
    ///
    /// # Errors
    /// With the connection, when the worker is gone or does not take any.
    pub(crate) async fn take(&self, conn: OwnedFd, handoff: Handoff) -> Result<(), OwnedFd> {
        let opens = handoff.opens;
        let taken = self.send(conn, handoff).await;
        if taken.is_err() {
            // Until it answers again, or is replaced.
            self.stalled.set(true);
            if opens {
                self.count_down();
            }
        }
        taken
    }

    async fn send(&self, conn: OwnedFd, handoff: Handoff) -> Result<(), OwnedFd> {
        match timeout(PATIENCE, self.window.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            _ => return Err(conn),
        }
        let message = ToWorker::Take(handoff);
        let sent = timeout(PATIENCE, self.link.send(&message, Some(conn.as_fd()))).await;
        match (sent, message) {
            (Ok(Ok(())), ToWorker::Take(handoff)) => {
                // Nothing runs between the packet's departure and this, so that the order here is
                // the order of the acknowledgements.
                let sent = Unacknowledged { conn, handoff };
                self.unacknowledged.borrow_mut().push_back(sent);
                Ok(())
            }
            (failed, _) => {
                debug!(?failed, pid = self.pid, "a handoff failed");
                self.window.add_permits(1);
                Err(conn)
            }
        }
    }

    /// The worker told its counts.
    pub(crate) fn reported(&self, report: Report) {
        let took = report.taken.saturating_sub(self.report.get().taken);
        let mut unacknowledged = self.unacknowledged.borrow_mut();
        let took = usize::try_from(took).unwrap_or(0).min(unacknowledged.len());
        unacknowledged.drain(..took);
        self.window.add_permits(took);
        self.report.set(report);
    }

    /// Has the worker not answered for a second? Then it gets nothing new.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.set(stalled);
    }

    /// The connections that go down with the worker unless somebody else takes them.
    pub(crate) fn take_unacknowledged(&self) -> VecDeque<Unacknowledged> {
        self.unacknowledged.take()
    }
}

/// A session that is counted for `member` because `asker` asked where it shall be opened.
#[derive(Debug)]
struct Reservation {
    member: Rc<Member>,
    asker: Rc<Member>,
}

/// Which workers there are, what each has, and what is reserved for it.
#[derive(Debug)]
pub(crate) struct Pool {
    keyring: Keyring,
    balancer: RefCell<Balancer>,
    members: RefCell<BTreeMap<u16, Rc<Member>>>,
    /// How many sessions there may be; zero: no limit.
    max_sessions: u64,
    reservations: RefCell<HashMap<u64, Reservation>>,
    next_reservation: Cell<u64>,
    eio3: RefCell<HashMap<[u8; BARE_LEN], Home>>,
    changed: Notify,
}

impl Pool {
    pub(crate) fn new(method: Balance, max_sessions: u32, keyring: Keyring) -> Self {
        Self {
            keyring,
            balancer: RefCell::new(Balancer::new(method)),
            members: RefCell::default(),
            max_sessions: max_sessions.into(),
            reservations: RefCell::default(),
            next_reservation: Cell::new(0),
            eio3: RefCell::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A worker takes connections from now on.
    pub(crate) fn add(&self, member: Rc<Member>) {
        self.members.borrow_mut().insert(member.home.slot, member);
        self.changed.notify_waiters();
    }

    /// A worker is gone, and its sessions with it.
    pub(crate) fn remove(&self, member: &Rc<Member>) {
        // Whoever waits for it goes to another.
        member.window.close();
        self.members
            .borrow_mut()
            .retain(|_, other| !Rc::ptr_eq(other, member));
        self.eio3
            .borrow_mut()
            .retain(|_, home| *home != member.home);
        self.reservations.borrow_mut().retain(|_, reservation| {
            let lost = Rc::ptr_eq(&reservation.member, member);
            let orphaned = Rc::ptr_eq(&reservation.asker, member);
            if lost || orphaned {
                reservation.member.count_down();
            }
            !lost && !orphaned
        });
        self.changed.notify_waiters();
    }

    /// The worker that has the sessions of `home`.
    pub(crate) fn at(&self, home: Home) -> Option<Rc<Member>> {
        self.members
            .borrow()
            .get(&home.slot)
            .filter(|member| member.home == home)
            .cloned()
    }

    /// The worker that gets the next connection; one that `opens` a session is counted at once.
    pub(crate) fn choose(&self, opens: bool) -> Option<Rc<Member>> {
        let slot = self.balancer.borrow_mut().choose(&self.candidates())?;
        let member = self.members.borrow().get(&slot).cloned()?;
        if opens {
            member.count_up();
        }
        Some(member)
    }

    /// Where a session is to be opened for which `asker` asks; it is counted there at once. None if there is
    /// no room for one more.
    pub(crate) fn reserve(&self, asker: &Rc<Member>) -> Option<Place> {
        let mut balancer = self.balancer.borrow_mut();
        let slot = balancer.place(self.room(), &self.candidates(), asker.home.slot)?;
        let member = self.members.borrow().get(&slot).cloned()?;
        let (home, number) = (member.home, self.next_reservation.get());
        self.next_reservation.set(number + 1);
        member.count_up();
        let reservation = Reservation {
            member,
            asker: Rc::clone(asker),
        };
        self.reservations.borrow_mut().insert(number, reservation);
        Some(Place {
            home,
            reservation: number,
        })
    }

    /// It is known what became of a reserved session; it may be told more than once.
    pub(crate) fn release(&self, reservation: u64) {
        if let Some(Reservation { member, .. }) =
            self.reservations.borrow_mut().remove(&reservation)
        {
            member.count_down();
        }
    }

    /// A connection that opens a session goes to `member`, where a place may be reserved for it. From here
    /// on it is counted as one that was dispatched.
    pub(crate) fn redeem(&self, reservation: Option<u64>, member: &Rc<Member>) {
        member.count_up();
        if let Some(reservation) = reservation {
            self.release(reservation);
        }
    }

    /// Is there no room for one more session?
    pub(crate) fn is_full(&self) -> bool {
        self.room().is_full()
    }

    fn room(&self) -> Room {
        let members = self.members.borrow();
        Room {
            limit: self.max_sessions,
            sessions: members.values().map(|member| member.load()).sum(),
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let members = self.members.borrow();
        let answering = members.values().filter(|member| !member.stalled.get());
        let candidates = answering.map(|member| Candidate {
            slot: member.home.slot,
            load: member.load(),
        });
        candidates.collect()
    }

    /// Waits for a worker to come or go, from now on, whenever it is awaited.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Does nobody take connections?
    pub(crate) fn is_empty(&self) -> bool {
        self.members.borrow().is_empty()
    }

    /// Waits until `count` workers, or more, take connections.
    pub(crate) async fn all_ready(&self, count: u16) {
        loop {
            let changed = self.changed.notified();
            if self.members.borrow().len() >= usize::from(count) {
                return;
            }
            changed.await;
        }
    }

    /// Open connections of clients, as far as the workers have told.
    pub(crate) fn connections(&self) -> u64 {
        let members = self.members.borrow();
        members
            .values()
            .map(|member| {
                let unacknowledged = member.unacknowledged.borrow();
                let clients = unacknowledged
                    .iter()
                    .filter(|u| u.handoff.origin != Origin::Worker);
                member.report.get().connections + clients.count() as u64
            })
            .sum()
    }

    /// Open sessions, as far as the workers have told.
    pub(crate) fn sessions(&self) -> u64 {
        let members = self.members.borrow();
        members
            .values()
            .map(|member| member.report.get().sessions)
            .sum()
    }

    /// A revision 3 session was opened.
    pub(crate) fn eio3_opened(&self, sid: [u8; BARE_LEN], home: Home) {
        self.eio3.borrow_mut().insert(sid, home);
    }

    /// A revision 3 session ended.
    pub(crate) fn eio3_closed(&self, sid: &[u8; BARE_LEN]) {
        self.eio3.borrow_mut().remove(sid);
    }

    /// Who has a revision 3 session?
    pub(crate) fn eio3_home(&self, sid: &[u8; BARE_LEN]) -> Option<Home> {
        self.eio3.borrow().get(sid).copied()
    }
}

#[cfg(test)]
mod tests;
