//! Counts the sessions and connections of this worker, for the master.
//!
//! The sessions themselves are the engine's, which tells of each that it was opened and that it has ended. A
//! connection under hyper is counted, and can be found by a drain, for as long as its guard lives; the one of a
//! WebSocket is the engine's, and counts as long as its session.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engineioxide::{Ended, ProtocolVersion};
use socketioxide::socket::Sid;
use tokio::sync::Notify;

use super::stream::{Activity, Control};
use crate::metrics;
use crate::wire::client::ClientKey;
use crate::wire::link::{Change, Origin, Report};
use crate::wire::session_id::BARE_LEN;

/// The engine's id of a session, as bytes: text, always [`BARE_LEN`] characters.
pub(crate) type BareSid = [u8; BARE_LEN];

/// What the master counts this worker's load by, and what a drain has to end.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Live sessions.
    count: AtomicU64,
    /// Those of them that were opened by WebSocket.
    websockets: AtomicU64,
    /// Connections of clients that the engine does not have.
    connections: AtomicU64,
    /// Those of them with which this worker has not begun: the master counts them still among those on their way.
    untaken: AtomicU64,
    /// Connections of other workers.
    internal: AtomicU64,
    taken: AtomicU64,
    resolved: AtomicU64,
    pinged: AtomicBool,
    /// Is there a limit for each client?
    counts_clients: bool,
    lists: Mutex<Lists>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lists {
    next: u64,
    /// Connections that hyper has.
    http: HashMap<u64, Arc<Control>>,
    /// Sessions that began by polling and have, or try, a WebSocket.
    upgraded: HashSet<Sid>,
    /// Polling sessions of revision 3, by the name that their clients use.
    eio3: HashSet<BareSid>,
    /// Ids of revision 3 whose end the master has not been told yet.
    ended_eio3: Vec<BareSid>,
    /// Reservations of which the master has not been told yet what became.
    released: Vec<u64>,
    /// What has changed for which clients since the master was told.
    clients: HashMap<ClientKey, Change>,
}

impl Sessions {
    /// `counts_clients`: the master is told what each client has, too.
    pub(crate) fn new(counts_clients: bool) -> Self {
        Self {
            counts_clients,
            ..Self::default()
        }
    }

    /// Live sessions.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// This worker has begun with a connection that came over the link, or turned it away.
    pub(crate) fn taken(&self) {
        self.taken.fetch_add(1, Relaxed);
        metrics::HANDOFFS.inc();
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

    /// What has changed for which clients since the last call: as many as fit into one message.
    pub(crate) fn take_clients(&self) -> Vec<(ClientKey, Change)> {
        const MOST: usize = 512;
        let clients = &mut self.lists().clients;
        if clients.len() <= MOST {
            return std::mem::take(clients).into_iter().collect();
        }
        self.changed.notify_one();
        let told: Vec<_> = clients.iter().take(MOST).map(|(k, c)| (*k, *c)).collect();
        for (client, _) in &told {
            clients.remove(client);
        }
        told
    }

    fn change(&self, client: Option<ClientKey>, change: impl FnOnce(&mut Change)) {
        if let Some(client) = client.filter(|_| self.counts_clients) {
            let clients = &mut self.lists().clients;
            let changed = clients.entry(client).or_default();
            change(changed);
            if *changed == Change::default() {
                clients.remove(&client);
            }
        }
    }

    /// The counts for the master.
    pub(crate) fn report(&self) -> Report {
        Report {
            taken: self.taken.load(Relaxed),
            resolved: self.resolved.load(Relaxed),
            sessions: self.count(),
            connections: self.connections() - self.untaken.load(Relaxed),
        }
    }

    /// Connections of clients.
    pub(crate) fn connections(&self) -> u64 {
        let upgraded = self.lists().upgraded.len() as u64;
        self.connections.load(Relaxed) + self.websockets.load(Relaxed) + upgraded
    }

    /// Connections of clients and of other workers.
    pub(crate) fn open_connections(&self) -> u64 {
        self.connections() + self.internal.load(Relaxed)
    }

    /// There is more to be told.
    pub(crate) fn wake_report(&self) {
        self.changed.notify_one();
    }

    /// Waits for a count to change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Counts a connection from now until the guard is dropped; for the master, from when it is [taken]. `client`: whose
    /// it is, if it is no proxy's.
    ///
    /// [taken]: ConnectionGuard::taken
    pub(crate) fn connection(
        self: &Arc<Self>,
        origin: Origin,
        client: Option<ClientKey>,
    ) -> ConnectionGuard {
        let internal = origin == Origin::Worker;
        if internal {
            self.internal.fetch_add(1, Relaxed);
        } else {
            self.connections.fetch_add(1, Relaxed);
            self.untaken.fetch_add(1, Relaxed);
        }
        ConnectionGuard {
            sessions: Arc::clone(self),
            internal,
            taken: false,
            client,
            id: None,
        }
    }

    /// The engine has opened a session.
    pub(crate) fn opened(&self, client: Option<IpAddr>) {
        self.count.fetch_add(1, Relaxed);
        self.change(client.map(Into::into), |change| change.sessions += 1);
        self.changed.notify_one();
    }

    /// It was opened by WebSocket, and has its connection.
    pub(crate) fn has_websocket(&self) {
        self.websockets.fetch_add(1, Relaxed);
    }

    /// A session that began by polling has, or tries, a WebSocket.
    pub(crate) fn upgrades(&self, sid: Sid) {
        self.lists().upgraded.insert(sid);
        self.changed.notify_one();
    }

    /// The engine has ended a session.
    pub(crate) fn ended(&self, ended: &Ended) {
        self.count.fetch_sub(1, Relaxed);
        let client = ended.client.map(Into::into);
        self.change(client, |change| change.sessions -= 1);
        if ended.began_polling {
            let mut lists = self.lists();
            lists.upgraded.remove(&ended.sid);
            shrink(&mut lists.upgraded);
            if ended.protocol == ProtocolVersion::V3
                && let Some(sid) = bare(ended.sid)
                && lists.eio3.remove(&sid)
            {
                lists.ended_eio3.push(sid);
            }
        } else {
            self.websockets.fetch_sub(1, Relaxed);
        }
        self.changed.notify_one();
    }

    /// A polling session of revision 3 was opened.
    pub(crate) fn opened_eio3(&self, sid: BareSid) {
        self.lists().eio3.insert(sid);
    }

    /// Has this worker a polling session of revision 3 with this id?
    pub(crate) fn has_eio3(&self, sid: &BareSid) -> bool {
        self.lists().eio3.contains(sid)
    }

    /// The master knows this id, of a session that may have ended meanwhile.
    pub(crate) fn registered_eio3(&self, sid: BareSid) {
        let mut lists = self.lists();
        if !lists.eio3.contains(&sid) {
            lists.ended_eio3.push(sid);
            self.changed.notify_one();
        }
    }

    /// Ids of revision 3 that ended since the last call.
    pub(crate) fn take_ended_eio3(&self) -> Vec<BareSid> {
        std::mem::take(&mut self.lists().ended_eio3)
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

    /// The connections under hyper for which more than so many bytes are in memory.
    pub(crate) fn holding(&self, more_than: usize) -> Vec<Arc<Control>> {
        let lists = self.lists();
        let holding = lists.http.values();
        holding
            .filter(|control| control.held().bytes > more_than)
            .cloned()
            .collect()
    }

    /// Ends all connections under hyper on which nothing is going on. Where a head has begun to arrive, something is.
    pub(crate) fn abort_idle(&self) {
        for control in self.lists().http.values() {
            if !control.is_stalled() && matches!(control.activity(), Activity::Idle(_)) {
                control.abort();
            }
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's id as bytes.
pub(crate) fn bare(sid: Sid) -> Option<BareSid> {
    sid.as_str().as_bytes().try_into().ok()
}

/// Gives back what a set that has become much emptier holds.
fn shrink<K: Eq + Hash, S: BuildHasher>(set: &mut HashSet<K, S>) {
    if set.capacity() > 64 && set.len() < set.capacity() / 8 {
        set.shrink_to(2 * set.len());
    }
}

/// Counts one connection.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    sessions: Arc<Sessions>,
    internal: bool,
    /// Has this worker begun with it?
    taken: bool,
    client: Option<ClientKey>,
    /// Its place among those that hyper has.
    id: Option<u64>,
}

impl ConnectionGuard {
    /// Did another worker of ours open it?
    pub(crate) fn is_internal(&self) -> bool {
        self.internal
    }

    /// This worker begins with it. The master is told so, and that it is here, in one message: else it would count it twice
    /// for a while.
    pub(crate) fn taken(&mut self) {
        self.begin();
        self.sessions.taken();
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        let here = |change: &mut Change| change.connections += 1;
        self.sessions.change(self.client, here);
        if !self.internal {
            self.sessions.untaken.fetch_sub(1, Relaxed);
        }
    }

    /// From now on it can be found by this.
    pub(crate) fn found_by(&mut self, control: Arc<Control>) {
        let mut lists = self.sessions.lists();
        lists.next += 1;
        let id = lists.next;
        lists.http.insert(id, control);
        drop(lists);
        self.id = Some(id);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut lists = self.sessions.lists();
            lists.http.remove(&id);
            if lists.http.capacity() > 64 && lists.http.len() < lists.http.capacity() / 8 {
                let room = 2 * lists.http.len();
                lists.http.shrink_to(room);
            }
        }
        self.begin();
        let ended = |change: &mut Change| change.connections -= 1;
        self.sessions.change(self.client, ended);
        if self.internal {
            self.sessions.internal.fetch_sub(1, Relaxed);
        } else {
            self.sessions.connections.fetch_sub(1, Relaxed);
            self.sessions.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
