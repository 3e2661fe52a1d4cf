//! A worker as a process: how it is started, and how it ended.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;

use tokio::process::{Child, Command};

/// Starts a worker. Together its arguments read "my-app: worker 0", in `ps` and `systemctl status`.
pub(super) fn spawn(slot: u16, link: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("my-app:")
        .args(["worker", &slot.to_string()])
        .stdin(link)
        // systemd's messages and descriptors are the master's.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES")
        .kill_on_drop(true)
        .spawn()
}

pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}
