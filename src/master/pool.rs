//! The workers that take connections, and how many sessions each has.
//!
//! A worker's load is what it reported plus what was dispatched to it since: a burst spreads
//! evenly although no report comes back in time. A session that comes over a connection that some worker
//! has already is reserved: it counts as if it had been dispatched to the worker that is to have it, until
//! one of the two workers tells what became of it, or is gone.

mod handover;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tracing::{debug, warn};

pub(crate) use self::turns::{LOOK_AGAIN, NoTurn, WORKER_PATIENCE};

use self::turns::Turns;
use super::balance::{Balancer, Candidate, Room, preferred};
use super::member::Member;
use super::rate::Rate;
use crate::config::{Balance, Limits};
use crate::logging::RateLimit;
use crate::wire::client::ClientKey;
use crate::wire::health::Readiness;
use crate::wire::link::{NoPlace, Origin, Place};
use crate::wire::session_id::{BARE_LEN, Home, Keyring};

/// The same trouble is told once in this time.
const COMPLAINT_PAUSE: Duration = Duration::from_mins(1);

/// A session that is counted for `member` because `asker` asked where it shall be opened.
#[derive(Debug)]
struct Reservation {
    member: Home,
    asker: Home,
    client: Option<ClientKey>,
}

/// Which workers there are, what each has, and what is reserved for it.
#[derive(Debug)]
pub(crate) struct Pool {
    keyring: Keyring,
    balancer: RefCell<Balancer>,
    /// Of all generations.
    members: RefCell<BTreeMap<Home, Rc<Member>>>,
    /// The generation that gets what is new.
    current: Cell<u16>,
    /// How many sessions there may be; zero: no limit.
    max_sessions: u64,
    /// How many of one client; zero: no limit.
    max_sessions_of_one: u64,
    rate: RefCell<Rate>,
    reservations: RefCell<HashMap<u64, Reservation>>,
    next_reservation: Cell<u64>,
    eio3: RefCell<HashMap<[u8; BARE_LEN], Home>>,
    complaints: RateLimit,
    changed: Notify,
    turns: Turns,
    taken_out: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(method: Balance, limits: &Limits, keyring: Keyring) -> Self {
        Self {
            keyring,
            balancer: RefCell::new(Balancer::new(method)),
            members: RefCell::default(),
            current: Cell::new(0),
            max_sessions: limits.max_connections.into(),
            max_sessions_of_one: limits.max_connections_per_address.into(),
            rate: RefCell::new(Rate::new(limits.new_sessions_per_second)),
            reservations: RefCell::default(),
            next_reservation: Cell::new(0),
            eio3: RefCell::default(),
            complaints: RateLimit::default(),
            changed: Notify::new(),
            turns: Turns::default(),
            taken_out: Cell::new(false),
        }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A worker takes connections from now on.
    pub(crate) fn add(&self, member: Rc<Member>) {
        self.members.borrow_mut().insert(member.home, member);
        self.changed.notify_waiters();
    }

    /// A worker is gone, and its sessions with it.
    pub(crate) fn remove(&self, member: &Rc<Member>) {
        // Whoever waits for it goes to another.
        member.window.close();
        let was_there = self.at(member.home);
        if was_there.is_some_and(|other| Rc::ptr_eq(&other, member)) {
            self.forget(member.home);
        }
        self.changed.notify_waiters();
    }

    fn forget(&self, home: Home) {
        self.eio3.borrow_mut().retain(|_, of| *of != home);
        self.reservations.borrow_mut().retain(|_, reservation| {
            let kept = reservation.member != home && reservation.asker != home;
            if !kept && let Some(member) = self.at(reservation.member) {
                member.count_down();
            }
            kept
        });
        self.members.borrow_mut().remove(&home);
    }

    /// The generation that gets what is new.
    pub(crate) fn current(&self) -> u16 {
        self.current.get()
    }

    /// From now on what is new goes to this generation; the others keep what they have.
    pub(crate) fn set_current(&self, generation: u16) {
        self.current.set(generation);
        self.changed.notify_waiters();
    }

    /// The worker that has the sessions of `home`, of whatever generation.
    pub(crate) fn at(&self, home: Home) -> Option<Rc<Member>> {
        self.members.borrow().get(&home).cloned()
    }

    /// Where a session of `client` is to be opened for which `asker` asks, if it may be; it is counted there at once.
    /// It came over the port of the slot `port_of`, if that has one.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn reserve(
        &self,
        asker: &Rc<Member>,
        client: Option<ClientKey>,
        dispatched: bool,
        port_of: Option<u16>,
    ) -> Result<Place, NoPlace> {
        let home = if dispatched {
            // There was room when the connection was dispatched, and it is counted since.
            asker.home
        } else {
            let mut balancer = self.balancer.borrow_mut();
            let candidates = preferred(self.candidates(), port_of);
            let home = balancer.place(self.room(), &candidates, asker.home);
            home.ok_or(NoPlace::Full)?
        };
        let member = self.at(home).ok_or(NoPlace::Full)?;
        if let Some(client) = client
            && self.max_sessions_of_one > 0
            && self.sessions_of(client) >= self.max_sessions_of_one
        {
            return Err(NoPlace::ClientFull);
        }
        self.rate.borrow_mut().take(client, Instant::now())?;
        let number = self.next_reservation.get();
        self.next_reservation.set(number + 1);
        member.count_up();
        let reservation = Reservation {
            member: home,
            asker: asker.home,
            client,
        };
        self.reservations.borrow_mut().insert(number, reservation);
        Ok(Place {
            home,
            reservation: number,
        })
    }

    /// A session was not let in: who installs the server may have to know that one client is many.
    pub(crate) fn refused(&self, why: NoPlace, client: Option<IpAddr>) {
        let key = match why {
            NoPlace::Full | NoPlace::Rate => return debug!(?why, ?client, "a session was refused"),
            NoPlace::ClientRate => "new_sessions_per_second",
            NoPlace::ClientFull => "max_connections_per_address",
        };
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        if self.complaints.allows(COMPLAINT_PAUSE) {
            warn!(
                client,
                "sessions of one address are refused, for it has its share of {key}; if it is a proxy, \
                 name it in trusted_proxies"
            );
        }
    }

    /// The sessions of a client, those that are on their way included.
    fn sessions_of(&self, client: ClientKey) -> u64 {
        let reservations = self.reservations.borrow();
        let reserved = reservations
            .values()
            .filter(|reservation| reservation.client == Some(client));
        let members = self.members.borrow();
        let held = members.values().map(|member| member.held(client).sessions);
        held.map(u64::from).sum::<u64>() + reserved.count() as u64
    }

    /// The connections of a client that workers have, or are about to have; those that are no session's WebSocket.
    pub(crate) fn connections_of(&self, client: ClientKey) -> u64 {
        let members = self.members.borrow();
        let held = members
            .values()
            .map(|member| member.held(client).connections);
        held.map(u64::from).sum()
    }

    /// It is known what became of a reserved session; it may be told more than once.
    pub(crate) fn release(&self, reservation: u64) {
        let released = self.reservations.borrow_mut().remove(&reservation);
        if let Some(member) = released.and_then(|released| self.at(released.member)) {
            member.count_down();
        }
    }

    /// A connection goes to `member` that opens a session there: under this number, if it is counted so still,
    /// or else as one that was dispatched.
    pub(crate) fn redeem(&self, reservation: Option<u64>, member: &Rc<Member>) -> Option<u64> {
        let reservations = self.reservations.borrow();
        let kept = reservation.filter(|number| reservations.contains_key(number));
        if kept.is_none() {
            member.expect_session();
        }
        kept
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
        let current = self.current.get();
        let answering = members
            .values()
            .filter(|member| member.home.generation == current && !member.stalled.get());
        let candidates = answering.map(|member| Candidate {
            home: member.home,
            load: member.load(),
        });
        candidates.collect()
    }

    /// Waits for a worker to come or go, from now on, whenever it is awaited.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// How many workers take new connections?
    pub(crate) fn ready(&self) -> usize {
        self.ready_of(self.current.get())
    }

    /// How many workers of a generation could take new connections?
    pub(crate) fn ready_of(&self, generation: u16) -> usize {
        let members = self.members.borrow();
        let homes = members.keys();
        homes.filter(|home| home.generation == generation).count()
    }

    /// What `/readyz` says: may the server be sent clients?
    pub(crate) fn readiness(&self) -> Readiness {
        if self.taken_out.get() {
            Readiness::TakenOut
        } else if self.candidates().is_empty() {
            Readiness::NoWorker
        } else {
            Readiness::Ready
        }
    }

    /// From now on the machine is taken out, or is not: only what health checks are told depends on it. The
    /// workers learn it with their next ping.
    pub(crate) fn set_taken_out(&self, taken_out: bool) {
        self.taken_out.set(taken_out);
    }

    /// Is the machine taken out?
    pub(crate) fn is_taken_out(&self) -> bool {
        self.taken_out.get()
    }

    /// Does nobody take new connections?
    pub(crate) fn is_empty(&self) -> bool {
        self.ready() == 0
    }

    /// Waits until `count` workers, or more, take new connections.
    pub(crate) async fn all_ready(&self, count: u16) {
        loop {
            let changed = self.changed.notified();
            if self.ready() >= usize::from(count) {
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

    /// The workers of all generations that have or take connections, in the order of their homes.
    pub(crate) fn members(&self) -> Vec<Rc<Member>> {
        self.members.borrow().values().cloned().collect()
    }

    /// Open sessions, as far as the workers have told.
    pub(crate) fn sessions(&self) -> u64 {
        let members = self.members.borrow();
        members
            .values()
            .map(|member| member.report.get().sessions)
            .sum()
    }

    /// Those of one generation.
    pub(crate) fn sessions_of_generation(&self, generation: u16) -> u64 {
        let members = self.members.borrow();
        let members = members.values();
        members
            .filter(|member| member.home.generation == generation)
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
