//! Connections that no worker has yet.

use serde::{Deserialize, Serialize};

use super::Fd;
use crate::wire::link::{Handoff, Origin};
use crate::wire::session_id::Home;

/// The connections, in the order in which they were accepted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionsState {
    /// Each of them.
    pub connections: Vec<ConnectionState>,
}

/// One connection.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionState {
    /// The connection. Nothing was read from it.
    pub fd: Fd,
    /// Who is at the other end.
    pub origin: Origin,
    /// The slot to whose own port it came.
    pub port_of: Option<u16>,
    /// How long ago it was accepted, in milliseconds.
    pub age_ms: u32,
    /// How far it has come.
    pub stage: ConnectionStage,
}

/// How far a connection has come.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConnectionStage {
    /// Its first line is awaited, or a worker that takes it.
    Unrouted,
    /// It is one too many, and is refused unless it is a health check's.
    TooMany {
        /// Of its client's, and not of all?
        of_client: bool,
    },
    /// It goes from one worker to another.
    Passing {
        /// To which.
        to: Home,
        /// As the one worker gave it.
        handoff: Handoff,
        /// What is reserved for the session that it opens.
        reservation: Option<u64>,
    },
    /// It gets an answer of the master's.
    Answering {
        /// What is still to be written.
        left: Vec<u8>,
    },
}
