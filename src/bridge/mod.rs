//! The bridge: the process that joins this machine's bus to those of other machines, over a server that both
//! reach. It is one more member of the hub; sessions and the application are in other processes.
//!
//! ```text
//! workers ─▶ hub ─bus─▶ end ─▶ session ─▶ core ─▶ line ─▶ Redis or Postgres ─▶ other bridges
//!                                │ ▲                 (transport)
//!                                └─┴─ emitter, node
//! ```
//!
//! `core` is the protocol between bridges, pure; `transport` is the server between them; `line` is the connection to
//! it, which ends and comes back; `session` puts them together for as long as the hub's connection lives.

mod core;
mod emitter;
mod hub;
mod line;
mod node;
mod notepack;
mod outage;
mod session;
mod transport;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::info;

use self::hub::Way;
use self::line::Pauses;
use self::session::{End, Session};
use crate::config::{BridgeUrl, Config};
use crate::logging::{self, LogError, LogGuard, LogRole};
use crate::process;
use crate::systemd::{self, Notify};

/// How often it is told that the process lives.
const TICK: Duration = Duration::from_millis(500);

/// Why the bridge could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    /// There is nothing to be joined to.
    #[error("bridge.url is not set: there is no server over which other machines are met")]
    NoUrl,
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The runtime, a signal handler or the master's end could not be set up.
    #[error("the bridge cannot start: {0}")]
    Start(#[source] io::Error),
}

/// Runs the bridge until it is told to stop. `is_child`: the master has started it, and its standard input is its end of the
/// bus; else it looks for the hub's socket. `present`: the configuration as it is by now, if there is a good one.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(
    config: Config,
    is_child: bool,
    present: impl Fn() -> Option<Config>,
) -> Result<(), BridgeError> {
    let url = config.bridge.url.clone().ok_or(BridgeError::NoUrl)?;
    let way = if is_child {
        // If the master dies, this process does (prctl(2), PR_SET_PDEATHSIG).
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| BridgeError::Start(error.into()))?;
        Way::given().map_err(BridgeError::Start)?
    } else {
        Way::Path(config.bus_socket())
    };
    let log = logging::init(&config.log, LogRole::Bridge)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(BridgeError::Start)?;
    LocalSet::new().block_on(&runtime, serve(config, url, way, log, present))
}

/// What the process has, whichever hub it is connected to.
#[derive(Debug)]
struct Parts {
    config: Config,
    url: BridgeUrl,
    notify: Notify,
    stopped: watch::Receiver<bool>,
}

impl Parts {
    /// Waits until the process is told to stop.
    async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // The sender lives as long as the process.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

async fn serve(
    config: Config,
    url: BridgeUrl,
    mut way: Way,
    log: LogGuard,
    present: impl Fn() -> Option<Config>,
) -> Result<(), BridgeError> {
    let (stop, stopped) = watch::channel(false);
    info!("Bridge {} is running", std::process::id());
    let parts = Rc::new(Parts {
        config,
        url,
        notify: Notify::from_env(TICK),
        stopped,
    });
    let mut signals = Signals::new(way.is_given()).map_err(BridgeError::Start)?;
    let live = async {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                action = signals.recv() => match action {
                    Action::Stop => {
                        systemd::notify_stopping();
                        stop.send_replace(true);
                    }
                    Action::Reopen => log.reopen(),
                },
                _ = tick.tick() => {
                    parts.notify.alive();
                    log.report_losses();
                }
            }
        }
    };
    let work = async {
        // The unit has started, whether or not there is a server: its status says what is missing.
        systemd::notify_ready();
        let mut pauses = Pauses::default();
        while let Some(end) = way.connect(&parts).await {
            let began = Instant::now();
            if Session::new(&parts, end).run().await == End::Stopped || way.is_given() {
                return;
            }
            // What was kept for other machines ended with the server. So whoever restarts that after a change of the
            // configuration needs no more: the unit starts the bridge anew.
            if present().is_some_and(|config| config != parts.config) {
                return info!("the server ended its bus, and the configuration has changed");
            }
            info!("the server ended its bus; waiting for it to come back");
            // Two bridges of one server take its place from each other: not as fast as they can.
            tokio::select! {
                () = sleep(pauses.after(began.elapsed())) => {}
                () = parts.stopped() => return,
            }
        }
    };
    tokio::select! {
        () = work => Ok(()),
        () = live => Ok(()),
        () = process::give_memory_back() => Ok(()),
    }
}

/// What a signal makes the bridge do.
enum Action {
    Stop,
    Reopen,
}

/// The signals that the bridge handles.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    reopen: unix::Signal,
    hangup: unix::Signal,
    /// What a terminal sends to all of its processes is the master's to decide.
    is_child: bool,
}

impl Signals {
    fn new(is_child: bool) -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
            is_child,
        };
        // The master's are held.
        process::release_signals()?;
        Ok(signals)
    }

    async fn recv(&mut self) -> Action {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Action::Stop,
                _ = self.reopen.recv() => return Action::Reopen,
                _ = self.interrupt.recv() => if !self.is_child { return Action::Stop },
                _ = self.hangup.recv() => {}
            }
        }
    }
}
