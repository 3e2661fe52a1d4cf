//! Counts the sessions and connections of this worker, and lets a drain find them.
//!
//! Nothing here keeps a session alive: the engine owns it. There is no hook for a session's end,
//! so a guard lives where the session does: a [`SessionGuard`] in the stream of a WebSocket, a
//! [`HandshakeGuard`] in the extensions of the handshake request that engineioxide keeps for a
//! session's life.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::stream::{Activity, Control};
use crate::bus::{Allowance, Gate};
use crate::wire::link::{Origin, Report};
use crate::wire::session_id::BARE_LEN;

/// The engine's id of a session, as bytes: text, always [`BARE_LEN`] characters.
pub(crate) type BareSid = [u8; BARE_LEN];

/// All sessions and connections of this worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    gate: Arc<Gate>,
    stall_timeout: Duration,
    count: AtomicU64,
    taken: AtomicU64,
    resolved: AtomicU64,
    stalled: AtomicU64,
    pinged: AtomicBool,
    /// A poll began to wait, or took something.
    took: Notify,
    lists: Mutex<Lists>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lists {
    next: u64,
    connections: HashMap<u64, Arc<Control>>,
    /// Those of [`Lists::connections`] that other workers opened.
    internal: u64,
    /// Sessions that began by polling, upgraded ones included.
    polling: HashMap<BareSid, PollingSession>,
    /// Ids of revision 3 whose end the master has not been told yet.
    ended_eio3: Vec<BareSid>,
    /// Reservations of which the master has not been told yet what became.
    released: Vec<u64>,
}

/// How a session that began by polling behaves.
#[derive(Debug)]
struct PollingSession {
    revision: Revision,
    upgraded: bool,
    /// Polls that are waiting at this moment.
    polls: u32,
    /// When the last one ended.
    polled: Instant,
    /// Since when every poll has left something.
    behind: Option<Instant>,
    allowance: Allowance,
    /// How many bytes were posted, less what was polled, since there was last nothing to take.
    posted: u64,
}

impl PollingSession {
    fn behind_since(&self) -> Option<Instant> {
        // A client polls again when it has its answer. After this long it is away, whatever there is
        // for it.
        const AWAY: Duration = Duration::from_secs(3);
        let away = self.polls == 0 && self.polled.elapsed() >= AWAY;
        self.behind.or_else(|| away.then_some(self.polled))
    }
}

/// The revision of the Engine.IO protocol that a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Socket.IO v1 and v2 clients.
    Three,
    /// Socket.IO v3 clients and later.
    Four,
}

impl Sessions {
    /// No sessions yet. `gate`: what holds their clients back while the bus is full. `stall_timeout`: how
    /// long a client may take nothing of what it is sent.
    pub(crate) fn new(gate: Arc<Gate>, stall_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            gate,
            stall_timeout,
            ..Self::default()
        })
    }

    /// Live sessions.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// A connection came over the link.
    pub(crate) fn taken(&self) {
        self.taken.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }

    /// What became of a connection that was dispatched as a new session is known: if it became
    /// one, [`Sessions::count`] has it.
    pub(crate) fn resolved(&self) {
        self.resolved.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }

    /// What became of a session that the master counts under this number is known: if there is one and it is
    /// this worker's, [`Sessions::count`] has it.
    pub(crate) fn released(&self, reservation: u64) {
        self.lists().released.push(reservation);
        self.changed.notify_one();
    }

    /// Reservations that were released since the last call: as many as fit into one message.
    pub(crate) fn take_released(&self) -> Vec<u64> {
        const MOST: usize = 1024;
        let mut lists = self.lists();
        let rest = lists.released.len().saturating_sub(MOST);
        if rest > 0 {
            self.changed.notify_one();
        }
        lists.released.split_off(rest)
    }

    /// The counts for the master.
    pub(crate) fn report(&self) -> Report {
        let lists = self.lists();
        Report {
            taken: self.taken.load(Relaxed),
            resolved: self.resolved.load(Relaxed),
            sessions: self.count(),
            connections: lists.connections.len() as u64 - lists.internal,
        }
    }

    /// Waits for a count to change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Counts a connection from now until the guard is dropped. The control is its stream's.
    pub(crate) fn connection(self: &Arc<Self>, origin: Origin) -> (ConnectionGuard, Arc<Control>) {
        let internal = origin == Origin::Worker;
        let control = Arc::new(Control::new(internal));
        let mut lists = self.lists();
        lists.next += 1;
        let id = lists.next;
        lists.connections.insert(id, Arc::clone(&control));
        lists.internal += u64::from(internal);
        drop(lists);
        self.changed.notify_one();
        let sessions = Arc::clone(self);
        (ConnectionGuard { sessions, id }, control)
    }

    /// Counts a session from now until the guard is dropped.
    pub(crate) fn session(self: &Arc<Self>) -> SessionGuard {
        self.count_up();
        SessionGuard(Arc::clone(self))
    }

    /// Counts a session from now until the guard is dropped, or it is said to be over.
    pub(crate) fn handshake(self: &Arc<Self>) -> HandshakeGuard {
        self.count_up();
        HandshakeGuard {
            sessions: Arc::clone(self),
            polling: OnceLock::new(),
        }
    }

    /// Has this worker a polling session of revision 3 with this id?
    pub(crate) fn has_eio3(&self, sid: &BareSid) -> bool {
        let lists = self.lists();
        lists
            .polling
            .get(sid)
            .is_some_and(|session| session.revision == Revision::Three)
    }

    /// Ids of revision 3 that ended since the last call.
    pub(crate) fn take_ended_eio3(&self) -> Vec<BareSid> {
        std::mem::take(&mut self.lists().ended_eio3)
    }

    /// The `WebSockets` of this moment.
    pub(crate) fn websockets(&self) -> Vec<Arc<Control>> {
        let lists = self.lists();
        lists
            .connections
            .values()
            .filter(|control| control.is_websocket())
            .cloned()
            .collect()
    }

    /// The sessions of this moment that poll, and of these only those without a poll for `silence`.
    pub(crate) fn polling(&self, silence: Duration) -> Vec<(BareSid, Revision)> {
        let lists = self.lists();
        let silent = |session: &PollingSession| {
            silence.is_zero() || session.polls == 0 && session.polled.elapsed() >= silence
        };
        let polling = lists
            .polling
            .iter()
            .filter(|(_, session)| !session.upgraded);
        let silent = polling.filter(|(_, session)| silent(session));
        silent
            .map(|(&sid, session)| (sid, session.revision))
            .collect()
    }

    /// The polling sessions of this moment that do not take all that there is for them, and since when.
    pub(crate) fn polling_behind(&self) -> Vec<(Instant, BareSid, Revision)> {
        let lists = self.lists();
        let polling = lists.polling.iter();
        let polling = polling.filter(|(_, session)| !session.upgraded);
        let behind = polling
            .filter_map(|(sid, session)| Some((session.behind_since()?, *sid, session.revision)));
        behind.collect()
    }

    /// A session is being polled, until the guard is dropped.
    pub(crate) fn polls(self: &Arc<Self>, sid: BareSid) -> PollGuard {
        if let Some(session) = self.lists().polling.get_mut(&sid) {
            session.polls += 1;
        }
        PollGuard {
            sessions: Arc::clone(self),
            sid,
            waited: AtomicBool::new(false),
        }
    }

    /// Waits until a session may post so many bytes more. Answers to what it posts are kept until it
    /// polls, so that who posts faster than it polls would fill the memory.
    pub(crate) async fn may_post(&self, sid: &BareSid, bytes: u64, limit: u64) {
        loop {
            let took = self.took.notified();
            match self.lists().polling.get_mut(sid) {
                // While a poll waits there is nothing to take.
                Some(session) if session.polls == 0 && session.posted >= limit => {}
                Some(session) => {
                    if session.polls == 0 {
                        session.posted = session.posted.saturating_add(bytes);
                    }
                    return;
                }
                None => return,
            }
            took.await;
        }
    }

    /// Waits, if the bus is full and the session has posted much already, until it may go on; for no
    /// longer than it takes until allowances are given anew.
    pub(crate) async fn may_pass_gate(&self, sid: &BareSid, bytes: u64) {
        let held_back = {
            let mut lists = self.lists();
            let Some(session) = lists.polling.get_mut(sid) else {
                return;
            };
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let held_back = self.gate.holds_back(&session.allowance);
            self.gate.read(&mut session.allowance, bytes);
            held_back
        };
        if held_back {
            self.gate.opened().await;
        }
    }

    /// Has a session that began by polling a WebSocket? `None` if there is no such session.
    pub(crate) fn is_upgraded(&self, sid: &BareSid) -> Option<bool> {
        self.lists()
            .polling
            .get(sid)
            .map(|session| session.upgraded)
    }

    /// A session has a WebSocket now.
    pub(crate) fn upgraded(&self, sid: &BareSid) {
        if let Some(session) = self.lists().polling.get_mut(sid) {
            session.upgraded = true;
        }
    }

    /// A session that began by polling is over; it may be said more than once.
    pub(crate) fn ended(&self, sid: &BareSid) {
        let mut lists = self.lists();
        let Some(session) = lists.polling.remove(sid) else {
            return;
        };
        shrink(&mut lists.polling);
        if session.revision == Revision::Three {
            lists.ended_eio3.push(*sid);
        }
        drop(lists);
        self.count_down();
    }

    fn count_up(&self) {
        self.count.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }

    fn count_down(&self) {
        self.count.fetch_sub(1, Relaxed);
        self.changed.notify_one();
    }

    /// The master asked whether this worker lives.
    pub(crate) fn pinged(&self) {
        self.pinged.store(true, Relaxed);
        self.changed.notify_one();
    }

    /// Is that question still open?
    pub(crate) fn take_pinged(&self) -> bool {
        self.pinged.swap(false, Relaxed)
    }

    /// Ends all connections on which nothing is going on; how many are left?
    pub(crate) fn abort_idle(&self) -> usize {
        let lists = self.lists();
        for control in lists.connections.values() {
            let busy = control.is_stalled() || matches!(control.activity(), Activity::Busy);
            if !control.is_websocket() && !busy {
                control.abort();
            }
        }
        lists.connections.len()
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives back what a table that has become much emptier holds.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 64 && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len());
    }
}

/// Counts one connection; held by its stream.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    sessions: Arc<Sessions>,
    id: u64,
}

impl ConnectionGuard {
    pub(super) fn gate(&self) -> &Gate {
        &self.sessions.gate
    }

    /// How long the client may take nothing of what it is sent.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.sessions.stall_timeout
    }

    /// It took nothing for that long, and its connection was ended for it.
    pub(super) fn stalled(&self) {
        let total = self.sessions.stalled.fetch_add(1, Relaxed) + 1;
        warn!(
            total,
            after = %humantime::format_duration(self.stall_timeout()),
            "a client does not read what it is sent; its connection was closed"
        );
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut lists = self.sessions.lists();
        let control = lists.connections.remove(&self.id);
        shrink(&mut lists.connections);
        lists.internal -= u64::from(control.is_some_and(|control| control.is_internal()));
        drop(lists);
        self.sessions.changed.notify_one();
    }
}

/// Marks one poll; held while it waits.
#[derive(Debug)]
pub(crate) struct PollGuard {
    sessions: Arc<Sessions>,
    sid: BareSid,
    waited: AtomicBool,
}

impl PollGuard {
    /// There is nothing to take yet.
    pub(crate) fn waits(&self) {
        self.waited.store(true, Relaxed);
        self.change(|session| session.posted = 0);
    }

    /// It took so many bytes, of at most so many.
    pub(crate) fn took(&self, bytes: u64, most: u64) {
        // An answer that is not full was all that there was; one more event would have had a place, unless
        // it is a large one.
        let left_some = !self.waited.load(Relaxed) && bytes >= most / 2;
        self.change(|session| {
            session.posted = session.posted.saturating_sub(bytes);
            session.behind = match (left_some, session.behind) {
                (true, None) => Some(Instant::now()),
                (true, since) => since,
                (false, _) => None,
            };
        });
    }

    fn change(&self, change: impl FnOnce(&mut PollingSession)) {
        if let Some(session) = self.sessions.lists().polling.get_mut(&self.sid) {
            change(session);
        }
        self.sessions.took.notify_waiters();
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        self.change(|session| {
            session.polls = session.polls.saturating_sub(1);
            session.polled = Instant::now();
        });
    }
}

/// Counts one session that began as a WebSocket; held by its stream.
#[derive(Debug)]
pub(crate) struct SessionGuard(Arc<Sessions>);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.count_down();
    }
}

/// Counts one session whose handshake was a request; held by that request, which the engine keeps.
#[derive(Debug)]
pub(crate) struct HandshakeGuard {
    sessions: Arc<Sessions>,
    polling: OnceLock<BareSid>,
}

impl HandshakeGuard {
    /// The session began by polling, and the engine gave it this id.
    pub(crate) fn began_polling(&self, sid: BareSid, revision: Revision) {
        if self.polling.set(sid).is_err() {
            return;
        }
        let session = PollingSession {
            revision,
            upgraded: false,
            polls: 0,
            polled: Instant::now(),
            behind: None,
            allowance: Allowance::default(),
            posted: 0,
        };
        self.sessions.lists().polling.insert(sid, session);
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        match self.polling.get() {
            Some(sid) => self.sessions.ended(sid),
            None => self.sessions.count_down(),
        }
    }
}
