//! How much is on its way at once: over a thin line no more than what it takes in a second or two, for behind that
//! wait the heartbeats, whose echo proves the link, and what was asked for.

use std::time::{Duration, Instant};

use super::types::after;

/// What there is at first, and no less than which is on its way, in bytes.
const FIRST: usize = 256 * 1024;
const LEAST: usize = 64 * 1024;
/// What is answered sooner, shows that there may be more; later, that there is too much.
const SOON: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_secs(1);
/// The same for what is repaired, which is asked for when nothing has come for a while.
const REPAIRED_SOON: Duration = Duration::from_secs(1);
const REPAIRED_LATE: Duration = Duration::from_secs(2);
/// So long must nothing have come of what is on its way before it is sent again; it doubles up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// What was on its way so long ago says nothing of the line.
const STALE: Duration = Duration::from_secs(5);

/// How much may be published and not answered.
#[derive(Debug)]
pub(super) struct Window {
    bytes: usize,
    most: usize,
    /// When it was made smaller: what was published before says nothing new.
    narrowed: Option<Instant>,
}

impl Window {
    /// `most`: in bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            bytes: FIRST.min(most),
            most,
            narrowed: None,
        }
    }

    /// In bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many bytes that were published then are answered now.
    pub(super) fn answered(&mut self, published: Instant, now: Instant, bytes: usize) {
        let took = now.saturating_duration_since(published);
        if took <= SOON {
            self.bytes = self.bytes.saturating_add(bytes).min(self.most);
        } else if took >= LATE && self.narrowed.is_none_or(|at| at <= published) {
            self.bytes = (self.bytes / 2).max(LEAST.min(self.most));
            self.narrowed = Some(now);
        }
    }
}

/// How much of what one reader misses is on its way to it.
#[derive(Debug)]
pub(super) struct Pace {
    /// How much is sent before the reader has to ask again, in bytes.
    window: usize,
    /// How long nothing must have come before it is sent again.
    again: Duration,
    /// The last batch that was sent.
    sent: u64,
    /// When the reader had asked for that.
    asked: Instant,
    /// All up to this number had come, as the reader said, and then.
    have: u64,
    came: Instant,
}

impl Pace {
    /// A reader that has asked for nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: FIRST,
            again: AGAIN.0,
            sent: 0,
            asked: now,
            have: 0,
            came: now,
        }
    }

    /// The reader asks for what is behind this number. How much may be sent now, `most` at most? Nothing while what was
    /// sent last is on its way.
    pub(super) fn ask(&mut self, now: Instant, have: u64, most: usize) -> Option<usize> {
        if have > self.have {
            self.came = now;
        }
        self.have = self.have.max(have);
        let took = now.saturating_duration_since(self.asked);
        if have < self.sent {
            if now < after(self.came.max(self.asked), self.again) {
                return None;
            }
            self.window = (self.window / 2).max(LEAST);
            self.again = (self.again * 2).min(AGAIN.1);
        } else if self.sent > 0 && took < STALE {
            self.again = AGAIN.0;
            if took <= REPAIRED_SOON {
                self.window = (self.window * 2).min(most);
            } else if took > REPAIRED_LATE {
                self.window = (self.window / 2).max(LEAST);
            }
        } else {
            (self.window, self.again) = (FIRST, AGAIN.0);
        }
        self.asked = now;
        Some(self.window.min(most))
    }

    /// This batch is sent again.
    pub(super) fn sent(&mut self, n: u64) {
        self.sent = self.sent.max(n);
    }

    /// There is a new connection: nothing is on its way.
    pub(super) fn interrupted(&mut self) {
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MOST: usize = 8 << 20;

    #[test]
    fn a_window_grows_while_answers_come_soon_and_is_halved_once_for_all_that_is_late() {
        let now = Instant::now();
        let mut window = Window::new(4 << 20);
        assert_eq!(window.bytes(), FIRST);
        for _ in 0..4 {
            window.answered(now, now + 300 * MS, FIRST);
        }
        assert_eq!(window.bytes(), 5 * FIRST);
        for nth in 0..10 {
            window.answered(now + nth * MS, now + 1500 * MS, FIRST);
        }
        assert_eq!(window.bytes(), 5 * FIRST / 2);
        for nth in 2..20 {
            window.answered(now + nth * 1500 * MS, now + (nth + 1) * 1500 * MS, FIRST);
        }
        assert_eq!(window.bytes(), LEAST);
        window.answered(now, now + MS, 100 << 20);
        assert_eq!(window.bytes(), 4 << 20);
    }

    #[test]
    fn what_is_on_its_way_is_not_sent_again_as_long_as_some_of_it_comes() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.ask(now, 10, MOST), Some(FIRST));
        pace.sent(14);
        for have in [10, 11, 11, 12, 12, 13, 13] {
            now += 250 * MS;
            assert_eq!(pace.ask(now, have, MOST), None, "{have}");
        }
        now += 250 * MS;
        assert_eq!(pace.ask(now, 14, MOST), Some(FIRST), "it took two seconds");
    }

    #[test]
    fn what_does_not_come_is_sent_again_less_and_less_often_and_less_of_it() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut sent = Vec::new();
        for tick in 0..30 {
            if let Some(bytes) = pace.ask(now, 10, MOST) {
                sent.push((tick, bytes / 1024));
                pace.sent(14);
            }
            now += 250 * MS;
        }
        assert_eq!(sent, [(0, 256), (2, 128), (6, 64), (14, 64), (22, 64)]);
    }

    #[test]
    fn what_comes_soon_is_followed_by_more() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut bytes = Vec::new();
        for n in (0..80).step_by(10) {
            bytes.push(pace.ask(now, n, MOST).unwrap() / 1024);
            pace.sent(n + 10);
            now += 300 * MS;
        }
        assert_eq!(bytes, [256, 512, 1024, 2048, 4096, 8192, 8192, 8192]);
        pace.interrupted();
        assert!(pace.ask(now, 80, MOST).is_some());
    }
}
