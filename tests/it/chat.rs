//! `/chat`: rooms and broadcasts that reach every worker, in order and exactly once.
//!
//! The scripts check everything that arrives; here is what they are run against.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

/// Long enough for a busy machine; the scripts end much sooner.
const DEADLINE: [&str; 2] = ["--deadline", "180"];

const WORKERS: usize = 4;

/// With clients of every version.
fn everybody() -> Server {
    Setup::new().workers(4).eio3().start()
}

fn msgpack() -> Server {
    Setup::new()
        .config("[engine]\nparser = \"msgpack\"")
        .start()
}

/// Runs a script whose members are on all workers, and all there are at its end.
#[track_caller]
fn chat(server: &Server, script: &str, arguments: &[&str]) -> Value {
    let workers = server.workers();
    let count = workers.len().to_string();
    let common = ["--workers", &count, DEADLINE[0], DEADLINE[1]];
    let told = node(script, &server.url(), &[&common, arguments].concat());
    assert_eq!(server.workers(), workers, "no worker ended");
    told
}

/// The same with clients that write MessagePack.
#[track_caller]
fn packed(script: &str) -> Value {
    chat(&msgpack(), script, &["--kinds", "msgpack"])
}

#[test]
fn messages_reach_everybody_else_in_a_room_and_nobody_beside_them_exactly_once() {
    let server = everybody();
    let told = chat(&server, "chat-rooms.mjs", &["--members", "40"]);
    saw("deliveries", &told["deliveries"]);
    assert_eq!(told["workers"].as_object().unwrap().len(), WORKERS);
    assert_eq!(told["crossings"].as_object().unwrap().len(), 3, "{told}");
}

#[test]
fn thousands_of_messages_keep_each_senders_order_everywhere() {
    let server = everybody();
    let told = chat(&server, "chat-order.mjs", &["--messages", "2000"]);
    saw("deliveries", &told["deliveries"]);
    saw("milliseconds", &told["ms"]);
}

#[test]
fn every_payload_arrives_byte_for_byte_on_every_worker() {
    let told = chat(&everybody(), "chat-payloads.mjs", &[]);
    saw("deliveries", &told["deliveries"]);
    saw("large payloads", &told["large"]);
}

#[test]
fn every_worker_knows_who_is_in_a_room_however_clients_come_and_go() {
    let told = chat(
        &everybody(),
        "chat-churn.mjs",
        &["--members", "30", "--seconds", "20"],
    );
    saw("churn", &told);
}

#[test]
fn who_is_in_a_room_is_told_once_and_not_when_gone() {
    let told = chat(&everybody(), "chat-who.mjs", &[]);
    saw("gone after, ms", &told["goneAfterMs"]);
}

#[test]
fn answers_are_collected_from_everybody_and_missing_ones_are_waited_for() {
    let told = chat(&everybody(), "chat-collect.mjs", &[]);
    saw("all answered, ms", &told["fast"]);
    saw("one did not, ms", &told["slow"]);
    saw("one went, ms", &told["goneMs"]);
}

#[test]
fn wrong_arguments_are_refused_with_what_was_expected_and_do_nothing() {
    let told = chat(&everybody(), "chat-arguments.mjs", &[]);
    saw("cases", &told["cases"]);
}

#[test]
fn python_clients_talk_with_members_on_other_workers() {
    for transport in ["websocket", "polling", "upgrade"] {
        let server = Setup::new().workers(4).start();
        let told = chat(&server, "chat-python.mjs", &["--transport", transport]);
        saw(transport, &told["heard"]);
    }
}

#[test]
fn messagepack_clients_chat_in_rooms() {
    packed("chat-rooms.mjs");
}

#[test]
fn messagepack_clients_get_messages_in_order() {
    packed("chat-order.mjs");
}

#[test]
fn messagepack_clients_get_every_payload() {
    packed("chat-payloads.mjs");
}

#[test]
fn messagepack_clients_are_told_who_is_in_a_room() {
    packed("chat-who.mjs");
}

#[test]
fn messagepack_clients_answer() {
    packed("chat-collect.mjs");
}

#[test]
fn wrong_arguments_of_messagepack_clients_are_refused() {
    packed("chat-arguments.mjs");
}

/// Memory of the master and the workers, KiB.
fn memories(server: &Server) -> BTreeMap<u32, u64> {
    let processes = [vec![server.pid], server.workers()].concat();
    processes
        .into_iter()
        .map(|pid| (pid, memory(pid).pss))
        .collect()
}

/// Gives what `body` gives, and the most memory that each process had meanwhile.
fn peaks<T>(server: &Server, body: impl FnOnce() -> T) -> (T, BTreeMap<u32, u64>) {
    let (end, ended) = mpsc::channel::<()>();
    let watch = move || {
        let mut most = memories(server);
        // Until the other end is dropped, by whatever ends the body.
        while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
            for (pid, now) in memories(server) {
                let peak = most.entry(pid).or_default();
                *peak = now.max(*peak);
            }
        }
        most
    };
    thread::scope(|scope| {
        let watching = scope.spawn(watch);
        let result = body();
        drop(end);
        (result, watching.join().unwrap())
    })
}

/// One client sends as fast as it can, others on all workers hear it all, and echoes go on.
#[track_caller]
fn flood(event: &str, seconds: &str) {
    let server = Setup::new().workers(4).start();
    let before = memories(&server);
    let arguments = ["--event", event, "--seconds", seconds];
    let (told, peaks) = peaks(&server, || chat(&server, "chat-flood.mjs", &arguments));
    saw("sent", &told["total"]);
    saw("sent a second", &told["perSecond"]);
    saw("heard", &told["heard"]);
    saw("heard by all, ms after its end", &told["heardAfterMs"]);
    assert!(told["heardAfterMs"].as_u64().unwrap() < 60_000, "{told}");
    for time in ["before", "during", "after"] {
        saw(&format!("echoes {time}"), &told[time]);
    }
    // Quiet, these are around 0.5 and 10 ms; on a machine that is busy with other tests, 5 and 350.
    let during = |share: &str| told["during"][share].as_f64().unwrap();
    assert!(during("p50") < 30.0 && during("p99") < 1000.0, "{told}");
    saw("memory before, KiB", format!("{before:?}"));
    saw("memory at most, KiB", format!("{peaks:?}"));
    let began = Instant::now();
    let back = |now: &BTreeMap<u32, u64>| {
        let fits = |(pid, &now)| before.get(pid).is_some_and(|was| now < was * 6 / 5 + 8192);
        now.iter().all(fits)
    };
    let mut after = memories(&server);
    while !back(&after) && began.elapsed() < SOON {
        thread::sleep(Duration::from_millis(100));
        after = memories(&server);
    }
    let took = began.elapsed();
    saw("memory after, KiB", format!("{after:?} within {took:?}"));
    assert!(
        back(&after),
        "memory that did not come back, KiB: {before:?}, {peaks:?}, {after:?}"
    );
}

// Apart in the alphabet, so that tests of these names do not run at the same time.

#[test]
fn a_flood_of_messages_is_heard_in_full_while_echoes_go_on() {
    flood("message", "10");
}

#[test]
fn while_echoes_go_on_a_flood_of_announces_is_heard_in_full() {
    flood("announce", "3");
}
