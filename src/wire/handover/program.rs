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
    /// How long ago the server was started first, in milliseconds.
    pub age_ms: u64,
    /// How often it was reloaded.
    pub reloads: u64,
    /// The configuration that is in force, as JSON: what the program goes on with if the new one does not serve.
    pub config: Vec<u8>,
    /// The file that the configuration is read from, if it was named.
    pub config_file: Option<PathBuf>,
    /// Those who wait for the result, the one whose turn it is first: their connections to the control socket.
    pub waiting: Vec<Fd>,
}
