//! The hub's side of the bridge, which joins this bus to those of other machines.
//!
//! There is one bridge at a time. A newer one takes the place of an older one: that one may hang, and systemd or the
//! master have started the other because of it.
//!
//! The bridge never costs a worker anything. While its link is up, and it gives signs of life, those who send wait for
//! it as for a slow worker; else nobody does, and the members elsewhere are gone. What is more than the hub's cap is dropped
//! and counted: each frame has a number, so that the bridge knows how many it did not get.
//!
//! A bridge that is started anew costs nothing: what there is for it meanwhile is kept, a frame that the one before it
//! had only in part included; and what it brings a second time is told by its sender's number.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Sid;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::far::{age_ms, ago};
use super::handover::HubError;
use super::line::{Joining, Line, Listed};
use super::pieces::{Pieces, Unpacked};
use super::{Hub, Left, TURN, encoded, hello};
use crate::ipc::bus::BusError;
use crate::ipc::carrier::{Carrier, Luggage};
use crate::wire::bridge::Report;
use crate::wire::frame::{Body, Frame, FrameError, Head, HeadKind, Role, VERSION, as_version};
use crate::wire::handover::hub::BridgeSeatState;

/// A bridge tells of itself once a second. One that was silent for so long is waited for by nobody.
const SILENCE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long it may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// The bridge of this moment.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) id: Sid,
    pub(super) pid: u32,
    line: Rc<Line>,
    /// The version of its frames.
    pub(super) version: u8,
    /// How many bridges there were, this one among them.
    epoch: u32,
    /// Is it connected to the other machines?
    pub(super) is_up: Cell<bool>,
    /// Has it said who the members elsewhere are?
    has_told: Cell<bool>,
    pub(super) silent: Cell<bool>,
    heard: Cell<Instant>,
    /// What it brought waits for a worker, so that it is not heard.
    is_held_up: Cell<bool>,
    report: RefCell<Option<Report>>,
    since: Instant,
    replaced: Notify,
}

impl Bridge {
    fn new(id: Sid, pid: u32, version: u8, line: Rc<Line>) -> Self {
        Self {
            id,
            pid,
            line,
            version,
            epoch: 0,
            is_up: Cell::new(false),
            has_told: Cell::new(false),
            silent: Cell::new(false),
            heard: Cell::new(Instant::now()),
            is_held_up: Cell::new(false),
            report: RefCell::default(),
            since: Instant::now(),
            replaced: Notify::new(),
        }
    }

    /// All of it, as it travels.
    pub(super) fn pack(
        &self,
        carrier: &mut Carrier,
        pieces: &mut Pieces,
    ) -> io::Result<BridgeSeatState> {
        let report = self.report.borrow();
        let report = report.as_ref().map(serde_json::to_vec).transpose()?;
        Ok(BridgeSeatState {
            id: self.id,
            pid: self.pid,
            version: self.version,
            epoch: self.epoch,
            is_up: self.is_up.get(),
            has_told: self.has_told.get(),
            silent: self.silent.get(),
            heard_ms: age_ms(self.heard.get()),
            age_ms: age_ms(self.since),
            report,
            line: self.line.pack(carrier, pieces)?,
        })
    }

    pub(super) fn adopt(
        state: BridgeSeatState,
        luggage: &mut Luggage,
        frames: &Unpacked,
    ) -> Result<Self, HubError> {
        let line = Line::adopt(&state.line, luggage, frames)?;
        let report = state.report.and_then(|it| serde_json::from_slice(&it).ok());
        Ok(Self {
            epoch: state.epoch,
            is_up: Cell::new(state.is_up),
            has_told: Cell::new(state.has_told),
            silent: Cell::new(state.silent),
            heard: Cell::new(ago(state.heard_ms)),
            report: RefCell::new(report),
            since: ago(state.age_ms),
            ..Self::new(state.id, state.pid, state.version, line)
        })
    }

    /// It tells of itself.
    fn tells(&self, report: &[u8]) {
        match serde_json::from_slice(report) {
            Ok(report) => {
                self.report.replace(Some(report));
            }
            Err(error) => warn!(%error, "what the bridge tells of itself makes no sense"),
        }
    }

    /// What it had counted as it told last.
    fn counted(&self) -> Option<Vec<u64>> {
        let report = self.report.borrow();
        report.as_ref().map(|report| report.values.clone())
    }

    /// Are the members elsewhere that it told within reach?
    pub(super) fn has_members(&self) -> bool {
        self.is_up.get() && self.has_told.get()
    }
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

impl Hub {
    /// Serves the bridge until it leaves, or another takes its place.
    pub(crate) async fn serve_bridge(&self, pid: u32, stream: UnixStream) -> Left {
        let joining = self.list(Joining {
            pid,
            role: Role::Bridge,
            slot: 0,
            line: Line::new(stream),
        });
        self.welcome_bridge(joining).await
    }

    pub(super) async fn welcome_bridge(&self, listed: Listed<'_>) -> Left {
        let Joining { pid, line, .. } = &*listed.joining;
        let (id, version) = match timeout(HELLO, hello(line, Role::Bridge)).await {
            Ok(Ok((id, version))) if !self.has(id) => (id, version),
            Ok(Ok(_)) => return Left::GivenUp("it has a worker's id".to_owned()),
            Ok(Err(error)) => return error.into(),
            Err(_) => return Left::GivenUp("it did not say who it is".to_owned()),
        };
        let seated = self.seat_bridge(id, *pid, version, Rc::clone(line));
        drop(listed);
        self.serve_seated_bridge(&seated.bridge).await
    }

    /// Goes on serving the one that there is.
    pub(super) async fn resume_seated_bridge(&self) -> Left {
        let Some(bridge) = self.far.bridge.borrow().clone() else {
            return Left::Closed;
        };
        let seated = Seated { hub: self, bridge };
        self.serve_seated_bridge(&seated.bridge).await
    }

    async fn serve_seated_bridge(&self, bridge: &Rc<Bridge>) -> Left {
        let write_all = async {
            let progress = || self.moved.notify_waiters();
            bridge.line.write(&self.far.queue, progress).await;
            // What it had brought is still to be passed on.
            std::future::pending().await
        };
        tokio::select! {
            biased;
            // First: what waits is from then on for the other one.
            () = bridge.replaced.notified() => {
                Left::GivenUp("another bridge took its place".to_owned())
            }
            error = self.hear_bridge(bridge) => error.into(),
            left = write_all => left,
            never = self.watch(bridge) => never,
        }
    }

    /// The one that there is loses its connection.
    pub(super) fn unseat_bridge(&self) {
        let bridge = self.far.bridge.borrow().clone();
        drop(bridge.map(|bridge| Seated { hub: self, bridge }));
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

    /// What bridges that are gone had counted, by their numbers; each is told once.
    pub(crate) fn bridges_gone(&self) -> Vec<(u32, Vec<u64>)> {
        self.far.take_counted()
    }

    /// A bridge is gone: what it had counted is not.
    fn keep_counted(&self, bridge: &Bridge) {
        if let Some(values) = bridge.counted() {
            self.far.keep_counted(bridge.epoch, values);
        }
    }

    fn seat_bridge(&self, id: Sid, pid: u32, version: u8, line: Rc<Line>) -> Seated<'_> {
        let epoch = self.far.epoch.get().saturating_add(1);
        self.far.epoch.set(epoch);
        let bridge = Rc::new(Bridge {
            epoch,
            ..Bridge::new(id, pid, version, line)
        });
        let older = self.far.bridge.replace(Some(Rc::clone(&bridge)));
        if let Some(older) = older {
            older.replaced.notify_one();
            self.keep_counted(&older);
            // Its members are gone with it.
            self.tell_members();
        }
        let near = self.near_members(version);
        self.far.welcome(version, encoded(Body::Members(near)));
        self.moved.notify_waiters();
        Seated { hub: self, bridge }
    }

    /// Hears what the bridge says, and gives workers what it brings them.
    async fn hear_bridge(&self, bridge: &Rc<Bridge>) -> BusError {
        let mut turn = 0;
        loop {
            let frame = match bridge.line.next().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            let head = match Head::of_any_version(&frame) {
                Ok(head) if head.version != bridge.version => {
                    return FrameError::Version(head.version).into();
                }
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
                    self.far.brought(&head);
                    bridge.is_held_up.set(false);
                    bridge.heard.set(Instant::now());
                }
            }
            bridge.line.done();
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
            let workers = self.workers(&head);
            if !workers.iter().any(|seat| seat.is_slow()) {
                return workers.iter().for_each(|seat| seat.push(frame.clone()));
            }
            moved.await;
        }
    }

    /// Does what a bridge tells the hub.
    fn apply(&self, bridge: &Rc<Bridge>, frame: &Bytes) -> Result<(), FrameError> {
        match Frame::decode(&as_version(frame, VERSION))?.body {
            Body::Elsewhere(mut members) => {
                members.retain(|member| !self.has(member.id));
                self.far.told(members);
                bridge.has_told.set(true);
                if bridge.is_up.get() {
                    self.tell_members();
                }
            }
            Body::Link(is_up) if bridge.is_up.replace(is_up) != is_up => {
                self.tell_members();
                self.moved.notify_waiters();
            }
            Body::Report(report) => bridge.tells(&report),
            Body::Heard { at, report } => {
                self.far.heard.told(at);
                if !report.is_empty() {
                    bridge.tells(&report);
                }
            }
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
            self.hub.keep_counted(&self.bridge);
            self.hub.far.left.set(Some(Instant::now()));
            self.hub.tell_members();
            self.hub.moved.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
