//! What systemd and this program say to each other: the listeners that it passes
//! (`sd_listen_fds(3)`), what it is told (`sd_notify(3)`), and its journal. Without systemd nothing
//! here does anything.

use std::cell::{Cell, RefCell};
use std::env;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt;
use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::debug;

/// Whether systemd started this process as a service.
pub(crate) fn is_parent() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some() || passes_listeners() || has_journal()
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

/// One of systemd's descriptors is no listener.
#[derive(Debug, thiserror::Error)]
#[error(
    "systemd's descriptor {number} is no listener; use ListenStream= with Accept=no in the socket unit"
)]
pub(crate) struct NotAListener {
    /// The descriptor's number in the socket unit, from 0.
    number: usize,
}

/// The listeners that systemd passed. To be called before any thread is started: it removes
/// `LISTEN_FDS` from the environment.
pub(crate) fn listeners() -> Result<Vec<Listener>, NotAListener> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|number| {
            if let Ok(Some(listener)) = passed.take_tcp_listener(number)
                && is_listening(&listener)
            {
                Ok(Listener::Tcp(listener))
            } else if let Ok(Some(listener)) = passed.take_unix_listener(number)
                && is_listening(&listener)
            {
                Ok(Listener::Unix(listener))
            } else {
                Err(NotAListener { number })
            }
        })
        .collect()
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

/// The server ends as it was told to.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
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
    fn a_variable_of_another_form_names_no_stream() {
        for text in ["", "1", "1:", ":1", "a:b", "1:2:3", "-1:2"] {
            assert_eq!(parse(text), None);
        }
    }
}
