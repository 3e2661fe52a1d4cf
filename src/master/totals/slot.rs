//! The values of one slot, and what happened in a second.

use tokio::time::Instant;

use super::{Counts, LEAST, Rates, SessionCounts, Slot, Traffic, WINDOW, places};
use crate::metrics::{self, Direction, Kind, LEN, Label};
use crate::wire::control::{Reason, TransportName};

impl Slot {
    pub(super) fn value(&self, at: usize) -> u64 {
        let [now, kept] = [&self.now, &self.kept].map(|values| values.get(at).copied());
        now.unwrap_or_default() + kept.unwrap_or_default()
    }

    pub(super) fn values(&self) -> Vec<u64> {
        (0..LEN).map(|at| self.value(at)).collect()
    }

    pub(super) fn keep(&mut self, at: usize, change: impl FnOnce(u64) -> u64) {
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = change(*kept);
        }
    }

    /// Its process is gone: what that had counted is kept, but for gauges.
    pub(super) fn fold(&mut self) {
        let now = std::mem::replace(&mut self.now, vec![0; LEN]);
        for (_, kind, at) in places() {
            if kind != Kind::Gauge
                && let Some(more) = now.get(at)
            {
                self.keep(at, |kept| kept + more);
            }
        }
    }

    pub(super) fn sessions(&self) -> SessionCounts {
        let of = |transport: TransportName| self.value(metrics::SESSIONS.0 + transport.index());
        SessionCounts {
            polling: of(TransportName::Polling),
            websocket: of(TransportName::WebSocket),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let sum = |at: usize, width: usize| (at..at + width).map(|at| self.value(at)).sum();
        let both =
            |at: usize| [Direction::In, Direction::Out].map(|way| self.value(at + way.index()));
        Counts {
            messages: both(metrics::MESSAGES.0),
            bytes: both(metrics::MESSAGE_BYTES.0),
            opened: sum(metrics::SESSIONS_OPENED.0, TransportName::VALUES.len()),
            ended: sum(metrics::SESSIONS_ENDED.0, Reason::VALUES.len()),
        }
    }

    /// Keeps what it has come to now.
    pub(super) fn remember(&mut self) {
        let (now, counts) = (Instant::now(), self.counts());
        self.history.push_back((now, counts));
        while let Some((second, _)) = self.history.get(1)
            && now.duration_since(*second) >= WINDOW
        {
            self.history.pop_front();
        }
    }

    pub(super) fn rates(&self) -> Rates {
        let now = Instant::now();
        // What was told last before the window is what was at its beginning.
        let old = |&&(at, _): &&(Instant, Counts)| now.duration_since(at) >= WINDOW;
        let before = self.history.iter().take_while(old).last();
        let (before, over) = match (before, self.history.front()) {
            (Some((_, before)), _) => (before, WINDOW),
            (None, Some((at, first))) => (first, now.duration_since(*at).max(LEAST)),
            (None, None) => return Rates::default(),
        };
        let counts = self.counts();
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
