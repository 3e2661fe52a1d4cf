//! The values of one slot, and what happened in a second.

use tokio::time::Instant;

use super::{Counts, History, LEAST, Rates, SessionCounts, Slot, Traffic, WINDOW, Worker, places};
use crate::metrics::{self, Direction, Kind, LEN, Label};
use crate::wire::control::{Reason, TransportName};

impl Slot {
    pub(super) fn value(&self, at: usize) -> u64 {
        let workers = self.workers.values();
        let now: u64 = workers.map(|worker| worker.value(at)).sum();
        now + self.kept.get(at).copied().unwrap_or_default()
    }

    pub(super) fn values(&self) -> Vec<u64> {
        (0..LEN).map(|at| self.value(at)).collect()
    }

    pub(super) fn keep(&mut self, at: usize, change: impl FnOnce(u64) -> u64) {
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = change(*kept);
        }
    }

    /// A process of it is gone: what that had counted is kept, but for gauges.
    pub(super) fn fold(&mut self, values: &[u64]) {
        for (_, kind, at) in places() {
            if kind != Kind::Gauge
                && let Some(more) = values.get(at)
            {
                self.keep(at, |kept| kept + more);
            }
        }
    }

    /// Keeps what it has come to now.
    pub(super) fn remember(&mut self) {
        let counts = counts(&self.values());
        self.history.remember(counts);
    }

    pub(super) fn rates(&self) -> Rates {
        self.history.rates(&counts(&self.values()))
    }
}

impl Worker {
    fn value(&self, at: usize) -> u64 {
        if at == metrics::HUB_QUEUE.0 {
            return self.waits_in_hub;
        }
        self.values.get(at).copied().unwrap_or_default()
    }

    /// It told its values, if they are those of its table.
    pub(super) fn set(&mut self, values: Vec<u64>) -> bool {
        let values = match &self.table {
            Some(table) => table.read(&values),
            None => (values.len() == LEN).then_some(values),
        };
        let Some(values) = values else {
            return false;
        };
        self.values = values;
        self.remember();
        true
    }

    pub(super) fn remember(&mut self) {
        self.history.remember(counts(&self.values));
    }

    pub(super) fn rates(&self) -> Rates {
        self.history.rates(&counts(&self.values))
    }
}

/// The live sessions among these values.
pub(super) fn sessions(values: &[u64]) -> SessionCounts {
    let of = |transport: TransportName| value(values, metrics::SESSIONS.0 + transport.index());
    SessionCounts {
        polling: of(TransportName::Polling),
        websocket: of(TransportName::WebSocket),
    }
}

fn value(values: &[u64], at: usize) -> u64 {
    values.get(at).copied().unwrap_or_default()
}

fn counts(values: &[u64]) -> Counts {
    let sum = |at: usize, width: usize| (at..at + width).map(|at| value(values, at)).sum();
    let both =
        |at: usize| [Direction::In, Direction::Out].map(|way| value(values, at + way.index()));
    Counts {
        messages: both(metrics::MESSAGES.0),
        bytes: both(metrics::MESSAGE_BYTES.0),
        opened: sum(metrics::SESSIONS_OPENED.0, TransportName::VALUES.len()),
        ended: sum(metrics::SESSIONS_ENDED.0, Reason::VALUES.len()),
    }
}

impl History {
    fn remember(&mut self, counts: Counts) {
        let now = Instant::now();
        self.0.push_back((now, counts));
        while let Some((second, _)) = self.0.get(1)
            && now.duration_since(*second) >= WINDOW
        {
            self.0.pop_front();
        }
    }

    fn rates(&self, counts: &Counts) -> Rates {
        let now = Instant::now();
        // What was told last before the window is what was at its beginning.
        let old = |&&(at, _): &&(Instant, Counts)| now.duration_since(at) >= WINDOW;
        let before = self.0.iter().take_while(old).last();
        let (before, over) = match (before, self.0.front()) {
            (Some((_, before)), _) => (before, WINDOW),
            (None, Some((at, first))) => (first, now.duration_since(*at).max(LEAST)),
            (None, None) => return Rates::default(),
        };
        let rate = |now: u64, before: u64| {
            metrics::seconds(now.saturating_sub(before)) * 1e9 / over.as_secs_f64()
        };
        let [messages_in, messages_out] = counts.messages;
        let [bytes_in, bytes_out] = counts.bytes;
        Rates {
            traffic: Traffic {
                messages_in_per_second: rate(messages_in, before.messages[0]),
                messages_out_per_second: rate(messages_out, before.messages[1]),
                bytes_in_per_second: rate(bytes_in, before.bytes[0]),
                bytes_out_per_second: rate(bytes_out, before.bytes[1]),
            },
            sessions_opened_per_second: rate(counts.opened, before.opened),
            sessions_ended_per_second: rate(counts.ended, before.ended),
        }
    }
}

impl Rates {
    pub(super) fn add(&mut self, other: Self) {
        self.traffic.messages_in_per_second += other.traffic.messages_in_per_second;
        self.traffic.messages_out_per_second += other.traffic.messages_out_per_second;
        self.traffic.bytes_in_per_second += other.traffic.bytes_in_per_second;
        self.traffic.bytes_out_per_second += other.traffic.bytes_out_per_second;
        self.sessions_opened_per_second += other.sessions_opened_per_second;
        self.sessions_ended_per_second += other.sessions_ended_per_second;
    }
}
