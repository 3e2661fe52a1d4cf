//! What travels over the bus: frames, as bytes and as values.
//!
//! A frame is a head of [`HEAD`] bytes and a body. Numbers are little-endian; a text or a list is
//! its length (`u32`) and its items.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | length of all that follows |
//! | 4 | [`VERSION`] |
//! | 5 | kind |
//! | 6 | flags: 1, volatile; the others are zero |
//! | 7 | zero |
//! | 8..24 | for whom: a member's id, or zeros for all others |
//! | 24..40 | who sends it: a member's id, or zeros for the hub |
//! | 40..48 | its number among all that this member sent, from 1 |
//! | 48..56 | its number among all that the hub passed to the bridge, from 1; else zero |
//! | 56..58 | length of the namespace |
//! | 58.. | the namespace, empty where there is none; then the body |
//!
//! The layout of the head never changes again: what is kept of old frames, or comes from elsewhere, can be
//! numbered, told apart and passed on by whoever knows no more than this.
//!
//! [`Frame::encode`] and [`Frame::decode`] are pure. The hub reads heads only ([`Head::read`]): a
//! frame is encoded once, by its sender, for however many receivers.

mod body;
mod head;
mod kind;
mod parts;
mod questions;

use bytes::{BufMut, Bytes, BytesMut};
use socketioxide_core::adapter::{BroadcastOptions, Room};
use socketioxide_core::{Sid, Str, Value};

pub(crate) use self::body::value_size;
use self::head::{COUNTER, LENGTH, VOLATILE};
pub(crate) use self::head::{Head, HeadKind, length, number, number_for_bridge};
use self::parts::{Input, put_id};
pub(crate) use self::questions::{AckFailure, Answer, Failure, Question};
use super::envelope::{Address, Position};

/// The version of the format. A receiver refuses any other.
pub(crate) const VERSION: u8 = 3;

/// Length of a frame's head without the namespace, in bytes.
pub(crate) const HEAD: usize = 58;

/// The largest frame, head included, in bytes.
pub(crate) const MAX_FRAME: usize = 32 << 20;

const ID: usize = 16;

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// The member that it is for; `None`: all but the sender.
    pub to: Option<Sid>,
    /// The member that sends it; [`Sid::ZERO`]: the hub.
    pub from: Sid,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// A member's first frame: who it is. Its id is the sender's.
    Hello(Role),
    /// The hub, first, to a bridge.
    Welcome(Welcome),
    /// The hub, whenever it changed: all members of this moment. To a bridge: those of its own machine.
    Members(Vec<BusMember>),
    /// A bridge, whenever it changed: all members of this moment on other machines.
    Elsewhere(Vec<BusMember>),
    /// A bridge, whenever it changed: is it connected to the other machines?
    Link(bool),
    /// A worker, to the bridge: it has this namespace now, or has it no more.
    Namespace {
        /// Which.
        ns: Str,
        /// Has it?
        is_here: bool,
    },
    /// A bridge, to workers: it wants to know which namespaces they have.
    TellNamespaces,
    /// A bridge, each second: how it is, as JSON.
    Report(Bytes),
    /// A bridge, behind what it brought: how far it is.
    Heard {
        /// How far it is in what other machines sent, of each of which that has changed.
        at: Vec<(Address, Position)>,
        /// How it is, as in `Report`, if it has counted frames as lost since the last one; else empty. It is in one frame
        /// with what it is about: the hub has both or neither.
        report: Bytes,
    },
    /// The hub, to who asked: the members that the question went to.
    Responders {
        /// The question's number.
        ticket: u64,
        /// Those that will answer, or leave.
        ids: Vec<Sid>,
    },
    /// Something to be done with the sockets that match.
    Command {
        /// The namespace.
        ns: Str,
        /// Which sockets. Its `server_id` does not travel: [`Frame::to`] has said it.
        opts: BroadcastOptions,
        /// What.
        command: Command,
    },
    /// An event for the other workers' applications, as JSON.
    ServerSide {
        /// Its name.
        event: Str,
        /// JSON.
        data: Bytes,
    },
    /// A question.
    Ask {
        /// Its number, unique to who asks.
        ticket: u64,
        /// What.
        question: Question,
    },
    /// An answer, or a part of it.
    Answer {
        /// The question's number.
        ticket: u64,
        /// What.
        answer: Answer,
    },
}

/// What is to be done with sockets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Send them an event.
    Emit(Value),
    /// Make them join.
    Join(Vec<Room>),
    /// Make them leave.
    Leave(Vec<Room>),
    /// Disconnect them from the namespace.
    Disconnect,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A worker of this machine.
    Worker,
    /// The process that joins this machine's hub to those of others.
    Bridge,
}

/// What a bridge has to know of the server that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// Drawn by the master at its start: a machine that was cloned or started anew is another one.
    pub incarnation: u64,
    /// How many bridges this master has had, this one among them.
    pub epoch: u32,
    /// The machine's number in its session ids.
    pub machine: u16,
    /// The machine's name, for people.
    pub name: Str,
    /// How many frames the hub had for bridges so far, those that were lost among them.
    pub passed: u64,
    /// How far the bridge before it was in what other machines sent, and told; 1,024 of them at most.
    pub heard: Vec<(Address, Position)>,
}

/// A worker on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BusMember {
    /// Its id on the bus, new with each process.
    pub id: Sid,
    /// Its number.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
    /// The machine's name; empty for the own one.
    pub machine: Str,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// From another version of the program.
    #[error("version {0} of the bus; this is version {VERSION}")]
    Version(u8),
    /// An unknown kind.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes; the bus takes {MAX_FRAME} at most")]
    Long(usize),
    /// Shorter than what it says it holds.
    #[error("a frame that ends too early")]
    Short,
    /// Longer than what it holds.
    #[error("a frame that goes on behind its end")]
    Trailing,
    /// A namespace that is longer than a head can tell.
    #[error("the name of a namespace of more than 65,535 bytes")]
    Namespace,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    Text,
    /// An id that is none.
    #[error("an id that is none")]
    Id,
    /// A tag without a meaning.
    #[error("a value of unknown type {0}")]
    Tag(u8),
}

impl Frame {
    /// The frame as bytes.
    ///
    /// # Errors
    /// [`FrameError::Long`].
    pub(crate) fn encode(&self) -> Result<Bytes, FrameError> {
        let mut out = BytesMut::with_capacity(HEAD + self.body.size());
        out.put_u32_le(0);
        out.put_u8(VERSION);
        out.put_u8(self.body.kind());
        out.put_u8(if self.body.is_volatile() { VOLATILE } else { 0 });
        out.put_u8(0);
        for member in [self.to, Some(self.from).filter(|id| *id != Sid::ZERO)] {
            match member {
                Some(id) => put_id(&mut out, &id),
                None => out.put_bytes(0, ID),
            }
        }
        // The two numbers are written when it is sent: see `number`.
        out.put_bytes(0, HEAD - 2 - COUNTER);
        let namespace = self.body.namespace().map_or(&[][..], |ns| ns.as_bytes());
        let len = u16::try_from(namespace.len()).map_err(|_| FrameError::Namespace)?;
        out.put_u16_le(len);
        out.put_slice(namespace);
        self.body.encode(&mut out);
        if out.len() > MAX_FRAME {
            return Err(FrameError::Long(out.len()));
        }
        let rest = u32::try_from(out.len() - LENGTH).map_err(|_| FrameError::Long(out.len()))?;
        let (length, _) = out.split_at_mut(LENGTH);
        length.copy_from_slice(&rest.to_le_bytes());
        Ok(out.freeze())
    }

    /// The frame that these bytes are. Its large binary parts share their memory.
    ///
    /// # Errors
    /// When they are not one frame, whole and nothing else.
    pub(crate) fn decode(frame: &Bytes) -> Result<Self, FrameError> {
        let head = Head::read(frame)?;
        match frame.len() {
            len if len < head.len => return Err(FrameError::Short),
            len if len > head.len => return Err(FrameError::Trailing),
            _ => {}
        }
        let kind = *frame.get(LENGTH + 1).ok_or(FrameError::Short)?;
        let mut input = Input(frame.slice(HEAD - 2..));
        let len = u16::from_le_bytes(input.array()?);
        let namespace = input.take(len.into())?;
        let namespace = String::from_utf8(namespace.into()).map_err(|_| FrameError::Text)?;
        let body = Body::decode(kind, namespace.into(), &mut input)?;
        if !input.0.is_empty() {
            return Err(FrameError::Trailing);
        }
        Ok(Self {
            to: head.to,
            from: head.from,
            body,
        })
    }
}

#[cfg(test)]
mod tests;
