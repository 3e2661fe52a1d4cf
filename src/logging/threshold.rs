//! The least severe level that is logged now: it may change while the process runs.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::callsite::rebuild_interest_cache;
use tracing_subscriber::filter::LevelFilter;

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// One for all sinks of a process.
#[derive(Debug)]
pub(super) struct Threshold(AtomicUsize);

impl Threshold {
    pub(super) fn new(level: LevelFilter) -> Self {
        Self(AtomicUsize::new(place(level)))
    }

    pub(super) fn get(&self) -> LevelFilter {
        let level = LEVELS.get(self.0.load(Relaxed));
        level.copied().unwrap_or(LevelFilter::INFO)
    }

    /// From now on this level. What `tracing` remembers of each place that logs is found out anew, so that between
    /// two changes nothing is asked for each event.
    pub(super) fn set(&self, level: LevelFilter) {
        if self.0.swap(place(level), Relaxed) != place(level) {
            rebuild_interest_cache();
        }
    }
}

fn place(level: LevelFilter) -> usize {
    LEVELS.iter().position(|it| *it == level).unwrap_or(3)
}
