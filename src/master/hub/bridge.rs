//! The hub's side of the bridge, which joins this bus to those of other machines.
//!
//! There is one bridge at a time. A newer one takes the place of an older one: that one may hang, and systemd or the
//! master have started the other because of it.
//!
//! The bridge never costs a worker anything. While its link is up, and it gives signs of life, those who send wait for
//! it as for a slow worker; else nobody does, and the members elsewhere are gone. What is more than [`CAP`] is dropped
//! and counted: each frame has a number, so that the bridge knows how many it did not get.
//!
//! A bridge that is started anew costs nothing: what there is for it meanwhile is kept, a frame that the one before it
//! had only in part included; and what it brings a second time is told by its sender's number.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::{Sid, Str};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::{CAP, Hub, Left, SLOW, TURN, encoded, hello};
use crate::ipc::bus::{BusError, Parts, Queue, Reader};
use crate::wire::bridge::Report;
use crate::wire::frame::{
    Body, BusMember, Frame, FrameError, Head, HeadKind, Role, Welcome, number_for_bridge,
};
use crate::wire::session_id::EntropyError;

/// A bridge tells of itself once a second. One that was silent for so long is waited for by nobody.
const SILENCE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long it may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// What there is for other machines is kept for so long while there is no bridge: one that is started anew gets it.
const KEPT: Duration = Duration::from_secs(30);
/// So many members elsewhere are told to workers, and no more.
const MOST_MEMBERS: usize = 16_384;

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
    epoch: Cell<u32>,
    /// How many frames there were for them.
    passed: Cell<u64>,
    /// How many of these found no bridge, or no room.
    lost: Cell<u64>,
    /// What waits for the bridge, or for the next one.
    queue: Queue,
    bridge: RefCell<Option<Rc<Bridge>>>,
    /// When the last bridge left.
    left: Cell<Option<Instant>>,
    /// The members on the other machines, as a bridge told last.
    elsewhere: RefCell<Vec<BusMember>>,
    /// The number of the last frame of each of them: a new bridge may bring some that the one before it brought.
    heard: RefCell<HashMap<Sid, u64>>,
    repeats: Cell<u64>,
}

/// The bridge of this moment.
#[derive(Debug)]
struct Bridge {
    id: Sid,
    pid: u32,
    /// Is it connected to the other machines?
    is_up: Cell<bool>,
    silent: Cell<bool>,
    heard: Cell<Instant>,
    /// What it brought waits for a worker, so that it is not heard.
    is_held_up: Cell<bool>,
    report: RefCell<Option<Report>>,
    since: Instant,
    replaced: Notify,
}

/// The bridge until dropped.
struct Seated<'a> {
    hub: &'a Hub,
    bridge: Rc<Bridge>,
}

/// The bridge, for who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct BridgeState {
    /// Its process, if there is one.
    pub(crate) pid: Option<u32>,
    /// How long it has been there.
    pub(crate) uptime: Option<Duration>,
    /// What it told last.
    pub(crate) report: Option<Report>,
    /// How many bridges there were, this one among them.
    pub(crate) epoch: u32,
    /// Frames that were for other machines.
    pub(crate) passed: u64,
    /// How many of these found no bridge, or no room before it.
    pub(crate) lost: u64,
    /// Bytes that wait for it.
    pub(crate) waiting: usize,
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
    fn welcome(&self, members: Option<Bytes>) {
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
        waiting
            .into_iter()
            .for_each(|frame| self.queue.push_parts(frame));
    }

    /// Was this frame of a member elsewhere brought before? What may be lost, or has no number, never was.
    fn is_repeat(&self, head: &Head) -> bool {
        if head.volatile || head.counter == 0 {
            return false;
        }
        let mut heard = self.heard.borrow_mut();
        if heard.len() > 2 * MOST_MEMBERS {
            let elsewhere = self.elsewhere.borrow();
            let present: HashSet<_> = elsewhere.iter().map(|member| member.id).collect();
            heard.retain(|id, _| present.contains(id));
        }
        let last = heard.entry(head.from).or_default();
        let repeat = head.counter <= *last;
        if repeat {
            self.repeats.set(self.repeats.get() + 1);
        } else {
            *last = head.counter;
        }
        repeat
    }
}

impl Hub {
    /// Serves the bridge until it leaves, or another takes its place.
    pub(crate) async fn serve_bridge(&self, pid: u32, stream: UnixStream) -> Left {
        let (read, mut write) = stream.into_split();
        let mut reader = Reader::new(read);
        let id = match timeout(HELLO, hello(&mut reader, Role::Bridge)).await {
            Ok(Ok(id)) if !self.has(id) => id,
            Ok(Ok(_)) => return Left::GivenUp("it has a worker's id".to_owned()),
            Ok(Err(error)) => return error.into(),
            Err(_) => return Left::GivenUp("it did not say who it is".to_owned()),
        };
        let seated = self.seat_bridge(id, pid);
        let bridge = &seated.bridge;
        let write_all = async {
            let progress = || self.moved.notify_waiters();
            self.far.queue.write_to(&mut write, progress).await;
            // What it had brought is still to be passed on.
            std::future::pending().await
        };
        tokio::select! {
            error = self.hear_bridge(bridge, &mut reader) => error.into(),
            left = write_all => left,
            never = self.watch(bridge) => never,
            () = bridge.replaced.notified() => {
                Left::GivenUp("another bridge took its place".to_owned())
            }
        }
    }

    /// The bridge of this moment; none if there was never one.
    pub(crate) fn bridge(&self) -> BridgeState {
        let bridge = self.far.bridge.borrow();
        let bridge = bridge.as_ref();
        BridgeState {
            pid: bridge.map(|bridge| bridge.pid),
            uptime: bridge.map(|bridge| bridge.since.elapsed()),
            report: bridge.and_then(|bridge| bridge.report.borrow().clone()),
            epoch: self.far.epoch.get(),
            passed: self.far.passed.get(),
            lost: self.far.lost.get(),
            waiting: self.far.queue.bytes(),
        }
    }

    fn seat_bridge(&self, id: Sid, pid: u32) -> Seated<'_> {
        let bridge = Rc::new(Bridge {
            id,
            pid,
            is_up: Cell::new(false),
            silent: Cell::new(false),
            heard: Cell::new(Instant::now()),
            is_held_up: Cell::new(false),
            report: RefCell::default(),
            since: Instant::now(),
            replaced: Notify::new(),
        });
        self.far.epoch.set(self.far.epoch.get().saturating_add(1));
        let older = self.far.bridge.replace(Some(Rc::clone(&bridge)));
        if let Some(older) = older {
            older.replaced.notify_one();
            // Its members are gone with it.
            self.tell_members();
        }
        self.far
            .welcome(encoded(Body::Members(self.near_members())));
        self.moved.notify_waiters();
        Seated { hub: self, bridge }
    }

    /// Hears what the bridge says, and gives workers what it brings them.
    async fn hear_bridge(
        &self,
        bridge: &Rc<Bridge>,
        reader: &mut Reader<OwnedReadHalf>,
    ) -> BusError {
        let mut turn = 0;
        loop {
            let frame = match reader.next().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            let head = match Head::read(&frame) {
                Ok(head) => head,
                Err(error) => return error.into(),
            };
            bridge.heard.set(Instant::now());
            match head.kind {
                HeadKind::Hello | HeadKind::ForBridge => {}
                HeadKind::Bridge => {
                    if let Err(error) = self.apply(bridge, &frame) {
                        return error.into();
                    }
                }
                // Nobody elsewhere speaks for a worker of this machine, or for the hub.
                _ if self.has(head.from) || head.from == Sid::ZERO => {
                    return FrameError::Id.into();
                }
                _ if self.far.is_repeat(&head) => {}
                _ => {
                    bridge.is_held_up.set(true);
                    self.bring(head, frame.clone()).await;
                    bridge.is_held_up.set(false);
                    bridge.heard.set(Instant::now());
                }
            }
            turn += frame.len();
            if turn >= TURN {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// Gives a frame from elsewhere to the worker that it is for, or to all; never back to the bridge.
    async fn bring(&self, head: Head, frame: Bytes) {
        loop {
            let moved = self.moved.notified();
            let workers = self.workers(None, head.to);
            if !workers.iter().any(|seat| seat.is_slow()) {
                return workers.iter().for_each(|seat| seat.push(frame.clone()));
            }
            moved.await;
        }
    }

    /// Does what a bridge tells the hub.
    fn apply(&self, bridge: &Rc<Bridge>, frame: &Bytes) -> Result<(), FrameError> {
        match Frame::decode(frame)?.body {
            Body::Elsewhere(mut members) => {
                members.retain(|member| !self.has(member.id));
                members.truncate(MOST_MEMBERS);
                self.far.elsewhere.replace(members);
                if bridge.is_up.get() {
                    self.tell_members();
                }
            }
            Body::Link(is_up) => {
                if bridge.is_up.replace(is_up) != is_up {
                    self.tell_members();
                    self.moved.notify_waiters();
                }
            }
            Body::Report(report) => match serde_json::from_slice(&report) {
                Ok(report) => {
                    bridge.report.replace(Some(report));
                }
                Err(error) => warn!(%error, "what the bridge tells of itself makes no sense"),
            },
            _ => {}
        }
        Ok(())
    }

    /// Sees whether the bridge gives signs of life, for as long as it is there.
    async fn watch<T>(&self, bridge: &Bridge) -> T {
        loop {
            sleep(LOOK).await;
            let silent = !bridge.is_held_up.get() && bridge.heard.get().elapsed() > SILENCE;
            if bridge.silent.replace(silent) != silent {
                self.moved.notify_waiters();
            }
        }
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let mut present = self.hub.far.bridge.borrow_mut();
        // Another may have taken its place.
        if present
            .as_ref()
            .is_some_and(|it| Rc::ptr_eq(it, &self.bridge))
        {
            *present = None;
            drop(present);
            self.hub.far.left.set(Some(Instant::now()));
            self.hub.tell_members();
            self.hub.moved.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
