//! The sequence of a reload, in both programs. It runs beside the master's loop, which does what needs all of the master.

use std::rc::Rc;
use std::time::Duration;

use humantime::format_duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::judge::judge;
use super::{ReloadError, Report, Stage, Verdict, pause};
use crate::config::Changes;
use crate::master::Parts;
use crate::master::control::Served;
use crate::master::rebind::renew;
use crate::master::supervisor::{StartError, Supervisor};
use crate::systemd;
use crate::wire::frame;

/// How long it is waited for workers that are between two others, and for answers to operators.
const SETTLE: Duration = Duration::from_secs(2);

/// How long workers may take to hear what has changed; they hear later otherwise.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether a bridge has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Steps of a reload that wait for the master's loop.
const STEPS: usize = 1;

/// What the master's loop does for a reload, for it takes all of the master.
#[derive(Debug)]
pub(crate) enum Step {
    /// Packs a copy of the state, in which no descriptor is.
    Copy(oneshot::Sender<Result<Vec<u8>, ReloadError>>),
    /// Is the master's own bridge not about to end? Then it may be packed.
    IsSettled(oneshot::Sender<bool>),
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
    /// Was it this one? Then only the configuration may be another one.
    pub(crate) same_program: bool,
    /// Since when all stood still; see [`pause`].
    pub(crate) frozen_at_ns: u64,
    /// Socket units that should have passed a listener.
    pub(crate) missing_units: Vec<String>,
}

/// See the module's text.
pub(crate) struct Driver {
    parts: Parts,
    workers: Rc<Supervisor>,
    served: Rc<Served>,
    steps: mpsc::Sender<Step>,
}

impl Driver {
    /// One, and what the master's loop is to do for it.
    pub(crate) fn new(
        parts: &Parts,
        workers: &Rc<Supervisor>,
        served: &Rc<Served>,
    ) -> (Self, mpsc::Receiver<Step>) {
        let (steps, wanted) = mpsc::channel(STEPS);
        let driver = Self {
            parts: parts.clone(),
            workers: Rc::clone(workers),
            served: Rc::clone(served),
            steps,
        };
        (driver, wanted)
    }

    /// Goes on with the reload by which this program took over, if it did, and does those that are asked for, for ever.
    pub(crate) async fn drive(self, resumed: Option<Resumed>) {
        let reloads = &self.parts.reloads;
        if let Some(resumed) = resumed {
            // All that was adopted has had its turn before this one. Once more around: whoever accepts has been told
            // that somebody waits.
            yield_now().await;
            let pause_ms = pause::ends(resumed.frozen_at_ns);
            let outcome = self.go_on(resumed, pause_ms).await;
            self.tell(&outcome);
            reloads.done(outcome);
        }
        loop {
            reloads.wanted().await;
            systemd::notify_reloading();
            let error = self.take_over().await.unwrap_or_else(|error| error);
            let outcome = Err(error);
            self.tell(&outcome);
            reloads.done(outcome);
        }
    }

    /// Returns only if the program does not take over.
    async fn take_over(&self) -> Result<ReloadError, ReloadError> {
        let reloads = &self.parts.reloads;
        reloads.set_stage(Stage::Trying);
        let patience = self.parts.config.start_timeout;
        let path = self.parts.program.path().map_err(ReloadError::Program)?;
        info!("reloading: {} is tried", path.display());
        let state = self.ask(Step::Copy).await??;
        let tried = self.parts.program.at_path();
        let verdict = judge(&self.parts.program, &state, patience).await?;
        drop(state);
        reloads.set_stage(Stage::Settling);
        let until = Instant::now() + SETTLE;
        self.workers.settle(until).await;
        while !self.ask(Step::IsSettled).await? && Instant::now() < until {
            sleep(LOOK).await;
        }
        // Who asks now waits for the new program.
        let _settled = self
            .served
            .settle(until.saturating_duration_since(Instant::now()))
            .await;
        let now = self.parts.program.at_path();
        // Where there is none any more, that is said when it is executed.
        if now.is_some() && now != tried {
            return Err(ReloadError::Replaced(path.to_owned()));
        }
        info!("reloading: version {} takes over", verdict.version);
        self.ask(|failed| Step::Freeze(verdict, failed)).await
    }

    /// The rest of a reload, in the new program.
    async fn go_on(&self, resumed: Resumed, pause_ms: f64) -> Result<Report, ReloadError> {
        let Parts {
            pool,
            config,
            reloads,
            router,
            missing,
            log,
            faults,
            ..
        } = &self.parts;
        info!(
            "version {} has taken over from version {} after a pause of {pause_ms:.1} ms",
            env!("CARGO_PKG_VERSION"),
            resumed.version
        );
        if self.steps.is_closed() {
            return Err(ReloadError::Phase("stopping"));
        }
        missing.replace(&renew(router, config, resumed.missing_units).await);
        let changes = self.changes();
        let serve = pool.ready_of(pool.current()) > 0 && self.workers.current_is_last();
        if resumed.same_program && changes.are_live() && serve {
            reloads.set_stage(Stage::Telling);
            return Ok(self.reconfigure(changes, pause_ms).await);
        }
        let before = self.workers.numbers();
        let next = self.workers.next_generation();
        reloads.set_stage(Stage::Starting(next));
        info!("generation {next} of the workers is started");
        self.workers.start_generation(next, Rc::clone(config));
        let patience = config.start_timeout;
        let started = timeout(patience, self.workers.started(next)).await;
        let ready = pool.ready_of(next);
        if ready == 0 {
            let why = match started {
                Ok(Err(StartError::Ended)) => return Err(ReloadError::Phase("stopping")),
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
        let mut remarks = self.absent(ready);
        if resumed.same_program && changes.keys.is_empty() {
            remarks.push("nothing had changed: the workers are new ones".to_owned());
        }
        if resumed.bus != frame::VERSION {
            remarks.push(
                "broadcasts do not reach the sessions of the workers before: their bus is of another version"
                    .to_owned(),
            );
        }
        remarks.extend(self.bridge(&changes, resumed.bus));
        log.settle().await;
        remarks.extend(log.trouble(faults));
        Ok(Report {
            version_before: resumed.version,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            changed: changes.keys,
            new_workers: true,
            pause_ms,
            generation: next,
            workers: u16::try_from(ready).unwrap_or(u16::MAX),
            sessions_before,
            drain_seconds: config.drain.as_secs_f64(),
            remarks,
        })
    }

    /// What is not as the configuration says, if so many workers are ready.
    fn absent(&self, ready: usize) -> Vec<String> {
        let all = usize::from(self.parts.config.workers);
        let missing = all.saturating_sub(ready);
        let said = || {
            format!("{missing} of {all} workers take no connections yet; `my-app status` tells why")
        };
        let workers = (missing > 0).then(said);
        let listeners = self.parts.missing.describe();
        let control = self.served.trouble().map(ToOwned::to_owned);
        workers
            .into_iter()
            .chain(listeners)
            .chain(control)
            .collect()
    }

    /// The bridge goes on over a reload. If that is not as the configuration says now, the own one is renewed; of others
    /// it is told.
    fn bridge(&self, changes: &Changes, bus: u8) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut keys = changes.keys.iter();
        if changes.keys.contains(&"bridge.machine") {
            remarks.push(
                "bridge.machine takes a restart: this machine keeps its number until then"
                    .to_owned(),
            );
        }
        let other = keys.any(|key| key.starts_with("bridge.") && *key != "bridge.machine");
        if self.parts.config.bridge.url.is_none() || !(other || bus != frame::VERSION) {
            return remarks;
        }
        if self.parts.has_own_bridge {
            self.parts.renew_bridge.notify_one();
        } else {
            remarks.push(
                "the bridge goes on as before: 'systemctl restart my-app-bridge.service' renews it"
                    .to_owned(),
            );
        }
        remarks
    }

    /// What the configuration changes for those who get what is new.
    fn changes(&self) -> Changes {
        let before = self.workers.current_config();
        let changes = before.map(|before| self.parts.config.changes(&before));
        changes.transpose().ok().flatten().unwrap_or_default()
    }

    /// The workers that there are go on with what has changed.
    async fn reconfigure(&self, changes: Changes, pause_ms: f64) -> Report {
        let Parts {
            pool,
            config,
            log,
            faults,
            ..
        } = &self.parts;
        let current = pool.current();
        let deadline = Instant::now() + HEARD_WITHIN;
        let config = Rc::clone(config);
        let unaware = self.workers.reconfigure(current, config, deadline).await;
        let ready = pool.ready_of(current);
        let mut remarks = self.absent(ready);
        if unaware > 0 {
            remarks.push(format!(
                "{unaware} worker(s) have not heard of it yet, and are told as soon as they answer"
            ));
        }
        if changes.keys.contains(&"log.level") {
            remarks.extend(log.override_words());
        }
        log.settle().await;
        remarks.extend(log.trouble(faults));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Report {
            version_before: version.clone(),
            version,
            pause_ms,
            changed: changes.keys,
            new_workers: false,
            generation: current,
            workers: u16::try_from(ready).unwrap_or(u16::MAX),
            sessions_before: 0,
            drain_seconds: 0.0,
            remarks,
        }
    }

    /// Has the master's loop do something, and waits for what comes of it.
    async fn ask<T>(
        &self,
        step: impl FnOnce(oneshot::Sender<T>) -> Step,
    ) -> Result<T, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let stops = || ReloadError::Phase("stopping");
        let sent = self.steps.send(step(answer)).await;
        sent.map_err(|_| stops())?;
        answered.await.map_err(|_| stops())
    }

    fn tell(&self, outcome: &Result<Report, ReloadError>) {
        if !self.steps.is_closed() {
            systemd::notify_ready();
        }
        match outcome {
            Ok(report) if !report.new_workers => info!(
                "reloaded: the {} worker(s) go on; changed: {}",
                report.workers,
                report.changed.join(", ")
            ),
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
