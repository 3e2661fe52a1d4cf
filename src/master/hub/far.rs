//! What the hub has of other machines, whether a bridge is there or not: its members there, and what waits to go there.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::{Sid, Str};
use tokio::time::Instant;
use tracing::warn;

use super::bridge::Bridge;
use super::{CAP, SLOW, encoded};
use crate::ipc::bus::{Parts, Queue};
use crate::wire::frame::{Body, BusMember, Head, Welcome, number_for_bridge};
use crate::wire::session_id::EntropyError;

/// What there is for other machines is kept for so long while there is no bridge: one that is started anew gets it.
const KEPT: Duration = Duration::from_secs(30);
/// So many members elsewhere are told to workers, and no more.
pub(super) const MOST_MEMBERS: usize = 16_384;

/// What bridges are told of the server that they serve.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// Drawn at the master's start.
    pub(crate) incarnation: u64,
    /// The machine's number in its session ids.
    pub(crate) machine: u16,
    /// The machine's name.
    pub(crate) name: Str,
}

impl Identity {
    /// A new one, for the machine of this number.
    ///
    /// # Errors
    /// When the kernel has no random numbers to give.
    pub(crate) fn draw(machine: u16) -> Result<Self, EntropyError> {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            incarnation: getrandom::u64()?,
            machine,
            name: name.into(),
        })
    }
}

/// What there is of other machines.
#[derive(Debug, Default)]
pub(super) struct Far {
    /// None: there is to be no bridge.
    identity: Option<Identity>,
    /// How many bridges there were.
    pub(super) epoch: Cell<u32>,
    /// How many frames there were for them.
    pub(super) passed: Cell<u64>,
    /// How many of these found no bridge, or no room.
    pub(super) lost: Cell<u64>,
    /// What waits for the bridge, or for the next one.
    pub(super) queue: Queue,
    pub(super) bridge: RefCell<Option<Rc<Bridge>>>,
    /// When the last bridge left.
    pub(super) left: Cell<Option<Instant>>,
    /// The members on the other machines, as a bridge told last.
    pub(super) elsewhere: RefCell<Vec<BusMember>>,
    /// The number of the last frame of each of them: a new bridge may bring some that the one before it brought.
    last: RefCell<HashMap<Sid, u64>>,
    repeats: Cell<u64>,
}

impl Far {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity: Some(identity),
            ..Self::default()
        }
    }

    /// The members elsewhere; none while the link is down.
    pub(super) fn members(&self) -> Vec<BusMember> {
        if self.is_up() {
            return self.elsewhere.borrow().clone();
        }
        Vec::new()
    }

    /// Is this a member elsewhere, be it out of reach for now?
    pub(super) fn knows(&self, id: Sid) -> bool {
        let elsewhere = self.elsewhere.borrow();
        let bridge = self.bridge.borrow();
        elsewhere.iter().any(|member| member.id == id)
            || bridge.as_ref().is_some_and(|bridge| bridge.id == id)
    }

    fn is_up(&self) -> bool {
        let bridge = self.bridge.borrow();
        bridge.as_ref().is_some_and(|bridge| bridge.is_up.get())
    }

    /// Must those wait who have more for other machines?
    pub(super) fn is_slow(&self) -> bool {
        let bridge = self.bridge.borrow();
        self.queue.bytes() > SLOW
            && bridge
                .as_ref()
                .is_some_and(|bridge| bridge.is_up.get() && !bridge.silent.get())
    }

    /// Counts a frame for other machines, and keeps it for the bridge. True: what waited for that was too much, and is
    /// lost.
    pub(super) fn push(&self, frame: &Bytes) -> bool {
        let number = self.passed.get() + 1;
        self.passed.set(number);
        if self.identity.is_none() {
            return false;
        }
        let overflows = self.queue.bytes() > CAP;
        if overflows {
            self.forget("the bridge takes nothing");
        }
        self.queue.push_parts(number_for_bridge(frame, number));
        overflows
    }

    fn forget(&self, why: &str) {
        let lost = self.queue.forget() as u64;
        self.lost.set(self.lost.get() + lost);
        if lost > 0 {
            warn!(lost, "{why}: frames for other machines are lost");
        }
    }

    /// Gives the bridge something that is for itself.
    pub(super) fn tell(&self, frame: Bytes) {
        if self.bridge.borrow().is_some() {
            self.queue.push(frame);
        }
    }

    /// Puts what a new bridge hears first before what waits for it.
    pub(super) fn welcome(&self, members: Option<Bytes>) {
        let away = self.left.get().map(|left| left.elapsed());
        if away.is_some_and(|away| away > KEPT) {
            self.forget("there was no bridge");
        }
        let is_numbered = |parts: &Parts| {
            let [head, _] = parts;
            Head::read(head).is_ok_and(|head| head.hub_number > 0)
        };
        // What was for the one before it alone is for nobody any more.
        let mut waiting = self.queue.take();
        waiting.retain(is_numbered);
        let Identity {
            incarnation,
            machine,
            name,
        } = self.identity.clone().unwrap_or_default();
        let welcome = encoded(Body::Welcome(Welcome {
            incarnation,
            epoch: self.epoch.get(),
            machine,
            name,
            passed: self.passed.get() - waiting.len() as u64,
        }));
        welcome
            .into_iter()
            .chain(members)
            .for_each(|frame| self.queue.push(frame));
        for frame in waiting {
            self.queue.push_parts(frame);
        }
    }

    /// Was this frame of a member elsewhere brought before? What may be lost, or has no number, never was.
    pub(super) fn is_repeat(&self, head: &Head) -> bool {
        if head.volatile || head.counter == 0 {
            return false;
        }
        let mut last = self.last.borrow_mut();
        if last.len() > 2 * MOST_MEMBERS {
            let elsewhere = self.elsewhere.borrow();
            let present: HashSet<_> = elsewhere.iter().map(|member| member.id).collect();
            last.retain(|id, _| present.contains(id));
        }
        let number = last.entry(head.from).or_default();
        let repeat = head.counter <= *number;
        if repeat {
            self.repeats.set(self.repeats.get() + 1);
        } else {
            *number = head.counter;
        }
        repeat
    }
}
