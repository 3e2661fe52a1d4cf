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

mod parts;
mod questions;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};
use socketioxide_core::{Sid, Str, Value};

use self::parts::{Input, put_bytes, put_id, put_list, put_room, put_scope, put_value, read_id};
pub(crate) use self::questions::{AckFailure, Answer, Failure, Question};

/// The version of the format. A receiver refuses any other.
pub(crate) const VERSION: u8 = 2;

/// Length of a frame's head without the namespace, in bytes.
pub(crate) const HEAD: usize = 58;

/// The largest frame, head included, in bytes.
pub(crate) const MAX_FRAME: usize = 32 << 20;

const ID: usize = 16;
/// Of the head, what is not counted in the length that it begins with.
const LENGTH: usize = 4;
/// Where in the head the sender's number begins.
const COUNTER: usize = 40;
/// Where in the head the hub's number begins.
const HUB_NUMBER: usize = 48;
/// Flag: it may be lost when its receiver cannot take it at once.
const VOLATILE: u8 = 1;

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

/// What the hub and the bridge read of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length of the whole frame, in bytes.
    pub len: usize,
    /// The member that it is for; `None`: all but the sender.
    pub to: Option<Sid>,
    /// The member that sends it; [`Sid::ZERO`]: the hub.
    pub from: Sid,
    /// Its number among all that this member sent.
    pub counter: u64,
    /// Its number among all that the hub passed to the bridge.
    pub hub_number: u64,
    /// May it be lost when its receiver cannot take it at once?
    pub volatile: bool,
    /// What the hub has to do about it, beside passing it on.
    pub kind: HeadKind,
}

/// How the hub treats a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadKind {
    /// The sender says who it is.
    Hello,
    /// A bridge tells the hub of other machines.
    Bridge,
    /// It is for the bridge, if there is one, and for nobody else.
    ForBridge,
    /// The sender must be told whom this was passed on to.
    Ask,
    /// It is passed on, and that is all.
    Pass,
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const MEMBERS: u8 = 2;
    pub(super) const RESPONDERS: u8 = 3;
    pub(super) const EMIT: u8 = 4;
    pub(super) const JOIN: u8 = 5;
    pub(super) const LEAVE: u8 = 6;
    pub(super) const DISCONNECT: u8 = 7;
    pub(super) const SERVER_SIDE: u8 = 8;
    pub(super) const WELCOME: u8 = 9;
    pub(super) const ELSEWHERE: u8 = 10;
    pub(super) const LINK: u8 = 11;
    pub(super) const NAMESPACE: u8 = 12;
    pub(super) const TELL_NAMESPACES: u8 = 13;
    pub(super) const REPORT: u8 = 14;
    pub(super) const ASK_SOCKETS: u8 = 16;
    pub(super) const ASK_ROOMS: u8 = 17;
    pub(super) const ASK_ACKS: u8 = 18;
    pub(super) const ASK_SERVER_SIDE: u8 = 19;
    pub(super) const ASK_DETAILS: u8 = 20;
    pub(super) const SOCKETS: u8 = 32;
    pub(super) const ROOMS: u8 = 33;
    pub(super) const ACKS_OF: u8 = 34;
    pub(super) const ACKS: u8 = 35;
    pub(super) const ACKS_END: u8 = 36;
    pub(super) const ANSWER_SERVER_SIDE: u8 = 37;
    pub(super) const FAILED: u8 = 38;
    pub(super) const DETAILS: u8 = 39;
    pub(super) const ANSWERS_SERVER_SIDE: u8 = 40;
}

/// The length of the frame that begins here, if its first bytes are there.
///
/// # Errors
/// When it is longer or shorter than any frame may be.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&rest) = bytes.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let len = (u32::from_le_bytes(rest) as usize).saturating_add(LENGTH);
    match len {
        ..HEAD => Err(FrameError::Short),
        HEAD..=MAX_FRAME => Ok(Some(len)),
        _ => Err(FrameError::Long(len)),
    }
}

impl Head {
    /// Reads the head of a whole frame.
    ///
    /// # Errors
    /// When it is of another version.
    pub(crate) fn read(frame: &[u8]) -> Result<Self, FrameError> {
        let len = length(frame)?.ok_or(FrameError::Short)?;
        let mut rest = frame.get(LENGTH..HEAD).ok_or(FrameError::Short)?;
        let version = rest.get_u8();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = match rest.get_u8() {
            kind::HELLO => HeadKind::Hello,
            kind::ELSEWHERE | kind::LINK | kind::REPORT => HeadKind::Bridge,
            kind::NAMESPACE => HeadKind::ForBridge,
            kind::ASK_SOCKETS..=kind::ASK_DETAILS => HeadKind::Ask,
            _ => HeadKind::Pass,
        };
        let volatile = rest.get_u16_le() & u16::from(VOLATILE) != 0;
        let to = read_member(&mut rest)?;
        let from = read_member(&mut rest)?.unwrap_or(Sid::ZERO);
        Ok(Self {
            len,
            to,
            from,
            counter: rest.get_u64_le(),
            hub_number: rest.get_u64_le(),
            volatile,
            kind,
        })
    }

    /// The number of the question that this frame asks.
    #[must_use]
    pub(crate) fn ticket(frame: &[u8]) -> Option<u64> {
        let ticket = frame.get(body_at(frame)?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*ticket))
    }
}

/// Where a frame's body begins.
fn body_at(frame: &[u8]) -> Option<usize> {
    let namespace = frame.get(HEAD - 2..)?.first_chunk()?;
    Some(HEAD + usize::from(u16::from_le_bytes(*namespace)))
}

/// A member's id in a head, of which there is enough.
fn read_member(head: &mut &[u8]) -> Result<Option<Sid>, FrameError> {
    let (id, rest) = head.split_at_checked(ID).ok_or(FrameError::Short)?;
    *head = rest;
    match id {
        [0, ..] => Ok(None),
        id => read_id(id).map(Some),
    }
}

/// The frame with its number among those of its sender. It is written in place if nobody else has the frame.
pub(crate) fn number(frame: Bytes, counter: u64) -> Bytes {
    let mut frame = frame
        .try_into_mut()
        .unwrap_or_else(|frame| frame[..].into());
    put_number(&mut frame, COUNTER, counter);
    frame.freeze()
}

/// The frame with the hub's number, in two parts: a head of its own, and what all receivers share. A small one is copied:
/// it may wait for long, and shall not keep all that came with it in memory.
pub(crate) fn number_for_bridge(frame: &Bytes, number: u64) -> [Bytes; 2] {
    const SMALL: usize = 4096;
    let at = match frame.len() {
        len @ ..SMALL => len,
        _ => HEAD,
    };
    let mut head: BytesMut = frame.get(..at).unwrap_or_default().into();
    put_number(&mut head, HUB_NUMBER, number);
    [head.freeze(), frame.slice(at..)]
}

fn put_number(head: &mut [u8], at: usize, number: u64) {
    if let Some(place) = head.get_mut(at..at + 8) {
        place.copy_from_slice(&number.to_le_bytes());
    }
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

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Welcome(_) => kind::WELCOME,
            Self::Members(_) => kind::MEMBERS,
            Self::Elsewhere(_) => kind::ELSEWHERE,
            Self::Link(_) => kind::LINK,
            Self::Namespace { .. } => kind::NAMESPACE,
            Self::TellNamespaces => kind::TELL_NAMESPACES,
            Self::Report(_) => kind::REPORT,
            Self::Responders { .. } => kind::RESPONDERS,
            Self::Command { command, .. } => match command {
                Command::Emit(_) => kind::EMIT,
                Command::Join(_) => kind::JOIN,
                Command::Leave(_) => kind::LEAVE,
                Command::Disconnect => kind::DISCONNECT,
            },
            Self::ServerSide { .. } => kind::SERVER_SIDE,
            Self::Ask { question, .. } => match question {
                Question::Sockets { .. } => kind::ASK_SOCKETS,
                Question::Rooms { .. } => kind::ASK_ROOMS,
                Question::Acks { .. } => kind::ASK_ACKS,
                Question::ServerSide { .. } => kind::ASK_SERVER_SIDE,
                Question::Details { .. } => kind::ASK_DETAILS,
            },
            Self::Answer { answer, .. } => match answer {
                Answer::Sockets(_) => kind::SOCKETS,
                Answer::Rooms(_) => kind::ROOMS,
                Answer::AcksOf(_) => kind::ACKS_OF,
                Answer::Acks(_) => kind::ACKS,
                Answer::AcksEnd => kind::ACKS_END,
                Answer::ServerSide(_) => kind::ANSWER_SERVER_SIDE,
                Answer::Failed(_) => kind::FAILED,
                Answer::Details(_) => kind::DETAILS,
                Answer::ServerSides { .. } => kind::ANSWERS_SERVER_SIDE,
            },
        }
    }

    /// The namespace that it is about, which stands in the head.
    fn namespace(&self) -> Option<&Str> {
        match self {
            Self::Command { ns, .. } | Self::Namespace { ns, .. } => Some(ns),
            Self::Ask { question, .. } => question.namespace(),
            _ => None,
        }
    }

    fn is_volatile(&self) -> bool {
        matches!(self, Self::Command { opts, .. } if opts.has_flag(BroadcastFlags::Volatile))
    }

    /// About how many bytes it takes: what is large is counted.
    fn size(&self) -> usize {
        const SMALL: usize = 128;
        SMALL
            + match self {
                Self::Command {
                    command: Command::Emit(value),
                    ..
                }
                | Self::Ask {
                    question: Question::Acks { value, .. },
                    ..
                } => value_size(value),
                Self::ServerSide { data, .. }
                | Self::Ask {
                    question: Question::ServerSide { data, .. },
                    ..
                }
                | Self::Answer {
                    answer: Answer::ServerSide(data),
                    ..
                } => data.len(),
                Self::Answer {
                    answer: Answer::Sockets(ids) | Answer::AcksOf(ids),
                    ..
                } => ids.len() * ID,
                Self::Answer {
                    answer: Answer::Details(of) | Answer::ServerSides { answers: of, .. },
                    ..
                } => of.iter().map(|json| json.len() + LENGTH).sum(),
                _ => 0,
            }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(role) => out.put_u8(match role {
                Role::Worker => 0,
                Role::Bridge => 1,
            }),
            Self::Welcome(welcome) => {
                out.put_u64_le(welcome.incarnation);
                out.put_u32_le(welcome.epoch);
                out.put_u16_le(welcome.machine);
                put_bytes(out, welcome.name.as_bytes());
                out.put_u64_le(welcome.passed);
            }
            Self::Members(members) | Self::Elsewhere(members) => {
                put_list(out, members, |out, member| {
                    put_id(out, &member.id);
                    out.put_u16_le(member.slot);
                    out.put_u32_le(member.pid);
                    put_bytes(out, member.machine.as_bytes());
                });
            }
            Self::Link(is) | Self::Namespace { is_here: is, .. } => out.put_u8((*is).into()),
            Self::TellNamespaces => {}
            Self::Report(report) => put_bytes(out, report),
            Self::Responders { ticket, ids } => {
                out.put_u64_le(*ticket);
                put_list(out, ids, put_id);
            }
            Self::Command { opts, command, .. } => {
                put_scope(out, opts);
                match command {
                    Command::Emit(value) => put_value(out, value),
                    Command::Join(rooms) | Command::Leave(rooms) => put_list(out, rooms, put_room),
                    Command::Disconnect => {}
                }
            }
            Self::ServerSide { event, data } => {
                put_bytes(out, event.as_bytes());
                put_bytes(out, data);
            }
            Self::Ask { ticket, question } => {
                out.put_u64_le(*ticket);
                question.encode(out);
            }
            Self::Answer { ticket, answer } => {
                out.put_u64_le(*ticket);
                answer.encode(out);
            }
        }
    }

    fn decode(kind: u8, ns: Str, input: &mut Input) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::HELLO => Self::Hello(match input.u8()? {
                0 => Role::Worker,
                1 => Role::Bridge,
                tag => return Err(FrameError::Tag(tag)),
            }),
            kind::WELCOME => Self::Welcome(Welcome {
                incarnation: input.u64()?,
                epoch: u32::from_le_bytes(input.array()?),
                machine: u16::from_le_bytes(input.array()?),
                name: input.text()?,
                passed: input.u64()?,
            }),
            kind::MEMBERS => Self::Members(input.list(Input::member)?),
            kind::ELSEWHERE => Self::Elsewhere(input.list(Input::member)?),
            kind::LINK => Self::Link(input.bool()?),
            kind::NAMESPACE => Self::Namespace {
                ns,
                is_here: input.bool()?,
            },
            kind::TELL_NAMESPACES => Self::TellNamespaces,
            kind::REPORT => Self::Report(input.bytes()?),
            kind::RESPONDERS => Self::Responders {
                ticket: input.u64()?,
                ids: input.list(Input::id)?,
            },
            kind::EMIT..=kind::DISCONNECT => {
                let opts = input.scope()?;
                let command = match kind {
                    kind::EMIT => Command::Emit(input.value()?),
                    kind::JOIN => Command::Join(input.list(Input::room)?),
                    kind::LEAVE => Command::Leave(input.list(Input::room)?),
                    _ => Command::Disconnect,
                };
                Self::Command { ns, opts, command }
            }
            kind::SERVER_SIDE => Self::ServerSide {
                event: input.text()?,
                data: input.bytes()?,
            },
            kind::ASK_SOCKETS..=kind::ASK_DETAILS => Self::Ask {
                ticket: input.u64()?,
                question: Question::decode(kind, ns, input)?,
            },
            kind::SOCKETS..=kind::ANSWERS_SERVER_SIDE => Self::Answer {
                ticket: input.u64()?,
                answer: Answer::decode(kind, input)?,
            },
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}

/// About how many bytes a value takes.
#[must_use]
pub(crate) fn value_size(value: &Value) -> usize {
    const LENGTHS: usize = 16;
    LENGTHS
        + match value {
            Value::Str(text, None) => text.len(),
            Value::Str(text, Some(attachments)) => {
                let attachments = attachments.iter();
                text.len() + attachments.map(|a| a.len() + LENGTHS).sum::<usize>()
            }
            Value::Bytes(bytes) => bytes.len(),
        }
}

#[cfg(test)]
mod tests;
