//! What the server costs, measured beside its peers.
//!
//! ```text
//! soak, idle: long tests, which fail when something is not as it should be
//!
//! suite ─┬─▶ scale ─▶ measure ──starts──▶ server (ours, Node, Bun, the limit) ◀──sockets── load
//!        └─▶ report             └──reads /proc──▶ usage
//! ```
//!
//! One process, one thread, one epoll loop play all clients. A figure is the CPU time of the server's own
//! processes by operation, or their proportional memory by session; what the clients cost is not in it.

mod address;
mod idle;
mod limit;
mod load;
mod measure;
mod report;
mod scale;
mod servers;
mod soak;
mod storm;
mod suite;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::address::Address;
use crate::load::{Load, LoadError};
use crate::servers::{ServerError, Servers};
use crate::storm::{Crowding, crowd};

/// Measures what the server costs by operation and by session, beside its peers.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    run: suite::Plan,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put one kind of load on a server that runs already.
    Load {
        /// What the clients do.
        #[arg(value_enum)]
        mode: measure::Mode,
        /// Where the server listens: host:port or unix:PATH.
        #[arg(long)]
        to: Address,
        /// How many sessions [default: as many as the suite].
        #[arg(long)]
        sessions: Option<usize>,
        /// How many seconds it lasts, once all sessions are open.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Hold very many sessions that rest: memory, CPU time, and whether all stay alive.
    Idle(idle::Plan),
    /// Clients of all kinds come and go, good ones and others: does anything grow, leak, or die?
    Soak(soak::Plan),
    /// The clients of one process, for `idle`.
    #[command(hide = true)]
    Hold(idle::Hold),
    /// The clients of one process, for storms.
    #[command(hide = true)]
    Crowd(Crowding),
    /// The bare epoll loop that the suite compares with.
    #[command(hide = true)]
    Limit {
        #[arg(long)]
        listen: Address,
    },
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the limit's loop: {0}")]
    Limit(#[source] std::io::Error),
    #[error("a process with clients: {0}")]
    Clients(#[source] std::io::Error),
    #[error("nginx does not start: {0}")]
    Nginx(#[source] std::io::Error),
    /// A long test found what may not be.
    #[error("{0}")]
    Broken(String),
    #[error("{}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.task {
        None => suite::run(&cli.run),
        Some(Task::Load {
            mode,
            to,
            sessions,
            seconds,
        }) => load_once(mode, &to, sessions, Duration::from_secs(seconds)),
        Some(Task::Idle(plan)) => idle::run(&plan),
        Some(Task::Soak(plan)) => soak::run(&plan),
        Some(Task::Hold(plan)) => idle::hold(&plan),
        Some(Task::Crowd(plan)) => crowd(&plan),
        Some(Task::Limit { listen }) => limit::serve(&listen).map_err(BenchError::Limit),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load_once(
    mode: measure::Mode,
    to: &Address,
    sessions: Option<usize>,
    lasts: Duration,
) -> Result<(), BenchError> {
    let sessions = sessions.unwrap_or(mode.sessions());
    let mut load = Load::new(to, Servers::source())?;
    load.open(mode.kind(), sessions)?;
    let done = mode.work(&mut load, lasts)?;
    println!("{sessions} sessions, {done} operations");
    Ok(())
}
