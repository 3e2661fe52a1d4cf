//! What an application is written with.
//!
//! `src/app/` (and whatever replaces it in a fork) uses this module, socketioxide's extractors and
//! axum's router, and nothing else of the server: no descriptor, pid or frame reaches it.

mod args;
mod ask;
mod client_addr;
mod end_reason;
mod event;
mod handler;
mod socket;

use http::StatusCode;
use http::request::Parts;
use socketioxide::SocketIo;
use socketioxide::extract::AckSender;

use crate::bus::BusAdapter;
use crate::metrics::Refused;

pub use crate::bus::{Answers, Cluster, ClusterError, Missing, TooManyRooms, Why, WorkerInfo};
pub use args::{Ack, Arg, Args, ArgsError};
pub use ask::{Responses, ask};
pub use client_addr::ClientAddr;
pub use end_reason::EndReason;
pub use event::{Event, handler_name};
pub use handler::Attributed;
pub use socket::Socket;

/// The adapter: what is done with sockets happens on all workers.
pub type Adapter = BusAdapter;
/// The server, as handlers see it.
pub type Io = SocketIo<Adapter>;
/// Answers one event's acknowledgement.
pub type Responder = AckSender<Adapter>;

/// An application: three functions, called in each worker.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// Declares the namespaces and their handlers; called once. Handlers may have the [`Cluster`] as
    /// `State<Cluster>`, too.
    pub namespaces: fn(&Io, &Cluster),
    /// May this client in? Called for the handshake of every session, over long-polling or
    /// WebSocket, and again when a session is upgraded.
    pub admit: fn(&Parts, ClientAddr) -> Result<(), Refusal>,
    /// Answers plain HTTP requests outside the engine's path; called once. A request's extensions
    /// have its [`ClientAddr`]. Bodies have no deadline there but the one that a layer gives them.
    pub routes: fn() -> axum::Router,
}

/// Why a client is not let in: an HTTP status and a message that the client shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: u8,
    pub(crate) message: String,
    /// How it is counted.
    pub(crate) why: Refused,
}

impl Refusal {
    /// It is not the application that refuses.
    pub(crate) fn because(self, why: Refused) -> Self {
        Self { why, ..self }
    }

    /// 403, and Engine.IO's code 4, as Node's `allowRequest` gives.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 401: who are you?
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 429 with `Retry-After: 1`: this client asks for too much.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }

    /// 503 with `Retry-After: 1`: later, perhaps.
    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: 4,
            message: message.into(),
            why: Refused::Application,
        }
    }
}
