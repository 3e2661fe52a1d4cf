//! Why a socket was disconnected, in the words of the log, the metrics and `my-app why`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use engineioxide::EndReason as SessionEnd;
use socketioxide::adapter::Adapter;
use socketioxide::handler::FromDisconnectParts;
use socketioxide::socket::{DisconnectReason, Socket};

/// Why a socket was disconnected: an extractor of disconnect handlers, finer than socketioxide's
/// [`DisconnectReason`], and the same word that the log, the metrics and `my-app why` have for the session's end.
///
/// A socket that leaves its namespace while its session goes on has [`EndReason::ClientLeft`] if its client wanted it so, and
/// [`EndReason::Application`] if the application did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The client closed it.
    ClientLeft,
    /// The connection ended without a word.
    TransportClosed,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// The client took nothing of what it was sent for `write_stall_timeout`.
    WriteStall,
    /// The worker's memory was full, and much was waiting for this client.
    Memory,
    /// The client sent a message larger than `max_payload`.
    TooLarge,
    /// The client broke a protocol.
    ProtocolError,
    /// The client joined no namespace within `connect_timeout`.
    ConnectTimeout,
    /// The application, or an operator, disconnected it.
    Application,
    /// The time for which it was [admitted](super::Admitted) ran out.
    Until,
    /// This machine is taken out, or reloads.
    Drain,
    /// The server stops.
    Stopped,
}

impl EndReason {
    /// Its word: `ping-timeout`, for example.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client-left",
            Self::TransportClosed => "transport-closed",
            Self::PingTimeout => "ping-timeout",
            Self::WriteStall => "write-stall",
            Self::Memory => "memory",
            Self::TooLarge => "too-large",
            Self::ProtocolError => "protocol-error",
            Self::ConnectTimeout => "connect-timeout",
            Self::Application => "application",
            Self::Until => "until",
            Self::Drain => "drain",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<SessionEnd> for EndReason {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::ClientLeft => Self::ClientLeft,
            SessionEnd::TransportClosed => Self::TransportClosed,
            SessionEnd::PingTimeout => Self::PingTimeout,
            SessionEnd::WriteStall => Self::WriteStall,
            SessionEnd::Memory => Self::Memory,
            SessionEnd::TooLarge => Self::TooLarge,
            SessionEnd::ProtocolError | SessionEnd::Overlap => Self::ProtocolError,
            SessionEnd::ConnectTimeout => Self::ConnectTimeout,
            SessionEnd::Application => Self::Application,
            SessionEnd::Until => Self::Until,
            SessionEnd::Drain => Self::Drain,
            SessionEnd::Stopped => Self::Stopped,
        }
    }
}

impl<A: Adapter> FromDisconnectParts<A> for EndReason {
    type Error = Infallible;

    fn from_disconnect_parts(
        _: &Arc<Socket<A>>,
        told: DisconnectReason,
    ) -> Result<Self, Infallible> {
        Ok(match told {
            // Of one namespace: its session may go on.
            DisconnectReason::ClientNSDisconnect => Self::ClientLeft,
            DisconnectReason::ServerNSDisconnect => Self::Application,
            // Handlers are called within the engine's call, which knows more.
            _ => engineioxide::end_reason().map_or(Self::Application, Into::into),
        })
    }
}
