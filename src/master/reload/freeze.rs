//! All that the master has, packed between two of its steps.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use super::exec::exec;
use super::{Program, ReloadError, Step, Verdict, pause};
use crate::ipc::carrier::Carrier;
use crate::master::Master;
use crate::wire::frame;
use crate::wire::handover::State;
use crate::wire::handover::control::ControlState;
use crate::wire::handover::program::ProgramState;
use crate::wire::handover::workers::WorkersState;

/// How long the lines of the log may take that wait still, when all else stands still.
const LAST_LINES: Duration = Duration::from_millis(200);

impl Master {
    /// Does something for a reload.
    pub(crate) fn take(&self, step: Step) {
        // Who is gone does not want to know.
        match step {
            Step::Copy(answer) => drop(answer.send(self.copy())),
            Step::IsSettled(answer) => drop(answer.send(self.bridges.is_settled())),
            Step::Freeze(verdict, answer) => {
                let Err(error) = self.freeze(verdict);
                drop(answer.send(error));
            }
        }
    }

    /// The state in bytes, as it would travel.
    fn copy(&self) -> Result<Vec<u8>, ReloadError> {
        let state = self.pack(&mut Carrier::counting(), String::new(), 0);
        Ok(state.map_err(ReloadError::of_freeze)?.encode()?)
    }

    /// Nothing is awaited here. If it returns nothing has changed.
    fn freeze(&self, verdict: Verdict) -> Result<Infallible, ReloadError> {
        let frozen_at_ns = pause::now_ns();
        self.parts.log.guard().flush(LAST_LINES);
        let (mut carrier, stdin) = Carrier::new().map_err(ReloadError::of_freeze)?;
        let state = self.pack(&mut carrier, verdict.config, frozen_at_ns);
        let state = state.map_err(ReloadError::of_freeze)?.encode()?;
        let sent = carrier.finish(&state);
        drop(state);
        sent.map_err(ReloadError::of_freeze)?;
        let program = &self.parts.program;
        let path = program.path().map_err(ReloadError::Program)?;
        exec(program, stdin).map_err(|error| {
            ReloadError::of(error, |source| ReloadError::Start {
                path: path.to_owned(),
                source,
            })
        })
    }

    fn pack(&self, carrier: &mut Carrier, config: String, frozen_at_ns: u64) -> io::Result<State> {
        let parts = &self.parts;
        let router = parts.router.pack(&parts.missing, carrier)?;
        let bridge = self.bridges.pack(carrier)?;
        Ok(State {
            program: ProgramState {
                path: parts.program.path()?.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                bus: frame::VERSION,
                config,
                has_own_bridge: parts.has_own_bridge,
                taken_out_ms: parts.drains.pack(),
                waiting: parts.reloads.pack(carrier)?,
                file: Program::file(),
                frozen_at_ns,
            },
            workers: WorkersState {
                bridge,
                ..self.workers.pack(carrier)?
            },
            pool: parts.pool.pack(),
            connections: router.connections,
            listeners: router.listeners,
            hub: parts.hub.pack(carrier)?,
            control: ControlState {
                started_at_ms: self.control.started_at_ms(),
                totals: parts.totals.pack(),
                ends: parts.ends.pack(),
                faults: parts.faults.pack(),
                log: parts.log.pack(),
                asked: self.served.pack(carrier)?,
            },
        })
    }
}
