//! What systemd and this program say to each other: the listeners that it passes
//! (`sd_listen_fds(3)`), what it is told (`sd_notify(3)`), and its journal. Without systemd nothing
//! here does anything.

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt;
use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::debug;

/// How long systemd waits for a start or a stop after it was last told that it goes on. A machine may be so
/// busy that nothing runs for seconds.
const EXTENSION: Duration = Duration::from_secs(15);

/// Whether systemd started this process as a service.
pub(crate) fn is_parent() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some() || passes_listeners() || has_journal()
}

/// Whether systemd started this process as a service of its own, and not a shell that systemd started. Not known any more
/// after [`listeners`].
pub(crate) fn runs_service() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some() || passes_listeners()
}

/// Whether systemd passes listeners to this process. Not known any more after [`listeners`].
pub(crate) fn passes_listeners() -> bool {
    env::var_os("LISTEN_FDS").is_some()
}

/// A listener that systemd passed.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Its port, if it has one.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|at| at.port()),
            Self::Unix(_) => None,
        }
    }
}

/// One of systemd's descriptors is no listener.
#[derive(Debug, thiserror::Error)]
#[error(
    "systemd's descriptor {number} is no listener; use ListenStream= with Accept=no in the socket unit"
)]
pub(crate) struct NotAListener {
    /// The descriptor's number in the socket unit, from 0.
    number: usize,
}

/// What the unit of the listener for metrics calls it (`FileDescriptorName=`).
pub(crate) const METRICS: &str = "metrics";

/// The listeners that systemd passed, with their names. To be called before any thread is started: it removes
/// `LISTEN_FDS` from the environment.
pub(crate) fn listeners() -> Vec<(String, Result<Listener, NotAListener>)> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned);
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .zip(names.chain(std::iter::repeat(String::new())))
        .map(|(number, name)| {
            let listener = if let Ok(Some(listener)) = passed.take_tcp_listener(number)
                && is_listening(&listener)
            {
                Ok(Listener::Tcp(listener))
            } else if let Ok(Some(listener)) = passed.take_unix_listener(number)
                && is_listening(&listener)
            {
                Ok(Listener::Unix(listener))
            } else {
                Err(NotAListener { number })
            };
            (name, listener)
        })
        .collect()
}

/// Where the links of the socket units are that this service wants, and where a mask of one may be; see
/// systemd.unit(5).
const UNIT_DIRECTORIES: [&str; 3] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
];
const WANTS: &str = "my-app.service.wants";

/// The socket units that are enabled for this service, but have passed nothing: their address was taken or
/// not there. To be called before [`listeners`].
pub(crate) fn missing_sockets() -> Vec<String> {
    match env::var("LISTEN_FDNAMES") {
        Ok(names) if passes_listeners() => missing_among(&UNIT_DIRECTORIES.map(Path::new), &names),
        // Not systemd: it always says the names.
        _ => Vec::new(),
    }
}

/// Our units call their descriptors by their own name; without a name it would have the suffix, too.
fn missing_among(directories: &[&Path], passed: &str) -> Vec<String> {
    let wanted = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory.join(WANTS)).ok())
        .flatten();
    let mut missing: Vec<_> = wanted
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|unit| {
            let Some(name) = unit.strip_suffix(".socket") else {
                return false;
            };
            let is_there = passed
                .split(':')
                .any(|it| it == name || it == unit || name.strip_prefix("my-app-") == Some(it));
            let is_masked = directories.iter().any(|directory| {
                fs::read_link(directory.join(unit)).is_ok_and(|to| to == Path::new("/dev/null"))
            });
            !is_there && !is_masked
        })
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn is_listening(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// Tells systemd how the server is doing.
#[derive(Debug)]
pub(crate) struct Notify {
    /// How often [`Notify::alive`] is called.
    tick: Duration,
    /// Twice as often as systemd asks for.
    watchdog: Option<Duration>,
    alive_at: Cell<Option<Instant>>,
    status: RefCell<String>,
}

impl Notify {
    pub(crate) fn from_env(tick: Duration) -> Self {
        Self {
            tick,
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            alive_at: Cell::new(None),
            status: RefCell::default(),
        }
    }

    /// Shows `text` in `systemctl status`, if it is a new one.
    pub(crate) fn status(&self, text: &str) {
        if *self.status.borrow() != text {
            notify(&[NotifyState::Status(text)]);
            text.clone_into(&mut self.status.borrow_mut());
        }
    }

    /// The master's loop goes round.
    pub(crate) fn alive(&self) {
        let now = Instant::now();
        let due = self.watchdog.is_some_and(|period| {
            self.alive_at
                .get()
                .is_none_or(|at| now.duration_since(at) + self.tick >= period)
        });
        if due {
            self.alive_at.set(Some(now));
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// All workers take connections.
pub(crate) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// It reads its configuration anew, until it is ready again. A unit with `Type=notify-reload` wants to know since when.
pub(crate) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The server ends as it was told to.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// It is still starting or stopping, and goes round: systemd shall wait for another [`EXTENSION`], whatever
/// the unit's timeouts say. To be repeated.
pub(crate) fn extend_timeout() {
    let microseconds = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(microseconds)]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd could not be told");
    }
}

/// Whether standard output or standard error is the journal's.
///
/// The variable alone proves nothing: a shell in a desktop's terminal inherits it from the service
/// that the terminal is, so systemd.exec(5) asks to compare device and inode.
pub(crate) fn has_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    stream.as_deref().and_then(parse).is_some_and(|stream| {
        is_stream(std::io::stdout(), stream) || is_stream(std::io::stderr(), stream)
    })
}

/// Device and inode of the stream that the variable names.
fn parse(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn is_stream(descriptor: impl AsFd, (device, inode): (u64, u64)) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_device_and_inode_are_the_journals_stream() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let named = parse(&format!("{}:{}", stat.st_dev, stat.st_ino)).unwrap();
        assert!(is_stream(&file, named));
        assert!(!is_stream(&file, (named.0, named.1 + 1)));
    }

    #[test]
    fn a_wanted_socket_that_passed_nothing_is_missing() {
        let (etc, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [etc.path(), Path::new("/nonexistent"), run.path()];
        let wants = etc.path().join(WANTS);
        fs::create_dir(&wants).unwrap();
        for unit in ["my-app.socket", "my-app-tcp.socket", "other.target"] {
            std::os::unix::fs::symlink("/nonexistent", wants.join(unit)).unwrap();
        }
        let missing = |names| missing_among(&directories, names);
        assert_eq!(missing("my-app"), ["my-app-tcp.socket"]);
        assert!(missing("my-app:my-app-tcp").is_empty());
        assert!(missing("my-app-tcp.socket:my-app").is_empty());
        // Its unit calls it by another name.
        let metrics = wants.join("my-app-metrics.socket");
        std::os::unix::fs::symlink("/nonexistent", &metrics).unwrap();
        assert_eq!(missing("my-app:my-app-tcp"), ["my-app-metrics.socket"]);
        assert!(missing("my-app:my-app-tcp:metrics").is_empty());
        fs::remove_file(metrics).unwrap();
        // Its address is somebody else's business for now.
        std::os::unix::fs::symlink("/dev/null", run.path().join("my-app-tcp.socket")).unwrap();
        assert!(missing("my-app").is_empty());
    }

    #[test]
    fn a_variable_of_another_form_names_no_stream() {
        for text in ["", "1", "1:", ":1", "a:b", "1:2:3", "-1:2"] {
            assert_eq!(parse(text), None);
        }
    }
}
