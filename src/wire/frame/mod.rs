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
//! | 6..22 | for whom: a member's id, or zeros for all others |
//! | 22.. | body |
//!
//! [`Frame::encode`] and [`Frame::decode`] are pure. The hub reads heads only ([`Head::read`]): a
//! frame is encoded once, by its sender, for however many receivers.

mod parts;
mod questions;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use socketioxide_core::adapter::{BroadcastOptions, Room};
use socketioxide_core::{Sid, Str, Value};

use self::parts::{Input, put_bytes, put_id, put_list, put_room, put_scope, put_value, read_id};
pub(crate) use self::questions::{AckFailure, Answer, Failure, Question};

/// The version of the format. A receiver refuses any other.
pub(crate) const VERSION: u8 = 1;

/// Length of a frame's head, in bytes.
pub(crate) const HEAD: usize = 22;

/// The largest frame, head included, in bytes.
pub(crate) const MAX_FRAME: usize = 32 << 20;

const ID: usize = 16;
/// Of the head, what is not counted in the length that it begins with.
const LENGTH: usize = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// The member that it is for; `None`: all but the sender.
    pub to: Option<Sid>,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// A worker's first frame: its id on the bus.
    Hello(Sid),
    /// The hub, whenever it changed: all members of this moment.
    Members(Vec<BusMember>),
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
        /// Who asks.
        from: Sid,
        /// What.
        question: Question,
    },
    /// An answer, or a part of it.
    Answer {
        /// The question's number.
        ticket: u64,
        /// Who answers.
        from: Sid,
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

/// A worker on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BusMember {
    /// Its id on the bus, new with each process.
    pub id: Sid,
    /// Its number.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
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

/// What the hub reads of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length of the whole frame, in bytes.
    pub len: usize,
    /// The member that it is for; `None`: all but the sender.
    pub to: Option<Sid>,
    /// What the hub has to do about it, beside passing it on.
    pub kind: HeadKind,
}

/// How the hub treats a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadKind {
    /// The sender says who it is.
    Hello,
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
    pub(super) const ASK_SOCKETS: u8 = 16;
    pub(super) const ASK_ROOMS: u8 = 17;
    pub(super) const ASK_ACKS: u8 = 18;
    pub(super) const ASK_SERVER_SIDE: u8 = 19;
    pub(super) const SOCKETS: u8 = 32;
    pub(super) const ROOMS: u8 = 33;
    pub(super) const ACKS_OF: u8 = 34;
    pub(super) const ACKS: u8 = 35;
    pub(super) const ACKS_END: u8 = 36;
    pub(super) const ANSWER_SERVER_SIDE: u8 = 37;
    pub(super) const FAILED: u8 = 38;
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
            kind::ASK_SOCKETS..=kind::ASK_SERVER_SIDE => HeadKind::Ask,
            _ => HeadKind::Pass,
        };
        let to = match rest {
            [0, ..] => None,
            id => Some(read_id(id)?),
        };
        Ok(Self { len, to, kind })
    }

    /// The number of the question that this frame asks.
    #[must_use]
    pub(crate) fn ticket(frame: &[u8]) -> Option<u64> {
        let ticket = frame.get(HEAD..)?.first_chunk()?;
        Some(u64::from_le_bytes(*ticket))
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
        match &self.to {
            Some(id) => put_id(&mut out, id),
            None => out.put_bytes(0, ID),
        }
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
        let mut input = Input(frame.slice(HEAD..));
        let body = Body::decode(kind, &mut input)?;
        if !input.0.is_empty() {
            return Err(FrameError::Trailing);
        }
        Ok(Self { to: head.to, body })
    }
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Members(_) => kind::MEMBERS,
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
            },
            Self::Answer { answer, .. } => match answer {
                Answer::Sockets(_) => kind::SOCKETS,
                Answer::Rooms(_) => kind::ROOMS,
                Answer::AcksOf(_) => kind::ACKS_OF,
                Answer::Acks(_) => kind::ACKS,
                Answer::AcksEnd => kind::ACKS_END,
                Answer::ServerSide(_) => kind::ANSWER_SERVER_SIDE,
                Answer::Failed(_) => kind::FAILED,
            },
        }
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
                _ => 0,
            }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(id) => put_id(out, id),
            Self::Members(members) => put_list(out, members, |out, member| {
                put_id(out, &member.id);
                out.put_u16_le(member.slot);
                out.put_u32_le(member.pid);
            }),
            Self::Responders { ticket, ids } => {
                out.put_u64_le(*ticket);
                put_list(out, ids, put_id);
            }
            Self::Command { ns, opts, command } => {
                put_scope(out, ns, opts);
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
            Self::Ask {
                ticket,
                from,
                question,
            } => {
                out.put_u64_le(*ticket);
                put_id(out, from);
                question.encode(out);
            }
            Self::Answer {
                ticket,
                from,
                answer,
            } => {
                out.put_u64_le(*ticket);
                put_id(out, from);
                answer.encode(out);
            }
        }
    }

    fn decode(kind: u8, input: &mut Input) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::HELLO => Self::Hello(input.id()?),
            kind::MEMBERS => Self::Members(input.list(|input| {
                Ok(BusMember {
                    id: input.id()?,
                    slot: u16::from_le_bytes(input.array()?),
                    pid: u32::from_le_bytes(input.array()?),
                })
            })?),
            kind::RESPONDERS => Self::Responders {
                ticket: input.u64()?,
                ids: input.list(Input::id)?,
            },
            kind::EMIT..=kind::DISCONNECT => {
                let (ns, opts) = input.scope()?;
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
            kind::ASK_SOCKETS..=kind::ASK_SERVER_SIDE => Self::Ask {
                ticket: input.u64()?,
                from: input.id()?,
                question: Question::decode(kind, input)?,
            },
            kind::SOCKETS..=kind::FAILED => Self::Answer {
                ticket: input.u64()?,
                from: input.id()?,
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
