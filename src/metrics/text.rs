//! The table and its values as text: Prometheus' format, version 0.0.4.

use std::fmt::Write;

use super::{Kind, Metric, Scope, TABLE, Unit, seconds};

/// The values of one worker, or of the whole server, in the order of the table.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The slot; none: all processes together.
    pub(crate) worker: Option<u16>,
    /// The values.
    pub(crate) values: Vec<u64>,
}

/// What Prometheus reads: of each metric of a worker what these samples of workers have, of all others what the
/// server's has.
pub(crate) fn exposition(samples: &[Sample]) -> String {
    let mut text = String::with_capacity(64 * 1024);
    let mut at = 0;
    for metric in &TABLE {
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.word());
        let range = at..at + metric.width();
        at = range.end;
        for sample in samples {
            let worker = sample.worker.map(|slot| format!("worker=\"{slot}\""));
            if worker.is_some() == (metric.scope == Scope::Worker)
                && let Some(values) = sample.values.get(range.clone())
            {
                metric.write(&mut text, worker.as_deref().unwrap_or_default(), values);
            }
        }
    }
    text
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Metric {
    fn write(&self, text: &mut String, labels: &str, values: &[u64]) {
        let Kind::Histogram(bounds) = self.kind else {
            let words = self.label.map_or(&[""][..], |(_, words)| words);
            for (word, &value) in words.iter().zip(values) {
                let label = self.label.map(|(name, _)| format!("{name}=\"{word}\""));
                self.line(
                    text,
                    "",
                    labels,
                    &label.unwrap_or_default(),
                    &self.value(value),
                );
            }
            return;
        };
        let (counts, sum) = values.split_at(values.len().min(bounds.len() + 1));
        let mut count = 0;
        let bounds = bounds.iter().map(|&bound| seconds(bound).to_string());
        for (bound, more) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            count += more;
            let bound = format!("le=\"{bound}\"");
            self.line(text, "_bucket", labels, &bound, &count.to_string());
        }
        let sum = sum.first().copied().unwrap_or_default();
        self.line(text, "_sum", labels, "", &self.value(sum));
        self.line(text, "_count", labels, "", &count.to_string());
    }

    fn line(&self, text: &mut String, suffix: &str, labels: &str, label: &str, value: &str) {
        let name = self.name;
        let comma = if labels.is_empty() || label.is_empty() {
            ""
        } else {
            ","
        };
        let _ = if labels.is_empty() && label.is_empty() {
            writeln!(text, "{name}{suffix} {value}")
        } else {
            writeln!(text, "{name}{suffix}{{{labels}{comma}{label}}} {value}")
        };
    }

    fn value(&self, value: u64) -> String {
        match self.unit {
            Unit::Seconds => seconds(value).to_string(),
            Unit::Number | Unit::Bytes => value.to_string(),
        }
    }
}
