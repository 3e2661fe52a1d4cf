//! The control socket, what was counted, the log.

use serde::{Deserialize, Serialize};

use super::listeners::ListenerState;
use crate::wire::control::{Ended, Reason};

/// What operators ask, and what they are told.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ControlState {
    /// When the server was started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// What was counted.
    pub totals: TotalsState,
    /// Which sessions have ended.
    pub ends: EndsState,
    /// What went wrong lately, and when, in milliseconds since 1970; the newest first.
    pub faults: Vec<(u64, String)>,
    /// What an operator wants of the log.
    pub log: LogState,
    /// Where operators and collectors ask.
    pub asked: AskedState,
}

/// Where operators and collectors ask.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskedState {
    /// The control socket.
    pub control: Option<ListenerState>,
    /// The listeners for metrics.
    pub metrics: Vec<ListenerState>,
}

/// What was counted.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TotalsState {
    /// What the values of the program, and of workers that are older, are called, in their order; the first is the
    /// program's, in whose order all values are.
    pub tables: Vec<Vec<String>>,
    /// What the master itself has counted.
    pub own: Vec<u64>,
    /// For each slot.
    pub slots: Vec<SlotCounts>,
    /// For the bridges.
    pub bridge: SlotCounts,
}

/// What was counted for a slot.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotCounts {
    /// Its number.
    pub slot: u16,
    /// The generation of the worker that was started last.
    pub generation: Option<u16>,
    /// What its workers have counted.
    pub workers: Vec<CountedState>,
    /// What those had that are gone.
    pub kept: Vec<u64>,
}

/// What a worker has counted.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountedState {
    /// Its process.
    pub pid: u32,
    /// The values.
    pub values: Vec<u64>,
    /// What waits in the hub for it, in bytes.
    pub waits_in_hub: u64,
    /// The table in whose order it tells them.
    pub table: u32,
}

/// Which sessions have ended.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndsState {
    /// The oldest first.
    pub kept: Vec<KeptEnd>,
    /// How many there were, by reason.
    pub totals: Vec<(Reason, u64)>,
}

/// An end that is remembered.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptEnd {
    /// Where it was.
    pub slot: u16,
    /// The worker.
    pub pid: u32,
    /// What has ended.
    pub end: End,
}

/// What has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum End {
    /// One session.
    One(Ended),
    /// A worker.
    Worker {
        /// In milliseconds since 1970.
        at_ms: u64,
        /// The sessions that ended with it.
        sessions: u64,
    },
}

/// What an operator wants of the log.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogState {
    /// The level; none: the configured one.
    pub level: Option<String>,
    /// For how much longer, in milliseconds; none: for good.
    pub for_ms: Option<u64>,
    /// How often the file was to be opened anew.
    pub reopened: u64,
}
