//! A worker's process, or the bridge's: this binary again (`/proc/self/exe`, so that a package upgrade in between changes
//! nothing), with its end of the link, or of the bus, as standard input.
//!
//! What the master has of it is a descriptor (`pidfd_open(2)`), which outlives an exec of the master, as the kinship does.
//! It dies with the master (each sets its parent-death signal), not when the master forgets it. Signals wait for it, as
//! they do for the master, until it can handle them and releases them.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::cli::BridgeArgs;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It returned this.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Its parent was told nothing.
    Unknown,
}

/// A child of the master, alive or not.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    /// A process is reaped once.
    status: Cell<Option<Status>>,
}

impl Process {
    /// Starts a worker. Together its arguments read "my-app: worker 0", in `ps` and `systemctl status`.
    ///
    /// Only on the main thread: it dies with the thread that started it.
    pub(super) fn worker(slot: u16, link: OwnedFd) -> io::Result<Self> {
        let slot = slot.to_string();
        Self::spawn(itself(link).args(["worker", &slot]))
    }

    /// Starts a bridge, whose standard input is its end of the bus: "my-app: bridge". On the main thread, likewise.
    pub(super) fn bridge(args: &BridgeArgs, bus: OwnedFd) -> io::Result<Self> {
        let arguments = args.to_arguments();
        Self::spawn(itself(bus).args(["bridge", "--is-child"]).args(arguments))
    }

    fn spawn(command: &mut Command) -> io::Result<Self> {
        // When it is dropped it neither ends nor reaps the process.
        let mut child = command.spawn()?;
        let pid = child.id();
        // It is not reaped yet, so that its number is its own.
        let watched = raw(pid)
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .and_then(|pidfd| Self::adopt(pid, pidfd));
        if watched.is_err() {
            // What cannot be watched is not had.
            let _ = child.kill().and_then(|()| child.wait());
        }
        watched
    }

    /// Any process, for tests.
    #[cfg(test)]
    pub(super) fn of(command: &mut Command) -> io::Result<Self> {
        Self::spawn(command)
    }

    /// A child that this process has already, by its number and its descriptor.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub(super) fn adopt(pid: u32, pidfd: OwnedFd) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "a descriptor that is owned stays open; what is advised instead is unsafe"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        let status = Cell::new(None);
        Ok(Self { pid, pidfd, status })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended, and reaps it. May be asked again, and dropped meanwhile.
    ///
    /// # Errors
    /// When it is no child of this process.
    pub(super) async fn wait(&self) -> io::Result<Status> {
        loop {
            if let Some(status) = self.status.get() {
                return Ok(status);
            }
            let mut ready = self.pidfd.readable().await?;
            match self.reap() {
                Ok(Some(status)) => self.status.set(Some(status)),
                Ok(None) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn reap(&self) -> rustix::io::Result<Option<Status>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let ended = waitid(WaitId::PidFd(self.as_fd()), options)?;
        Ok(ended.as_ref().map(Status::of))
    }

    /// Ends it at once, if it has not ended yet.
    ///
    /// # Errors
    /// When it may not be ended.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks it to end, if it has not ended yet.
    ///
    /// # Errors
    /// When it may not be told.
    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Why it had to be ended, if it has closed something and does not end. Its exit status tells more.
    pub(super) async fn outlives(&self, closed: &str) -> Option<String> {
        match timeout(Duration::from_secs(1), self.wait()).await {
            Ok(_) => None,
            Err(_) => Some(closed.to_owned()),
        }
    }
}

impl AsFd for Process {
    /// Its pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.get_ref().as_fd()
    }
}

fn raw(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// This program, with this as its standard input.
fn itself(stdin: OwnedFd) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("my-app:")
        .stdin(stdin)
        // systemd's messages and descriptors are the master's.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES");
    command
}

impl Status {
    fn of(status: &WaitIdStatus) -> Self {
        match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => Self::Signal(signal),
            (None, Some(code)) => Self::Code(code),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::Unknown => f.write_str("nobody knows how"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        Process::spawn(&mut command).unwrap()
    }

    async fn status(process: &Process) -> Status {
        timeout(DEADLINE, process.wait()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn how_a_process_ended_is_known_as_often_as_is_asked() {
        for (script, expected, words) in [
            ("exit 0", Status::Code(0), "exit code 0"),
            ("exit 71", Status::Code(71), "exit code 71"),
            ("kill -9 $$", Status::Signal(9), "killed by signal 9"),
        ] {
            let process = shell(script);
            assert_eq!(status(&process).await, expected);
            assert_eq!(status(&process).await, expected);
            assert_eq!(expected.to_string(), words);
            // Its number may be another's by now; nobody is killed.
            process.kill().unwrap();
        }
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_waited_for_and_killed() {
        let process = shell("exec sleep 60");
        let patience = Duration::from_millis(20);
        assert!(timeout(patience, process.wait()).await.is_err());
        process.kill().unwrap();
        assert_eq!(status(&process).await, Status::Signal(9));
        let process = shell("exec sleep 60");
        process.terminate().unwrap();
        assert_eq!(status(&process).await, Status::Signal(15));
    }

    #[tokio::test]
    async fn one_that_is_forgotten_lives_on_and_is_had_again_by_its_descriptor() {
        let process = shell("exec sleep 60");
        let (pid, pidfd) = (process.pid(), process.as_fd().try_clone_to_owned().unwrap());
        drop(process);
        let again = Process::adopt(pid, pidfd.try_clone().unwrap()).unwrap();
        assert!(
            timeout(Duration::from_millis(20), again.wait())
                .await
                .is_err()
        );
        // It ends while nobody looks.
        again.kill().unwrap();
        drop(again);
        let again = Process::adopt(pid, pidfd).unwrap();
        assert_eq!(status(&again).await, Status::Signal(9));
    }
}
