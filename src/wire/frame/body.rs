//! Bodies as bytes.

use bytes::{BufMut, BytesMut};
use socketioxide_core::adapter::BroadcastFlags;
use socketioxide_core::{Str, Value};

use super::head::LENGTH;
use super::parts::{Input, put_bytes, put_heard, put_id, put_list, put_room, put_scope, put_value};
use super::{Answer, Body, Command, FrameError, ID, Question, Role, Welcome, kind};

impl Body {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Welcome(_) => kind::WELCOME,
            Self::Members(_) => kind::MEMBERS,
            Self::Elsewhere(_) => kind::ELSEWHERE,
            Self::Link(_) => kind::LINK,
            Self::Namespace { .. } => kind::NAMESPACE,
            Self::TellNamespaces => kind::TELL_NAMESPACES,
            Self::Report(_) => kind::REPORT,
            Self::Heard { .. } => kind::HEARD,
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
    pub(super) fn namespace(&self) -> Option<&Str> {
        match self {
            Self::Command { ns, .. } | Self::Namespace { ns, .. } => Some(ns),
            Self::Ask { question, .. } => question.namespace(),
            _ => None,
        }
    }

    pub(super) fn is_volatile(&self) -> bool {
        matches!(self, Self::Command { opts, .. } if opts.has_flag(BroadcastFlags::Volatile))
    }

    /// About how many bytes it takes: what is large is counted.
    pub(super) fn size(&self) -> usize {
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

    pub(super) fn encode(&self, out: &mut BytesMut) {
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
                put_list(out, &welcome.heard, put_heard);
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
            Self::Heard { at, report } => {
                put_list(out, at, put_heard);
                put_bytes(out, report);
            }
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

    pub(super) fn decode(kind: u8, ns: Str, input: &mut Input) -> Result<Self, FrameError> {
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
                heard: input.list(Input::heard)?,
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
            kind::HEARD => Self::Heard {
                at: input.list(Input::heard)?,
                report: input.bytes()?,
            },
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
