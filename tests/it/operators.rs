//! Socket.IO's operators over four workers: whoever emits, asks, joins or looks, the cluster is
//! one server.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

/// Eight official clients, two on each of four workers: 0 and 1 on the first, and so on.
struct Stage {
    server: Server,
    crowd: Crowd,
    emitted: Cell<u64>,
}

impl Stage {
    #[track_caller]
    fn new() -> Self {
        // Before and after an upgrade, and without one.
        Self::over("websocket,polling,upgrade")
    }

    /// Over these transports in turn.
    #[track_caller]
    fn over(transports: &str) -> Self {
        let server = Setup::new().workers(4).example("operators").start();
        let crowd = Crowd::official(&server, "/", 8, &["--transports", transports]);
        let workers = server.workers();
        let of = |nth: usize| workers[nth / 2];
        assert!(
            (0..8).all(|nth| crowd[nth].worker == of(nth)),
            "{:?}",
            crowd.spread()
        );
        let emitted = Cell::new(0);
        Self {
            server,
            crowd,
            emitted,
        }
    }

    /// With these clients in the room `red`, and these in `blue`.
    #[track_caller]
    fn with_rooms(red: &[usize], blue: &[usize]) -> Self {
        let stage = Self::new();
        stage.join("red", red);
        stage.join("blue", blue);
        stage
    }

    #[track_caller]
    fn join(&self, room: &str, clients: &[usize]) {
        for &nth in clients {
            self.crowd[nth].call("join", json!([room]));
        }
    }

    fn id(&self, nth: usize) -> String {
        self.crowd[nth].id()
    }

    /// Waits until everybody connected got all that `from` emitted.
    #[track_caller]
    fn settle(&self, from: usize) {
        let number = json!(self.emitted.replace(self.emitted.get() + 1));
        self.crowd[from].call("emit", json!([{"as": "io"}, "settled", number]));
        for client in self.crowd.iter().filter(|client| client.gone().is_none()) {
            client.hears("settled", &number);
        }
    }

    /// Who hears what `from` emits with this selection. Nobody hears it twice.
    #[track_caller]
    fn reached(&self, from: usize, selection: Value) -> Vec<usize> {
        let number = json!(self.emitted.get());
        self.crowd[from].call("emit", json!([selection, "note", number]));
        self.settle(from);
        let count = |client: &Client| {
            let notes = client.payloads("note");
            notes.iter().filter(|&note| *note == number).count()
        };
        let counts: Vec<_> = self.crowd.iter().map(count).collect();
        assert!(counts.iter().all(|&count| count <= 1), "{counts:?}");
        (0..8).filter(|&nth| counts[nth] == 1).collect()
    }

    /// Who is in this selection, if `from` asks.
    #[track_caller]
    fn fetched(&self, from: usize, selection: Value) -> Vec<usize> {
        let found = self.crowd[from].call("fetch", json!([selection]));
        let sockets = strings(&found["sockets"]);
        assert!(sockets.is_sorted(), "{sockets:?}");
        self.numbers(&sockets)
    }

    /// `from` does this to the socket with this id, with two arguments.
    fn remote(&self, from: usize, id: &str, action: &str, arguments: [Value; 2]) -> Asked {
        let [first, second] = arguments;
        self.crowd[from].ask("remote", json!([id, action, first, second]))
    }

    fn numbers(&self, sockets: &[String]) -> Vec<usize> {
        let all = ids(self.crowd.iter());
        assert!(sockets.iter().all(|id| all.contains(id)), "{sockets:?}");
        let named = |nth: &usize| sockets.contains(&self.id(*nth));
        let numbers: Vec<_> = (0..8).filter(named).collect();
        assert_eq!(numbers.len(), sockets.len(), "{sockets:?}");
        numbers
    }

    /// Asks with this selection: who answered their id, who did not and why, and after how long.
    #[track_caller]
    fn asked(
        &self,
        from: usize,
        selection: Value,
    ) -> (Vec<usize>, BTreeMap<usize, String>, Duration) {
        let asked = self.crowd[from].ask("ask", json!([selection, "question", "?"]));
        let Answered { value, took, .. } = asked.answer();
        let value = ok(value);
        let acks = pairs(&value["acks"]);
        assert!(acks.iter().all(|(id, answer)| id == answer), "{value}");
        let acks: Vec<_> = acks.into_iter().map(|(id, _)| id).collect();
        let number = |id| self.numbers(&[id])[0];
        let errors = pairs(&value["errors"]).into_iter();
        let errors = errors.map(|(id, why)| (number(id), why)).collect();
        (self.numbers(&acks), errors, took)
    }
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
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
fn counts_to(count: usize, got: &[Value]) {
    let wrong = got.iter().enumerate().find(|&(nth, number)| *number != nth);
    assert!(wrong.is_none(), "at first: (expected, came) {wrong:?}");
    assert_eq!(got.len(), count);
}

const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const ALL_BUT_0: [usize; 7] = [1, 2, 3, 4, 5, 6, 7];

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

#[test]
fn a_question_to_everybody_ends_when_all_have_answered() {
    let stage = Stage::with_rooms(&[0, 2, 4], &[4, 5, 6]);
    for from in ALL {
        let (acks, errors, took) = stage.asked(from, json!({"as": "io", "timeout": 8000}));
        assert_eq!((acks, errors.len()), (ALL.to_vec(), 0));
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    let to_rooms =
        json!({"as": "io", "to": ["red", "blue"], "except": [stage.id(2)], "timeout": 8000});
    assert_eq!(stage.asked(1, to_rooms).0, [0, 4, 5, 6]);
    let others = json!({"as": "socket", "broadcast": true, "timeout": 8000});
    assert_eq!(stage.asked(0, others).0, ALL_BUT_0);
    // Nobody to ask: nothing to wait for.
    let (acks, errors, took) =
        stage.asked(3, json!({"as": "io", "to": ["empty"], "timeout": 8000}));
    assert_eq!((acks.len(), errors.len()), (0, 0));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn hundreds_of_questions_to_everybody_are_open_at_the_same_time() {
    let stage = Stage::new();
    let jitter = Jitter::watch();
    // All of one client: what it is asked comes between its own questions, and so do its answers.
    for askers in [&[0][..], &[1, 2, 5, 6][..]] {
        let began = Instant::now();
        let asked: Vec<_> = (0..600)
            .map(|n| {
                let from = askers[n % askers.len()];
                let question = json!([{"as": "io", "timeout": 8000}, "question", n]);
                stage.crowd[from].ask("ask", question)
            })
            .collect();
        for asked in asked {
            let value = ok(asked.answer().value);
            assert_eq!(value["errors"], json!([]));
            assert_eq!(pairs(&value["acks"]).len(), 8, "{value}");
        }
        saw(
            "600 questions, 8 answers each, in",
            format!("{:?}", began.elapsed()),
        );
        jitter.assert_within(began.elapsed(), Duration::from_secs(6));
    }
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
fn those_who_do_not_answer_in_time_are_errors_with_their_ids() {
    let stage = Stage::new();
    for (nth, answer) in [
        (1, Answer::Never),
        (6, Answer::Never),
        (3, Answer::Late(300)),
    ] {
        stage.crowd[nth].answers(answer);
    }
    // Over another road an order could overtake it.
    thread::sleep(Duration::from_millis(100));
    let (acks, errors, took) = stage.asked(4, json!({"as": "io", "timeout": 1500}));
    saw("errors", format!("{errors:?} after {took:?}"));
    assert_eq!(acks, [0, 2, 3, 4, 5, 7]);
    assert_eq!(errors.keys().copied().collect::<Vec<_>>(), [1, 6]);
    assert!(
        errors
            .values()
            .all(|why| why.to_lowercase().contains("time")),
        "{errors:?}"
    );
    let limits = Duration::from_millis(1500)..Duration::from_secs(4);
    assert!(limits.contains(&took), "{took:?}");
}

#[test]
fn those_who_leave_while_they_are_asked_are_errors_and_nobody_waits_for_them() {
    let stage = Stage::new();
    for nth in [2, 7] {
        stage.crowd[nth].answers(Answer::Never);
    }
    thread::sleep(Duration::from_millis(100));
    let asked = stage.crowd[4].ask(
        "ask",
        json!([{"as": "io", "timeout": 8000}, "question", "?"]),
    );
    for nth in [2, 7] {
        stage.crowd[nth].hears("question", &json!("?"));
        stage.crowd[nth].close();
    }
    let Answered { value, took, .. } = asked.answer();
    let value = ok(value);
    saw("answered after", format!("{took:?}: {}", value["errors"]));
    assert_eq!(pairs(&value["acks"]).len(), 6, "{value}");
    let errors: Vec<_> = pairs(&value["errors"])
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(stage.numbers(&errors), [2, 7]);
}

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

/// The workers that answered, and those that did not, with the reasons.
fn server_side_answers(value: &Value, data: &Value) -> (Vec<u32>, BTreeMap<u32, String>) {
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

#[test]
fn what_cannot_be_done_is_refused_with_words() {
    let stage = Stage::new();
    let explode = json!([stage.id(3), "explode", null, null]);
    let error = stage.crowd[0].refused("remote", explode);
    saw("remote", error);
    stage.settle(0);
}
