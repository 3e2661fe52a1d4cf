//! What an application is written with.
//!
//! `src/app/` (and whatever replaces it in a fork) uses this module, socketioxide's extractors and
//! axum's router, and nothing else of the server: no descriptor, pid or frame reaches it.

mod admit;
mod args;
mod ask;
mod client_addr;
mod end_reason;
mod endpoint;
mod event;
mod handler;
mod public_data;
mod socket;

use http::request::Parts;
use socketioxide::SocketIo;
use socketioxide::extract::AckSender;

use crate::bus::BusAdapter;

pub use crate::bus::{Answers, Cluster, ClusterError, Missing, TooManyRooms, Why, WorkerInfo};
pub use admit::{Admission, Admitted, Refusal};
pub use args::{Ack, Arg, Args, ArgsError};
pub use ask::{Responses, ask};
pub use client_addr::ClientAddr;
pub use end_reason::EndReason;
pub use endpoint::Endpoint;
pub use event::{Event, handler_name};
pub use handler::Attributed;
pub use public_data::PublicData;
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
    ///
    /// It may wait, for a database, say: ten seconds at most, and 1,024 clients of a worker at a time; who waits longer,
    /// or is one too many, is answered 503. A client that goes away ends the wait.
    pub admit: for<'a> fn(&'a Parts, ClientAddr) -> Admission<'a>,
    /// Answers plain HTTP requests outside the engine's path; called once. A request's extensions
    /// have its [`ClientAddr`] and the [`Endpoint`]. Bodies have no deadline there but the one that a layer gives them.
    pub routes: fn() -> axum::Router,
}
