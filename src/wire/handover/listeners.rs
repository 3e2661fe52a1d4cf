//! Where connections are accepted.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Fd;

/// The listeners.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenersState {
    /// Each of them.
    pub listeners: Vec<ListenerState>,
    /// Socket units of systemd's that should have passed a listener and have not.
    pub missing_units: Vec<String>,
    /// What was configured and could not be had, or not all of it, as it was configured.
    pub refused: Vec<String>,
}

/// One listener.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerState {
    /// The listener.
    pub fd: Fd,
    /// As it was configured; none: it is systemd's.
    pub configured: Option<String>,
    /// Its address; none: it is a Unix socket.
    pub address: Option<SocketAddr>,
    /// Where it is, as clients write it.
    pub place: String,
    /// The file of its own, which goes when it is closed.
    pub file: Option<PathBuf>,
    /// Have all been accepted that connected before the socket was tuned?
    pub caught_up: bool,
    /// The slot whose own port it is.
    pub port_of: Option<u16>,
}
