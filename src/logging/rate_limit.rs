//! Warnings that would repeat themselves are logged once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One kind of trouble, and when it was logged last.
#[derive(Debug, Default)]
pub(crate) struct RateLimit(Mutex<Option<Instant>>);

impl RateLimit {
    /// May it be logged now? Once in each `interval`, the answer is yes.
    pub(crate) fn allows(&self, interval: Duration) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = logged.is_none_or(|at| at.elapsed() >= interval);
        if allowed {
            *logged = Some(Instant::now());
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_trouble_is_logged_and_then_one_in_each_interval() {
        let limit = RateLimit::default();
        let hour = Duration::from_hours(1);
        assert_eq!([limit.allows(hour), limit.allows(hour)], [true, false]);
        assert!(limit.allows(Duration::ZERO));
        assert!(!limit.allows(hour));
    }
}
