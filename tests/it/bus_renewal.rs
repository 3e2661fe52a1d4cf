//! Workers that take the places of dead ones are members like the others.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

/// Kills five workers, one after another, while clients that come back talk, and then looks
/// whether all find each other.
fn five_die(
    server: &Server,
    crowd: &Crowd,
    say: impl Fn(&Client, &str, u64) -> Asked + Sync,
    present: impl Fn(&Client) -> Vec<String>,
) {
    let stop = AtomicBool::new(false);
    let (mut said, mut unanswered) = (0, 0);
    thread::scope(|scope| {
        let talk = scope.spawn(|| {
            let (mut said, mut unanswered) = (0, 0);
            while !stop.load(Relaxed) {
                let asked: Vec<_> = crowd.iter().map(|c| say(c, "noise", said)).collect();
                said += asked.len() as u64;
                let outcomes = asked.into_iter().map(Asked::outcome);
                unanswered += outcomes.filter(Option::is_none).count();
                thread::sleep(Duration::from_millis(20));
            }
            (said, unanswered)
        });
        let stop = Stop(&stop);
        for nth in 0..5 {
            thread::sleep(Duration::from_millis(300));
            let victim = server.workers()[nth % 4];
            signal_process(victim, "KILL");
            wait_for_replacement(server, victim);
        }
        drop(stop);
        (said, unanswered) = talk.join().unwrap();
    });
    saw(
        "messages",
        format!("{said}, {unanswered} of them lost with their workers"),
    );
    let connects: Vec<_> = crowd.iter().map(Client::connects).collect();
    saw("connections of each client", format!("{connects:?}"));
    let began = Instant::now();
    for client in crowd.iter() {
        client.connected(1, SOON);
    }
    eventually("all find all", SOON, || {
        let all = ids(crowd.iter());
        crowd.iter().all(|client| present(client) == all)
    });
    saw("all found all after", format!("{:?}", began.elapsed()));
    assert!(connects.iter().sum::<usize>() > crowd.len());
    assert_eq!(server.count_lines(" died"), 5);
    for (number, speaker) in (0..).zip(crowd.iter()) {
        ok(say(speaker, "last", number).answer().value);
    }
    for (number, speaker) in (0..).zip(crowd.iter()) {
        let listeners = crowd
            .iter()
            .filter(|listener| listener.id() != speaker.id());
        for listener in listeners {
            let said = json!({"word": "last", "n": number});
            assert!(listener.hears_where(|heard| heard.payload["payload"] == said));
        }
    }
}

/// Clients who come now find each other, and nobody else.
#[track_caller]
fn newcomers_are_all(server: &Server) {
    let crowd = Crowd::light(server, "/", 8);
    let all = ids(crowd.iter());
    for client in crowd.iter() {
        assert_eq!(client.call("servers", json!([]))["count"], 4);
        let found = client.call("fetch", json!([{"as": "io"}]));
        assert_eq!(strings(&found["sockets"]), all);
        client.call("emit", json!([{"as": "io"}, "hello", client.id()]));
    }
    for listener in crowd.iter() {
        for speaker in &all {
            listener.hears("hello", &json!(speaker));
        }
    }
}

#[test]
fn after_all_workers_died_at_once_the_new_ones_are_a_cluster() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 8);
    let victims = server.workers();
    for &victim in &victims {
        signal_process(victim, "KILL");
    }
    for client in crowd.iter() {
        client.goes(SOON);
    }
    for victim in victims {
        wait_for_replacement(&server, victim);
    }
    newcomers_are_all(&server);
}

#[test]
fn workers_that_die_before_they_have_started_leave_no_trace() {
    let server = operators(4);
    let mut victim = server.workers()[1];
    for _ in 0..4 {
        signal_process(victim, "KILL");
        eventually("another one", SOON, || {
            let workers = server.workers();
            let another = workers.len() == 4 && !workers.contains(&victim);
            if another {
                victim = workers[1];
            }
            another
        });
    }
    signal_process(victim, "KILL");
    wait_for_replacement(&server, victim);
    saw("started", server.count_lines(" started"));
    newcomers_are_all(&server);
}

const COME_BACK: [&str; 5] = [
    "--reconnect",
    "--join",
    ROOM,
    "--transports",
    "websocket,polling",
];

#[test]
fn after_five_deaths_every_operator_is_right() {
    let server = operators(4);
    let crowd = Crowd::official(&server, "/", 12, &COME_BACK);
    let say = |client: &Client, word: &str, n: u64| {
        let selection = json!({"as": "socket", "to": [ROOM]});
        let payload = json!({"payload": {"word": word, "n": n}});
        client.ask("emit", json!([selection, "message", payload]))
    };
    five_die(&server, &crowd, say, |client| {
        let found = client.call("fetch", json!([{"as": "io", "to": [ROOM]}]));
        strings(&found["sockets"])
    });
    let all = ids(crowd.iter());
    for client in crowd.iter() {
        assert_eq!(client.call("servers", json!([]))["count"], 4);
        let everybody = client.call("fetch", json!([{"as": "io"}]));
        assert_eq!(strings(&everybody["sockets"]), all);
    }
}

#[test]
fn after_five_deaths_a_chat_is_whole() {
    let server = sample(4);
    let crowd = Crowd::official(&server, "/chat", 12, &COME_BACK);
    let say = |client: &Client, word: &str, n: u64| {
        client.ask("message", json!([ROOM, {"word": word, "n": n}]))
    };
    five_die(&server, &crowd, say, |client| {
        let found = client.call("who", json!([ROOM]));
        strings(&found["sockets"])
    });
}
