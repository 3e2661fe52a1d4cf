//! A production Socket.IO server: one master process, one worker process per core, sessions that
//! always reach their own worker.
//!
//! The modules, in the order in which a connection meets them. `master` and `worker` do not know
//! each other; `wire`, `ipc` and [`api`] know neither:
//!
//! - `cli`, `config`, `logging`: what the program was asked to do, and how it tells
//! - `master`: listeners, router, supervisor
//! - `worker`: intake, HTTP, engine
//! - `bridge`: the process that joins the bus of this machine to those of others
//! - `bus`: what the workers' sockets and applications say to each other
//! - `wire`: pure: what master and workers say to each other, and what both read of a request
//! - `ipc`: the sockets between our processes, and the connections that they pass on
//! - `metrics`: what all of them count, in one table
//! - `process`, `systemd`: this process as the system sees it, and what systemd is told
//! - [`app`]: the application; replace it with yours
//! - [`api`]: what an application is written with

pub mod api;
pub mod app;
mod bridge;
mod bus;
mod cli;
mod client_files;
mod config;
mod control_group;
mod ipc;
mod logging;
mod master;
mod metrics;
mod process;
mod systemd;
mod wire;
mod worker;

use std::process::ExitCode;

use crate::api::App;
use crate::bridge::BridgeError;
use crate::cli::{BridgeArgs, Exit, Role};
use crate::master::MasterError;

/// Queues grow to megabytes for a moment and shrink to nothing; this allocator gives back what they
/// held. The system's keeps it for as long as anything lives above it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Does what the command line says, for this application. To be called before any thread is started: the server's signals
/// are blocked in all of its threads.
#[must_use]
pub fn main(app: App) -> ExitCode {
    // A handler that panics costs its event and nobody else; it shall not go unnoticed.
    std::panic::set_hook(Box::new(|panic| {
        metrics::PANICS.inc();
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(%panic, "a task panicked");
        } else {
            eprintln!("my-app: {panic}");
        }
    }));
    match cli::parse() {
        Ok(Role::Run(args)) => {
            process::reexec_as(&["master"]);
            process::set_name();
            match master::run(&args) {
                Ok(()) => Exit::Ok,
                Err(error) => exit_with(&error, exit_of(&error)),
            }
        }
        Ok(Role::Try(args)) => {
            process::set_name();
            match master::try_to_reload(&args) {
                Ok(()) => Exit::Ok,
                Err(error) => exit_with(&error, Exit::Degraded),
            }
        }
        Ok(Role::Worker { slot }) => {
            process::set_name();
            match worker::run(app, slot) {
                Ok(()) => Exit::Ok,
                Err(error) => exit_with(&error, Exit::Internal),
            }
        }
        Ok(Role::Bridge(args)) => {
            if !args.is_configured {
                process::reexec_as(&[]);
                process::set_name();
            }
            run_bridge(&args)
        }
        Ok(Role::Check(args)) => cli::check(&args),
        Ok(Role::Ask(question)) => cli::ask(&question),
        Err(exit) => exit,
    }
    .into()
}

/// Runs the bridge, or says whether there is one to run.
fn run_bridge(args: &BridgeArgs) -> Exit {
    match args.load() {
        // systemd skips a unit, without a word, when its ExecCondition= ends with 1 to 254. With a wrong configuration
        // the unit shall go on, and fail with what is wrong.
        Err(_) if args.is_configured => Exit::Ok,
        Ok(loaded) if args.is_configured => match loaded.config.bridge.url {
            Some(_) => Exit::Ok,
            None => Exit::Degraded,
        },
        Err(error) => exit_with(&error, Exit::Config),
        Ok(loaded) => match bridge::run(loaded.config, args.is_child, || {
            args.load().ok().map(|loaded| loaded.config)
        }) {
            Ok(()) => Exit::Ok,
            Err(error @ BridgeError::NoUrl) => exit_with(&error, Exit::Config),
            Err(error) => exit_with(&error, Exit::Internal),
        },
    }
}

fn exit_of(error: &MasterError) -> Exit {
    match error {
        MasterError::Config(_) => Exit::Config,
        MasterError::Log(_) | MasterError::Resume(_) => Exit::Internal,
        MasterError::Worker { .. }
        | MasterError::Listen(_)
        | MasterError::Entropy(_)
        | MasterError::Start(_) => Exit::Os,
    }
}

/// Writes the error to standard error, which is the journal under systemd: there may be no log yet.
fn exit_with(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("my-app: {error}");
    exit
}
