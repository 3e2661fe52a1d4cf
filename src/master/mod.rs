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
mod hub;
mod listeners;
mod member;
mod pool;
mod rate;
mod refusal;
mod router;
mod spawn;
mod supervisor;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use self::listeners::{ListenError, Listeners};
use self::pool::Pool;
use self::router::Router;
use self::supervisor::Supervisor;
use crate::cli::RunArgs;
use crate::config::{Config, ConfigError, WORKERS};
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
    // Before any thread is started.
    let inherited = Listeners::inherited()?;
    let log = logging::init(&config.log, LogRole::Master)?;
    process::raise_descriptor_limit();
    // The main thread runs all of it: a worker dies with the thread that started it (prctl(2),
    // PR_SET_PDEATHSIG).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(MasterError::Start)?;
    LocalSet::new().block_on(&runtime, serve(config, inherited, log))
}

async fn serve(mut config: Config, inherited: Listeners, log: LogGuard) -> Result<(), MasterError> {
    let mut signals = Signals::new().map_err(MasterError::Start)?;
    let notify = Notify::from_env(TICK);
    info!("Master {} is running", std::process::id());
    let listeners = if inherited.is_empty() {
        Listeners::bind(&config.listen).await?
    } else {
        inherited
    };
    let listeners = listeners.watched()?;
    config.workers = worker_count(config.workers);
    let config = Rc::new(config);
    let keyring = Keyring::draw(machine())?;
    let pool = Rc::new(Pool::new(config.balance, &config.limits, keyring));
    let router = Router::start(Rc::clone(&config), Rc::clone(&pool), listeners);
    let mut workers = Supervisor::start(&config, &pool, &router);
    let memory = process::give_memory_back();
    tokio::pin!(memory);

    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ready = false;
    loop {
        tokio::select! {
            action = signals.recv() => match action {
                SignalAction::Stop => break,
                SignalAction::Reopen => log.reopen(),
            },
            failed = workers.failed() => return Err(failed),
            () = &mut memory => {}
            () = pool.all_ready(config.workers), if !ready => {
                ready = true;
                systemd::notify_ready();
                notify.status(&pool.status());
            }
            _ = tick.tick() => {
                log.report_losses();
                notify.alive();
                if ready {
                    notify.status(&pool.status());
                }
            }
        }
    }
    systemd::notify_stopping();
    info!(
        "stopping: the sessions end within {}",
        humantime::format_duration(config.stop_drain)
    );
    router.stop();
    workers.stop(config.stop_drain);
    let deadline = config.stop_drain + STOP_GRACE;
    tokio::select! {
        left = timeout(deadline, workers.left()) => if left.is_err() {
            warn!("workers that did not leave in time are killed");
        },
        () = signals.stop_again() => warn!("stopped at once, as asked twice"),
    }
    // Whatever is left of the workers dies with this process.
    Ok(())
}

/// What a signal makes the server do.
enum SignalAction {
    Stop,
    Reopen,
}

/// The signals that the server handles.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    async fn recv(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.reopen.recv() => SignalAction::Reopen,
        }
    }

    async fn stop_again(&mut self) {
        while !matches!(self.recv().await, SignalAction::Stop) {}
    }
}

/// One worker for each core that this process may use: affinity and cgroup quota count.
fn worker_count(configured: u16) -> u16 {
    match configured {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            u16::try_from(cores)
                .unwrap_or(u16::MAX)
                .clamp(1, *WORKERS.end())
        }
        some => some,
    }
}

/// A number for this machine, the same at every start (machine-id(5)).
fn machine() -> u16 {
    use sha2::Digest;
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    let [high, low, ..]: [u8; 32] = sha2::Sha256::digest(&id).into();
    u16::from_be_bytes([high, low])
}
