//! What operators ask of the running server, and tell it: the control socket, and the socket for metrics.
//! docs/CONTROL.md is the contract.
//!
//! ```text
//! server (HTTP, bounds) ─▶ routes (which, may it) ─▶ status, …: what the master knows
//! ```

mod bridge;
mod commands;
mod page;
mod patient;
mod problem;
mod request;
mod routes;
mod served;
mod server;
mod status;

use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use tokio::time::Instant;

pub(crate) use self::served::{Served, adopt};
use super::Parts;

/// Where in its life the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Running,
    Stopping,
}

/// What all answers are made from.
#[derive(Debug)]
pub(crate) struct Control {
    parts: Parts,
    phase: Cell<Phase>,
    since: Instant,
    started_at: SystemTime,
}

impl Control {
    pub(super) fn new(parts: Parts) -> Rc<Self> {
        Rc::new(Self {
            parts,
            phase: Cell::new(Phase::Starting),
            since: Instant::now(),
            started_at: SystemTime::now(),
        })
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }
}
