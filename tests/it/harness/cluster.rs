//! Several workers, clients spread over them, and what they answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use super::light::FEW;
use super::*;

/// Where the chat's clients are.
pub const ROOM: &str = "room";

/// What an answer may take when a worker has just died.
pub const PROMPT: Duration = Duration::from_millis(200);
/// What the log says of a worker that gave no answer.
pub const GAP: &str = "did not answer";

pub fn sample(workers: u16) -> Server {
    Setup::new().workers(workers).start()
}

pub fn operators(workers: u16) -> Server {
    Setup::new().workers(workers).example("operators").start()
}

/// Light clients in the chat, all in one room, as many on each worker: there are so few that they take turns.
#[track_caller]
pub fn chat(server: &Server, count: usize) -> Crowd {
    assert!(
        count <= FEW,
        "more come at once, and are not spread so evenly"
    );
    let crowd = Crowd::light(server, "/chat", count);
    let spread = crowd.spread();
    let even = count / spread.len();
    assert!(spread.iter().all(|&count| count == even), "{spread:?}");
    crowd.all_call("join", &json!([ROOM]));
    crowd
}

/// Clients that came at once are spread. How evenly is told, not asked: whoever has a processor gets more, for the master
/// gives each worker what it can take (`src/master/pace.rs`). Nobody is left out: no worker has less than a tenth of its share.
#[track_caller]
pub fn shared_out(sessions: &[u64], clients: u64) {
    saw("sessions of each worker", format!("{sessions:?}"));
    assert_eq!(sessions.iter().sum::<u64>(), clients, "{sessions:?}");
    let share = clients / sessions.len() as u64;
    let is_left_out = |&count: &u64| count < share / 10;
    assert!(!sessions.iter().any(is_left_out), "{sessions:?}");
}

/// Clients that come to two workers one after the other, until those have as many.
#[track_caller]
pub fn make_even(server: &Server) -> Vec<WebSocket> {
    let mut more = Vec::new();
    eventually("those who follow make it even", SOON + SOON, || {
        let sessions = server.sessions();
        let missing = sessions[0].abs_diff(sessions[1]);
        more.extend((0..missing).map(|_| WebSocket::open(Raw::patient(server.addr))));
        missing == 0
    });
    more
}

#[track_caller]
pub fn nobody_went<'a>(clients: impl IntoIterator<Item = &'a Client>) {
    for client in clients {
        assert_eq!(client.gone(), None);
    }
}

/// Another worker is there in the place of this one of four, and takes connections.
#[track_caller]
pub fn wait_for_replacement(server: &Server, victim: u32) -> Duration {
    eventually("a new worker", SOON, || {
        let workers = server.workers();
        let started = |pid: &u32| server.count_lines(&format!("Worker {pid} started")) == 1;
        workers.len() == 4 && !workers.contains(&victim) && workers.iter().all(started)
    })
}

/// Tells others to stop, even if the test fails before it would.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

pub fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The sockets of these pairs, sorted.
pub fn firsts(pairs: &Value) -> Vec<String> {
    let pairs = pairs.as_array().unwrap().iter();
    let mut ids: Vec<_> = pairs
        .map(|pair| pair[0].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

pub fn pairs(value: &Value) -> Vec<(String, String)> {
    let all = value.as_array().unwrap().iter();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    all.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// These are 0, 1, and so on, so many.
#[track_caller]
pub fn counts_to(count: usize, got: &[Value]) {
    let wrong = got.iter().enumerate().find(|&(nth, number)| *number != nth);
    assert!(wrong.is_none(), "at first: (expected, came) {wrong:?}");
    assert_eq!(got.len(), count);
}

/// The workers that answered, and those that did not, with the reasons.
pub fn server_side_answers(value: &Value, data: &Value) -> (Vec<u32>, BTreeMap<u32, String>) {
    let worker = |entry: &Value| u32::try_from(entry["worker"].as_u64().unwrap()).unwrap();
    let answers = value["answers"].as_array().unwrap();
    for answer in answers {
        assert_eq!(answer["answer"], json!({"echo": data}), "{value}");
    }
    let mut answered: Vec<_> = answers.iter().map(worker).collect();
    answered.sort_unstable();
    let missing = value["missing"].as_array().unwrap().iter();
    let missing = missing.map(|entry| (worker(entry), entry["why"].to_string()));
    (answered, missing.collect())
}
