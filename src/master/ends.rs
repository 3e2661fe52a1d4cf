//! The last sessions of the machine that ended: when, where, why, and whose doing it was.
//!
//! Workers tell each end within a moment. A worker that is killed cannot: then there is one entry for all its
//! sessions, whose ids nobody knows.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::wire::control::{Ended, Reason, Traffic, TransportName};
use crate::wire::handover::control::{End, EndsState, KeptEnd};

/// So many ends are remembered.
const KEPT: usize = 10_000;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Ends(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// As they were told, the oldest first.
    kept: VecDeque<Kept>,
    totals: BTreeMap<Reason, u64>,
}

#[derive(Debug)]
struct Kept {
    worker: WorkerId,
    end: End,
}

impl Ends {
    /// All that is known, for the program that takes over.
    pub(crate) fn pack(&self) -> EndsState {
        let inner = self.0.borrow();
        let kept = inner.kept.iter().map(|kept| KeptEnd {
            slot: kept.worker.slot,
            pid: kept.worker.pid,
            end: kept.end.clone(),
        });
        EndsState {
            kept: kept.collect(),
            totals: inner
                .totals
                .iter()
                .map(|(&reason, &n)| (reason, n))
                .collect(),
        }
    }

    /// What the program before knew.
    pub(crate) fn adopt(state: EndsState) -> Self {
        let kept = state
            .kept
            .into_iter()
            .map(|KeptEnd { slot, pid, end }| Kept {
                worker: WorkerId { slot, pid },
                end,
            });
        Self(RefCell::new(Inner {
            kept: kept.collect(),
            totals: state.totals.into_iter().collect(),
        }))
    }

    /// A worker told of sessions that have ended.
    pub(crate) fn ended(&self, slot: u16, pid: u32, ended: Vec<Ended>) {
        let mut inner = self.0.borrow_mut();
        for end in ended {
            inner.count(end.reason, 1);
            inner.keep(WorkerId { slot, pid }, End::One(end));
        }
    }

    /// A worker is gone, at `at_ms` milliseconds since 1970, and `sessions` of whose end it told nothing.
    pub(crate) fn worker_gone(&self, slot: u16, pid: u32, at_ms: u64, sessions: u64) {
        if sessions > 0 {
            let mut inner = self.0.borrow_mut();
            inner.count(Reason::WorkerGone, sessions);
            inner.keep(WorkerId { slot, pid }, End::Worker { at_ms, sessions });
        }
    }

    /// The ends of a socket id's session, or of an address's sessions, newest first, `most` of them.
    ///
    /// Workers that are gone are among those of an address, for it may have been there; and they are all that can be
    /// said of a socket id whose end nobody told.
    pub(crate) fn find(&self, of: &str, most: usize) -> Found {
        let inner = self.0.borrow();
        let known_since = inner.kept.iter().map(Kept::at_ms).min().map(time);
        let mut found = if let Ok(address) = of.parse::<IpAddr>() {
            inner.matching(|end| match end {
                End::One(ended) => {
                    ended.address.map(|ip| ip.to_canonical()) == Some(address.to_canonical())
                }
                End::Worker { .. } => true,
            })
        } else {
            let own = inner.matching(|end| matches!(end, End::One(ended) if ended.socket_id == of));
            if own.is_empty() {
                inner.matching(|end| matches!(end, End::Worker { .. }))
            } else {
                own
            }
        };
        found.sort_by_key(|kept| std::cmp::Reverse(kept.at_ms()));
        Found {
            more: found.len() > most,
            ends: found.into_iter().take(most).map(Kept::show).collect(),
            known_since,
        }
    }

    /// How many sessions have ended since the start, by each of the reasons.
    pub(crate) fn by_reason(&self) -> BTreeMap<Reason, u64> {
        let inner = self.0.borrow();
        let total = |reason| inner.totals.get(&reason).copied().unwrap_or_default();
        Reason::ALL.map(|reason| (reason, total(reason))).into()
    }
}

impl Inner {
    fn count(&mut self, reason: Reason, sessions: u64) {
        *self.totals.entry(reason).or_default() += sessions;
    }

    fn keep(&mut self, worker: WorkerId, end: End) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { worker, end });
    }

    /// Newest first, as they were told.
    fn matching(&self, is_sought: impl Fn(&End) -> bool) -> Vec<&Kept> {
        let newest_first = self.kept.iter().rev();
        newest_first.filter(|kept| is_sought(&kept.end)).collect()
    }
}

impl Kept {
    fn at_ms(&self) -> u64 {
        match &self.end {
            End::One(ended) => ended.at_ms,
            End::Worker { at_ms, .. } => *at_ms,
        }
    }

    fn show(&self) -> Shown {
        let worker = self.worker;
        match &self.end {
            End::One(ended) => Shown {
                at: time(ended.at_ms),
                socket_id: Some(ended.socket_id.clone()),
                sessions: 1,
                address: ended.address.map(|address| address.to_canonical()),
                worker,
                transport: Some(ended.transport),
                lived_seconds: Some(Duration::from_millis(ended.lived_ms).as_secs_f64()),
                traffic: ended.traffic,
                reason: ended.reason,
                by: By::of(ended.reason, ended.by_operator),
            },
            &End::Worker { at_ms, sessions } => Shown {
                at: time(at_ms),
                socket_id: None,
                sessions,
                address: None,
                worker,
                transport: None,
                lived_seconds: None,
                traffic: Traffic::default(),
                reason: Reason::WorkerGone,
                by: By::of(Reason::WorkerGone, false),
            },
        }
    }
}

/// The answer to `GET /why`, as `docs/CONTROL.md` has it.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    ends: Vec<Shown>,
    /// Older ones are known, too.
    more: bool,
    /// When the oldest end of the machine was that is known.
    known_since: Option<String>,
}

/// One end, likewise.
#[derive(Debug, Serialize)]
struct Shown {
    at: String,
    socket_id: Option<String>,
    sessions: u64,
    address: Option<IpAddr>,
    worker: WorkerId,
    transport: Option<TransportName>,
    lived_seconds: Option<f64>,
    #[serde(flatten)]
    traffic: Traffic,
    reason: Reason,
    by: By,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct WorkerId {
    slot: u16,
    pid: u32,
}

/// Whose doing an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Client,
    Network,
    Application,
    Server,
    Operator,
}

impl By {
    fn of(reason: Reason, by_operator: bool) -> Self {
        match reason {
            Reason::ClientLeft
            | Reason::WriteStall
            | Reason::Memory
            | Reason::TooLarge
            | Reason::ProtocolError
            | Reason::ConnectTimeout => Self::Client,
            Reason::TransportClosed | Reason::PingTimeout => Self::Network,
            Reason::Application if by_operator => Self::Operator,
            Reason::Application | Reason::Until => Self::Application,
            Reason::Drain | Reason::Stopped => Self::Operator,
            Reason::WorkerGone => Self::Server,
        }
    }
}

/// RFC 3339, in UTC, with milliseconds.
fn time(since_1970_ms: u64) -> String {
    let ms = i64::try_from(since_1970_ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// 2026-11-27T03:00:00Z.
    const NIGHT: u64 = 1_795_748_400_000;

    fn ended(socket_id: &str, address: &str, at_ms: u64, reason: Reason) -> Ended {
        Ended {
            socket_id: socket_id.to_owned(),
            address: address.parse().ok(),
            at_ms,
            lived_ms: 3500,
            transport: TransportName::WebSocket,
            traffic: Traffic {
                bytes_in: 10,
                bytes_out: 20,
                messages_in: 1,
                messages_out: 2,
            },
            reason,
            by_operator: false,
        }
    }

    fn found(ends: &Ends, of: &str, most: usize) -> Value {
        serde_json::to_value(ends.find(of, most)).unwrap()
    }

    fn ids(found: &Value) -> Vec<String> {
        let ends = found["ends"].as_array().unwrap();
        let id = |end: &Value| end["socket_id"].as_str().unwrap_or("worker").to_owned();
        ends.iter().map(id).collect()
    }

    #[test]
    fn an_end_is_told_as_it_is_documented() {
        let ends = Ends::default();
        ends.ended(
            0,
            712,
            vec![ended(
                "tt-let-me-in-now",
                "::ffff:192.0.2.7",
                NIGHT + 123,
                Reason::PingTimeout,
            )],
        );
        let expected = json!({
            "ends": [{
                "at": "2026-11-27T03:00:00.123Z", "socket_id": "tt-let-me-in-now", "sessions": 1,
                "address": "192.0.2.7", "worker": {"slot": 0, "pid": 712}, "transport": "websocket",
                "lived_seconds": 3.5, "bytes_in": 10, "bytes_out": 20, "messages_in": 1, "messages_out": 2,
                "reason": "ping-timeout", "by": "network",
            }],
            "more": false,
            "known_since": "2026-11-27T03:00:00.123Z",
        });
        for of in ["tt-let-me-in-now", "192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(found(&ends, of, 100), expected, "{of}");
        }
        for of in ["192.0.2.8", "", "TT-LET-ME-IN-NOW", "2001:db8::1"] {
            assert_eq!(ids(&found(&ends, of, 100)), [""; 0], "{of}");
        }
    }

    #[test]
    fn the_newest_come_first_and_so_many_as_were_asked_for() {
        let ends = Ends::default();
        // Workers tell a little later than each other.
        for (slot, id, at) in [(0, "a", 10), (1, "c", 30), (0, "b", 20), (1, "d", 30)] {
            ends.ended(slot, 1, vec![ended(id, "192.0.2.7", at, Reason::Drain)]);
        }
        assert_eq!(ids(&found(&ends, "192.0.2.7", 4)), ["d", "c", "b", "a"]);
        assert_eq!(found(&ends, "192.0.2.7", 4)["more"], false);
        assert_eq!(ids(&found(&ends, "192.0.2.7", 3)), ["d", "c", "b"]);
        assert_eq!(found(&ends, "192.0.2.7", 3)["more"], true);
    }

    #[test]
    fn a_worker_that_is_gone_is_all_that_is_known_of_its_sessions() {
        let ends = Ends::default();
        ends.ended(0, 1, vec![ended("a", "192.0.2.7", 10, Reason::ClientLeft)]);
        ends.worker_gone(1, 2, NIGHT, 20);
        ends.worker_gone(1, 3, NIGHT, 0);
        assert_eq!(ids(&found(&ends, "a", 9)), ["a"]);
        assert_eq!(ids(&found(&ends, "b", 9)), ["worker"]);
        assert_eq!(ids(&found(&ends, "192.0.2.7", 9)), ["worker", "a"]);
        let expected = json!({
            "at": "2026-11-27T03:00:00.000Z", "socket_id": null, "sessions": 20, "address": null,
            "worker": {"slot": 1, "pid": 2}, "transport": null, "lived_seconds": null,
            "bytes_in": 0, "bytes_out": 0, "messages_in": 0, "messages_out": 0,
            "reason": "worker-gone", "by": "server",
        });
        assert_eq!(found(&ends, "b", 9)["ends"][0], expected);
        assert_eq!(ends.by_reason()[&Reason::WorkerGone], 20);
    }

    #[test]
    fn the_oldest_are_forgotten_but_counted() {
        let ends = Ends::default();
        assert_eq!(found(&ends, "a", 1)["known_since"], Value::Null);
        let many = 0..KEPT as u64 + 5;
        let many = many.map(|at| ended(&at.to_string(), "192.0.2.7", at, Reason::ClientLeft));
        ends.ended(0, 1, many.collect());
        assert_eq!(ids(&found(&ends, "4", 1)), [""; 0]);
        assert_eq!(ids(&found(&ends, "5", 1)), ["5"]);
        assert_eq!(
            found(&ends, "5", 1)["known_since"],
            "1970-01-01T00:00:00.005Z"
        );
        assert_eq!(ends.by_reason()[&Reason::ClientLeft], KEPT as u64 + 5);
    }

    #[test]
    fn each_reason_has_a_total_and_somebody_whose_doing_it_was() {
        use By::{Application, Client, Network, Operator, Server};
        let whose = [
            (Reason::ClientLeft, Client),
            (Reason::TransportClosed, Network),
            (Reason::PingTimeout, Network),
            (Reason::WriteStall, Client),
            (Reason::Memory, Client),
            (Reason::TooLarge, Client),
            (Reason::ProtocolError, Client),
            (Reason::ConnectTimeout, Client),
            (Reason::Application, Application),
            (Reason::Until, Application),
            (Reason::Drain, Operator),
            (Reason::Stopped, Operator),
            (Reason::WorkerGone, Server),
        ];
        assert_eq!(whose.map(|(reason, _)| reason), Reason::ALL);
        let ends = Ends::default();
        for (reason, by) in whose {
            assert_eq!(By::of(reason, false), by, "{reason}");
            ends.ended(0, 1, vec![ended("a", "192.0.2.7", 1, reason)]);
        }
        assert_eq!(By::of(Reason::Application, true), Operator);
        let totals = serde_json::to_value(ends.by_reason()).unwrap();
        assert_eq!(totals.as_object().unwrap().len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(totals[reason.as_str()], 1, "{reason}");
        }
    }
}
