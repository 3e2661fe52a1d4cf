//! What members ask each other, and what they answer.

use bytes::{BufMut, Bytes, BytesMut};
use socketioxide_core::adapter::{BroadcastOptions, Room};
use socketioxide_core::{Sid, Str, Value};

use super::parts::{Input, put_bytes, put_id, put_list, put_room, put_scope, put_value};
use super::{FrameError, kind};

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Question {
    /// Which sockets match?
    Sockets {
        /// The namespace.
        ns: Str,
        /// Which sockets.
        opts: BroadcastOptions,
    },
    /// Which rooms are the matching sockets in?
    Rooms {
        /// The namespace.
        ns: Str,
        /// Which sockets.
        opts: BroadcastOptions,
    },
    /// What do the matching sockets' clients acknowledge this event with?
    Acks {
        /// The namespace.
        ns: Str,
        /// Which sockets.
        opts: BroadcastOptions,
        /// How long a client may take, in milliseconds.
        timeout_ms: u64,
        /// The event.
        value: Value,
    },
    /// What does the application answer to this event?
    ServerSide {
        /// Its name.
        event: Str,
        /// JSON.
        data: Bytes,
    },
    /// What is known of the matching sockets?
    Details {
        /// The namespace.
        ns: Str,
        /// Which sockets.
        opts: BroadcastOptions,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// To [`Question::Sockets`].
    Sockets(Vec<Sid>),
    /// To [`Question::Rooms`].
    Rooms(Vec<Room>),
    /// To [`Question::Acks`], first: the sockets whose acknowledgements will follow.
    AcksOf(Vec<Sid>),
    /// To [`Question::Acks`], as they come.
    Acks(Vec<(Sid, Result<Value, AckFailure>)>),
    /// To [`Question::Acks`], last.
    AcksEnd,
    /// To [`Question::ServerSide`]: JSON.
    ServerSide(Bytes),
    /// To any: there is none, and why.
    Failed(Failure),
    /// To [`Question::Details`]: of each socket a JSON object, as Node's servers tell each other.
    Details(Vec<Bytes>),
    /// To [`Question::ServerSide`], by a member that stands for many servers: JSON of each.
    ServerSides {
        /// Those that came.
        answers: Vec<Bytes>,
        /// How many servers did not answer.
        missing: u32,
    },
}

/// Why there is no acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckFailure {
    /// The client took too long.
    Timeout,
    /// The client is gone.
    Closed,
}

/// Why a member has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Its application does not listen for this event.
    NoHandler,
    /// In words.
    Other(Str),
}

impl Question {
    /// The namespace that it is about, which stands in the head.
    pub(super) fn namespace(&self) -> Option<&Str> {
        match self {
            Self::Sockets { ns, .. }
            | Self::Rooms { ns, .. }
            | Self::Acks { ns, .. }
            | Self::Details { ns, .. } => Some(ns),
            Self::ServerSide { .. } => None,
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Sockets { opts, .. } | Self::Rooms { opts, .. } | Self::Details { opts, .. } => {
                put_scope(out, opts);
            }
            Self::Acks {
                opts,
                timeout_ms,
                value,
                ..
            } => {
                put_scope(out, opts);
                out.put_u64_le(*timeout_ms);
                put_value(out, value);
            }
            Self::ServerSide { event, data } => {
                put_bytes(out, event.as_bytes());
                put_bytes(out, data);
            }
        }
    }

    pub(super) fn decode(kind: u8, ns: Str, input: &mut Input) -> Result<Self, FrameError> {
        if kind == kind::ASK_SERVER_SIDE {
            return Ok(Self::ServerSide {
                event: input.text()?,
                data: input.bytes()?,
            });
        }
        let opts = input.scope()?;
        Ok(match kind {
            kind::ASK_SOCKETS => Self::Sockets { ns, opts },
            kind::ASK_ROOMS => Self::Rooms { ns, opts },
            kind::ASK_DETAILS => Self::Details { ns, opts },
            _ => Self::Acks {
                ns,
                opts,
                timeout_ms: input.u64()?,
                value: input.value()?,
            },
        })
    }
}

impl Answer {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Sockets(ids) | Self::AcksOf(ids) => put_list(out, ids, put_id),
            Self::Rooms(rooms) => put_list(out, rooms, put_room),
            Self::Acks(acks) => put_list(out, acks, |out, (id, ack)| {
                put_id(out, id);
                match ack {
                    Ok(value) => {
                        out.put_u8(0);
                        put_value(out, value);
                    }
                    Err(AckFailure::Timeout) => out.put_u8(1),
                    Err(AckFailure::Closed) => out.put_u8(2),
                }
            }),
            Self::AcksEnd => {}
            Self::ServerSide(data) => put_bytes(out, data),
            Self::Details(of) => put_list(out, of, |out, json| put_bytes(out, json)),
            Self::ServerSides { answers, missing } => {
                out.put_u32_le(*missing);
                put_list(out, answers, |out, json| put_bytes(out, json));
            }
            Self::Failed(Failure::NoHandler) => out.put_u8(0),
            Self::Failed(Failure::Other(why)) => {
                out.put_u8(1);
                put_bytes(out, why.as_bytes());
            }
        }
    }

    pub(super) fn decode(kind: u8, input: &mut Input) -> Result<Self, FrameError> {
        Ok(match kind {
            kind::SOCKETS => Self::Sockets(input.list(Input::id)?),
            kind::ROOMS => Self::Rooms(input.list(Input::room)?),
            kind::ACKS_OF => Self::AcksOf(input.list(Input::id)?),
            kind::ACKS => Self::Acks(input.list(|input| {
                let id = input.id()?;
                let ack = match input.u8()? {
                    0 => Ok(input.value()?),
                    1 => Err(AckFailure::Timeout),
                    2 => Err(AckFailure::Closed),
                    tag => return Err(FrameError::Tag(tag)),
                };
                Ok((id, ack))
            })?),
            kind::ACKS_END => Self::AcksEnd,
            kind::ANSWER_SERVER_SIDE => Self::ServerSide(input.bytes()?),
            kind::DETAILS => Self::Details(input.list(Input::bytes)?),
            kind::ANSWERS_SERVER_SIDE => Self::ServerSides {
                missing: u32::from_le_bytes(input.array()?),
                answers: input.list(Input::bytes)?,
            },
            _ => Self::Failed(match input.u8()? {
                0 => Failure::NoHandler,
                1 => Failure::Other(input.text()?),
                tag => return Err(FrameError::Tag(tag)),
            }),
        })
    }

    /// Is this all that the member has to say?
    #[must_use]
    pub(crate) fn is_last(&self) -> bool {
        !matches!(self, Self::AcksOf(_) | Self::Acks(_))
    }
}
