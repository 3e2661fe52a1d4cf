//! The sequence of a reload, in both programs. It runs beside the master's loop, which does what needs all of the master.

use std::rc::Rc;
use std::time::Duration;

use humantime::format_duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::judge::judge;
use super::{ReloadError, Report, Stage, Verdict};
use crate::master::Parts;
use crate::master::rebind::renew;
use crate::master::supervisor::Supervisor;
use crate::systemd;
use crate::wire::frame;

/// How long it is waited for workers that are between two others, and for answers to operators.
const SETTLE: Duration = Duration::from_secs(2);

/// What the master's loop does for a reload, for it takes all of the master.
#[derive(Debug)]
pub(crate) enum Step {
    /// Packs a copy of the state, in which no descriptor is.
    Copy(oneshot::Sender<Result<Vec<u8>, ReloadError>>),
    /// Packs all, and executes the program. Answers only if that fails.
    Freeze(Verdict, oneshot::Sender<ReloadError>),
}

/// What there is to go on with in a program that has taken over.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// The version before.
    pub(crate) version: String,
    /// The frames of the bus that it spoke.
    pub(crate) bus: u8,
    /// Socket units that should have passed a listener.
    pub(crate) missing_units: Vec<String>,
}

/// Goes on with the reload by which this program took over, if it did, and does those that are asked for, for ever.
pub(crate) async fn drive(
    parts: Parts,
    workers: Rc<Supervisor>,
    steps: mpsc::Sender<Step>,
    resumed: Option<Resumed>,
) {
    let driver = Driver {
        parts,
        workers,
        steps,
    };
    let reloads = &driver.parts.reloads;
    if let Some(resumed) = resumed {
        let outcome = driver.go_on(resumed).await;
        driver.tell(&outcome);
        reloads.done(outcome);
    }
    loop {
        reloads.wanted().await;
        systemd::notify_reloading();
        let error = driver.attempt().await;
        let outcome = Err(error);
        driver.tell(&outcome);
        reloads.done(outcome);
    }
}

struct Driver {
    parts: Parts,
    workers: Rc<Supervisor>,
    steps: mpsc::Sender<Step>,
}

impl Driver {
    /// Returns only if the program does not take over.
    async fn attempt(&self) -> ReloadError {
        self.take_over().await.unwrap_or_else(|error| error)
    }

    async fn take_over(&self) -> Result<ReloadError, ReloadError> {
        let reloads = &self.parts.reloads;
        reloads.set_stage(Stage::Trying);
        let patience = self.parts.config.start_timeout;
        let path = self.parts.program.path().map_err(ReloadError::Program)?;
        info!("reloading: {} is tried", path.display());
        let state = self.ask(Step::Copy).await??;
        let verdict = judge(&self.parts.program, &state, patience).await?;
        drop(state);
        reloads.set_stage(Stage::Settling);
        self.workers.settle(Instant::now() + SETTLE).await;
        info!("reloading: version {} takes over", verdict.version);
        self.ask(|failed| Step::Freeze(verdict, failed)).await
    }

    /// The rest of a reload, in the new program.
    async fn go_on(&self, resumed: Resumed) -> Result<Report, ReloadError> {
        let Parts {
            pool,
            config,
            reloads,
            router,
            missing,
            ..
        } = &self.parts;
        let before = self.workers.generations();
        let next = self.workers.next_generation();
        reloads.set_stage(Stage::Starting(next));
        info!(
            "version {} has taken over from version {}; generation {next} of the workers is started",
            env!("CARGO_PKG_VERSION"),
            resumed.version
        );
        missing.replace(renew(router, config, resumed.missing_units).await);
        let tried = (Rc::clone(missing), Rc::clone(router));
        spawn_local(async move { tried.0.keep_trying(&tried.1).await });
        self.workers.start_generation(next, Rc::clone(config));
        let patience = config.start_timeout;
        let started = timeout(patience, self.workers.started(next)).await;
        let ready = pool.ready_of(next);
        if ready == 0 {
            let why = match started {
                Ok(Err(error)) => error.to_string(),
                _ => format!("none takes connections after {}", format_duration(patience)),
            };
            self.workers.kill_generation(next);
            return Err(ReloadError::Workers(why));
        }
        let sessions_before = pool.sessions();
        self.workers.make_current(next);
        for generation in before {
            self.workers.drain_generation(generation, config.drain);
        }
        let mut remarks = Vec::new();
        if ready < usize::from(config.workers) {
            let missing = usize::from(config.workers) - ready;
            remarks.push(format!(
                "{missing} of {} workers take no connections yet; `my-app status` tells why",
                config.workers
            ));
        }
        if resumed.bus != frame::VERSION {
            remarks.push(
                "broadcasts do not reach the sessions of the workers before: their bus is of another version"
                    .to_owned(),
            );
        }
        Ok(Report {
            version_before: resumed.version,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: next,
            workers: u16::try_from(ready).unwrap_or(u16::MAX),
            sessions_before,
            drain_seconds: config.drain.as_secs_f64(),
            remarks,
        })
    }

    /// Has the master's loop do something, and waits for what comes of it.
    async fn ask<T>(&self, step: impl FnOnce(oneshot::Sender<T>) -> Step) -> Result<T, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let stops = || ReloadError::Phase("stopping");
        let sent = self.steps.send(step(answer)).await;
        sent.map_err(|_| stops())?;
        answered.await.map_err(|_| stops())
    }

    fn tell(&self, outcome: &Result<Report, ReloadError>) {
        systemd::notify_ready();
        match outcome {
            Ok(report) => info!(
                "reloaded: version {}, generation {}, {} worker(s); the {} session(s) of those before end within {}",
                report.version,
                report.generation,
                report.workers,
                report.sessions_before,
                format_duration(self.parts.config.drain)
            ),
            Err(error) => {
                warn!("{error}");
                self.parts.faults.record(error.to_string());
            }
        }
    }
}
