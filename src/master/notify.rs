//! Tells systemd how the server is doing (`sd_notify(3)`); without systemd it does nothing.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::debug;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Notify {
    /// Twice as often as systemd asks for.
    watchdog: Option<Duration>,
    alive_at: Cell<Option<Instant>>,
    told: RefCell<String>,
}

impl Notify {
    pub(crate) fn from_env() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            alive_at: Cell::new(None),
            told: RefCell::default(),
        }
    }

    /// Shows `text` in `systemctl status`, if it is a new one.
    pub(crate) fn status(&self, text: &str) {
        if *self.told.borrow() != text {
            tell(&[NotifyState::Status(text)]);
            text.clone_into(&mut self.told.borrow_mut());
        }
    }

    /// The master's loop goes round.
    pub(crate) fn alive(&self) {
        let now = Instant::now();
        let due = self.watchdog.is_some_and(|period| {
            self.alive_at
                .get()
                .is_none_or(|at| now.duration_since(at) + super::TICK >= period)
        });
        if due {
            self.alive_at.set(Some(now));
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// All workers take connections.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server ends as it was told to.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd could not be told");
    }
}
