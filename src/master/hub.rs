//! The hub: the master's end of the bus. Every worker has one stream socket to it, and what one
//! worker sends reaches all others, in the order in which it was sent.
//!
//! It reads heads, never bodies. It knows exactly who is a member: a worker joins with its first
//! frame and has left when its socket is at its end and all that it had sent was passed on.
//!
//! Nothing is dropped and nobody waits for the dead: a worker that does not take what is meant for
//! it, over [`CAP`] bytes or for the time of `watchdog`, is given up. A worker that takes it,
//! but more slowly than another sends, slows that sender down.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Sid;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::{debug, warn};

use crate::wire::bus::{BusError, Queue, Reader};
use crate::wire::frame::{Body, Frame, FrameError, Head, HeadKind, Member};

/// What may wait for one worker, in bytes.
pub(crate) const CAP: usize = 64 << 20;
/// When so much waits for a worker that takes it, those who send more must wait, too.
const SLOW: usize = CAP / 2;
/// Who took nothing for so long is not waited for.
const DEAD_AFTER: Duration = Duration::from_millis(100);
/// After so many bytes of one sender the others have their turn.
const TURN: usize = 256 * 1024;
/// How often it is looked whether a worker takes what waits for it.
const LOOK: Duration = Duration::from_millis(250);

/// Why a worker is no longer on the bus.
#[derive(Debug)]
pub(crate) enum Left {
    /// Its end is closed.
    Closed,
    /// It cannot stay.
    GivenUp(String),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    seats: RefCell<Vec<Rc<Seat>>>,
    /// Some worker took something, or left.
    moved: Notify,
}

/// A worker on the bus.
struct Seat {
    member: Member,
    queue: Queue,
    /// When it last took something.
    took: Cell<Instant>,
    overflowed: Notify,
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
    /// Serves one worker until it leaves or must be given up. `watchdog`: how long it may take
    /// nothing of what waits for it.
    pub(crate) async fn serve(
        &self,
        slot: u16,
        pid: u32,
        stream: UnixStream,
        watchdog: Duration,
    ) -> Left {
        let (read, mut write) = stream.into_split();
        let mut reader = Reader::new(read);
        let id = match hello(&mut reader).await {
            Ok(id) => id,
            Err(error) => return error.into(),
        };
        let seated = self.seat(Member { id, slot, pid });
        let seat = &seated.seat;
        let progress = || {
            seat.took.set(Instant::now());
            self.moved.notify_waiters();
        };
        tokio::select! {
            error = self.pass_on(seat, &mut reader) => error.into(),
            // Its end closed for reading only: what it has sent is still to be passed on.
            _ = seat.queue.write_to(&mut write, progress) => self.pass_on(seat, &mut reader).await.into(),
            () = seat.overflowed.notified() => Left::GivenUp(format!(
                "more than {} MiB of broadcasts waited for it", CAP >> 20
            )),
            () = seat.frozen(watchdog) => Left::GivenUp(format!(
                "it took no broadcast for {}", humantime::format_duration(watchdog)
            )),
        }
    }

    fn seat(&self, member: Member) -> Seated<'_> {
        let seat = Rc::new(Seat {
            member,
            queue: Queue::default(),
            took: Cell::new(Instant::now()),
            overflowed: Notify::new(),
        });
        self.seats.borrow_mut().push(Rc::clone(&seat));
        self.tell_members();
        Seated { hub: self, seat }
    }

    /// Reads what a worker sends, and gives it to whom it is for.
    async fn pass_on(
        &self,
        from: &Seat,
        reader: &mut Reader<tokio::net::unix::OwnedReadHalf>,
    ) -> BusError {
        let mut turn = 0;
        loop {
            self.let_others_catch_up(from).await;
            let passed = reader.next().await.and_then(|frame| {
                turn += frame.len();
                Ok(self.route(from, &frame)?)
            });
            if let Err(error) = passed {
                return error;
            }
            if turn >= TURN {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// Waits while anybody who takes what it gets has too much waiting.
    async fn let_others_catch_up(&self, from: &Seat) {
        loop {
            let moved = self.moved.notified();
            let patience = self
                .seats
                .borrow()
                .iter()
                .filter(|seat| seat.member != from.member && seat.queue.bytes() > SLOW)
                .map(|seat| seat.took.get() + DEAD_AFTER)
                .max();
            match patience {
                // Every wait ends: with progress, or without it when it is no longer expected.
                Some(until) if Instant::now() < until => {
                    let _ = timeout_at(until, moved).await;
                }
                _ => return,
            }
        }
    }

    fn route(&self, from: &Seat, frame: &Bytes) -> Result<(), FrameError> {
        let head = Head::read(frame)?;
        let mut receivers = self.seats.borrow().clone();
        receivers.retain(|seat| match head.to {
            Some(to) => seat.member.id == to,
            None => seat.member != from.member,
        });
        match head.kind {
            // Said once, at the beginning.
            HeadKind::Hello => return Ok(()),
            HeadKind::Ask => {
                let ticket = Head::ticket(frame).ok_or(FrameError::Short)?;
                let of = receivers.iter().map(|seat| seat.member.id).collect();
                from.tell(Body::Asked { ticket, of });
            }
            HeadKind::Pass => {}
        }
        for seat in receivers {
            seat.push(frame.clone());
        }
        Ok(())
    }

    /// Tells everybody who is a member. In each worker's queue this stands behind all that came
    /// from a member that left, and before all that will come from one that joined.
    fn tell_members(&self) {
        let seats = self.seats.borrow();
        let members: Vec<_> = seats.iter().map(|seat| seat.member).collect();
        for seat in seats.iter() {
            seat.tell(Body::Members(members.clone()));
        }
    }
}

impl Seat {
    fn push(&self, frame: Bytes) {
        if self.queue.bytes() > CAP {
            // Whoever serves it will see this next.
            return self.overflowed.notify_one();
        }
        self.queue.push(frame);
    }

    fn tell(&self, body: Body) {
        match (Frame { to: None, body }.encode()) {
            Ok(frame) => self.push(frame),
            Err(error) => warn!(%error, "the hub has too much to say"),
        }
    }

    /// Returns when the worker has taken nothing of what waits for it for so long. Looks are counted,
    /// not time, so that a machine that was suspended gives nobody up.
    async fn frozen(&self, watchdog: Duration) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = watchdog.as_millis().div_ceil(LOOK.as_millis());
        let mut took = self.took.get();
        let mut looks: u128 = 0;
        loop {
            tick.tick().await;
            let idle = self.queue.bytes() == 0;
            if idle || took != self.took.get() {
                took = self.took.get();
                looks = 0;
            } else {
                looks += 1;
            }
            if looks > patience {
                return;
            }
        }
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let mut seats = self.hub.seats.borrow_mut();
        seats.retain(|seat| !Rc::ptr_eq(seat, &self.seat));
        drop(seats);
        self.hub.tell_members();
        self.hub.moved.notify_waiters();
    }
}

/// A worker's first frame.
async fn hello(reader: &mut Reader<tokio::net::unix::OwnedReadHalf>) -> Result<Sid, BusError> {
    match Frame::decode(&reader.next().await?)?.body {
        Body::Hello(id) => Ok(id),
        other => {
            debug!(?other, "a worker did not say who it is");
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
