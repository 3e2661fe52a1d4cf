//! The sockets of the cluster, whoever asks: who is there, in which rooms; and they obey from any worker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::*;

#[test]
fn whoever_fetches_sockets_sees_all_of_the_cluster() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    for from in ALL {
        assert_eq!(stage.fetched(from, json!({"as": "io"})), ALL);
        assert_eq!(
            stage.fetched(from, json!({"as": "io", "to": ["red"]})),
            [0, 2, 4]
        );
    }
    assert_eq!(
        stage.fetched(
            1,
            json!({"as": "io", "to": ["red", "blue"], "except": [stage.id(4)]})
        ),
        [0, 2, 5, 6]
    );
    assert_eq!(
        stage.fetched(1, json!({"as": "io", "to": [stage.id(7)]})),
        [7]
    );
    assert_eq!(
        stage.fetched(2, json!({"as": "socket", "to": ["red"]})),
        [0, 4]
    );
    assert_eq!(
        stage.fetched(2, json!({"as": "socket", "within": ["red"]})),
        [0, 2, 4]
    );
    assert_eq!(
        stage.fetched(2, json!({"as": "io", "to": ["empty"]})),
        [0; 0]
    );
}

#[test]
fn rooms_are_those_of_the_cluster_and_end_with_their_last_member() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    let crowd = &stage.crowd;
    let all_ids = ids(crowd.iter());
    // Rooms that a test gave a name: not those that are sockets' ids.
    let named = |from: usize, selection: Value| {
        let rooms = strings(&crowd[from].call("rooms", json!([selection]))["rooms"]);
        assert!(rooms.is_sorted(), "{rooms:?}");
        let named = rooms.into_iter().filter(|room| !all_ids.contains(room));
        named.collect::<Vec<_>>()
    };
    for from in ALL {
        assert_eq!(named(from, json!({"as": "io"})), ["blue", "red"]);
    }
    for last in [4, 5, 6] {
        assert_eq!(named(1, json!({"as": "io"})), ["blue", "red"]);
        crowd[last].call("leave", json!(["blue"]));
    }
    assert_eq!(named(1, json!({"as": "io"})), ["red"]);
    for last in [0, 2, 4] {
        crowd[last].close();
    }
    eventually("no room", SOON, || named(1, json!({"as": "io"})).is_empty());
}

#[test]
fn all_of_a_selection_join_and_leave_wherever_they_are() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    let client = |nth: usize| &stage.crowd[nth];
    client(1).call("joinAll", json!([{"as": "io", "to": ["red"]}, "green"]));
    assert_eq!(
        stage.reached(7, json!({"as": "io", "to": ["green"]})),
        [0, 2, 4]
    );
    let joined = json!([{"as": "io", "to": [stage.id(7), stage.id(0)]}, "green"]);
    client(3).call("joinAll", joined);
    assert_eq!(
        stage.reached(7, json!({"as": "io", "to": ["green"]})),
        [0, 2, 4, 7]
    );
    client(5).call("leaveAll", json!([{"as": "io", "to": ["blue"]}, "green"]));
    assert_eq!(
        stage.reached(7, json!({"as": "io", "to": ["green"]})),
        [0, 2, 7]
    );
    client(6).call("leaveAll", json!([{"as": "io"}, "green"]));
    assert_eq!(
        stage.fetched(7, json!({"as": "io", "to": ["green"]})),
        [0; 0]
    );
    // Joining what one is in, and leaving what one is not in, changes nothing.
    client(6).call("joinAll", json!([{"as": "io", "to": ["red"]}, "red"]));
    client(6).call("leaveAll", json!([{"as": "io"}, "green"]));
    assert_eq!(
        stage.fetched(7, json!({"as": "io", "to": ["red"]})),
        [0, 2, 4]
    );
}

#[test]
fn all_of_a_selection_are_disconnected_wherever_they_are() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    // One that is not among those who are counted.
    let ninth = &Crowd::light(&stage.server, "/", 1)[0];
    let selection = json!({"as": "io", "to": ["red", "blue"], "except": [stage.id(6)]});
    ninth.call("disconnectAll", json!([selection]));
    ninth.close();
    for nth in [0, 2, 4, 5] {
        let (_, reason) = stage.crowd[nth].goes(SOON);
        assert_eq!(reason, "io server disconnect", "{nth}");
    }
    eventually("gone everywhere", SOON, || {
        stage.fetched(3, json!({"as": "io"})) == [1, 3, 6, 7]
    });
    assert_eq!(stage.reached(3, json!({"as": "io"})), [1, 3, 6, 7]);
    assert_eq!(stage.fetched(1, json!({"as": "io", "to": ["red"]})), [0; 0]);
}

/// Emits to a room that everybody was just made to join, and once more when all were made to leave.
fn joins_and_leaves(padding: usize) {
    let stage = Stage::new();
    let client = &stage.crowd[2];
    let padding = "x".repeat(padding);
    let mut asked = Vec::new();
    for round in 0..100 {
        let room = format!("room {round}");
        let to_room = json!({"as": "io", "to": [room]});
        let payload = json!([round, padding]);
        asked.push(client.ask("joinAll", json!([{"as": "io"}, room])));
        asked.push(client.ask("emit", json!([to_room, "n", payload])));
        asked.push(client.ask("leaveAll", json!([{"as": "io"}, room])));
        asked.push(client.ask("emit", json!([to_room, "late", round])));
    }
    for asked in asked {
        ok(asked.answer().value);
    }
    stage.settle(2);
    for client in stage.crowd.iter() {
        let rounds: Vec<_> = client.payloads("n").iter().map(|n| n[0].clone()).collect();
        counts_to(100, &rounds);
        assert_eq!(client.payloads("late"), [Value::Null; 0]);
    }
}

#[test]
fn whoever_was_made_to_join_hears_the_very_next_emit() {
    joins_and_leaves(0);
}

#[test]
fn whoever_was_made_to_join_hears_the_very_next_emit_even_behind_megabytes() {
    joins_and_leaves(200_000);
}

#[test]
fn a_remote_socket_obeys_from_any_worker() {
    let stage = Stage::new();
    const NONE: [Value; 2] = [Value::Null, Value::Null];
    for (from, target) in [(0, 1), (0, 0), (2, 7), (7, 2), (4, 1)] {
        let id = stage.id(target);
        let act = |action: &str, arguments: [Value; 2]| {
            ok(stage.remote(from, &id, action, arguments).answer().value)
        };
        let in_room = || stage.fetched(3, json!({"as": "io", "to": ["remote room"]}));
        let note = json!(format!("from {from}"));
        act("emit", [json!("note"), note.clone()]);
        stage.crowd[target].hears("note", &note);
        let answer = act("ask", [json!("question"), json!("?")]);
        assert_eq!(answer["ack"], id, "{answer}");
        let room = [json!("remote room"), Value::Null];
        act("join", room.clone());
        let mut rooms = strings(&act("rooms", NONE)["rooms"]);
        rooms.retain(|room| *room != id);
        assert_eq!(
            (rooms, in_room()),
            (vec!["remote room".to_owned()], vec![target])
        );
        act("leave", room);
        assert_eq!(in_room(), [0; 0]);
    }
    ok(stage
        .remote(0, &stage.id(6), "disconnect", NONE)
        .answer()
        .value);
    let (_, reason) = stage.crowd[6].goes(SOON);
    assert_eq!(reason, "io server disconnect");
    stage.settle(0);
    let strangers = (0..8).filter(|nth| ![1, 0, 7, 2].contains(nth));
    for nth in strangers {
        assert!(stage.crowd[nth].payloads("note").is_empty(), "{nth}");
    }
}

#[test]
fn a_remote_socket_that_has_just_gone_is_an_answer() {
    let stage = Stage::new();
    let actions = [
        ("emit", [json!("note"), json!(1)]),
        ("ask", [json!("question"), json!(1)]),
        ("join", [json!("room"), Value::Null]),
        ("leave", [json!("room"), Value::Null]),
        ("rooms", [Value::Null, Value::Null]),
        ("disconnect", [Value::Null, Value::Null]),
    ];
    let mut slowest = Duration::ZERO;
    let mut outcomes = BTreeMap::<String, usize>::new();
    // Each leaves while others are about to act on it, from its own worker and from all others.
    for (target, (action, arguments)) in [7, 6, 5, 4, 3, 2].into_iter().zip(&actions) {
        let id = stage.id(target);
        let act = || {
            let all = (0..target).map(|from| stage.remote(from, &id, action, arguments.clone()));
            all.collect::<Vec<_>>()
        };
        let mut asked = act();
        stage.crowd[target].close();
        for _ in 0..3 {
            asked.extend(act());
        }
        for asked in asked {
            let Answered { value, took, .. } = asked.answer();
            slowest = slowest.max(took);
            let outcome = value["error"].as_str().map_or("ok", |error| error);
            *outcomes.entry(outcome.replace(&id, "ID")).or_default() += 1;
        }
    }
    saw("outcomes", format!("{outcomes:?}"));
    saw("the slowest answer", format!("{slowest:?}"));
    // A question to a socket that leaves may wait as long as questions may.
    assert!(slowest < SOON);
    let never = stage.crowd[0].refused("remote", json!(["nobody", "emit", "note", 1]));
    saw("a socket that never was", never);
    stage.settle(0);
}

#[test]
fn what_one_client_emits_arrives_in_its_order_whatever_the_road() {
    let stage = Stage::with_rooms(&ALL, &[]);
    let everybody: Vec<_> = ALL.map(|nth| stage.id(nth)).into();
    let roads = [
        json!({"as": "io"}),
        json!({"as": "io", "to": ["red"]}),
        json!({"as": "socket", "within": ["red"]}),
        json!({"as": "io", "to": everybody}),
        json!({"as": "io", "except": ["nobody"]}),
    ];
    const EACH: usize = 300;
    let senders = [0, 3, 4, 6];
    let mut asked = Vec::new();
    for n in 0..EACH {
        for from in senders {
            let selection = &roads[n % roads.len()];
            let name = format!("from {from}");
            asked.push(stage.crowd[from].ask("emit", json!([selection, name, n])));
        }
    }
    for asked in asked {
        ok(asked.answer().value);
    }
    for from in senders {
        stage.settle(from);
    }
    for client in stage.crowd.iter() {
        for from in senders {
            counts_to(EACH, &client.payloads(&format!("from {from}")));
        }
    }
}

#[test]
fn those_who_stay_miss_nothing_while_others_come_and_go() {
    let stage = Stage::with_rooms(&[0, 2, 4, 6], &[]);
    let mut asked = Vec::new();
    let mut count = 0;
    for _ in 0..15 {
        let comers = Crowd::light(&stage.server, "/", 8);
        comers.all_call("join", &json!(["red"]));
        for from in [1, 3, 5, 7] {
            for _ in 0..10 {
                let number = json!([{"as": "io", "to": ["red"]}, "n", count]);
                asked.push(stage.crowd[from].ask("emit", number));
                count += 1;
            }
        }
        // Half of them say that they leave.
        for comer in comers.iter().take(4) {
            comer.close();
        }
    }
    for asked in asked {
        ok(asked.answer().value);
    }
    for from in [1, 3, 5, 7] {
        stage.settle(from);
    }
    for nth in [0, 2, 4, 6] {
        let got = stage.crowd[nth].payloads("n");
        let mut sorted: Vec<_> = got.iter().map(|n| n.as_u64().unwrap()).collect();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..count).collect::<Vec<_>>(), "client {nth}");
        for sender in 0..4 {
            let of = |n: &&u64| (**n / 10) % 4 == sender;
            let got: Vec<_> = got.iter().map(|n| n.as_u64().unwrap()).collect();
            assert!(got.iter().filter(of).is_sorted(), "client {nth}");
        }
    }
    eventually("those who left are no longer there", SOON, || {
        stage.crowd[0].call("fetch", json!([{"as": "io"}]))["sockets"]
            .as_array()
            .is_some_and(|sockets| sockets.len() == 8)
    });
}
