//! How many new sessions may be on their way to a worker at once. Pure: the time is given.
//!
//! A worker acknowledges a connection when it begins to read it. What it has to do before, it does for those who are in
//! already; so the time from dispatch to acknowledgement is what they wait as well. While it is short, more may be on
//! their way; when it is long, half as many, as TCP does (RFC 5681). A client that is slow, or an application that takes
//! its time to let somebody in, does not lengthen it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A worker may begin with so many, and has never less than the other number.
const FIRST: f64 = 32.0;
const LEAST: f64 = 4.0;

/// There are never more on their way to one worker: what is left of its window is for requests of sessions that
/// there are.
pub(crate) const MOST: u16 = 192;

/// What takes longer is late. A worker reports each 5 ms.
const LATE: Duration = Duration::from_millis(50);

/// The pace of one worker.
#[derive(Debug)]
pub(crate) struct Pace {
    window: f64,
    /// It grows by one with each acknowledgement until it is cut for the first time, and then more slowly.
    starts: bool,
    /// When those were dispatched that it has not acknowledged.
    sent: VecDeque<Instant>,
    /// Those that were dispatched before tell nothing of what the last cut brought.
    cut: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: FIRST,
            starts: true,
            sent: VecDeque::new(),
            cut: None,
        }
    }
}

impl Pace {
    /// May one more be dispatched?
    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    fn room(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from LEAST to MOST"
        )]
        let window = self.window as usize;
        window.saturating_sub(self.sent.len())
    }

    /// One more is dispatched.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent.push_back(now);
    }

    /// The one that was dispatched last did not go.
    pub(crate) fn unsent(&mut self) {
        self.sent.pop_back();
    }

    /// The worker has begun with so many, the oldest.
    pub(crate) fn acknowledged(&mut self, count: usize, now: Instant) {
        // Who has not used its window has not shown that it can do more.
        let used = self.room() == 0;
        for _ in 0..count {
            let Some(sent) = self.sent.pop_front() else {
                return;
            };
            if now.saturating_duration_since(sent) <= LATE {
                if used {
                    self.window += if self.starts { 1.0 } else { 1.0 / self.window };
                    self.window = self.window.min(MOST.into());
                }
            } else if self.cut.is_none_or(|cut| sent >= cut) {
                self.window = (self.window / 2.0).max(LEAST);
                self.starts = false;
                self.cut = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
