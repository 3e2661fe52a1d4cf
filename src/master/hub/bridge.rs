//! The hub's side of the bridge, which joins this bus to those of other machines.
//!
//! There is one bridge at a time. A newer one takes the place of an older one: that one may hang, and systemd or the
//! master have started the other because of it.
//!
//! The bridge never costs a worker anything. While its link is up, and it gives signs of life, those who send wait for
//! it as for a slow worker; else nobody does, and the members elsewhere are gone. What is more than [`CAP`] is dropped
//! and counted: each frame has a number, so that the bridge knows how many it did not get.

use std::cell::{Cell, RefCell};
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
use crate::ipc::bus::{BusError, Queue, Reader};
use crate::wire::bridge::Report;
use crate::wire::frame::{
    Body, BusMember, Frame, FrameError, Head, HeadKind, Role, Welcome, number_for_bridge,
};

/// A bridge tells of itself once a second. One that was silent for so long is waited for by nobody.
const SILENCE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long it may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
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

/// What there is of other machines.
#[derive(Debug, Default)]
pub(super) struct Far {
    identity: Identity,
    /// How many bridges there were.
    epoch: Cell<u32>,
    /// How many frames there were for them.
    passed: Cell<u64>,
    /// How many of these found no bridge, or no room.
    lost: Cell<u64>,
    bridge: RefCell<Option<Rc<Bridge>>>,
}

/// The bridge of this moment.
#[derive(Debug)]
struct Bridge {
    id: Sid,
    pid: u32,
    queue: Queue,
    /// Is it connected to the other machines?
    is_up: Cell<bool>,
    silent: Cell<bool>,
    heard: Cell<Instant>,
    /// The members on the other machines.
    elsewhere: RefCell<Vec<BusMember>>,
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
#[derive(Debug, Clone)]
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
            identity,
            ..Self::default()
        }
    }

    /// The members elsewhere; none while the link is down.
    pub(super) fn members(&self) -> Vec<BusMember> {
        match &*self.bridge.borrow() {
            Some(bridge) if bridge.is_up.get() => bridge.elsewhere.borrow().clone(),
            _ => Vec::new(),
        }
    }

    /// Is this a member elsewhere, be it out of reach for now?
    pub(super) fn knows(&self, id: Sid) -> bool {
        let bridge = self.bridge.borrow();
        let is_it = |bridge: &Rc<Bridge>| {
            let elsewhere = bridge.elsewhere.borrow();
            bridge.id == id || elsewhere.iter().any(|member| member.id == id)
        };
        bridge.as_ref().is_some_and(is_it)
    }

    /// Must those wait who have more for other machines?
    pub(super) fn is_slow(&self) -> bool {
        let bridge = self.bridge.borrow();
        bridge.as_ref().is_some_and(|bridge| {
            bridge.queue.bytes() > SLOW && bridge.is_up.get() && !bridge.silent.get()
        })
    }

    /// Counts a frame for other machines, and gives it to the bridge, if there is one. True: what waited for that was
    /// too much, and is lost.
    pub(super) fn push(&self, frame: &Bytes) -> bool {
        let number = self.passed.get() + 1;
        self.passed.set(number);
        let bridge = self.bridge.borrow();
        let Some(bridge) = &*bridge else {
            self.lost.set(self.lost.get() + 1);
            return false;
        };
        let overflows = bridge.queue.bytes() > CAP;
        if overflows {
            let lost = bridge.queue.forget();
            self.lost.set(self.lost.get() + lost as u64);
            warn!(
                lost,
                pid = bridge.pid,
                "the bridge takes nothing: broadcasts to other machines are lost"
            );
        }
        bridge.queue.push_parts(number_for_bridge(frame, number));
        overflows
    }

    /// Gives the bridge something that is for itself.
    pub(super) fn tell(&self, frame: Bytes) {
        if let Some(bridge) = &*self.bridge.borrow() {
            bridge.queue.push(frame);
        }
    }

    fn welcome(&self) -> Option<Bytes> {
        let Identity {
            incarnation,
            machine,
            ref name,
        } = self.identity;
        encoded(Body::Welcome(Welcome {
            incarnation,
            epoch: self.epoch.get(),
            machine,
            name: name.clone(),
            passed: self.passed.get(),
        }))
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
            bridge.queue.write_to(&mut write, progress).await;
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
            waiting: bridge.map_or(0, |bridge| bridge.queue.bytes()),
        }
    }

    fn seat_bridge(&self, id: Sid, pid: u32) -> Seated<'_> {
        let bridge = Rc::new(Bridge {
            id,
            pid,
            queue: Queue::default(),
            is_up: Cell::new(false),
            silent: Cell::new(false),
            heard: Cell::new(Instant::now()),
            elsewhere: RefCell::default(),
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
        if let Some(welcome) = self.far.welcome() {
            bridge.queue.push(welcome);
        }
        self.tell_bridge_members();
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
                HeadKind::Hello => {}
                HeadKind::Bridge => {
                    if let Err(error) = self.apply(bridge, &frame) {
                        return error.into();
                    }
                }
                // Nobody elsewhere speaks for a worker of this machine, or for the hub.
                HeadKind::Ask | HeadKind::Pass if self.has(head.from) || head.from == Sid::ZERO => {
                    return FrameError::Id.into();
                }
                HeadKind::Ask | HeadKind::Pass => self.bring(head, frame.clone()).await,
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
                bridge.elsewhere.replace(members);
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
            let silent = bridge.heard.get().elapsed() > SILENCE;
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
            self.hub.tell_members();
            self.hub.moved.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
