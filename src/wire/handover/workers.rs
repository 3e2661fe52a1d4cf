//! The workers of all generations.

use serde::{Deserialize, Serialize};

use super::Fd;
use crate::wire::client::ClientKey;
use crate::wire::link::{Handoff, NoPlace, Place, Report, ToWorker};
use crate::wire::session_id::Home;

/// The workers, in the order of their generations and slots.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkersState {
    /// The generations that have workers, or are to have them.
    pub generations: Vec<GenerationState>,
    /// The generation that was started last.
    pub last: u16,
    /// The number of the next question to a worker: an answer that is late shall meet none of another one.
    pub next_question: u64,
    /// A bridge that is a child of the master.
    pub bridge: Option<ChildState>,
}

/// Workers that were started together.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GenerationState {
    /// Its number, which is in the ids of its sessions.
    pub number: u16,
    /// The configuration that its workers have, as JSON: those that take the place of one that dies get it, too.
    pub config: Vec<u8>,
    /// If its workers end their sessions and leave: how much longer they may take, in milliseconds.
    pub drains_ms: Option<u32>,
    /// Did ever one of its workers take connections?
    pub ever_ready: bool,
    /// Its slots.
    pub slots: Vec<SlotState>,
}

/// A place for a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotState {
    /// Its number.
    pub slot: u16,
    /// How long it was waited before the last attempt, in milliseconds.
    pub pause_ms: u32,
    /// Workers in a row that ended before they took connections.
    pub failures: u32,
    /// Why the last one ended.
    pub why: Option<String>,
    /// Did that take connections?
    pub had_served: bool,
    /// What is there.
    pub occupant: Occupant,
}

/// What a slot has.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Occupant {
    /// A worker.
    Worker(WorkerState),
    /// None; the next one is started after so many milliseconds.
    Nobody {
        /// Milliseconds.
        wait_ms: u32,
    },
    /// None, for good.
    Left,
}

/// A child of the master.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildState {
    /// Its number.
    pub pid: u32,
    /// What it is watched by.
    pub pidfd: Fd,
}

/// A worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerState {
    /// Its process.
    pub child: ChildState,
    /// How long ago that was started, in milliseconds.
    pub age_ms: u64,
    /// Does it take connections?
    pub ready: bool,
    /// How many rounds it has been waited for until it is.
    pub rounds: u32,
    /// Pings in a row that it has not answered.
    pub unanswered: u32,
    /// Has it been told to end its sessions and leave?
    pub told_to_leave: bool,
    /// The level of the log that it was told; none: the configured one.
    pub log_level: Option<String>,
    /// How often it was told to open the log's file anew.
    pub log_reopened: u64,
    /// Does it know its generation's configuration?
    pub knows_config: bool,
    /// The other end of its link, and what is on its way there.
    pub member: MemberState,
}

/// What is between the master and a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberState {
    /// Its generation and slot.
    pub home: Home,
    /// Its link.
    pub link: Fd,
    /// What it told last.
    pub report: Report,
    /// Sessions of whose end it has told since.
    pub told_ends: u64,
    /// Sessions that were dispatched to it since it began.
    pub dispatched: u64,
    /// Has it not answered for a while?
    pub stalled: bool,
    /// What clients have there, if there is a limit for each: sessions and connections.
    pub clients: Vec<(ClientKey, u32, u32)>,
    /// What it was given and has not taken yet, in the order in which it acknowledges.
    pub unacknowledged: Vec<(Fd, Handoff)>,
    /// What it has asked and not been told yet.
    pub replies: Vec<Reply>,
}

/// The answer to a question of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// [`ToWorker::Eio3`].
    Eio3 {
        /// The question's number.
        ticket: u64,
        /// Who has the session, if anybody.
        home: Option<Home>,
    },
    /// [`ToWorker::Home`].
    Home {
        /// The question's number.
        ticket: u64,
        /// Where the session is to be opened, or why nowhere.
        place: Result<Place, NoPlace>,
    },
}

impl Reply {
    /// As it is told.
    pub(crate) fn message(self) -> ToWorker {
        match self {
            Self::Eio3 { ticket, home } => ToWorker::Eio3 { ticket, home },
            Self::Home { ticket, place } => ToWorker::Home { ticket, place },
        }
    }

    /// What was reserved, if it says so.
    pub(crate) fn reservation(self) -> Option<u64> {
        match self {
            Self::Home { place, .. } => place.ok().map(|place| place.reservation),
            Self::Eio3 { .. } => None,
        }
    }
}
