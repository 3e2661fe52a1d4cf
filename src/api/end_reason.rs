//! Why a socket was disconnected, in the words of the log, the metrics and `my-app why`.

use std::convert::Infallible;
use std::sync::Arc;

use engineioxide::EndReason as SessionEnd;
use socketioxide::adapter::Adapter;
use socketioxide::handler::FromDisconnectParts;
use socketioxide::socket::{DisconnectReason, Socket};

pub use crate::wire::control::Reason as EndReason;

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
