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
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

    /// Those of a server that was started at this time, in milliseconds since 1970.
    pub(super) fn since(parts: Parts, started_at_ms: u64) -> Rc<Self> {
        let started_at = UNIX_EPOCH + Duration::from_millis(started_at_ms);
        let up = SystemTime::now()
            .duration_since(started_at)
            .unwrap_or_default();
        let now = Instant::now();
        Rc::new(Self {
            parts,
            phase: Cell::new(Phase::Starting),
            since: now.checked_sub(up).unwrap_or(now),
            started_at,
        })
    }

    /// When the server was started, in milliseconds since 1970.
    pub(super) fn started_at_ms(&self) -> u64 {
        let since = self
            .started_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or_default()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }
}
