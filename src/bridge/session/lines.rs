//! Lines about machines: whoever can publish can make up as many as he likes, and the log is not for him to fill.

use std::time::Duration;

use tokio::time::Instant;

/// More than a fleet that comes back all at once.
const MOST: u64 = 300;
/// In so long.
const SPAN: Duration = Duration::from_mins(1);

/// How many lines there were of late.
#[derive(Debug, Default)]
pub(super) struct Lines {
    began: Option<Instant>,
    told: u64,
    left_out: u64,
}

impl Lines {
    /// May there be one more now?
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        if self.left_out == 0 && self.is_over(now) {
            (self.began, self.told) = (Some(now), 0);
        }
        let allowed = self.told < MOST;
        if allowed {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
        allowed
    }

    /// How many were left out, once in each span that had too many.
    pub(super) fn left_out(&mut self, now: Instant) -> Option<u64> {
        if self.left_out == 0 || !self.is_over(now) {
            return None;
        }
        self.began = None;
        Some(std::mem::take(&mut self.left_out))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.began
            .is_none_or(|began| now.saturating_duration_since(began) >= SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_the_log_is_counted_and_told_once() {
        let mut lines = Lines::default();
        let now = Instant::now();
        let allowed = (0..MOST + 7).filter(|_| lines.allow(now)).count();
        assert_eq!(allowed as u64, MOST);
        assert_eq!(lines.left_out(now), None);
        assert!(!lines.allow(now + SPAN / 2));
        assert_eq!(lines.left_out(now + SPAN), Some(8));
        assert_eq!(lines.left_out(now + SPAN), None);
        assert!(lines.allow(now + SPAN));
    }
}
