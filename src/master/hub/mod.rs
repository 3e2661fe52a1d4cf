//! The hub: the master's end of the bus. Every worker has one stream socket to it, and what one
//! worker sends reaches all others, in the order in which it was sent.
//!
//! It reads heads, never bodies. It knows exactly who is a member: a worker joins with its first
//! frame and has left when its socket is at its end and all that it had sent was passed on.
//!
//! Nothing is dropped and nobody waits for the dead. A worker that is slower than what it is sent, or busy for a
//! second or two, slows down who sends it. One that has been silent for a quarter of `watchdog` slows nobody any more:
//! it is given up when more than [`CAP`] bytes wait for it (and after `watchdog` the supervisor ends it).
//!
//! Workers of two programs, as there are after a reload, may be of two versions of the bus. Those of one are a bus of their
//! own: see [`versions`].
//!
//! Members on other machines are reached over the bridge, which is one more member: see [`bridge`].

mod bridge;
mod door;
mod far;
mod handover;
mod heard;
mod line;
mod pieces;
mod versions;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use socketioxide_core::{Sid, Str};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tracing::{debug, warn};

use self::far::Far;
pub(crate) use self::far::Identity;
pub(crate) use self::handover::HubError;
use self::line::{Joining, Line, Listed};
use super::listeners::Listener;
use crate::ipc::bus::{BusError, Queue};
use crate::wire::frame::{
    Body, BusMember, Frame, FrameError, Head, HeadKind, Role, VERSION, as_version,
};

/// What may wait for one worker, in bytes.
pub(crate) const CAP: usize = 64 << 20;
/// When so much waits for a worker that takes it, those who send more must wait, too.
const SLOW: usize = CAP / 2;
/// After so many bytes of one sender the others are served.
const TURN: usize = 256 * 1024;

/// Why a worker is no longer on the bus.
#[derive(Debug)]
pub(crate) enum Left {
    /// Its end is closed.
    Closed,
    /// It cannot stay.
    GivenUp(String),
}

#[derive(Debug, Default)]
pub(crate) struct Hub {
    seats: RefCell<Vec<Rc<Seat>>>,
    /// Who has a connection, and is no member yet.
    joining: RefCell<Vec<Rc<Joining>>>,
    /// The way to other machines.
    far: Far,
    /// Where bridges come in that somebody else started.
    door: RefCell<Option<Rc<Listener>>>,
    /// Somebody took something, or left, or died.
    moved: Notify,
}

/// A worker on the bus.
struct Seat {
    member: BusMember,
    line: Rc<Line>,
    queue: Queue,
    /// The version of its frames.
    version: u8,
    /// It has not answered for long; nobody waits for it.
    silent: Cell<bool>,
    /// More waits for it than may: it lost something.
    has_overflowed: Cell<bool>,
    overflowed: Notify,
    /// Somebody reads what it sends.
    served: Cell<bool>,
}

/// Who gets a frame.
struct Receivers {
    workers: Vec<Rc<Seat>>,
    /// Members on other machines get it, too: it is the bridge's, if there is one.
    far: bool,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}

/// A member until dropped.
struct Seated<'a> {
    hub: &'a Hub,
    seat: Rc<Seat>,
}

impl Hub {
    /// The hub of a server whose bridges are told this.
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            far: Far::new(identity),
            ..Self::default()
        }
    }

    /// Serves one worker until it leaves or must be given up.
    pub(crate) async fn serve(&self, slot: u16, pid: u32, stream: UnixStream) -> Left {
        let joining = self.list(Joining {
            pid,
            role: Role::Worker,
            slot,
            line: Line::new(stream),
        });
        self.welcome(joining).await
    }

    /// Makes a worker a member when it says who it is.
    async fn welcome(&self, listed: Listed<'_>) -> Left {
        let Joining {
            pid, slot, line, ..
        } = &*listed.joining;
        let (id, version) = match hello(line, Role::Worker).await {
            Ok(said) => said,
            Err(error) => return error.into(),
        };
        let member = BusMember {
            id,
            slot: *slot,
            pid: *pid,
            machine: Str::default(),
        };
        let seated = self.seat(member, version, Rc::clone(line));
        drop(listed);
        self.serve_seat(&seated.seat).await
    }

    async fn serve_seat(&self, seat: &Seat) -> Left {
        seat.served.set(true);
        let write_all = async {
            let progress = || self.moved.notify_waiters();
            seat.line.write(&seat.queue, progress).await;
            // It is gone. What it had sent is still to be passed on, to the end.
            std::future::pending().await
        };
        tokio::select! {
            error = self.pass_on(seat) => error.into(),
            left = write_all => left,
            () = seat.overflowed.notified() => Left::GivenUp(format!(
                "more than {} MiB of broadcasts waited for it", CAP >> 20
            )),
        }
    }

    /// Has a worker not answered for long? What its socket takes does not tell: that is some hundred kilobytes
    /// at a time, which may be many seconds' work.
    pub(crate) fn set_silent(&self, pid: u32, silent: bool) {
        let seats = self.seats.borrow();
        if let Some(seat) = seats.iter().find(|seat| seat.member.pid == pid)
            && seat.silent.replace(silent) != silent
        {
            self.moved.notify_waiters();
        }
    }

    /// How many bytes wait for a worker.
    pub(crate) fn waits_for(&self, pid: u32) -> usize {
        let seats = self.seats.borrow();
        let seat = seats.iter().find(|seat| seat.member.pid == pid);
        seat.map_or(0, |seat| seat.queue.bytes())
    }

    fn seat(&self, member: BusMember, version: u8, line: Rc<Line>) -> Seated<'_> {
        let seat = Rc::new(Seat::new(member, version, line));
        self.note_version(&seat);
        self.seats.borrow_mut().push(Rc::clone(&seat));
        self.tell_members();
        self.tell_bridge_members();
        Seated { hub: self, seat }
    }

    /// Reads what a worker sends, and gives it to whom it is for.
    async fn pass_on(&self, from: &Seat) -> BusError {
        let mut turn = 0;
        loop {
            let frame = match from.line.next().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            let head = match Head::of_any_version(&frame) {
                Ok(head) if head.from != from.member.id => return FrameError::Id.into(),
                Ok(head) if head.version != from.version => {
                    return FrameError::Version(head.version).into();
                }
                Ok(head) => head,
                Err(error) => return error.into(),
            };
            match head.kind {
                // Said once, at the beginning; or by a bridge.
                HeadKind::Hello | HeadKind::Bridge => {}
                HeadKind::ForBridge => {
                    if self.far.speaks(head.version) {
                        self.far.tell(frame.clone());
                    }
                }
                HeadKind::Ask | HeadKind::Pass => {
                    self.let_catch_up(&head).await;
                    if let Err(error) = self.route(from, head, &frame) {
                        return error.into();
                    }
                }
            }
            from.line.done();
            turn += frame.len();
            if turn >= TURN {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// Who gets what a worker sends.
    fn receivers(&self, head: &Head) -> Receivers {
        let workers = self.workers(head);
        let is_far = |to| workers.is_empty() && self.far.knows(to);
        let far = self.far.speaks(head.version) && head.to.is_none_or(is_far);
        Receivers { workers, far }
    }

    /// The worker that this is for, or all but its sender.
    fn workers(&self, head: &Head) -> Vec<Rc<Seat>> {
        let mut workers = self.seats.borrow().clone();
        workers.retain(|seat| {
            let is_meant = match head.to {
                Some(to) => seat.member.id == to,
                None => seat.member.id != head.from,
            };
            is_meant && seat.version == head.version
        });
        workers
    }

    /// Waits while anybody who is to get more, and is not silent, has too much waiting. That ends when it has
    /// taken some, or is gone, or has been silent for long. Nothing comes between the end of this and the sending.
    async fn let_catch_up(&self, head: &Head) {
        loop {
            let moved = self.moved.notified();
            let receivers = self.receivers(head);
            let far = receivers.far && self.far.is_slow();
            if !far && !receivers.workers.iter().any(|seat| seat.is_slow()) {
                return;
            }
            moved.await;
        }
    }

    fn route(&self, from: &Seat, head: Head, frame: &Bytes) -> Result<(), FrameError> {
        let receivers = self.receivers(&head);
        if head.kind == HeadKind::Ask {
            let ticket = Head::ticket(frame).ok_or(FrameError::Short)?;
            let near = receivers.workers.iter().map(|seat| seat.member.id);
            let mut ids: Vec<_> = near.collect();
            if receivers.far {
                let far = self.far.members().into_iter().map(|member| member.id);
                ids.extend(far.filter(|id| head.to.is_none_or(|to| *id == to)));
            }
            if let Some(responders) = encoded(Body::Responders { ticket, ids }) {
                from.push(as_version(&responders, from.version));
            }
        }
        for seat in receivers.workers {
            seat.push(frame.clone());
        }
        if receivers.far && self.far.push(frame) {
            self.tell_bridge_members();
        }
        Ok(())
    }

    /// Is there such a worker?
    fn has(&self, id: Sid) -> bool {
        let seats = self.seats.borrow();
        seats.iter().any(|seat| seat.member.id == id)
    }
}

/// A frame of the hub's own.
fn encoded(body: Body) -> Option<Bytes> {
    let (to, from) = (None, Sid::ZERO);
    let frame = Frame { to, from, body }.encode();
    frame
        .inspect_err(|error| warn!(%error, "the hub has too much to say"))
        .ok()
}

impl Seat {
    fn new(member: BusMember, version: u8, line: Rc<Line>) -> Self {
        Self {
            member,
            line,
            queue: Queue::default(),
            version,
            silent: Cell::new(false),
            has_overflowed: Cell::new(false),
            overflowed: Notify::new(),
            served: Cell::new(false),
        }
    }

    fn push(&self, frame: Bytes) {
        if self.queue.bytes() > CAP {
            return self.overflow();
        }
        self.queue.push(frame);
    }

    /// Whoever serves it will see this next.
    fn overflow(&self) {
        self.has_overflowed.set(true);
        self.overflowed.notify_one();
    }

    fn is_slow(&self) -> bool {
        self.queue.bytes() > SLOW && !self.silent.get()
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let mut seats = self.hub.seats.borrow_mut();
        seats.retain(|seat| !Rc::ptr_eq(seat, &self.seat));
        drop(seats);
        self.hub.tell_members();
        self.hub.tell_bridge_members();
        self.hub.moved.notify_waiters();
    }
}

/// A member's first frame: who it is, and the version of its frames.
async fn hello(line: &Line, role: Role) -> Result<(Sid, u8), BusError> {
    let bytes = line.next().await?;
    let version = Head::of_any_version(&bytes)?.version;
    let frame = Frame::decode(&as_version(&bytes, VERSION))?;
    line.done();
    match frame.body {
        Body::Hello(said) if said == role && frame.from != Sid::ZERO => Ok((frame.from, version)),
        other => {
            debug!(?other, "a member of the bus did not say who it is");
            Err(FrameError::Kind(0).into())
        }
    }
}

impl From<BusError> for Left {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Closed => Self::Closed,
            // A process that is killed with unread data in its socket resets the connection.
            BusError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                Self::Closed
            }
            error => Self::GivenUp(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
