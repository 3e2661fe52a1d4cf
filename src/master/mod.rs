//! The master: owns the listeners, starts the workers and looks after them, and gives every
//! connection to one of them.
//!
//! One thread. It reads request lines and nothing more of what clients send, and runs no
//! application code, so that nothing from outside can keep it from its work.
//!
//! ```text
//! listeners ─▶ router ─▶ pool ─link─▶ worker
//!                         ▲              ▲
//!            supervisor ──┴── hub ─bus───┘
//!   (starts a worker, hears it, replaces it)
//! ```

mod balance;
mod begin;
mod bind;
mod bridge;
mod child;
mod control;
mod dialogue;
mod drains;
mod ends;
mod faults;
mod hub;
mod listeners;
mod log;
mod member;
mod missing;
mod pace;
mod pool;
mod questions;
mod rate;
mod rebind;
mod reload;
mod router;
mod signals;
mod slots;
mod status;
mod supervisor;
mod totals;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use self::bridge::Bridges;
use self::control::{Control, Phase, Served};
use self::drains::{Draining, Drains, Whose};
use self::ends::Ends;
use self::faults::Faults;
use self::hub::Hub;
use self::listeners::{Inherited, ListenError};
use self::log::Log;
use self::missing::Missing;
use self::pool::Pool;
use self::questions::Questions;
pub(crate) use self::reload::try_to_reload;
use self::reload::{Program, Reloads, ResumeError, Stage, Step};
use self::router::Router;
use self::signals::{SignalAction, Signals};
use self::slots::Slots;
use self::status::Health;
use self::supervisor::Supervisor;
use self::totals::Totals;
use crate::cli::{BridgeArgs, RunArgs};
use crate::config::{Config, ConfigError};
use crate::logging::{self, LogError, LogRole};
use crate::process;
use crate::systemd::{self, Notify};
use crate::wire::session_id::EntropyError;

/// How much longer than `stop_drain` the workers may take to leave.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How often the master looks at its own state.
const TICK: Duration = Duration::from_secs(1);

/// Why the server could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MasterError {
    /// The configuration is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener could not be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No key for the session ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The server that runs in this process already cannot be taken over.
    #[error("the server cannot go on after a reload: {0}")]
    Resume(#[from] ResumeError),
    /// The runtime or the signals could not be set up.
    #[error("the server cannot start: {0}")]
    Start(#[source] io::Error),
    /// The workers do not start.
    #[error("worker {slot} did not start: {why}")]
    Worker {
        /// Its number.
        slot: u16,
        /// How it ended, several times in a row.
        why: String,
    },
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(args: &RunArgs) -> Result<(), MasterError> {
    process::hold_signals().map_err(MasterError::Start)?;
    if args.resume {
        return resume(args);
    }
    let loaded = args.load()?;
    let config = loaded.config;
    // Not known any more after that.
    let is_service = systemd::runs_service();
    // Before any thread is started.
    let inherited = Inherited::take();
    let log = logging::init(&config.log, LogRole::Master)?;
    process::raise_descriptor_limit();
    // systemd has a unit for it.
    let bridge = (!is_service).then(|| BridgeArgs::of(args));
    block_on(async {
        let signals = Signals::new().map_err(MasterError::Start)?;
        info!("Master {} is running", std::process::id());
        begin::afresh(config, inherited, log, bridge)
            .await?
            .live(signals)
            .await
    })
}

/// Goes on with a server that runs in this process already.
fn resume(args: &RunArgs) -> Result<(), MasterError> {
    let (state, luggage) = reload::receive()?;
    let config: Config =
        serde_json::from_str(&state.program.config).map_err(ResumeError::Config)?;
    let log = logging::init(&config.log, LogRole::Master)?;
    block_on(async {
        let signals = Signals::new().map_err(MasterError::Start)?;
        begin::again(args, config, log, state, luggage)?
            .live(signals)
            .await
    })
}

/// The main thread runs all of it: a worker dies with the thread that started it (prctl(2), `PR_SET_PDEATHSIG`).
fn block_on(server: impl Future<Output = Result<(), MasterError>>) -> Result<(), MasterError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(MasterError::Start)?;
    let result = LocalSet::new().block_on(&runtime, server);
    // A resolver that hangs holds up no end.
    runtime.shutdown_background();
    result
}

/// What the parts of the master have of each other.
#[derive(Debug, Clone)]
struct Parts {
    config: Rc<Config>,
    pool: Rc<Pool>,
    slots: Rc<Slots>,
    router: Rc<Router>,
    missing: Rc<Missing>,
    faults: Rc<Faults>,
    drains: Rc<Drains>,
    ends: Rc<Ends>,
    totals: Rc<Totals>,
    questions: Rc<Questions>,
    log: Rc<Log>,
    hub: Rc<Hub>,
    reloads: Rc<Reloads>,
    program: Rc<Program>,
    /// The master's own bridge is to be started anew.
    renew_bridge: Rc<tokio::sync::Notify>,
    /// Is the bridge a child of the master, and not a unit of systemd's?
    has_own_bridge: bool,
}

impl Parts {
    /// The drains that are under way.
    fn drains(&self) -> Vec<Draining> {
        self.drains.list(|whose| match whose {
            Whose::Everybody | Whose::TakenOut => self.pool.sessions(),
            Whose::Generation(number) => self.pool.sessions_of_generation(number),
        })
    }
}

/// The running server.
struct Master {
    parts: Parts,
    notify: Notify,
    control: Rc<Control>,
    workers: Rc<Supervisor>,
    bridges: Bridges,
    /// What is to be done for a reload.
    steps: mpsc::Receiver<Step>,
    /// Has it served already, in the program before this one?
    was_ready: bool,
    /// Answers operators until it is dropped.
    served: Rc<Served>,
}

impl Master {
    async fn live(mut self, mut signals: Signals) -> Result<(), MasterError> {
        let served = self.run(&mut signals).await;
        if served.is_ok() {
            self.stop(&mut signals).await;
        }
        // Whatever is left of them would die with this process, too.
        self.workers.kill();
        served
    }

    /// Until it is told to stop.
    async fn run(&mut self, signals: &mut Signals) -> Result<(), MasterError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = self.parts.config.start_timeout;
        let late = Instant::now() + patience;
        let mut enough = self.parts.config.workers;
        let (mut ready, mut is_late) = (self.was_ready, false);
        let parts = self.parts.clone();
        let mut listening = std::pin::pin!(parts.missing.keep_trying(&parts.router));
        let mut memory = std::pin::pin!(process::give_memory_back());
        let mut figures = std::pin::pin!(totals::measure_master(
            &parts.pool,
            &parts.hub,
            &parts.totals,
            parts.log.guard()
        ));
        loop {
            tokio::select! {
                action = signals.recv() => match action {
                    SignalAction::Stop => return Ok(()),
                    SignalAction::Reopen => self.parts.log.guard().reopen(),
                    SignalAction::Nothing => warn!(
                        "SIGHUP does nothing: 'systemctl reload my-app.service', or 'my-app reload', reads \
                         the configuration anew, SIGUSR1 opens the log file anew"
                    ),
                },
                failed = self.workers.failed() => return Err(failed),
                Some(step) = self.steps.recv() => self.take(step),
                () = sleep_until(late), if !ready && !is_late => {
                    is_late = true;
                    enough = 1;
                    if self.parts.pool.is_empty() {
                        let patience = humantime::format_duration(patience);
                        warn!(
                            "no worker takes connections after {patience}; an application that needs \
                             longer to start needs a longer start_timeout"
                        );
                    }
                }
                () = parts.pool.all_ready(enough), if !ready => {
                    ready = true;
                    systemd::notify_ready();
                    self.control.set_phase(Phase::Running);
                    let health = self.health();
                    let places = self.parts.router.places().into_iter();
                    let places: Vec<_> = places.map(|it| it.place).collect();
                    info!("{}", health.listening(&places));
                    if !health.vacant.is_empty() {
                        warn!("serving, although {}", health.missing().join("; "));
                    }
                    self.notify.status(&health.line());
                }
                () = &mut memory => {}
                () = &mut figures => {}
                () = &mut listening => {}
                _ = tick.tick() => {
                    self.parts.log.guard().report_losses();
                    self.parts.log.trouble(&self.parts.faults);
                    self.notify.alive();
                    // From then on it is the unit's own timeout that gives up. Each step of a reload has a deadline.
                    if (!ready && !is_late) || self.parts.reloads.stage() != Stage::None {
                        systemd::extend_timeout();
                    }
                    self.notify.status(&self.health().line());
                }
            }
        }
    }

    fn health(&self) -> Health {
        Health {
            workers: self.parts.config.workers,
            vacant: self.parts.slots.vacant(),
            clients: self.parts.pool.sessions(),
            reload: self.parts.reloads.stage().words(),
            drains: self.parts.drains(),
            deaf: self.parts.missing.describe(),
            apart: bridge::missing(&self.parts).or_else(|| self.parts.hub.divided()),
        }
    }

    /// Ends the sessions, and then the workers.
    async fn stop(&mut self, signals: &mut Signals) {
        let drain = self.parts.config.stop_drain;
        let within = humantime::format_duration(drain);
        systemd::notify_stopping();
        self.control.set_phase(Phase::Stopping);
        // Who waits for a reload is told, and whatever is under way goes no further.
        self.steps.close();
        while self.steps.try_recv().is_ok() {}
        self.parts.reloads.stop();
        self.parts.drains.begin(Whose::Everybody, drain);
        info!("stopping: the sessions end within {within}");
        self.parts.router.stop();
        self.workers.stop(drain);
        let mut deadline = std::pin::pin!(sleep(drain + STOP_GRACE));
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                () = self.workers.left() => return self.bridges.stop().await,
                () = &mut deadline => return warn!("workers that did not leave in time are killed"),
                () = signals.stop_again() => return warn!("stopped at once, as asked twice"),
                _ = tick.tick() => {
                    systemd::extend_timeout();
                    let drains = self.parts.drains();
                    let words: Vec<_> = drains.iter().map(Draining::words).collect();
                    self.notify.status(&words.join("; "));
                }
            }
        }
    }
}
