//! A reload: the program that is there now, with the configuration that is there now, takes this process over, and
//! everything in it.
//!
//! ```text
//! POST /reload ─▶ judge ─▶ trial (the new program, a copy of the state, one worker)
//!                   │
//!                   ▼ nothing was touched up to here
//!                 freeze: pack all, exec ─▶ resume: adopt all ─▶ new generation ─▶ the old one drains
//! ```
//!
//! Nothing is awaited between the packing and the exec. What the kernel holds (connections, what waits in sockets, the
//! workers) does not notice. How long that takes is measured ([`pause`]).

mod driver;
mod exec;
mod freeze;
mod judge;
mod pause;
mod program;
mod queue;
mod trial;

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use self::driver::{Driver, Resumed, Step};
pub(crate) use self::exec::{ResumeError, receive};
pub(crate) use self::program::Program;
pub(crate) use self::queue::{Reloads, Stage};
pub(crate) use self::trial::run as try_to_reload;
use crate::process;
use crate::wire::handover::HandoverError;

/// What a program that was tried says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Its version.
    version: String,
    /// Which state it reads.
    state: u32,
    /// Which messages of the link it knows.
    link: u32,
    /// Which frames of the bus it speaks.
    bus: u8,
    /// The configuration as it has read it, as JSON: what it was tried with is what it gets.
    config: String,
}

/// What a program that is tried says first, in a line of its own: the configuration that it has read may give it longer
/// than the one of the running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Patience {
    /// How long it may take.
    start_timeout_ms: u64,
}

/// What a reload has changed; the answer to `POST /reload`, see docs/CONTROL.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) version_before: String,
    pub(crate) version: String,
    /// The keys of the configuration that have other values than before.
    pub(crate) changed: Vec<&'static str>,
    /// Have new workers taken over? Otherwise those before have been told what changed.
    pub(crate) new_workers: bool,
    /// How long the master stood still, in milliseconds.
    pub(crate) pause_ms: f64,
    pub(crate) generation: u16,
    /// The workers that take connections.
    pub(crate) workers: u16,
    /// The sessions that end, those of the workers before.
    pub(crate) sessions_before: u64,
    pub(crate) drain_seconds: f64,
    /// What an operator should know besides.
    pub(crate) remarks: Vec<String>,
}

/// Why a reload was not done. The server runs on as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The server starts or stops.
    #[error("not reloaded: the server is {0}; try again when it runs")]
    Phase(&'static str),
    /// Too many wait.
    #[error("not reloaded: {0} others wait for a reload already")]
    TooMany(usize),
    /// Nobody knows what to execute.
    #[error("not reloaded: {0}")]
    Program(#[source] io::Error),
    /// It cannot be executed.
    #[error("not reloaded: {} cannot be run: {source}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It gives no answer.
    #[error(
        "not reloaded: the new program was tried and gave no answer within {0}; if its application \
         needs longer to start, set start_timeout higher"
    )]
    Hangs(humantime::FormattedDuration),
    /// It is not the one that was tried any more.
    #[error("not reloaded: {} was replaced while it was tried; try again", .0.display())]
    Replaced(PathBuf),
    /// It ended.
    #[error("not reloaded: the new program was tried and ended {0}")]
    Ended(String),
    /// It says why.
    #[error("not reloaded: {0}")]
    Refused(String),
    /// It is of a version that cannot take over.
    #[error(
        "not reloaded: the program that is there now knows no reload: \
         'systemctl restart my-app.service' starts it"
    )]
    KnowsNoReload,
    /// It reads another state, or speaks to workers otherwise.
    #[error(
        "not reloaded: version {0} cannot take over from version {version}: \
         'systemctl restart my-app.service' starts it",
        version = env!("CARGO_PKG_VERSION")
    )]
    TooDifferent(String),
    /// What there is could not be packed, or the program not be executed, after all.
    #[error("not reloaded: {0}")]
    Freeze(#[source] io::Error),
    /// There are no descriptors for it.
    #[error(
        "not reloaded: too many open connections to pass on: of the {0} files that the server may have open too few \
         are left for a reload; try again when clients have gone, or set LimitNOFILE= of the unit higher"
    )]
    NoDescriptors(u64),
    /// It could not be written.
    #[error("not reloaded: {0}")]
    State(#[from] HandoverError),
    /// The program took over, but its workers do not start.
    #[error("the new program runs, but its workers do not start, and those before serve on: {0}")]
    Workers(String),
}

impl ReloadError {
    /// A step failed that needs descriptors: is it for want of them? If not it is what `otherwise` makes of it.
    fn of(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => Self::NoDescriptors(process::descriptor_limit()),
            _ => otherwise(error),
        }
    }

    fn of_freeze(error: io::Error) -> Self {
        Self::of(error, Self::Freeze)
    }
}
