//! What the hub has of other machines, whether a bridge is there or not: its members there, and what waits to go there.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::{Sid, Str};
use tokio::time::Instant;
use tracing::warn;

use super::bridge::Bridge;
use super::handover::{HubError, adopt_member, adopt_queue, pack_member, pack_queue};
use super::heard::Heard;
use super::pieces::{Pieces, Unpacked};
use super::{CAP, SLOW, encoded};
use crate::ipc::bus::{Parts, Queue};
use crate::ipc::carrier::{Carrier, Luggage};
use crate::wire::frame::{Body, BusMember, Head, VERSION, Welcome, as_version, number_for_bridge};
use crate::wire::handover::hub::{FarState, IdentityState};
use crate::wire::session_id::EntropyError;

/// What there is for other machines is kept for so long while there is no bridge: one that is started anew gets it.
pub(super) const KEPT: Duration = Duration::from_secs(30);
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
    identity: RefCell<Option<Identity>>,
    /// The version of the frames of the last bridge, if there was one.
    version: Cell<Option<u8>>,
    /// How many bridges there were.
    pub(super) epoch: Cell<u32>,
    /// How many frames there were for them.
    pub(super) passed: Cell<u64>,
    /// How many of these found no bridge, or no room.
    pub(super) lost: Cell<u64>,
    /// What waits for the bridge, or for the next one.
    pub(super) queue: Queue,
    pub(super) bridge: RefCell<Option<Rc<Bridge>>>,
    /// Since when there is no bridge.
    pub(super) left: Cell<Option<Instant>>,
    /// The members on the other machines, as a bridge told last.
    elsewhere: RefCell<Vec<BusMember>>,
    /// The members elsewhere of this moment and of before: a bridge that has just begun does not hear all of them yet.
    known: RefCell<HashSet<Sid>>,
    /// The number of the last frame of each of them: a new bridge may bring some that the one before it brought.
    last: RefCell<HashMap<Sid, u64>>,
    /// How far bridges are in what other machines send.
    pub(super) heard: Heard,
    /// What bridges that are gone had counted, by their numbers, until [`Far::take_counted`].
    counted: RefCell<Vec<(u32, Vec<u64>)>>,
}

impl Far {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity: RefCell::new(Some(identity)),
            left: Cell::new(Some(Instant::now())),
            ..Self::default()
        }
    }

    /// The version of the frames that go to other machines.
    pub(super) fn version(&self) -> u8 {
        self.version.get().unwrap_or(VERSION)
    }

    /// Do frames of this version go to other machines?
    pub(super) fn speaks(&self, version: u8) -> bool {
        self.version() == version
    }

    /// From now on there is to be a bridge, if there was not.
    pub(super) fn expect_bridge(&self, identity: Identity) {
        let mut known = self.identity.borrow_mut();
        if known.is_none() {
            *known = Some(identity);
            self.left.set(Some(Instant::now()));
        }
    }

    /// There is to be no bridge, and nothing is kept for one.
    pub(super) fn forget(&self) {
        self.identity.take();
        self.queue.take();
    }

    /// The members elsewhere; none while the link is down, or the bridge has not said yet who they are.
    pub(super) fn members(&self) -> Vec<BusMember> {
        let bridge = self.bridge.borrow();
        let has_members = bridge.as_ref().is_some_and(|bridge| bridge.has_members());
        if has_members {
            return self.elsewhere.borrow().clone();
        }
        Vec::new()
    }

    /// A bridge has told who the members elsewhere are.
    pub(super) fn told(&self, mut members: Vec<BusMember>) {
        members.truncate(MOST_MEMBERS);
        let mut known = self.known.borrow_mut();
        if known.len() > MOST_MEMBERS {
            known.clear();
        }
        known.extend(members.iter().map(|member| member.id));
        self.elsewhere.replace(members);
    }

    /// Is this a member elsewhere, be it out of reach for now?
    pub(super) fn knows(&self, id: Sid) -> bool {
        let bridge = self.bridge.borrow();
        self.known.borrow().contains(&id) || bridge.as_ref().is_some_and(|bridge| bridge.id == id)
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
        if self.identity.borrow().is_none() {
            return false;
        }
        if self.left.get().is_some_and(|left| left.elapsed() > KEPT) {
            // For long there was no bridge: nobody will get it.
            self.lost.set(self.lost.get() + 1);
            self.lose(self.queue.take().len(), "there is no bridge");
            return false;
        }
        let overflows = self.queue.bytes() > CAP;
        if overflows {
            self.lose(self.queue.forget(), "the bridge takes nothing");
        }
        self.queue.push_parts(number_for_bridge(frame, number));
        overflows
    }

    /// All of it, as it travels.
    pub(super) fn pack(&self, carrier: &mut Carrier, pieces: &mut Pieces) -> io::Result<FarState> {
        let bridge = self.bridge.borrow();
        let bridge = bridge.as_ref().map(|it| it.pack(carrier, pieces));
        let last = self.last.borrow();
        Ok(FarState {
            identity: self.identity.borrow().as_ref().map(|it| IdentityState {
                incarnation: it.incarnation,
                machine: it.machine,
                name: it.name.to_string(),
            }),
            version: self.version.get(),
            epoch: self.epoch.get(),
            passed: self.passed.get(),
            lost: self.lost.get(),
            queue: pack_queue(&self.queue, pieces)?,
            bridge: bridge.transpose()?,
            left_ms: self.left.get().map(age_ms),
            elsewhere: self.elsewhere.borrow().iter().map(pack_member).collect(),
            known: self.known.borrow().iter().copied().collect(),
            last: last.iter().map(|(id, number)| (*id, *number)).collect(),
            heard: self.heard.pack(),
            counted: self.counted.borrow().clone(),
        })
    }

    pub(super) fn adopt(
        state: FarState,
        luggage: &mut Luggage,
        frames: &Unpacked,
    ) -> Result<Self, HubError> {
        let bridge = state.bridge;
        let bridge = bridge.map(|it| Bridge::adopt(it, luggage, frames).map(Rc::new));
        let elsewhere = state.elsewhere.into_iter().map(adopt_member).collect();
        Ok(Self {
            identity: RefCell::new(state.identity.map(|it| Identity {
                incarnation: it.incarnation,
                machine: it.machine,
                name: it.name.into(),
            })),
            version: Cell::new(state.version),
            epoch: Cell::new(state.epoch),
            passed: Cell::new(state.passed),
            lost: Cell::new(state.lost),
            queue: adopt_queue(state.queue, frames)?,
            bridge: RefCell::new(bridge.transpose()?),
            left: Cell::new(state.left_ms.map(ago)),
            elsewhere: RefCell::new(elsewhere),
            known: RefCell::new(state.known.into_iter().collect()),
            last: RefCell::new(state.last.into_iter().collect()),
            heard: Heard::adopt(state.heard),
            counted: RefCell::new(state.counted),
        })
    }

    fn lose(&self, frames: usize, why: &str) {
        let lost = frames as u64;
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
    pub(super) fn welcome(&self, version: u8, members: Option<Bytes>) {
        // What waits is all of one version, and nothing to one who speaks another.
        let is_other = !self.speaks(version);
        self.version.set(Some(version));
        let away = self.left.take().map(|left| left.elapsed());
        let is_late = away.is_some_and(|away| away > KEPT);
        let number = |parts: &Parts| {
            let [head, _] = parts;
            Head::read(head).map_or(0, |head| head.hub_number)
        };
        // What was for the one before it alone is for nobody any more. Nor is what was left of before a loss: the one
        // before it had that in part.
        let mut waiting = self.queue.take();
        waiting.retain(|parts| number(parts) > 0);
        let all = waiting.len();
        let mut next = self.passed.get() - all as u64 + 1;
        waiting.retain(|parts| {
            let follows = number(parts) == next;
            next += 1;
            follows && !is_late && !is_other
        });
        self.lose(all - waiting.len(), "no bridge took what waited");
        let Identity {
            incarnation,
            machine,
            name,
        } = self.identity.borrow().clone().unwrap_or_default();
        let welcome = encoded(Body::Welcome(Welcome {
            incarnation,
            epoch: self.epoch.get(),
            machine,
            name,
            passed: self.passed.get() - waiting.len() as u64,
            heard: self.heard.recent(),
        }));
        welcome
            .into_iter()
            .chain(members)
            .for_each(|frame| self.queue.push(as_version(&frame, version)));
        for frame in waiting {
            self.queue.push_parts(frame);
        }
    }

    /// A bridge is gone, which had counted this.
    pub(super) fn keep_counted(&self, epoch: u32, values: Vec<u64>) {
        /// More come and go in no time in which nobody looks.
        const MOST: usize = 64;
        let mut counted = self.counted.borrow_mut();
        if counted.len() < MOST {
            counted.push((epoch, values));
        }
    }

    /// What bridges that are gone had counted, once.
    pub(super) fn take_counted(&self) -> Vec<(u32, Vec<u64>)> {
        self.counted.take()
    }

    /// Was this frame of a member elsewhere brought before? What may be lost, or has no number, never was.
    pub(super) fn is_repeat(&self, head: &Head) -> bool {
        let last = self.last.borrow();
        has_order(head) && last.get(&head.from).is_some_and(|n| head.counter <= *n)
    }

    /// Workers have this frame.
    pub(super) fn brought(&self, head: &Head) {
        if !has_order(head) {
            return;
        }
        let mut last = self.last.borrow_mut();
        if last.len() > 2 * MOST_MEMBERS {
            let elsewhere = self.elsewhere.borrow();
            let present: HashSet<_> = elsewhere.iter().map(|member| member.id).collect();
            last.retain(|id, _| present.contains(id));
        }
        last.insert(head.from, head.counter);
    }
}

/// How long ago that was, in milliseconds.
pub(super) fn age_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// So many milliseconds ago, or as long ago as can be said.
pub(super) fn ago(ms: u64) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(ms)).unwrap_or(now)
}

/// Has it a number by which it is known again?
fn has_order(head: &Head) -> bool {
    !head.volatile && head.counter > 0
}
