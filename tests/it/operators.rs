//! Socket.IO's operators over four workers: whoever is selected hears it, once, and nobody else does.

use std::time::Duration;

use serde_json::json;

use super::harness::*;

#[test]
fn a_sockets_id_is_a_room_wherever_the_socket_is() {
    let stage = Stage::new();
    for target in ALL {
        let id = stage.id(target);
        assert_eq!(stage.reached(0, json!({"as": "io", "to": [id]})), [target]);
        assert_eq!(
            stage.reached(5, json!({"as": "socket", "within": [id]})),
            [target]
        );
        let others: Vec<_> = ALL.into_iter().filter(|&nth| nth != target).collect();
        assert_eq!(
            stage.reached(2, json!({"as": "io", "except": [id]})),
            others
        );
    }
    // Nobody sends to themselves with `socket.to`.
    let own = stage.id(3);
    assert_eq!(
        stage.reached(3, json!({"as": "socket", "to": [own]})),
        [0; 0]
    );
    let all_but_two = stage.reached(3, json!({"as": "socket", "except": [stage.id(6)]}));
    assert_eq!(all_but_two, [0, 1, 2, 4, 5, 7]);
}

#[test]
fn whoever_joins_the_room_of_an_id_stays_beside_its_owner() {
    let stage = Stage::new();
    let id = stage.id(5);
    let room = json!({"as": "io", "to": [id]});
    for guest in [0, 4] {
        stage.crowd[guest].call("join", json!([id]));
    }
    for from in [2, 5, 4] {
        for _ in 0..2 {
            assert_eq!(stage.reached(from, room.clone()), [0, 4, 5]);
            assert_eq!(stage.fetched(from, room.clone()), [0, 4, 5]);
            assert_eq!(stage.asked(from, room.clone()).0, [0, 4, 5]);
        }
        let others = stage.reached(from, json!({"as": "io", "except": [id]}));
        assert_eq!(others, [1, 2, 3, 6, 7]);
    }
    stage.crowd[0].call("leave", json!([id]));
    assert_eq!(stage.reached(4, room.clone()), [4, 5]);
    // The owner's leaving ends nobody else's stay.
    stage.crowd[5].close();
    eventually("the owner is gone", SOON, || {
        stage.fetched(7, json!({"as": "io"})).len() == 7
    });
    assert_eq!(stage.reached(2, room), [4]);
}

#[test]
fn the_server_reaches_everybody_a_broadcast_all_others_and_a_socket_itself() {
    let stage = Stage::new();
    for from in ALL {
        assert_eq!(stage.reached(from, json!({"as": "io"})), ALL);
        assert_eq!(stage.reached(from, json!({"as": "socket"})), [from]);
        let others: Vec<_> = ALL.into_iter().filter(|&nth| nth != from).collect();
        assert_eq!(
            stage.reached(from, json!({"as": "socket", "broadcast": true})),
            others
        );
    }
}

#[test]
fn a_union_of_rooms_is_one_delivery() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    let both = json!(["red", "blue", stage.id(4), stage.id(7), "empty"]);
    assert_eq!(
        stage.reached(1, json!({"as": "io", "to": both})),
        [0, 2, 4, 5, 6, 7]
    );
    assert_eq!(
        stage.reached(0, json!({"as": "socket", "to": both})),
        [2, 4, 5, 6, 7]
    );
    assert_eq!(
        stage.reached(0, json!({"as": "socket", "within": both})),
        [0, 2, 4, 5, 6, 7]
    );
    assert_eq!(
        stage.reached(3, json!({"as": "io", "to": ["empty"]})),
        [0; 0]
    );
}

#[test]
fn except_takes_out_rooms_and_ids() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    assert_eq!(
        stage.reached(0, json!({"as": "io", "except": ["red"]})),
        [1, 3, 5, 6, 7]
    );
    assert_eq!(
        stage.reached(
            7,
            json!({"as": "io", "except": ["red", "blue", stage.id(1)]})
        ),
        [3, 7]
    );
    assert_eq!(
        stage.reached(
            1,
            json!({"as": "io", "to": ["red", "blue"], "except": ["blue", stage.id(2)]})
        ),
        [0]
    );
    assert_eq!(
        stage.reached(0, json!({"as": "socket", "except": ["blue"]})),
        [1, 2, 3, 7]
    );
}

#[test]
fn local_is_this_worker_only() {
    let stage = Stage::with_rooms(&[0, 2, 3, 4], &[]);
    assert_eq!(stage.reached(0, json!({"as": "io", "local": true})), [0, 1]);
    assert_eq!(stage.reached(5, json!({"as": "io", "local": true})), [4, 5]);
    assert_eq!(
        stage.reached(3, json!({"as": "io", "local": true, "to": ["red"]})),
        [2, 3]
    );
    assert_eq!(
        stage.reached(6, json!({"as": "socket", "local": true, "broadcast": true})),
        [7]
    );
    assert_eq!(stage.fetched(4, json!({"as": "io", "local": true})), [4, 5]);
    assert_eq!(stage.asked(7, json!({"as": "io", "local": true})).0, [6, 7]);
}

#[test]
fn volatile_reaches_whoever_is_connected() {
    // A polling client is not, between two polls.
    let stage = Stage::over("websocket");
    stage.join("red", &[0, 2, 4]);
    assert_eq!(stage.reached(1, json!({"as": "io", "volatile": true})), ALL);
    assert_eq!(
        stage.reached(
            0,
            json!({"as": "socket", "volatile": true, "broadcast": true})
        ),
        ALL_BUT_0
    );
    assert_eq!(
        stage.reached(0, json!({"as": "socket", "volatile": true, "to": ["red"]})),
        [2, 4]
    );
}

#[test]
fn sixteen_workers_are_one_server() {
    let server = Setup::new().workers(16).example("operators").start();
    let crowd = Crowd::light(&server, "/", 32);
    let all = ids(crowd.iter());
    assert_eq!(crowd.spread(), [2; 16]);
    for client in crowd.iter() {
        client.call("emit", json!([{"as": "io"}, "hello", client.id()]));
    }
    for client in crowd.iter() {
        let everybody = json!({"as": "io", "timeout": 8000});
        assert_eq!(client.call("servers", json!([]))["count"], 16);
        assert_eq!(
            strings(&client.call("fetch", json!([everybody]))["sockets"]),
            all
        );
        let asked = client.call("ask", json!([everybody, "question", "?"]));
        assert_eq!(pairs(&asked["acks"]).len(), 32);
        for speaker in &all {
            client.hears("hello", &json!(speaker));
        }
        assert_eq!(client.payloads("hello").len(), 32);
    }
}

#[test]
fn a_broadcast_that_is_too_large_is_an_error_and_the_next_one_arrives() {
    let server = Setup::new()
        .workers(4)
        .config("[engine]\nmax_payload = 50_000_000")
        .example("operators")
        .start();
    let crowd = Crowd::light(&server, "/", 8);
    let worker = crowd[0].worker;
    let payload = "x".repeat(33 << 20);
    let error = crowd[0].refused("emit", json!([{"as": "io"}, "large", payload]));
    saw("the error", error);
    crowd[0].call("emit", json!([{"as": "io"}, "next", 1]));
    for client in crowd.iter() {
        client.hears("next", &json!(1));
        let large = client.payloads("large").len();
        assert_eq!(large, usize::from(client.worker == worker));
    }
    let payload = "x".repeat(30 << 20);
    crowd[0].call("emit", json!([{"as": "io"}, "fits", payload]));
    for client in crowd.iter() {
        client.hears("fits", &json!(30 << 20));
    }
}

#[test]
fn a_handler_hears_an_event_whose_name_has_quotes_and_knows_its_name() {
    let server = Setup::new().workers(1).example("operators").start();
    let crowd = Crowd::official(&server, "/", 2, &["--transports", "websocket,polling"]);
    for client in crowd.iter() {
        let told = client.call("say \"hello\"", json!([]));
        assert_eq!(told["said"], "say \"hello\"");
    }
}

#[test]
fn a_worker_that_is_alone_is_a_cluster_too() {
    let server = Setup::new().workers(1).example("operators").start();
    let crowd = Crowd::light(&server, "/", 3);
    let all = ids(crowd.iter());
    let client = &crowd[0];
    assert_eq!(client.call("servers", json!([]))["count"], 1);
    let everybody = json!({"as": "io", "timeout": 8000});
    assert_eq!(
        strings(&client.call("fetch", json!([everybody]))["sockets"]),
        all
    );
    let asked = client
        .ask("ask", json!([everybody, "question", "?"]))
        .answer();
    assert_eq!(pairs(&ok(asked.value)["acks"]).len(), 3);
    assert!(asked.took < Duration::from_secs(4));
    client.call("emit", json!([everybody, "note", 1]));
    for client in crowd.iter() {
        client.hears("note", &json!(1));
    }
    client.call("serverSideEmit", json!(["nobody else is there"]));
    let asked = client
        .ask("serverSideAsk", json!(["anybody?", 8000]))
        .answer();
    let (answered, missing) = server_side_answers(&ok(asked.value), &json!("anybody?"));
    assert_eq!((answered.len(), missing.len()), (0, 0));
    assert!(asked.took < Duration::from_secs(4));
    assert_eq!(client.call("heard", json!([]))["heard"], json!([]));
}

#[test]
fn what_cannot_be_done_is_refused_with_words() {
    let stage = Stage::new();
    let explode = json!([stage.id(3), "explode", null, null]);
    let error = stage.crowd[0].refused("remote", explode);
    saw("remote", error);
    stage.settle(0);
}
