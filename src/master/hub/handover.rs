//! The hub as it goes on in a program that takes the place of this one: packed between any two steps of those who serve
//! its members, and rebuilt without a word to them.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tracing::warn;

use super::super::listeners::Listener;
use super::far::Far;
use super::line::{Joining, Line, Listed};
use super::pieces::{Pieces, Unpacked};
use super::{Hub, Identity, Left, Seat, Seated};
use crate::ipc::bus::{Queue, Received};
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::wire::frame::{BusMember, Role};
use crate::wire::handover::Fd;
use crate::wire::handover::hub::{
    HubState, JoiningState, LineState, MemberState, QueueState, SeatState,
};

/// A hub that cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// A descriptor is missing.
    #[error("the bus cannot go on: {0}")]
    Luggage(#[from] CarrierError),
    /// What waits for members cannot be read, or a connection cannot be watched.
    #[error("the bus cannot go on: {0}")]
    Io(#[from] io::Error),
    /// The state speaks of frames that are not there.
    #[error("the bus cannot go on: what waits for its members is not complete")]
    NoFrames,
}

impl Hub {
    /// All that the hub has. Nothing is changed.
    ///
    /// # Errors
    /// When a system call fails.
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<HubState> {
        let mut pieces = Pieces::default();
        let seats = self.seats.borrow();
        let seats = seats.iter().map(|seat| seat.pack(carrier, &mut pieces));
        let seats = seats.collect::<Result<_, _>>()?;
        let joining = self.joining.borrow();
        let joining = joining.iter().map(|it| it.pack(carrier, &mut pieces));
        let joining = joining.collect::<Result<_, _>>()?;
        let far = self.far.pack(carrier, &mut pieces)?;
        let door = self.door.borrow();
        let door = door.as_ref().map(|door| door.pack(carrier)).transpose()?;
        let (pieces, file) = pieces.pack(carrier)?;
        Ok(HubState {
            file,
            pieces,
            joining,
            seats,
            far,
            door,
        })
    }

    /// The hub that was packed. Whoever looks after a member goes on [serving it](Self::resume).
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn adopt(state: HubState, luggage: &mut Luggage) -> Result<Self, HubError> {
        let file = state.file.map(|file| luggage.take(file)).transpose()?;
        let frames = Unpacked::read(file, &state.pieces)?;
        let seats = state.seats.into_iter();
        let seats = seats.map(|seat| Seat::adopt(seat, luggage, &frames).map(Rc::new));
        let seats = seats.collect::<Result<_, _>>()?;
        let joining = state.joining.iter();
        let joining = joining.map(|it| Joining::adopt(it, luggage, &frames).map(Rc::new));
        let joining = joining.collect::<Result<_, _>>()?;
        let door = state.door.map(|door| Listener::adopt(door, luggage));
        let door = door.transpose()?.map(Rc::new);
        Ok(Self {
            seats: RefCell::new(seats),
            joining: RefCell::new(joining),
            far: Far::adopt(state.far, luggage, &frames)?,
            door: RefCell::new(door),
            moved: Notify::new(),
        })
    }

    /// Goes on serving the worker that is this process, from where the program before this one was. It is told nothing.
    pub(crate) fn resume(self: Rc<Self>, pid: u32) -> impl Future<Output = Left> + 'static {
        let mut seats = self.seats.borrow().clone();
        seats.retain(|seat| seat.member.pid == pid);
        let seat = seats.pop();
        if let Some(seat) = &seat {
            seat.served.set(true);
        }
        async move {
            let hub = &*self;
            if let Some(seat) = seat {
                let seated = Seated { hub, seat };
                return hub.serve_seat(&seated.seat).await;
            }
            match hub.listed(Some(pid), Role::Worker) {
                Some(listed) => hub.welcome(listed).await,
                None => Left::Closed,
            }
        }
    }

    /// Goes on serving the bridge, likewise; [`Left::Closed`] if there is none.
    pub(crate) async fn resume_bridge(&self) -> Left {
        if let Some(listed) = self.listed(None, Role::Bridge) {
            // Of several that have not said who they are the last one counts.
            self.keep_of_bridges(Some(&listed.joining));
            let newer = self.welcome_bridge(listed);
            let older = self.resume_seated_bridge();
            return tokio::join!(older, newer).1;
        }
        self.resume_seated_bridge().await
    }

    fn listed(&self, pid: Option<u32>, role: Role) -> Option<Listed<'_>> {
        let all = self.joining.borrow();
        let is_it = |it: &&Rc<Joining>| it.role == role && pid.is_none_or(|pid| it.pid == pid);
        let joining = all.iter().rfind(is_it).map(Rc::clone)?;
        Some(Listed { hub: self, joining })
    }

    /// From now on there is to be a bridge, which a configuration wants that is newer than the hub. One that was to be there
    /// already is told what it always was.
    pub(crate) fn expect_bridge(&self, identity: Identity) {
        self.far.expect_bridge(identity);
    }

    /// There is to be no bridge any more, as a configuration wants that is newer than the hub: the one that there is
    /// loses its connection, and none comes in. Nobody would serve it, and workers would wait for it.
    pub(crate) fn expect_no_bridge(&self) {
        self.door.take();
        self.keep_of_bridges(None);
        self.unseat_bridge();
        self.far.forget();
    }

    /// Drops the bridges that have not said who they are, but for this one.
    fn keep_of_bridges(&self, kept: Option<&Rc<Joining>>) {
        let mut joining = self.joining.borrow_mut();
        let is_kept = |it: &Rc<Joining>| kept.is_some_and(|kept| Rc::ptr_eq(it, kept));
        joining.retain(|it| it.role != Role::Bridge || is_kept(it));
    }

    /// Drops the workers that nobody goes on serving: they are in the hub's state, and not in that of who looks after workers.
    pub(crate) fn drop_unserved(&self) {
        let mut seats = self.seats.borrow().clone();
        seats.retain(|seat| !seat.served.get());
        for seat in seats {
            warn!(?seat, "a member of the bus is nobody's worker");
            drop(Seated { hub: self, seat });
        }
    }
}

impl Seat {
    fn pack(&self, carrier: &mut Carrier, pieces: &mut Pieces) -> io::Result<SeatState> {
        let BusMember { id, slot, pid, .. } = self.member;
        Ok(SeatState {
            id,
            slot,
            pid,
            version: self.version,
            silent: self.silent.get(),
            overflowed: self.has_overflowed.get(),
            line: self.line.pack(carrier, pieces)?,
            queue: pack_queue(&self.queue, pieces)?,
        })
    }

    fn adopt(state: SeatState, luggage: &mut Luggage, frames: &Unpacked) -> Result<Self, HubError> {
        let member = BusMember {
            id: state.id,
            slot: state.slot,
            pid: state.pid,
            machine: "".into(),
        };
        let line = Line::adopt(&state.line, luggage, frames)?;
        let queue = adopt_queue(state.queue, frames)?;
        let seat = Self {
            queue,
            ..Self::new(member, state.version, line)
        };
        seat.silent.set(state.silent);
        if state.overflowed {
            seat.overflow();
        }
        Ok(seat)
    }
}

impl Joining {
    fn pack(&self, carrier: &mut Carrier, pieces: &mut Pieces) -> io::Result<JoiningState> {
        Ok(JoiningState {
            pid: self.pid,
            slot: (self.role == Role::Worker).then_some(self.slot),
            line: self.line.pack(carrier, pieces)?,
        })
    }

    fn adopt(
        state: &JoiningState,
        luggage: &mut Luggage,
        frames: &Unpacked,
    ) -> Result<Self, HubError> {
        Ok(Self {
            pid: state.pid,
            role: state.slot.map_or(Role::Bridge, |_| Role::Worker),
            slot: state.slot.unwrap_or_default(),
            line: Line::adopt(&state.line, luggage, frames)?,
        })
    }
}

impl Line {
    pub(super) fn pack(&self, carrier: &mut Carrier, pieces: &mut Pieces) -> io::Result<LineState> {
        let received = Bytes::copy_from_slice(self.received.borrow().bytes());
        let in_hand = self.in_hand.borrow();
        let in_hand = in_hand.as_ref().map(|frame| pieces.put(frame));
        Ok(LineState {
            stream: carrier.put(self.stream.as_fd())?,
            received: pieces.put(&received)?,
            in_hand: in_hand.transpose()?.flatten(),
        })
    }

    pub(super) fn adopt(
        state: &LineState,
        luggage: &mut Luggage,
        frames: &Unpacked,
    ) -> Result<Rc<Self>, HubError> {
        let received = frames.get(state.received)?;
        let in_hand = match state.in_hand {
            Some(part) => Some(frames.get(Some(part))?),
            None => None,
        };
        Ok(Rc::new(Self {
            stream: stream(state.stream, luggage)?,
            received: RefCell::new(Received::new(received.into())),
            in_hand: RefCell::new(in_hand),
        }))
    }
}

fn stream(fd: Fd, luggage: &mut Luggage) -> Result<UnixStream, HubError> {
    let stream = StdUnixStream::from(luggage.take(fd)?);
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}

pub(super) fn pack_queue(queue: &Queue, pieces: &mut Pieces) -> io::Result<QueueState> {
    let (frames, written) = queue.waiting_frames();
    let frames = frames.iter();
    let frames = frames.map(|[head, rest]| Ok([pieces.put(head)?, pieces.put(rest)?]));
    Ok(QueueState {
        frames: frames.collect::<io::Result<_>>()?,
        written: written as u64,
    })
}

pub(super) fn adopt_queue(state: QueueState, frames: &Unpacked) -> Result<Queue, HubError> {
    let parts = state.frames.into_iter();
    let parts = parts.map(|[head, rest]| Ok([frames.get(head)?, frames.get(rest)?]));
    let parts = parts.collect::<Result<_, HubError>>()?;
    let written = usize::try_from(state.written).map_err(|_| HubError::NoFrames)?;
    Queue::of(parts, written).ok_or(HubError::NoFrames)
}

/// A member elsewhere, as it travels.
pub(super) fn pack_member(member: &BusMember) -> MemberState {
    MemberState {
        id: member.id,
        slot: member.slot,
        pid: member.pid,
        machine: member.machine.to_string(),
    }
}

pub(super) fn adopt_member(state: MemberState) -> BusMember {
    BusMember {
        id: state.id,
        slot: state.slot,
        pid: state.pid,
        machine: state.machine.into(),
    }
}
