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
mod bind;
mod bridge;
mod child;
mod control;
mod dialogue;
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
mod router;
mod slots;
mod status;
mod supervisor;
mod totals;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use self::bridge::Bridges;
use self::control::{Control, Phase};
use self::ends::Ends;
use self::faults::Faults;
use self::hub::{Hub, Identity};
use self::listeners::{Inherited, ListenError};
use self::log::Log;
use self::missing::Missing;
use self::pool::Pool;
use self::questions::Questions;
use self::router::Router;
use self::slots::Slots;
use self::status::Health;
use self::supervisor::Supervisor;
use self::totals::Totals;
use crate::cli::{BridgeArgs, RunArgs};
use crate::config::{Config, ConfigError};
use crate::logging::{self, LogError, LogGuard, LogRole};
use crate::process;
use crate::systemd::{self, Notify};
use crate::wire::session_id::{EntropyError, Keyring};

/// How much longer than `stop_drain` the workers may take to leave.
const STOP_GRACE: Duration = Duration::from_secs(2);

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
    /// The runtime or a signal handler could not be set up.
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
    // The main thread runs all of it: a worker dies with the thread that started it (prctl(2),
    // PR_SET_PDEATHSIG).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(MasterError::Start)?;
    LocalSet::new().block_on(&runtime, serve(config, inherited, log, bridge))
}

async fn serve(
    mut config: Config,
    mut inherited: Inherited,
    log: LogGuard,
    own_bridge: Option<BridgeArgs>,
) -> Result<(), MasterError> {
    let mut signals = Signals::new().map_err(MasterError::Start)?;
    info!("Master {} is running", std::process::id());
    let metrics = inherited.take_metrics();
    config.workers = config.worker_count();
    let (listeners, missing) = listeners::open(inherited, &config).await?;
    let faults = Rc::<Faults>::default();
    missing
        .describe()
        .into_iter()
        .for_each(|what| faults.record(what));
    let missing = Rc::new(missing);
    let log = Log::new(log, config.log.level);
    let config = Rc::new(config);
    let keyring = Keyring::draw(machine(&config))?;
    let hub = Rc::new(match config.bridge.url {
        Some(_) => Hub::new(Identity::draw(keyring.machine())?),
        None => Hub::default(),
    });
    let pool = Rc::new(Pool::new(config.balance, &config.limits, keyring));
    let slots = Rc::new(Slots::new(config.workers));
    let totals = Totals::new(config.workers);
    let router = Router::start(Rc::clone(&config), Rc::clone(&pool), listeners);
    let parts = Parts {
        config,
        pool,
        slots,
        router,
        missing,
        faults,
        ends: Rc::default(),
        totals,
        questions: Rc::default(),
        log,
        hub,
        has_own_bridge: own_bridge.is_some(),
    };
    let bridges = Bridges::start(&parts, own_bridge);
    let control = Control::new(parts.clone());
    let _served = control.serve(metrics);
    let mut master = Master {
        workers: Supervisor::start(&parts),
        notify: Notify::from_env(TICK),
        control,
        bridges,
        parts,
    };
    master.run(&mut signals).await?;
    master.stop(&mut signals).await;
    // Whatever is left of the workers dies with this process.
    Ok(())
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
    ends: Rc<Ends>,
    totals: Rc<Totals>,
    questions: Rc<Questions>,
    log: Rc<Log>,
    hub: Rc<Hub>,
    /// Is the bridge a child of the master, and not a unit of systemd's?
    has_own_bridge: bool,
}

/// The running server.
struct Master {
    parts: Parts,
    notify: Notify,
    control: Rc<Control>,
    workers: Supervisor,
    bridges: Bridges,
}

impl Master {
    /// Until it is told to stop.
    async fn run(&mut self, signals: &mut Signals) -> Result<(), MasterError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = self.parts.config.start_timeout;
        let late = Instant::now() + patience;
        let mut enough = self.parts.config.workers;
        let (mut ready, mut is_late) = (false, false);
        let mut listening = std::pin::pin!(self.parts.missing.keep_trying(&self.parts.router));
        let mut all_listen = false;
        let mut memory = std::pin::pin!(process::give_memory_back());
        let mut figures = std::pin::pin!(totals::measure_master(
            &self.parts.pool,
            &self.parts.hub,
            &self.parts.totals,
            self.parts.log.guard()
        ));
        loop {
            tokio::select! {
                action = signals.recv() => match action {
                    SignalAction::Stop => return Ok(()),
                    SignalAction::Reopen => self.parts.log.guard().reopen(),
                    SignalAction::Nothing => warn!(
                        "SIGHUP does nothing: 'systemctl restart my-app.service' reads the \
                         configuration anew, SIGUSR1 opens the log file anew"
                    ),
                },
                failed = self.workers.failed() => return Err(failed),
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
                () = self.parts.pool.all_ready(enough), if !ready => {
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
                () = &mut listening, if !all_listen => all_listen = true,
                _ = tick.tick() => {
                    self.parts.log.guard().report_losses();
                    self.notify.alive();
                    // From then on it is the unit's own timeout that gives up.
                    if !ready && !is_late {
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
            deaf: self.parts.missing.describe(),
            apart: bridge::missing(&self.parts),
        }
    }

    /// Ends the sessions, and then the workers.
    async fn stop(&mut self, signals: &mut Signals) {
        let drain = self.parts.config.stop_drain;
        let within = humantime::format_duration(drain);
        systemd::notify_stopping();
        self.control.set_phase(Phase::Stopping);
        self.notify
            .status(&format!("stopping: the sessions end within {within}"));
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
                _ = tick.tick() => systemd::extend_timeout(),
            }
        }
    }
}

/// What a signal makes the server do.
enum SignalAction {
    Stop,
    Reopen,
    /// It is told what it could have meant.
    Nothing,
}

/// The signals that the server handles.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    /// What a terminal that is closed sends, and what makes other servers read their configuration.
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn recv(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.reopen.recv() => SignalAction::Reopen,
            _ = self.hangup.recv() => SignalAction::Nothing,
        }
    }

    async fn stop_again(&mut self) {
        while !matches!(self.recv().await, SignalAction::Stop) {}
    }
}

/// A number for this machine, the same at every start: the configured one, or made from machine-id(5). A server that
/// is run by hand beside another one has a number of its own.
fn machine(config: &Config) -> u16 {
    use sha2::Digest;
    if config.bridge.machine > 0 {
        return config.bridge.machine;
    }
    let mut hash = sha2::Sha256::new();
    hash.update(std::fs::read("/etc/machine-id").unwrap_or_default());
    if let Some(instance) = config.instance() {
        hash.update(instance.as_os_str().as_bytes());
    }
    let [high, low, ..]: [u8; 32] = hash.finalize().into();
    u16::from_be_bytes([high, low])
}
