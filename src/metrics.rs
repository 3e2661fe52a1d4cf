//! Every counter of the program, in one table.
//!
//! ```text
//! worker: counts ─▶ values() ─▶ link ─▶ master: totals ─▶ /metrics, /status
//! ```
//!
//! [`TABLE`] tells what there is: name, unit, help, labels. From it come what Prometheus reads, what `status`
//! tells, and `docs/METRICS.md`. Each process counts for itself, in one array of atomics; a worker's values go to the
//! master in the order of the table. The master adds up, so that a counter never falls when a worker ends.
//!
//! To count is one relaxed addition. Whoever counts in another way (the engine, the log) is asked when the values are
//! told: [`Counter::mirror`].

mod labels;
mod lag;
mod table;
mod text;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(crate) use self::labels::*;
pub(crate) use self::lag::Lag;
pub(crate) use self::table::*;
pub(crate) use self::text::{Sample, exposition};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its name, by Prometheus' conventions.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) kind: Kind,
    /// What its values are.
    pub(crate) unit: Unit,
    /// Who has it.
    pub(crate) scope: Scope,
    /// Its label, beside that of the worker, and all values that it has.
    pub(crate) label: Option<(&'static str, &'static [&'static str])>,
    /// What it tells, in a sentence.
    pub(crate) help: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It is as it is.
    Gauge,
    /// How many were at most so long: these bounds, in nanoseconds, and one more for what was longer.
    Histogram(&'static [u64]),
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number.
    Number,
    /// Bytes.
    Bytes,
    /// Seconds; kept as nanoseconds.
    Seconds,
}

/// Who has a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Each worker: it is told with the label `worker`, the number of its slot.
    Worker,
    /// The server: it is the sum over all processes.
    Server,
}

impl Metric {
    /// How many values it has.
    pub(crate) const fn width(&self) -> usize {
        match self.kind {
            // What was longer than all bounds, and the sum of all.
            Kind::Histogram(bounds) => bounds.len() + 2,
            Kind::Counter | Kind::Gauge => match self.label {
                Some((_, values)) => values.len(),
                None => 1,
            },
        }
    }
}

/// Where the values of a line begin.
pub(super) const fn offset(mut line: usize) -> usize {
    let mut table: &[Metric] = &TABLE;
    let mut at = 0;
    while line > 0 {
        let [first, more @ ..] = table else { break };
        at += first.width();
        table = more;
        line -= 1;
    }
    at
}

/// How many values a process has.
pub(crate) const LEN: usize = offset(usize::MAX);

/// What this process has counted.
static VALUES: [AtomicU64; LEN] = [const { AtomicU64::new(0) }; LEN];

/// The values of this process, in the order of the table.
pub(crate) fn values() -> Vec<u64> {
    VALUES.iter().map(|value| value.load(Relaxed)).collect()
}

/// What each value of the table is called: by this a program of another version finds it in its own.
pub(crate) fn names() -> Vec<String> {
    let words = |metric: &'static Metric| {
        (0..metric.width()).map(move |at| {
            let word = match (metric.kind, metric.label) {
                (Kind::Histogram(bounds), _) => bounds.get(at).map(u64::to_string),
                (_, Some((_, words))) => words.get(at).map(|&word| word.to_owned()),
                (_, None) => None,
            };
            // Of a histogram the last two.
            let word = word.unwrap_or_else(|| (metric.width() - at).to_string());
            format!("{} {word}", metric.name)
        })
    };
    TABLE.iter().flat_map(words).collect()
}

/// The same process had come to this already, by another program.
pub(crate) fn restore(at: usize, value: u64) {
    store(at, value);
}

/// Has nothing happened between these two but that time went on?
pub(crate) fn rests(before: &[u64], now: &[u64]) -> bool {
    let lag = LAG_SECONDS.0..LAG_SECONDS.0 + LAG_SECONDS.width();
    let differ = |(at, (before, now)): (usize, (&u64, &u64))| {
        before != now && !lag.contains(&at) && at != LAG_LONGEST.0 && at != MEMORY.0
    };
    before.len() == now.len() && !before.iter().zip(now).enumerate().any(differ)
}

/// A place for a value. All places of the table lie within the array.
fn add(at: usize, count: u64) {
    if let Some(value) = VALUES.get(at) {
        value.fetch_add(count, Relaxed);
    }
}

fn store(at: usize, now: u64) {
    if let Some(value) = VALUES.get(at) {
        value.store(now, Relaxed);
    }
}

/// A counter, or one for each value of a label.
#[derive(Debug)]
pub(crate) struct Counter<L = Plain>(pub(crate) usize, PhantomData<L>);

/// A gauge, or one for each value of a label.
#[derive(Debug)]
pub(crate) struct Gauge<L = Plain>(pub(crate) usize, PhantomData<L>);

/// A histogram.
#[derive(Debug)]
pub(crate) struct Histogram(usize, &'static [u64]);

impl<L: Label> Counter<L> {
    pub(super) const fn at(offset: usize) -> Self {
        Self(offset, PhantomData)
    }

    /// One more of this kind.
    pub(crate) fn count(&self, label: L) {
        add(self.0 + label.index(), 1);
    }

    /// So many more of this kind.
    pub(crate) fn count_many(&self, label: L, many: u64) {
        add(self.0 + label.index(), many);
    }

    /// Somebody else counts these, and has come to this.
    pub(crate) fn mirror_of(&self, label: L, now: u64) {
        store(self.0 + label.index(), now);
    }
}

impl Counter {
    /// One more.
    pub(crate) fn inc(&self) {
        add(self.0, 1);
    }

    /// So many more.
    pub(crate) fn add(&self, many: u64) {
        add(self.0, many);
    }

    /// Somebody else counts it, and has come to this.
    pub(crate) fn mirror(&self, now: u64) {
        store(self.0, now);
    }
}

impl<L: Label> Gauge<L> {
    pub(super) const fn at(offset: usize) -> Self {
        Self(offset, PhantomData)
    }

    /// It is this now.
    pub(crate) fn set_of(&self, label: L, now: u64) {
        store(self.0 + label.index(), now);
    }
}

impl Gauge {
    /// It is this now.
    pub(crate) fn set(&self, now: u64) {
        store(self.0, now);
    }
}

impl Histogram {
    pub(super) const fn at(offset: usize, bounds: &'static [u64]) -> Self {
        Self(offset, bounds)
    }

    const fn width(&self) -> usize {
        self.1.len() + 2
    }

    /// It took so long.
    pub(crate) fn observe(&self, took: Duration) {
        let took = nanos(took);
        let bucket = self.1.iter().position(|&bound| took <= bound);
        add(self.0 + bucket.unwrap_or(self.1.len()), 1);
        add(self.0 + self.1.len() + 1, took);
    }
}

/// A time as it is kept.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A kept time in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody measures days to the nanosecond"
)]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Of so many handlers one is measured: to look at the clock twice costs as much as counting forty times.
const MEASURED: u64 = 16;

/// Measures a handler, from when it is made until it is dropped.
#[derive(Debug)]
pub(crate) struct Timer(Instant);

impl Timer {
    /// An event's handler begins; it is measured if it is its turn.
    pub(crate) fn of_an_event() -> Option<Self> {
        let events = VALUES.get(EVENTS.0);
        let before = events.map_or(1, |events| events.fetch_add(1, Relaxed));
        before
            .is_multiple_of(MEASURED)
            .then(|| Self(Instant::now()))
    }
}

impl Timer {
    /// What it is to measure.
    pub(crate) async fn measure<F: Future>(self, handler: F) -> F::Output {
        handler.await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        HANDLER_SECONDS.observe(self.0.elapsed());
    }
}

#[cfg(test)]
mod tests;
