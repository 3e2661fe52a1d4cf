//! A production Socket.IO server: one master process, one worker process per core, sessions that
//! always reach their own worker.
//!
//! The modules, in the order in which a connection meets them. `master` and `worker` do not know
//! each other; [`wire`], [`ipc`] and [`api`] know neither:
//!
//! - [`cli`], [`config`], [`logging`]: what the program was asked to do, and how it tells
//! - [`master`]: listeners, router, supervisor
//! - [`worker`]: intake, HTTP, engine
//! - [`bus`]: what the workers' sockets and applications say to each other
//! - [`wire`]: pure: what master and workers say to each other, and what both read of a request
//! - [`ipc`]: the sockets between our processes, and the connections that they pass on
//! - [`app`]: the application; replace it with yours
//! - [`api`]: what an application is written with

pub mod api;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod ipc;
pub mod logging;
pub mod master;
pub mod wire;
pub mod worker;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::api::App;
use crate::cli::{Exit, Role};
use crate::master::MasterError;

/// Queues grow to megabytes for a moment and shrink to nothing; this allocator gives back what they
/// held. The system's keeps it for as long as anything lives above it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the allocator is set: it reads its environment before anything else runs.
const ALLOCATOR_SETTINGS: [(&str, &str); 2] = [
    // What is freed is given back at once, not when something else happens: a worker may be idle next.
    ("MIMALLOC_PURGE_DELAY", "0"),
    // A process would begin with four huge pages, four times what it needs.
    ("MIMALLOC_ALLOW_THP", "0"),
];

/// What every process of the server is called; its first argument tells the role.
const NAME: &str = "my-app:";

/// Does what the command line says, for this application.
#[must_use]
pub fn main(app: App) -> ExitCode {
    // A handler that panics costs its event and nobody else; it shall not go unnoticed.
    std::panic::set_hook(Box::new(|panic| {
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(%panic, "a task panicked");
        } else {
            eprintln!("my-app: {panic}");
        }
    }));
    match cli::parse() {
        Ok(Role::Run(args)) => {
            tell_role();
            name_process();
            match master::run(&args) {
                Ok(()) => Exit::Ok,
                Err(error) => complain(&error, exit_of(&error)),
            }
        }
        Ok(Role::Worker { slot }) => {
            name_process();
            match worker::run(app, slot) {
                Ok(()) => Exit::Ok,
                Err(error) => complain(&error, Exit::Internal),
            }
        }
        Ok(Role::Check(args)) => cli::check(&args),
        Err(exit) => exit,
    }
    .into()
}

/// Replaces this process by itself under a name that tells its role, so that `ps` and
/// `systemctl status` read "my-app: master" above "my-app: worker 0", and with the allocator's settings,
/// which the workers inherit. Without /proc both stay as they are.
fn tell_role() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name == NAME) {
        return;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg("master").args(args);
    // An operator's own settings stay.
    let unset = |name: &str| std::env::var_os(name).is_none();
    command.envs(
        ALLOCATOR_SETTINGS
            .into_iter()
            .filter(|(name, _)| unset(name)),
    );
    let _ = command.exec();
}

/// For `top`, `pgrep` and the kernel's log: run through /proc/self/exe, it would be called "exe".
fn name_process() {
    // It fails nowhere, and nothing depends on it.
    let _ = rustix::thread::set_name(c"my-app");
}

fn exit_of(error: &MasterError) -> Exit {
    match error {
        MasterError::Config(_) => Exit::Config,
        MasterError::Worker { .. } | MasterError::Log(_) => Exit::Internal,
        MasterError::Listen(_) | MasterError::Entropy(_) | MasterError::Start(_) => Exit::Os,
    }
}

/// To standard error, which is the journal under systemd: the log may not be there yet.
fn complain(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("my-app: {error}");
    exit
}
