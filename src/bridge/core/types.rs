//! What goes into the core and what comes out of it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socketioxide_core::Str;

use crate::wire::envelope::{Address, Position};
use crate::wire::frame::BusMember;

/// How much a sender keeps for who missed it, in bytes.
pub(in crate::bridge) const RING_BYTES: usize = 64 << 20;

/// What a bridge is told at its start.
#[derive(Debug, Clone)]
pub(in crate::bridge) struct CoreSettings {
    /// What the channels' names begin with: `P` in `P/1/all`.
    pub prefix: String,
    /// The machine's name, for people.
    pub name: Str,
    /// The machine's number in its session ids.
    pub machine: u16,
    /// The master's incarnation (`Welcome::incarnation`).
    pub incarnation: u64,
    /// Which bridge of this master it is (`Welcome::epoch`).
    pub epoch: u32,
    /// How many frames the hub had for bridges before this one's first (`Welcome::passed`): what was lost
    /// with an earlier bridge is counted by it.
    pub passed: u64,
    /// How long a frame is kept for who missed it.
    pub catch_up: Duration,
    /// How much of frames is kept for who missed it, in bytes: [`RING_BYTES`].
    pub ring_bytes: usize,
    /// Does the hub pass a frame on only if its sender's counter (`Head::counter`) is higher than that of the frame
    /// before (volatile frames aside)? Then this bridge begins where the last one was when it was last heard, and what it
    /// hears twice is dropped there. Else it begins now, and what it may have missed is counted.
    pub hub_drops_repeats: bool,
    /// How far the hub knows this machine to be in what others send (`Welcome::heard`): all that is told by
    /// [`Output::Heard`]. There it goes on, whether the other one remembers that or not.
    pub heard: Vec<(Address, Position)>,
}

/// The channel that a message came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Inbound {
    /// `P/1/all`.
    All,
    /// This bridge's own, `P/1/to/<incarnation>`.
    Own,
    /// `P/hello`.
    Hello,
}

/// What is to be done for the core, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bridge) enum Output {
    /// Publish this. [`Core::published`](super::Core::published) says what came of it.
    Publish {
        /// Its number.
        id: u64,
        /// Where to.
        channel: String,
        /// What.
        payload: Bytes,
    },
    /// A frame for the own hub's workers, from one of another machine. It has been decoded once, and is whole.
    Deliver(Bytes),
    /// The hub is to know: all members on other machines, of this moment.
    Elsewhere(Vec<BusMember>),
    /// The hub is to know: this machine is connected to the others, or not any more.
    Link(bool),
    /// The hub is to know, behind all that came before it: so far this machine is in what another one sends. What was lost
    /// of it by then is in the [`Figures`], or is counted again by who goes on from there.
    Heard(Address, Position),
    /// Drop both connections, say [`Core::disconnected`](super::Core::disconnected) and connect anew, with back-off.
    Reconnect(Why),
    /// For the log.
    Tell(Notice),
}

/// Why both connections are to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Why {
    /// The own heartbeat did not come back within 2 s.
    NoEcho,
    /// The server refused to publish.
    Refused,
}

/// What happened, for the log. Its text is the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Notice {
    /// This machine is connected to the others.
    LinkUp,
    /// It is not any more.
    LinkDown,
    /// A machine is there.
    Came {
        /// Its name.
        name: Str,
        /// Its number.
        machine: u16,
        /// How many workers it has.
        workers: usize,
    },
    /// A machine is not there any more.
    Left {
        /// Its name.
        name: Str,
        /// Why.
        how: Leaving,
    },
    /// A machine is there, though something said that it had left, or that another bridge follows its own.
    StillThere {
        /// Its name.
        name: Str,
    },
    /// Frames of a machine are lost for this one. If a bridge died, frames for single members of a third machine are
    /// counted among them.
    Gap {
        /// The machine that they are of.
        name: Str,
        /// How many.
        frames: u64,
    },
    /// Frames of this machine are lost for all others: they waited for longer, or were more, than is kept.
    Dropped {
        /// How many.
        frames: u64,
    },
    /// Two live machines have one number.
    SameMachine {
        /// Their names.
        names: [Str; 2],
        /// The number.
        machine: u16,
    },
    /// A machine is heard, and does not hear this one.
    OneSided {
        /// Its name.
        name: Str,
    },
    /// A bridge of another version is on the same server.
    Stranger {
        /// Its name.
        name: Str,
        /// Its program's version.
        version: Str,
        /// Its version of the envelope.
        envelope: u8,
        /// Its version of the frame.
        frame: u8,
    },
}

/// How a machine left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Leaving {
    /// It said goodbye.
    Goodbye,
    /// Nothing came from it for 3 s.
    Silence,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::bridge) struct Figures {
    /// Batches published, without repeats.
    pub batches_out: u64,
    /// Frames handed to the own workers.
    pub delivered: u64,
    /// Frames of other machines that are lost for this one.
    pub lost_in: u64,
    /// Frames of this machine that were dropped before they were published.
    pub lost_out: u64,
    /// Volatile frames that were dropped, of either direction.
    pub volatile_dropped: u64,
    /// Batches that came twice.
    pub duplicates: u64,
    /// Batches of others that came because this bridge had asked for them.
    pub repaired_in: u64,
    /// Batches held back because an earlier one was missing.
    pub held: u64,
    /// Messages and frames that were none, or not from who they said.
    pub garbled: u64,
    /// Questions that came too late to be answered.
    pub too_old: u64,
    /// Frames of others for a worker that this machine does not have.
    pub undeliverable: u64,
    /// Bytes that are held back, now.
    pub held_bytes: u64,
    /// Bytes in the ring, now.
    pub ring_bytes: u64,
    /// Bytes that wait to be published, now.
    pub waiting_bytes: u64,
    /// Machines that are there, now, without this one.
    pub machines: u64,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoEcho => "what this machine published did not come back within 2 s",
            Self::Refused => "the server refused to publish",
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkUp => write!(out, "connected to the other machines"),
            Self::LinkDown => write!(
                out,
                "not connected to the other machines; this machine serves on alone"
            ),
            Self::Came {
                name,
                machine,
                workers,
            } => {
                let plural = if *workers == 1 { "" } else { "s" };
                write!(
                    out,
                    "machine {name} (number {machine}) is there, with {workers} worker{plural}"
                )
            }
            Self::Left { name, how } => match how {
                Leaving::Goodbye => write!(out, "machine {name} has left"),
                Leaving::Silence => {
                    write!(out, "machine {name} is gone: nothing came from it for 3 s")
                }
            },
            Self::StillThere { name } => write!(
                out,
                "machine {name} is there, though something said in its name that it had left or began anew: who else can \
                 publish at the bridge's server?"
            ),
            Self::Gap { name, frames } => {
                write!(
                    out,
                    "{frames} frames from machine {name} are lost for this one"
                )
            }
            Self::Dropped { frames } => write!(
                out,
                "{frames} frames of this machine are lost for the others: they waited too long to be published"
            ),
            Self::SameMachine {
                names: [a, b],
                machine,
            } => write!(
                out,
                "machines {a} and {b} both have the number {machine}: set [bridge] machine to a number of its own on one of them"
            ),
            Self::OneSided { name } => write!(
                out,
                "machine {name} is heard, but does not hear this one: look at what its bridge says"
            ),
            Self::Stranger {
                name,
                version,
                envelope,
                frame,
            } => write!(
                out,
                "machine {name} runs version {version}, whose messages are of another kind (envelope {envelope}, frame {frame}): \
                 nothing is exchanged with it until both run the same version"
            ),
        }
    }
}

/// When what began at `since` and may take `limit` is over.
pub(super) fn after(since: Instant, limit: Duration) -> Instant {
    since.checked_add(limit).unwrap_or(since)
}

/// How long ago something was, in milliseconds.
pub(super) fn age(since: Instant, now: Instant) -> u32 {
    let age = now.saturating_duration_since(since).as_millis();
    u32::try_from(age).unwrap_or(u32::MAX)
}
