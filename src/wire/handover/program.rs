//! The program itself: where it is, how it was started, and what the reload wants of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Fd;

/// The program.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProgramState {
    /// The executable, as resolved at the first start.
    pub path: PathBuf,
    /// The version that packed this.
    pub version: String,
    /// The frames of the bus that it speaks.
    pub bus: u8,
    /// The configuration that is to hold, as JSON: as the program that takes over has read it when it was tried.
    pub config: String,
    /// Is the bridge a child of the master?
    pub has_own_bridge: bool,
    /// How long sessions still end because the machine was taken out, in milliseconds.
    pub taken_out_ms: Option<u64>,
    /// Those who wait for a reload, the one whose turn it is first: their connections to the control socket.
    pub waiting: Vec<Fd>,
    /// The file's device and inode, if the system tells: another file is another program.
    pub file: Option<(u64, u64)>,
    /// Since when all stands still, in nanoseconds of `CLOCK_MONOTONIC` (`clock_gettime(2)`); in a copy for a trial 0.
    pub frozen_at_ns: u64,
}
