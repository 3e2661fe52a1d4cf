//! What a new program does before it takes over: it reads a copy of what the running server would hand over, and the
//! configuration, runs one worker until that takes connections, and tells what it is. The running server is not touched:
//! the worker has a hub of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{Patience, Verdict};
use crate::cli::RunArgs;
use crate::config::{Config, ConfigError, LogLevel};
use crate::ipc::carrier::{CarrierError, Luggage};
use crate::ipc::link::{self, Inbox, Link, LinkError};
use crate::master::child::Process;
use crate::master::dialogue::welcome;
use crate::master::hub::Hub;
use crate::master::listeners::ListenError;
use crate::master::rebind::{try_control, try_new};
use crate::process;
use crate::wire::frame;
use crate::wire::handover::{HandoverError, STATE_VERSION, State};
use crate::wire::link::{LINK_VERSION, ToMaster, Welcome};
use crate::wire::session_id::{EntropyError, Home, Keyring};

/// Why a reload would not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    /// Somebody else started it.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// The state is of another version.
    #[error(transparent)]
    State(#[from] HandoverError),
    /// The configuration is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What it would listen at, too, cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The worker could not be started.
    #[error("a worker cannot be started: {0}")]
    Start(#[from] io::Error),
    /// No key for the session ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The worker could not be told what to do.
    #[error("a worker did not take its configuration: {0}")]
    Welcome(#[source] LinkError),
    /// The worker ended.
    #[error("a worker ended before it took connections: {0}")]
    Ended(String),
    /// The worker is not ready.
    #[error(
        "a worker was not ready within {0}: an application that needs longer needs a longer start_timeout"
    )]
    Late(humantime::FormattedDuration),
}

/// Tries, and prints the verdict.
///
/// # Errors
/// Why a reload would not work.
pub(crate) fn run(args: &RunArgs) -> Result<(), TrialError> {
    process::raise_oom_score();
    let dies = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    dies.map_err(io::Error::from)?;
    let luggage = Luggage::receive(process::take_stdin()?)?;
    let mut answer = File::from(take_stdout()?);
    let state = State::decode(luggage.state())?;
    let mut config = args.load()?.config;
    config.workers = config.worker_count();
    let start_timeout_ms = u64::try_from(config.start_timeout.as_millis()).unwrap_or(u64::MAX);
    let patience =
        serde_json::to_string(&Patience { start_timeout_ms }).map_err(io::Error::from)?;
    writeln!(answer, "{patience}")?;
    // The worker's standard output is the trial's error: only what goes wrong shall stand there.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tried = LocalSet::new().block_on(&runtime, async {
        try_new(&config, &state.listeners).await?;
        try_control(&config, state.control.asked.control.as_ref())?;
        try_worker(&config).await
    });
    // A resolver that hangs holds up no answer.
    runtime.shutdown_background();
    tried?;
    let verdict = Verdict {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: STATE_VERSION,
        link: LINK_VERSION,
        bus: frame::VERSION,
        config: serde_json::to_string(&config).map_err(io::Error::from)?,
    };
    let verdict = serde_json::to_vec(&verdict).map_err(io::Error::from)?;
    Ok(answer.write_all(&verdict)?)
}

/// Standard output is for the verdict alone; what the worker prints is told as the reason, if it does not start.
fn take_stdout() -> io::Result<OwnedFd> {
    let answer = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(answer)
}

async fn try_worker(config: &Config) -> Result<(), TrialError> {
    let mut config = config.clone();
    config.log.level = LogLevel::Error;
    let (ours, theirs) = link::pair()?;
    let process = Process::worker(0, theirs)?;
    let link = Link::new(ours)?;
    let (ours, theirs) = UnixStream::pair()?;
    let hub = Rc::new(Hub::default());
    let pid = process.pid();
    let _served = tokio::task::spawn_local(async move { hub.serve(0, pid, ours).await });
    let message = Welcome {
        home: Home {
            generation: 0,
            slot: 0,
        },
        workers: config.workers,
        keyring: Keyring::draw(0)?,
    };
    let patience = config.start_timeout;
    let started = async {
        welcome(&link, message, &config, theirs)
            .await
            .map_err(TrialError::Welcome)?;
        let mut inbox = Inbox::default();
        loop {
            match link.recv(&mut inbox).await {
                Ok((ToMaster::Ready, _)) => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(TrialError::Ended(process.wait().await?.to_string())),
            }
        }
    };
    let started = timeout(patience, started)
        .await
        .unwrap_or_else(|_| Err(TrialError::Late(humantime::format_duration(patience))));
    process.kill()?;
    process.wait().await?;
    started
}
