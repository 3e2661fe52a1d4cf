//! How long the master stands still in a reload. Both programs look at the same clock, which no exec sets back.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::metrics;

/// The clock, in nanoseconds: `CLOCK_MONOTONIC` of `clock_gettime(2)`.
pub(super) fn now_ns() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic));
    metrics::nanos(now.unwrap_or_default())
}

/// The pause that began then is over; it is counted. In milliseconds, to the microsecond.
pub(super) fn ends(frozen_at_ns: u64) -> f64 {
    let pause = between(frozen_at_ns, now_ns());
    metrics::RELOADS.inc();
    metrics::RELOAD_PAUSE.set(metrics::nanos(pause));
    millis(pause)
}

fn between(frozen_at_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(now_ns.saturating_sub(frozen_at_ns))
}

fn millis(pause: Duration) -> f64 {
    let micros = u32::try_from(pause.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_told_to_the_microsecond_and_is_never_negative() {
        let told = |frozen_at_ns, now_ns| millis(between(frozen_at_ns, now_ns)).to_string();
        assert_eq!(told(1_000_000_000, 1_004_123_999), "4.123");
        assert_eq!(told(7, 7), "0");
        assert_eq!(told(u64::MAX, 7), "0");
        assert_eq!(told(0, u64::MAX), "4294967.295");
    }

    #[test]
    fn the_clock_does_not_run_back_or_ahead() {
        let (began, from) = (std::time::Instant::now(), now_ns());
        let to = now_ns();
        assert!(to >= from && between(from, to) <= began.elapsed());
    }
}
