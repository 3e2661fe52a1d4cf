//! What becomes of sessions, as far as the bus is concerned.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use socketioxide_core::Sid;
use tokio::sync::Notify;

use super::Bus;

/// Sessions to which nothing refers any more, and whose rooms are to be forgotten. A handler may run on when its
/// session is over; what socketioxide lets it join then, nobody leaves.
#[derive(Debug, Default)]
pub(super) struct Released {
    ids: Mutex<Vec<Sid>>,
    more: Notify,
}

impl Released {
    fn push(&self, id: Sid) {
        let ids = self.ids.lock();
        ids.unwrap_or_else(PoisonError::into_inner).push(id);
        self.more.notify_one();
    }

    async fn next(&self) -> Vec<Sid> {
        self.more.notified().await;
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *ids)
    }
}

impl Bus {
    /// A session is over: what its handlers wait to ask is not asked.
    pub(crate) fn session_ended(&self, id: Sid) {
        self.0.turns.ended(id);
    }

    /// Nothing refers to a session any more: whatever room it was made to join after its end, it is in
    /// none. May be said with any lock held.
    pub(crate) fn session_released(&self, id: Sid) {
        self.0.released.push(id);
    }

    /// Do questions of this session's sockets wait for their turn?
    pub(crate) fn holds(&self, id: Sid) -> bool {
        self.0.turns.is_held(id)
    }

    /// Wakes somebody when none does.
    pub(crate) fn wake_when_free(&self, id: Sid, waker: Waker) {
        self.0.turns.wake_when_free(id, waker);
    }

    /// Forgets the rooms of whom nothing refers to any more; never returns.
    pub(super) async fn forget_released<T>(&self) -> T {
        loop {
            let released = self.0.released.next().await;
            let namespaces: Vec<_> = {
                let namespaces = self.0.namespaces.read();
                let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
                namespaces.values().cloned().collect()
            };
            for id in released {
                for namespace in &namespaces {
                    namespace.forget(id);
                }
            }
        }
    }
}
