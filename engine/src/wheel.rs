//! Due times: which session is to be looked at when. One for a worker.
//!
//! A session stands in it at most a few times, and what it finds when it is looked at is up to the session: a due
//! time that has moved on meanwhile costs a look, not a removal.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Times are told in steps of so many milliseconds.
const STEP: u64 = 8;

/// A time, in milliseconds since the engine began.
pub(crate) type Millis = u64;

#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    due: BTreeMap<Millis, Vec<u32>>,
}

impl Wheel {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            due: BTreeMap::new(),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        millis(self.start.elapsed())
    }

    /// A session is to be looked at, at this time or a little later.
    pub(crate) fn insert(&mut self, at: Millis, key: u32) {
        let at = at.div_ceil(STEP) * STEP;
        self.due.entry(at).or_default().push(key);
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let (&at, _) = self.due.first_key_value()?;
        Some(self.start + Duration::from_millis(at))
    }

    /// Who is to be looked at by now.
    pub(crate) fn expired(&mut self, now: Millis) -> Option<Vec<u32>> {
        let first = self.due.first_entry()?;
        (*first.key() <= now).then(|| first.remove())
    }
}

/// A duration in the wheel's unit.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_due_in_the_order_of_their_times() {
        let mut wheel = Wheel::new(Instant::now());
        for (at, key) in [(100, 1), (50, 2), (101, 3), (49, 4)] {
            wheel.insert(at, key);
        }
        assert_eq!(wheel.expired(48), None);
        assert_eq!(wheel.expired(60), Some(vec![2, 4]));
        assert_eq!(wheel.expired(60), None);
        assert_eq!(wheel.expired(200), Some(vec![1, 3]));
        assert!(wheel.next().is_none());
    }
}
