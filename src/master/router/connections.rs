//! The connections that no worker has yet, and how far each has come.
//!
//! The future that looks after a connection keeps nothing of it to itself: what it knows stands in the
//! [`Entry`], so that all of them can be listed between any two polls. An entry is removed when its future
//! ends, or is dropped. A connection that goes to a worker is put among those that the worker has not
//! acknowledged in the same poll in which its future ends: it is always in exactly one of the two places.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::time::Instant;

use super::refusal::{Answer, Refusal};
use crate::wire::link::{Handoff, Origin};
use crate::wire::session_id::Home;

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its first line is awaited.
    Looking {
        /// It is one too many, and gets this unless it is a health check's.
        too_many: Option<Refusal>,
    },
    /// It waits for a worker that takes it.
    Waiting,
    /// A worker had it, and passes it on to another.
    Passing(Box<Passing>),
    /// It gets an answer from the master. Nothing of it left: the client may read it.
    Answering(Answer),
}

/// A connection that goes from one worker to another.
#[derive(Debug, Clone)]
pub(super) struct Passing {
    pub(super) to: Home,
    /// As the other worker gave it.
    pub(super) handoff: Handoff,
    /// What is reserved for the session that it opens.
    pub(super) reservation: Option<u64>,
}

/// A connection that no worker has yet.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    /// Shared with who waits for it to be ready, or sends it.
    pub(super) conn: Rc<OwnedFd>,
    pub(super) origin: Origin,
    /// The worker to whose own port it came.
    pub(super) port_of: Option<u16>,
    pub(super) accepted: Instant,
    pub(super) stage: RefCell<Stage>,
}

impl Entry {
    /// How long ago it was accepted, in milliseconds.
    pub(super) fn age_ms(&self) -> u32 {
        u32::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// Why it is one too many, if it is.
    pub(super) fn too_many(&self) -> Option<Refusal> {
        match *self.stage.borrow() {
            Stage::Looking { too_many } => too_many,
            _ => None,
        }
    }

    /// Something of a connection that is passed on.
    pub(super) fn passing<T>(&self, of: impl FnOnce(&Passing) -> T) -> Option<T> {
        match &*self.stage.borrow() {
            Stage::Passing(passing) => Some(of(passing)),
            _ => None,
        }
    }
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Connections {
    next: Cell<u64>,
    entries: RefCell<BTreeMap<u64, Rc<Entry>>>,
}

impl Connections {
    /// One more, until what is returned is dropped.
    pub(super) fn add(
        self: &Rc<Self>,
        conn: Rc<OwnedFd>,
        origin: Origin,
        port_of: Option<u16>,
        accepted: Instant,
        stage: Stage,
    ) -> Tracked {
        let number = self.next.get();
        self.next.set(number + 1);
        let entry = Rc::new(Entry {
            number,
            conn,
            origin,
            port_of,
            accepted,
            stage: RefCell::new(stage),
        });
        self.entries.borrow_mut().insert(number, Rc::clone(&entry));
        Tracked {
            connections: Rc::clone(self),
            entry,
        }
    }
}

impl Connections {
    /// Each of them, now.
    pub(super) fn all(&self) -> Vec<Rc<Entry>> {
        self.entries.borrow().values().cloned().collect()
    }
}

/// A connection that stands among the others for as long as this lives.
#[derive(Debug)]
pub(super) struct Tracked {
    connections: Rc<Connections>,
    entry: Rc<Entry>,
}

impl Deref for Tracked {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut entries = self.connections.entries.borrow_mut();
        entries.remove(&self.entry.number);
    }
}
