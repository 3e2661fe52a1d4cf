//! A worker's process, or the bridge's: this binary again (`/proc/self/exe`, so that a package upgrade in between changes
//! nothing), with its end of the link, or of the bus, as standard input.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cli::BridgeArgs;

/// Starts a worker. Together its arguments read "my-app: worker 0", in `ps` and `systemctl status`.
pub(super) fn spawn(slot: u16, link: OwnedFd) -> io::Result<Child> {
    let slot = slot.to_string();
    itself(link).args(["worker", &slot]).spawn()
}

/// Starts a bridge, whose standard input is its end of the bus: "my-app: bridge".
pub(super) fn spawn_bridge(args: &BridgeArgs, bus: OwnedFd) -> io::Result<Child> {
    let arguments = args.to_arguments();
    let mut command = itself(bus);
    command
        .args(["bridge", "--is-child"])
        .args(arguments)
        .spawn()
}

/// This program, which dies with the master's runtime.
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
        .env_remove("LISTEN_FDNAMES")
        .kill_on_drop(true);
    command
}

/// Why a worker had to be ended that has closed something. Its exit status tells more.
pub(super) async fn ended(child: &mut Child, closed: &str) -> Option<String> {
    match timeout(Duration::from_secs(1), child.wait()).await {
        Ok(_) => None,
        Err(_) => Some(closed.to_owned()),
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}
