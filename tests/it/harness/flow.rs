//! Numbered messages to a room, what arrived of them, and when.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// So many messages of one client may be on their way to the server, and so many bytes.
const WINDOW: usize = 200;
const WINDOW_BYTES: usize = 10_000_000;

/// Messages to the room from one client, numbered, until told to stop or the client is gone.
pub struct Flow {
    pub from: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

/// What a flow sent, and when.
pub struct Sent {
    pub from: String,
    pub at: Vec<Instant>,
}

impl Flow {
    /// So many a second, each with so much padding.
    pub fn start(client: &Client, rate: u32, bytes: usize) -> Self {
        Self::every(client, Duration::from_secs(1) / rate, bytes)
    }

    /// As fast as the server takes them.
    pub fn flood(client: &Client, bytes: usize) -> Self {
        Self::every(client, Duration::ZERO, bytes)
    }

    pub fn every(client: &Client, interval: Duration, bytes: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let from = client.id();
        let thread = thread::spawn({
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            let padding = "x".repeat(bytes);
            let window = WINDOW.min(WINDOW_BYTES / bytes);
            move || {
                let mut at = Vec::new();
                let mut open = VecDeque::<Asked>::new();
                let mut next = Instant::now();
                while !stop.load(Relaxed) && client.gone().is_none() {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += interval;
                    let payload = json!({"n": at.len(), "padding": padding});
                    at.push(Instant::now());
                    open.push_back(client.ask("message", json!([ROOM, payload])));
                    if open.len() > window {
                        // No answer: the client is gone.
                        let _ = open.pop_front().unwrap().outcome();
                    }
                }
                for asked in open {
                    let _ = asked.outcome();
                }
                at
            }
        });
        Self { from, stop, thread }
    }

    pub fn stop(self) -> Sent {
        self.stop.store(true, Relaxed);
        Sent {
            from: self.from,
            at: self.thread.join().unwrap(),
        }
    }

    /// Stops all of these at the same time.
    pub fn stop_all(flows: impl IntoIterator<Item = Self>) -> Vec<Sent> {
        let flows = flows.into_iter();
        let stopping = flows.inspect(|flow| flow.stop.store(true, Relaxed));
        let stopping: Vec<_> = stopping.collect();
        stopping.into_iter().map(Self::stop).collect()
    }
}

impl Sent {
    /// The numbers of this flow that a client got so far, as they came, and when each did.
    pub fn got(&self, receiver: &Client) -> Vec<(usize, Instant)> {
        receiver.with_heard(|heard| {
            let messages = heard.iter().filter(|heard| heard.event == "message");
            let of_flow = messages.filter(|heard| heard.payload["from"] == self.from);
            let number = |heard: &Heard| heard.payload["payload"]["n"].as_u64().unwrap();
            let numbered = of_flow.map(|heard| (usize::try_from(number(heard)).unwrap(), heard.at));
            numbered.collect()
        })
    }

    /// The numbers of this flow that a client got so far, which must be 0, 1, and so on; when each
    /// came.
    #[track_caller]
    pub fn prefix(&self, receiver: &Client) -> Vec<Instant> {
        let got = self.got(receiver);
        let wrong = got
            .iter()
            .enumerate()
            .find(|&(nth, &(number, _))| nth != number);
        if let Some((nth, _)) = wrong {
            let around = &got[nth.saturating_sub(3)..got.len().min(nth + 4)];
            let around: Vec<_> = around
                .iter()
                .map(|&(number, at)| (number, at - self.at[number]))
                .collect();
            let (from, to) = (&self.from, receiver.id());
            panic!(
                "lost, doubled or out of order, from {from} to {to}: (number, after) {around:?}"
            );
        }
        got.into_iter().map(|(_, at)| at).collect()
    }

    /// How many messages of this flow a client never got: the last one must have come, and none twice or out of order.
    #[track_caller]
    pub fn missing_at(&self, receiver: &Client) -> usize {
        let last = self.at.len() - 1;
        let until = Instant::now() + SOON;
        let got = loop {
            let got = self.got(receiver);
            let newest = got.last().map(|&(number, _)| number);
            if newest == Some(last) {
                break got;
            }
            let count = got.len();
            assert!(
                Instant::now() < until,
                "the last of it does not arrive: {count} did, the newest is {newest:?} of {last}"
            );
            thread::sleep(Duration::from_millis(5));
        };
        let ordered = got.windows(2).find(|two| two[0].0 >= two[1].0);
        assert!(ordered.is_none(), "doubled or out of order: {ordered:?}");
        self.at.len() - got.len()
    }

    /// All of the flow arrives at these clients, in order; how long each message took.
    #[track_caller]
    pub fn arrives_at<'a>(&self, receivers: impl IntoIterator<Item = &'a Client>) -> Times {
        let mut times = Vec::new();
        for receiver in receivers {
            if receiver.id() == self.from {
                continue;
            }
            let mut came = self.prefix(receiver);
            let mut newest = Instant::now();
            // What waited for long takes its time: it may not stop to come.
            while came.len() < self.at.len() && receiver.gone().is_none() {
                let (count, all) = (came.len(), self.at.len());
                let waits = newest.elapsed() < SOON;
                assert!(waits, "not all of it arrives: {count} of {all}");
                thread::sleep(Duration::from_millis(5));
                came = self.prefix(receiver);
                if came.len() > count {
                    newest = Instant::now();
                }
            }
            assert_eq!(came.len(), self.at.len(), "{:?}", receiver.gone());
            let took = |(came, sent): (Instant, &Instant)| came.saturating_duration_since(*sent);
            times.extend(came.into_iter().zip(&self.at).map(took));
        }
        Times::of(times)
    }
}

/// Durations, sorted.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// So many of a hundred took no longer.
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        self.0[(self.0.len() - 1) * of_hundred / 100]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|of| self.percentile(of));
        let count = self.0.len();
        write!(
            f,
            "{count}, median {half:.1?}, p99 {most:.1?}, {all:.1?} at most"
        )
    }
}
