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
    /// What the process has counted, in the order of the table of metrics.
    pub values: Vec<u64>,
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
