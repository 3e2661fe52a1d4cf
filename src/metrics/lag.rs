//! How late a process does what is due: a task that wakes at set times, and looks at the clock.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Histogram;

/// How often it looks.
pub(crate) const TICK: Duration = Duration::from_millis(125);
/// So many looks are remembered: five seconds.
const REMEMBERED: usize = 40;

/// Measures one process.
#[derive(Debug)]
pub(crate) struct Lag {
    due: Instant,
    last: [Duration; REMEMBERED],
    next: usize,
}

impl Lag {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self {
            due: Instant::now() + TICK,
            last: [Duration::ZERO; REMEMBERED],
            next: 0,
        }
    }

    /// Waits until the next look is due, and counts how much later it is done.
    pub(crate) async fn tick(&mut self, histogram: &Histogram) {
        sleep_until(self.due).await;
        let now = Instant::now();
        let late = now.duration_since(self.due);
        self.due = now + TICK;
        histogram.observe(late);
        if let Some(last) = self.last.get_mut(self.next) {
            *last = late;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The longest of the last five seconds.
    pub(crate) fn longest(&self) -> Duration {
        self.last.into_iter().max().unwrap_or_default()
    }
}
