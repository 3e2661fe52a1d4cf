//! The servers between machines, real and private: on ports of loopback that the kernel chose and on Unix sockets in
//! folders of their own. Each ends with its value, and nothing of it is left.

mod certificates;
mod disk;
mod pgbouncer;
mod postgres;
mod redis;

pub use certificates::Certificates;
pub use disk::Disk;
pub use pgbouncer::PgBouncer;
pub use postgres::{PASSWORD, Postgres};
pub use redis::{Redis, redis_program};

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{eventually, signal_process};

/// They start, or end, within this.
const STARTS: Duration = Duration::from_secs(30);

/// A server that runs, and what it says.
struct Running {
    child: Option<Child>,
    log: PathBuf,
    /// The signal that ends it at once, whoever is connected.
    last: &'static str,
}

impl Running {
    /// Starts `command`, and waits until `answers` holds.
    #[track_caller]
    fn start(
        mut command: Command,
        last: &'static str,
        log: &Path,
        mut answers: impl FnMut() -> bool,
    ) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output: File = output.unwrap();
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn();
        let program = command.get_program().display();
        let child = child.unwrap_or_else(|error| {
            panic!("{program} is installed (make test installs it): {error}");
        });
        let mut running = Self {
            child: Some(child),
            log: log.to_owned(),
            last,
        };
        eventually("the server starts", STARTS, || {
            let child = running.child.as_mut().unwrap();
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{program} ended:\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
            answers()
        });
        running
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it with this signal, if it runs.
    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if child.try_wait().unwrap().is_none() {
            // It may have been stopped.
            signal_process(child.id(), "CONT");
            signal_process(child.id(), signal);
        }
        child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(self.last);
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("--- a server said, newest first:\n{}\n---", tail.join("\n"));
        }
    }
}

/// Whom servers run as that refuse to be root: Debian's `postgres`, where we are root.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let ids = id(&["-u", "postgres"]).zip(id(&["-g", "postgres"]));
    Some(ids.expect("postgresql is installed (make test installs it)"))
}

/// `command` as [`unprivileged`], to whom these belong from now on.
pub fn lower(command: &mut Command, paths: &[&Path]) {
    if let Some((user, group)) = unprivileged() {
        for path in paths {
            chown(path, Some(user), Some(group)).unwrap();
        }
        command.uid(user).gid(group);
    }
}
