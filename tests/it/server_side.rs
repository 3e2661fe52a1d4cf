//! What the workers say to each other (`serverSideEmit`).

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

#[test]
fn every_other_worker_hears_a_server_side_event_once_and_in_order() {
    let stage = Stage::new();
    const EACH: usize = 100;
    let senders = [0, 4];
    let mut asked = Vec::new();
    for n in 0..EACH {
        for from in senders {
            let data = json!({"from": from, "n": n});
            asked.push(stage.crowd[from].ask("serverSideEmit", json!([data])));
        }
    }
    for asked in asked {
        ok(asked.answer().value);
    }
    let heard = |at: usize| {
        let heard = stage.crowd[at].call("heard", json!([]))["heard"].take();
        heard.as_array().unwrap().clone()
    };
    for at in [0, 2, 4, 6] {
        let expected: Vec<_> = senders.into_iter().filter(|&from| from != at).collect();
        eventually("all of it", SOON, || {
            heard(at).len() >= EACH * expected.len()
        });
        // Another road round, for what should not have come.
        stage.settle(0);
        let heard = heard(at);
        assert_eq!(heard.len(), EACH * expected.len(), "at {at}");
        for from in expected {
            let of = heard.iter().filter(|data| data["from"] == from);
            let got: Vec<_> = of.map(|data| data["n"].clone()).collect();
            counts_to(EACH, &got);
        }
    }
}

/// The workers but the one of client `nth`, sorted.
fn other_workers(stage: &Stage, nth: usize) -> Vec<u32> {
    let own = stage.crowd[nth].worker;
    let mut others: Vec<_> = stage.server.workers();
    others.retain(|&pid| pid != own);
    others.sort_unstable();
    others
}

#[test]
fn every_other_worker_answers_a_server_side_question() {
    let stage = Stage::new();
    for from in [0, 2, 4, 6] {
        let data = json!({"nested": [from, "é", null]});
        let asked = stage.crowd[from].ask("serverSideAsk", json!([data, 8000]));
        let Answered { value, took, .. } = asked.answer();
        let (answered, missing) = server_side_answers(&ok(value), &data);
        assert_eq!(answered, other_workers(&stage, from));
        assert_eq!(missing.len(), 0, "{missing:?}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    // Many at one time.
    let all: Vec<_> = (0..100)
        .map(|n| {
            let from = [0, 2, 4, 6][n % 4];
            let asked = stage.crowd[from].ask("serverSideAsk", json!([n, 8000]));
            (from, json!(n), asked)
        })
        .collect();
    for (from, data, asked) in all {
        let (answered, missing) = server_side_answers(&ok(asked.answer().value), &data);
        assert_eq!(answered, other_workers(&stage, from));
        assert_eq!(missing.len(), 0, "{missing:?}");
    }
}

#[test]
fn workers_that_do_not_answer_a_server_side_question_in_time_are_named() {
    let stage = Stage::new();
    let asked = stage.crowd[3].ask("serverSideAsk", json!(["sleep", 700]));
    let Answered { value, took, .. } = asked.answer();
    let (answered, missing) = server_side_answers(&ok(value), &json!("sleep"));
    saw("missing", format!("{missing:?} after {took:?}"));
    assert_eq!(answered.len(), 0);
    assert_eq!(
        missing.keys().copied().collect::<Vec<_>>(),
        other_workers(&stage, 3)
    );
    let limits = Duration::from_millis(700)..Duration::from_secs(3);
    assert!(limits.contains(&took), "{took:?}");
}

#[test]
fn a_worker_that_dies_while_it_is_asked_is_named_at_once() {
    let stage = Stage::new();
    let mut survivors = other_workers(&stage, 0);
    let victim = stage.crowd[5].worker;
    survivors.retain(|&pid| pid != victim);
    let jitter = Jitter::watch();
    // Stopped it answers nothing, so that the question is still open when it dies.
    signal_process(victim, "STOP");
    let asked = stage.crowd[0].ask("serverSideAsk", json!(["hello", 8000]));
    thread::sleep(Duration::from_millis(300));
    let killed = Instant::now();
    signal_process(victim, "KILL");
    let Answered { value, at, .. } = asked.answer();
    let after = at.saturating_duration_since(killed);
    let (answered, missing) = server_side_answers(&ok(value), &json!("hello"));
    saw("answered after the kill", format!("{after:?}, {missing:?}"));
    assert!(at > killed, "it was not asked");
    assert_eq!(answered, survivors);
    assert_eq!(missing.keys().copied().collect::<Vec<_>>(), [victim]);
    jitter.assert_within(after, Duration::from_millis(200));
}

#[test]
fn a_worker_that_takes_a_dead_ones_place_is_one_of_the_cluster() {
    let stage = Stage::with_rooms(&[0, 2, 4, 6], &[]);
    let servers = |nth: usize| stage.crowd[nth].call("servers", json!([]))["count"].clone();
    for nth in ALL {
        assert_eq!(servers(nth), 4);
    }
    let victim = stage.crowd[2].worker;
    signal_process(victim, "KILL");
    eventually("a new worker", SOON, || {
        let workers = stage.server.workers();
        workers.len() == 4
            && !workers.contains(&victim)
            && stage.server.count_lines(" started") == 5
    });
    for nth in [0, 4, 6] {
        eventually("four servers again", SOON, || servers(nth) == 4);
        assert_eq!(stage.fetched(nth, json!({"as": "io"})), [0, 1, 4, 5, 6, 7]);
    }
    // The emptiest worker is filled first.
    let comers = Crowd::light(&stage.server, "/", 2);
    let new = stage.server.workers()[1];
    assert_eq!(comers.on(new).len(), 2, "the newcomers' worker");
    comers.all_call("join", &json!(["red"]));
    assert_eq!(comers[0].call("servers", json!([]))["count"], 4);
    let in_red = stage.crowd[7].call("fetch", json!([{"as": "io", "to": ["red"]}]));
    let expected = ids([0, 4, 6]
        .map(|nth| &stage.crowd[nth])
        .into_iter()
        .chain(comers.iter()));
    assert_eq!(strings(&in_red["sockets"]), expected);
    let seen_by_new = comers[0].call("fetch", json!([{"as": "io", "to": ["red"]}]));
    assert_eq!(seen_by_new, in_red);
    comers[0].call(
        "emit",
        json!([{"as": "socket", "to": ["red"]}, "note", "from the new one"]),
    );
    stage.crowd[7].call(
        "emit",
        json!([{"as": "io", "to": ["red"]}, "note", "to the new one"]),
    );
    for client in [0, 4, 6]
        .map(|nth| &stage.crowd[nth])
        .into_iter()
        .chain([&comers[1]])
    {
        client.hears("note", &json!("from the new one"));
        client.hears("note", &json!("to the new one"));
    }
    comers[0].call("serverSideEmit", json!(["from the new one"]));
    stage.crowd[0].call("serverSideEmit", json!(["from an old one"]));
    for (client, expected) in [
        (&stage.crowd[0], json!(["from the new one"])),
        (&comers[0], json!(["from an old one"])),
    ] {
        eventually("heard", SOON, || {
            client.call("heard", json!([]))["heard"] == expected
        });
    }
}
