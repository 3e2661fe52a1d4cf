//! `/chat` over three machines that a real Redis or Postgres joins, with official clients of every kind: the scripts
//! check all that arrives, at whom and in which order.

use std::time::Instant;

use super::harness::*;

/// Runs these scripts against three machines with two workers each.
#[track_caller]
fn chat(kind: Kind, scripts: &[(&str, &[&str])]) {
    let machines = Plan::of(3, kind)
        .config("[engine]\nallow_eio3 = true")
        .start();
    let before = machines.processes();
    for (script, more) in scripts {
        let common = ["--workers", "6", "--deadline", "180"];
        let arguments = [&common, *more].concat();
        let began = Instant::now();
        let told = node_on(&machines.switch, script, &machines.urls(), &arguments);
        let took = began.elapsed();
        saw(
            script,
            format!("{} deliveries, {took:.1?}", told["deliveries"]),
        );
    }
    machines.assert_same_processes(&before);
    assert_eq!(machines.lost(), [0, 0, 0]);
}

const ROOMS: (&str, &[&str]) = ("chat-rooms.mjs", &["--members", "60"]);
const ANSWERS: [(&str, &[&str]); 2] = [
    // Several machines on one are busy.
    ("chat-collect.mjs", &["--at-once", "1800"]),
    (
        "chat-who.mjs",
        &["--kinds", "v4/websocket,v4/polling,v4/upgrade"],
    ),
];
/// Of the current version alone: each kind sends its thousands.
const ORDER: (&str, &[&str]) = (
    "chat-order.mjs",
    &[
        "--messages",
        "2000",
        "--kinds",
        "v4/websocket,v4/polling,v4/upgrade",
    ],
);
const PAYLOADS: (&str, &[&str]) = (
    "chat-payloads.mjs",
    &["--kinds", "v4/websocket,v4/polling,v4/upgrade"],
);

#[test]
fn messages_reach_exactly_the_right_clients_of_three_machines_over_redis() {
    chat(Kind::Redis, &[ROOMS]);
}

#[test]
fn messages_reach_exactly_the_right_clients_of_three_machines_over_postgres() {
    chat(Kind::Postgres, &[ROOMS]);
}

#[test]
fn whoever_asks_has_the_answers_of_three_machines_over_redis() {
    chat(Kind::Redis, &ANSWERS);
}

#[test]
fn whoever_asks_has_the_answers_of_three_machines_over_postgres() {
    chat(Kind::Postgres, &ANSWERS);
}

#[test]
fn thousands_of_messages_and_large_and_binary_ones_keep_their_order_over_redis() {
    chat(Kind::Redis, &[ORDER, PAYLOADS]);
}

#[test]
fn thousands_of_messages_keep_their_order_over_postgres_and_in_long_tests_large_and_binary_ones() {
    let scripts = [ORDER, PAYLOADS];
    // Megabytes in base64 take their time.
    let count = if long_tests() { 2 } else { 1 };
    chat(Kind::Postgres, &scripts[..count]);
}
