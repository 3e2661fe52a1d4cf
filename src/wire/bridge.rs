//! What the bridge tells the master of itself.

use serde::{Deserialize, Serialize};

/// How a bridge is. It is JSON on the bus, for the two may be of different versions for a while: what one does not
/// say is as by default, and what it says beyond is not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The server between the machines, without secrets.
    pub server: String,
    /// Is the link up?
    pub up: bool,
    /// For how long it has been up, or down, in seconds.
    pub since_seconds: f64,
    /// What is missing, and what mends it; nothing if all is well.
    pub missing: Vec<String>,
    /// The other machines.
    pub machines: Vec<Machine>,
    /// Frames that other machines sent to members of this one.
    pub frames_in: u64,
    /// Frames of this machine's members for others.
    pub frames_out: u64,
    /// Bytes of both.
    pub bytes_in: u64,
    /// Bytes of both.
    pub bytes_out: u64,
    /// Frames of other machines that came late, because they were asked for again.
    pub repaired: u64,
    /// Frames of other machines that are lost.
    pub lost: u64,
    /// Messages that made no sense.
    pub malformed: u64,
    /// Frames of Socket.IO's emitters.
    pub emitted: u64,
    /// How often the link went down.
    pub outages: u64,
    /// Bytes kept for who missed something.
    pub ring_bytes: u64,
    /// Bytes that wait for the server between the machines.
    pub waiting_bytes: u64,
    /// What the process has in memory, in bytes.
    pub memory_bytes: u64,
}

/// Another machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// Its name.
    pub name: String,
    /// Its number in session ids.
    pub number: u16,
    /// How many workers it has.
    pub workers: u32,
}
