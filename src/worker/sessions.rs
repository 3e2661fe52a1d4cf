//! Counts the sessions and connections of this worker, and lets a drain find them.
//!
//! Nothing here keeps a session alive: the engine owns it. There is no hook for a session's end,
//! so a [`SessionGuard`] lives where the session does: in the stream of a WebSocket, in the
//! extensions of the handshake request that engineioxide keeps for a session's life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::stream::{Activity, Control};
use crate::wire::link::{Origin, Report};
use crate::wire::session_id::BARE_LEN;

/// The engine's id of a session, as bytes: text, always [`BARE_LEN`] characters.
pub(crate) type BareSid = [u8; BARE_LEN];

/// All sessions and connections of this worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    count: AtomicU64,
    taken: AtomicU64,
    resolved: AtomicU64,
    stalled: AtomicU64,
    lists: Mutex<Lists>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lists {
    next: u64,
    connections: HashMap<u64, Arc<Control>>,
    /// Those of [`Lists::connections`] that other workers opened.
    internal: u64,
    /// Sessions that began by polling; the value tells revision 3 from 4.
    polling: HashMap<BareSid, Revision>,
    /// Ids of revision 3 whose end the master has not been told yet.
    ended_eio3: Vec<BareSid>,
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

    /// Counts a connection from now until the guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>, origin: Origin) -> ConnectionGuard {
        let internal = origin == Origin::Worker;
        let control = Arc::new(Control::default());
        let mut lists = self.lists();
        lists.next += 1;
        let id = lists.next;
        lists.connections.insert(id, Arc::clone(&control));
        lists.internal += u64::from(internal);
        drop(lists);
        self.changed.notify_one();
        ConnectionGuard {
            sessions: Arc::clone(self),
            id,
            internal,
            control,
        }
    }

    /// Counts a session from now until the guard is dropped.
    pub(crate) fn session(self: &Arc<Self>) -> SessionGuard {
        self.count.fetch_add(1, Relaxed);
        self.changed.notify_one();
        SessionGuard {
            sessions: Arc::clone(self),
            polling: Mutex::new(None),
        }
    }

    /// Has this worker a polling session of revision 3 with this id?
    pub(crate) fn has_eio3(&self, sid: &BareSid) -> bool {
        self.lists().polling.get(sid) == Some(&Revision::Three)
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

    /// The sessions of this moment that began by polling, upgraded ones included.
    pub(crate) fn polling(&self) -> Vec<(BareSid, Revision)> {
        self.lists()
            .polling
            .iter()
            .map(|(&sid, &revision)| (sid, revision))
            .collect()
    }

    /// Ends all connections on which nothing is going on; how many are left?
    pub(crate) fn abort_idle(&self) -> usize {
        let all: Vec<_> = self.lists().connections.values().cloned().collect();
        for control in &all {
            if !control.is_websocket() && !matches!(control.activity(), Activity::Busy) {
                control.abort();
            }
        }
        self.lists().connections.len()
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection; held by its stream.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    sessions: Arc<Sessions>,
    id: u64,
    internal: bool,
    control: Arc<Control>,
}

impl ConnectionGuard {
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The client read nothing for this long, and its connection was ended for it.
    pub(crate) fn stalled(&self, timeout: Duration) {
        let total = self.sessions.stalled.fetch_add(1, Relaxed) + 1;
        warn!(
            total,
            after = %humantime::format_duration(timeout),
            "a client does not read what it is sent; its connection was closed"
        );
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut lists = self.sessions.lists();
        lists.connections.remove(&self.id);
        lists.internal -= u64::from(self.internal);
        drop(lists);
        self.sessions.changed.notify_one();
    }
}

/// Counts one session; held by its WebSocket's stream or its handshake request.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    sessions: Arc<Sessions>,
    polling: Mutex<Option<BareSid>>,
}

impl SessionGuard {
    /// The session began by polling, and the engine gave it this id.
    pub(crate) fn polls(&self, sid: BareSid, revision: Revision) {
        *self.polling.lock().unwrap_or_else(PoisonError::into_inner) = Some(sid);
        self.sessions.lists().polling.insert(sid, revision);
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let polling = *self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sid) = polling {
            let mut lists = self.sessions.lists();
            if lists.polling.remove(&sid) == Some(Revision::Three) {
                lists.ended_eio3.push(sid);
            }
        }
        self.sessions.count.fetch_sub(1, Relaxed);
        self.sessions.changed.notify_one();
    }
}
