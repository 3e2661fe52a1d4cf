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
mod server;
mod status;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;
use tracing::warn;

use self::routes::{Metrics, Operators};
use self::server::{Answers, Server};
use super::listeners::Listener;
use super::{Parts, bind};
use crate::ipc::reserve::Reserve;

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

    /// Answers operators, and whoever collects metrics, until what this returns is dropped. A socket that cannot be
    /// had is told; the server runs on without it.
    pub(crate) fn serve(self: &Rc<Self>, metrics: Vec<Listener>) -> Served {
        let reserve = Reserve::of_the_master(self.parts.config.workers);
        let mut served = Served(Vec::new());
        if let Some(path) = &self.parts.config.control.socket {
            match bind::bind_control(path) {
                Ok(listener) => {
                    let operators = Server::new(Operators(Rc::clone(self)), reserve);
                    served.accept(&operators, listener);
                }
                Err(error) => {
                    warn!("{error}; the server runs on without its control socket");
                    self.parts.faults.record(error.to_string());
                }
            }
        }
        let collectors = Server::new(Metrics(Rc::clone(self)), reserve);
        for listener in metrics {
            served.accept(&collectors, listener);
        }
        served
    }
}

/// The tasks that accept. With them the control socket's file goes.
#[derive(Debug)]
#[must_use = "nobody is answered any more without it"]
pub(crate) struct Served(Vec<AbortHandle>);

impl Served {
    fn accept<A: Answers + 'static>(&mut self, server: &Rc<Server<A>>, listener: Listener) {
        let task = spawn_local(Rc::clone(server).run(listener));
        self.0.push(task.abort_handle());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
