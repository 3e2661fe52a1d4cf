//! What goes into the part that speaks with Node servers, and what comes out of it.

use std::fmt;

use bytes::Bytes;
use socketioxide_core::Sid;

use crate::bridge::notepack::Parser;
use crate::bridge::transport::Channel;
use crate::wire::frame::BusMember;

/// What the part is told at its start.
#[derive(Debug, Clone)]
pub(in crate::bridge) struct NodeSettings {
    /// What the channels' names begin with; Node's `key` option, "socket.io" there.
    pub key: String,
    /// Whether emitters are heard, which speak on the same channels.
    pub emitter: bool,
    /// How the workers write packets.
    pub parser: Parser,
    /// The id of Node's servers on this machine's bus, drawn anew by each bridge.
    pub id: Sid,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bridge) enum Output {
    /// Listen to these.
    Subscribe(Vec<Channel>),
    /// Listen to these no more.
    Unsubscribe(Vec<Channel>),
    /// Publish this, in one piece.
    Publish {
        /// Where to.
        channel: String,
        /// What.
        payload: Bytes,
    },
    /// Ask how many are subscribed to this, and say it to [`Node::counted`](super::Node::counted).
    NumSub {
        /// The number of the question.
        id: u64,
        /// Of which channel.
        channel: String,
    },
    /// A frame for the own hub's workers.
    Deliver(Bytes),
    /// The hub is to know: this member is there beside those of other machines, or not any more.
    Elsewhere(Option<BusMember>),
    /// For the log.
    Tell(Notice),
}

impl Output {
    /// About how many bytes it keeps.
    pub(super) fn size(&self) -> usize {
        let more = match self {
            Self::Publish { channel, payload } => channel.len() + payload.len(),
            Self::Deliver(frame) => frame.len(),
            Self::NumSub { channel, .. } => channel.len(),
            Self::Tell(Notice::Garbled { channel, why }) => channel.len() + why.len(),
            Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Elsewhere(_) | Self::Tell(_) => 0,
        };
        size_of::<Self>() + more
    }
}

/// What happened, for the log. Its text is the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Notice {
    /// A message was none that Node's adapter sends.
    Garbled {
        /// On which channel.
        channel: String,
        /// Why.
        why: String,
    },
    /// Node servers did not answer.
    Unanswered {
        /// How many answers are missing.
        missing: u64,
    },
    /// Something is too large for the wire, or too much waits.
    Dropped {
        /// What.
        what: &'static str,
    },
    /// Too much of what Node servers say waits for this machine's workers.
    Missed,
    /// There are too many namespaces.
    TooManyNamespaces,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::bridge) struct Figures {
    /// Messages that were none.
    pub garbled: u64,
    /// Messages that were not passed on: nobody was connected, too much waited, or they were too large.
    pub dropped: u64,
    /// Answers of Node servers that did not come.
    pub unanswered: u64,
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbled { channel, why } => {
                write!(out, "no message of a Node server came on {channel}: {why}")
            }
            Self::Unanswered { missing } => {
                write!(
                    out,
                    "{missing} of Node's servers did not answer within 2 s; the others did"
                )
            }
            Self::Dropped { what } => write!(out, "Node servers were not told {what}"),
            Self::Missed => write!(
                out,
                "workers miss what Node servers say: more of it waits than is kept"
            ),
            Self::TooManyNamespaces => write!(
                out,
                "this machine has too many namespaces, or one with too long a name: Node servers are not told of the rest"
            ),
        }
    }
}
