//! Which drains are under way, and how long each still takes; the workers do them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Whose sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// All: the server stops.
    Everybody,
    /// Those that there were when an operator took the machine out.
    TakenOut,
    /// Those of a generation of workers, whose place another has taken.
    Generation(u16),
}

/// A drain at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draining {
    pub(crate) whose: Whose,
    /// Open sessions, with those that began meanwhile.
    pub(crate) sessions: u64,
    /// How long it still takes, in whole seconds; zero when its time is over.
    pub(crate) left: Duration,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Drains(RefCell<BTreeMap<Whose, Instant>>);

impl Drains {
    /// One begins, or begins anew.
    pub(crate) fn begin(&self, whose: Whose, over: Duration) {
        self.0.borrow_mut().insert(whose, Instant::now() + over);
    }

    /// For how much longer sessions end because the machine was taken out, in milliseconds.
    pub(crate) fn pack(&self) -> Option<u64> {
        let until = *self.0.borrow().get(&Whose::TakenOut)?;
        let left = until.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    /// As it was packed.
    pub(crate) fn adopt(&self, left_ms: Option<u64>) {
        if let Some(left) = left_ms.map(Duration::from_millis) {
            self.begin(Whose::TakenOut, left);
        }
    }

    /// One was called off.
    pub(crate) fn end(&self, whose: Whose) {
        self.0.borrow_mut().remove(&whose);
    }

    /// Those that are under way, and how many sessions each has yet.
    pub(crate) fn list(&self, sessions_of: impl Fn(Whose) -> u64) -> Vec<Draining> {
        let now = Instant::now();
        let drains = self.0.borrow();
        let drains = drains.iter().map(|(&whose, &until)| Draining {
            whose,
            sessions: sessions_of(whose),
            left: whole_seconds(until.saturating_duration_since(now)),
        });
        drains.collect()
    }
}

/// Rounded up: it is not over before it is.
fn whole_seconds(time: Duration) -> Duration {
    let begun = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(begun))
}

impl Draining {
    /// In words, for `systemctl status`.
    pub(crate) fn words(&self) -> String {
        let Self { sessions, left, .. } = *self;
        let left = (!left.is_zero()).then(|| humantime::format_duration(left).to_string());
        match (self.whose, left) {
            (Whose::Everybody, Some(left)) => {
                format!("stopping: {sessions} session(s) left, which end within {left}")
            }
            (Whose::Everybody, None) => format!("stopping: {sessions} session(s) left"),
            (Whose::TakenOut, Some(left)) => {
                format!("taken out: {sessions} session(s) left, the old ones end within {left}")
            }
            (Whose::Generation(_), Some(left)) => {
                format!(
                    "draining: {sessions} session(s) of earlier workers left, which end within {left}"
                )
            }
            (Whose::Generation(_), None) => {
                format!("draining: {sessions} session(s) of earlier workers left")
            }
            (Whose::TakenOut, None) => format!("taken out: {sessions} session(s) left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_tells_how_many_are_left_and_how_long_it_takes() {
        let drains = Drains::default();
        assert!(drains.list(|_| 7).is_empty());
        drains.begin(Whose::TakenOut, Duration::from_mins(5));
        tokio::time::advance(Duration::from_millis(50_500)).await;
        let words = || drains.list(|_| 7).first().map(Draining::words);
        assert_eq!(
            words().as_deref(),
            Some("taken out: 7 session(s) left, the old ones end within 4m 10s")
        );
        tokio::time::advance(Duration::from_secs(250)).await;
        assert_eq!(words().as_deref(), Some("taken out: 7 session(s) left"));
        drains.end(Whose::TakenOut);
        assert_eq!(words(), None);
        drains.begin(Whose::Everybody, Duration::from_secs(2));
        assert_eq!(
            words().as_deref(),
            Some("stopping: 7 session(s) left, which end within 2s")
        );
    }
}
