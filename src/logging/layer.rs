//! Which events are logged, and their way to all sinks.

use std::sync::Arc;
use std::time::Instant;

use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;

use super::journal::Journal;
use super::origin;
use super::queue::Queue;
use super::record::Record;
use super::threshold::Threshold;
use crate::config::LogLevel;

/// The sinks of this process; each has its own queue and thread.
#[derive(Debug)]
pub(super) struct Sinks {
    pub(super) terminal: Option<Queue>,
    pub(super) journal: Option<Journal>,
}

impl Sinks {
    /// What the file's thread calls with its troubles, and their end.
    pub(super) fn notifier(
        self: &Arc<Self>,
        threshold: &Arc<Threshold>,
    ) -> impl Fn(String) + Send + 'static {
        let (sinks, threshold) = (Arc::clone(self), Arc::clone(threshold));
        move |message| {
            if threshold.get() >= LevelFilter::WARN {
                sinks.push(Record::new(Level::WARN, message));
            }
        }
    }

    fn push(&self, record: Record) {
        if let Some(terminal) = &self.terminal {
            terminal.push(&record);
        }
        if let Some(journal) = &self.journal {
            journal.push(record);
        }
    }
}

/// The filter and all sinks. The file is apart, because it tells its troubles to the others.
#[derive(Debug)]
pub(super) struct Fanout {
    pub(super) threshold: Arc<Threshold>,
    pub(super) others: Arc<Sinks>,
    pub(super) file: Option<Queue>,
}

impl Fanout {
    /// Sends a line of this module's own to all sinks.
    pub(super) fn say(&self, message: String) {
        if self.threshold.get() >= LevelFilter::WARN {
            self.push(Record::new(Level::WARN, message));
        }
    }

    fn push(&self, record: Record) {
        if let Some(file) = &self.file {
            file.push(&record);
        }
        self.others.push(record);
    }

    /// Lines that found a queue full.
    pub(super) fn overflowed(&self) -> u64 {
        let queues = self.queues().map(Queue::overflowed).sum::<u64>();
        queues + self.others.journal.as_ref().map_or(0, Journal::overflowed)
    }

    /// Lines that did not arrive, for whatever reason.
    pub(super) fn lost(&self) -> u64 {
        let queues = self.queues().map(Queue::lost).sum::<u64>();
        queues + self.others.journal.as_ref().map_or(0, Journal::overflowed)
    }

    pub(super) fn drain(&self, deadline: Instant) {
        self.queues().for_each(|queue| queue.drain(deadline));
        if let Some(journal) = &self.others.journal {
            journal.drain(deadline);
        }
        // The file's thread may have told the others something meanwhile.
        self.queues().for_each(|queue| queue.drain(deadline));
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.file.iter().chain(&self.others.terminal)
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= limit(self.threshold.get(), origin::is_library(metadata))
    }
}

/// Down to which level a library's lines are logged, or all others.
pub(super) fn limit(level: LevelFilter, is_library: bool) -> LevelFilter {
    // Libraries chatter about every connection; whoever wants that wants everything.
    if is_library && level != LevelFilter::TRACE {
        level.min(LevelFilter::WARN)
    } else {
        level
    }
}

/// The fan-out as `tracing` sees it.
pub(super) struct FanoutLayer(pub(super) Arc<Fanout>);

impl<S: Subscriber> Layer<S> for FanoutLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The answer changes only with the threshold, so `tracing` need not ask for every event.
        if self.0.admits(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.threshold.get())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(Record::from_event(event));
    }
}

/// The filter that lets a configured level pass.
pub(super) fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
