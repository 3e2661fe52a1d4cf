//! The table of sessions.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use engineioxide_core::Sid;
use slab::Slab;

use crate::socket::Socket;
use crate::work::Key;

/// A table with room for fewer entries is not worth being made smaller.
const SMALL: usize = 1024;

/// All sessions of an engine, by their keys and by their ids.
#[derive(Debug)]
pub(crate) struct Table<D> {
    sockets: Slab<Arc<Socket<D>>>,
    by_sid: HashMap<Sid, Key>,
}

impl<D> Default for Table<D> {
    fn default() -> Self {
        Self {
            sockets: Slab::new(),
            by_sid: HashMap::new(),
        }
    }
}

impl<D> Table<D> {
    /// The key that the next session gets.
    pub(crate) fn vacant(&self) -> Key {
        Key::try_from(self.sockets.vacant_key()).unwrap_or(Key::MAX)
    }

    pub(crate) fn insert(&mut self, socket: &Arc<Socket<D>>) {
        self.sockets.insert(Arc::clone(socket));
        self.by_sid.insert(socket.id, socket.key);
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Socket<D>>> {
        self.sockets.get(usize::try_from(key).ok()?).cloned()
    }

    pub(crate) fn by_sid(&self, sid: Sid) -> Option<Arc<Socket<D>>> {
        self.by_sid.get(&sid).and_then(|&key| self.get(key))
    }

    pub(crate) fn remove(&mut self, socket: &Socket<D>) {
        if self.by_sid.remove(&socket.id).is_none() {
            return;
        }
        if let Ok(key) = usize::try_from(socket.key) {
            self.sockets.try_remove(key);
        }
        shrink(&mut self.by_sid);
        if self.sockets.is_empty() && self.sockets.capacity() > SMALL {
            self.sockets = Slab::new();
        }
    }

    /// The sessions' ids, the oldest keys first.
    pub(crate) fn sids(&self) -> Vec<Sid> {
        self.sockets.iter().map(|(_, socket)| socket.id).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Socket<D>>> {
        self.sockets
            .iter()
            .map(|(_, socket)| Arc::clone(socket))
            .collect()
    }
}

/// Gives back what a table that has become much emptier holds.
fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SMALL && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len());
    }
}
