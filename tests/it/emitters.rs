//! Node's own Redis emitters, versions 4 and 5, beside two servers of ours on one Redis: what they say is done on
//! all workers of both, once.

use std::cell::Cell;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};

use super::harness::*;

/// The clients of the first server; the others are the second one's.
const FIRST: Range<usize> = 0..4;

/// Two servers with two workers and four clients each, and both versions of the emitter.
struct Stand {
    servers: [Server; 2],
    crowds: [Crowd; 2],
    emitters: [Emitter; 2],
    emitted: Cell<u64>,
    redis: Redis,
}

impl Stand {
    #[track_caller]
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines of `[bridge]`.
    #[track_caller]
    fn with(lines: &str) -> Self {
        Self::of([lines, lines], ["v4", "v4"])
    }

    /// With more lines of the configuration, from those of `[bridge]` on, and clients of these versions.
    #[track_caller]
    fn of(lines: [&str; 2], versions: [&str; 2]) -> Self {
        let redis = Redis::start();
        let servers = [0, 1].map(|nth| server(&redis, nth + 1, lines[nth]));
        let crowds = [0, 1].map(|nth| {
            let transports = "websocket,polling,upgrade";
            let options = ["--transports", transports, "--version", versions[nth]];
            Crowd::official(&servers[nth], "/", 4, &options)
        });
        let emitters = [4, 5].map(|version| Emitter::start(version, &redis.url(), "socket.io"));
        for server in &servers {
            eventually("the bridge is up", SOON, || {
                server.control().get("/status")["bridge"]["state"] == "up"
            });
        }
        Self {
            servers,
            crowds,
            emitters,
            emitted: Cell::new(0),
            redis,
        }
    }

    fn client(&self, nth: usize) -> &Client {
        let at = usize::from(!FIRST.contains(&nth));
        &self.crowds[at][nth - at * FIRST.len()]
    }

    fn id(&self, nth: usize) -> String {
        self.client(nth).id()
    }

    fn all(&self) -> impl Iterator<Item = &Client> {
        self.crowds.iter().flat_map(|crowd| crowd.iter())
    }

    fn number(&self) -> Value {
        json!(self.emitted.replace(self.emitted.get() + 1))
    }

    /// Waits until everybody connected has all that this emitter said.
    #[track_caller]
    fn settle(&self, emitter: &Emitter) {
        let number = self.number();
        emitter.call("emit", json!({}), &json!(["settled", number]));
        for client in self.all().filter(|client| client.gone().is_none()) {
            client.hears("settled", &number);
        }
    }

    /// Who hears what the emitter emits with this selection, which is the same with both versions. Nobody hears it twice.
    #[track_caller]
    fn reached(&self, selection: &Value) -> Vec<usize> {
        let [old, new] = [0, 1].map(|version| {
            let emitter = &self.emitters[version];
            let number = self.number();
            emitter.call("emit", selection.clone(), &json!(["note", number]));
            self.settle(emitter);
            let count = |client: &Client| {
                let notes = client.payloads("note");
                notes.iter().filter(|&note| *note == number).count()
            };
            let counts: Vec<_> = self.all().map(count).collect();
            assert!(counts.iter().all(|&count| count <= 1), "{counts:?}");
            (0..counts.len())
                .filter(|&nth| counts[nth] == 1)
                .collect::<Vec<_>>()
        });
        assert_eq!(old, new, "{selection}");
        new
    }

    #[track_caller]
    fn join(&self, room: &str, clients: &[usize]) {
        for &nth in clients {
            self.client(nth).call("join", json!([room]));
        }
    }

    /// What the servers' status tells of messages.
    fn counted(&self, what: &str) -> [u64; 2] {
        [0, 1].map(|nth| {
            let status = self.servers[nth].control().get("/status");
            status["bridge"][what].as_u64().unwrap()
        })
    }
}

#[track_caller]
fn server(redis: &Redis, machine: usize, lines: &str) -> Server {
    let bridge = format!(
        "[bridge]\nurl = \"{}\"\nmachine = {machine}\n{lines}",
        redis.url()
    );
    Setup::new().config(&bridge).example("operators").start()
}

#[test]
fn the_bytes_of_the_unit_tests_are_those_of_the_real_emitters() {
    let file = "src/bridge/emitter/captured.txt";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let kept = fs::read_to_string(file).unwrap();
    assert!(
        captured() == kept,
        "node tests/redis/capture.mjs > src/bridge/emitter/captured.txt"
    );
}

#[test]
fn events_reach_whoever_is_selected_on_all_machines_once() {
    let stand = Stand::new();
    stand.join("red", &[0, 1, 4]);
    stand.join("blue", &[3, 4, 7]);
    stand.join("7", &[2, 6]);
    assert_eq!(stand.reached(&json!({})), ALL);
    assert_eq!(stand.reached(&json!({"to": "red"})), [0, 1, 4]);
    assert_eq!(stand.reached(&json!({"to": "nobody"})), [0; 0]);
    let both = json!({"to": ["red", "blue"]});
    assert_eq!(stand.reached(&both), [0, 1, 3, 4, 7]);
    for nth in [1, 6] {
        assert_eq!(stand.reached(&json!({"to": stand.id(nth)})), [nth]);
    }
    let except = json!({"except": ["red", stand.id(5)]});
    assert_eq!(stand.reached(&except), [2, 3, 6, 7]);
    let except = json!({"to": ["red", stand.id(6)], "except": "blue"});
    assert_eq!(stand.reached(&except), [0, 1, 6]);
    // A number is its text.
    assert_eq!(stand.reached(&json!({"to": 7})), [2, 6]);
    let flags = json!({"volatile": true, "compress": false, "to": "red"});
    assert_eq!(stand.reached(&flags), [0, 1, 4]);
    assert_eq!(stand.reached(&json!({"of": "/nowhere"})), [0; 0]);
}

#[test]
fn a_namespaces_events_reach_its_own_sockets_alone() {
    let stand = Stand::new();
    let guarded: Vec<_> = stand
        .servers
        .iter()
        .map(|server| Puppets::start(&server.url(), "/guarded", 3, &[]))
        .collect();
    let guests = || guarded.iter().flat_map(Puppets::clients);
    for guest in guests() {
        eventually("it has joined", SOON + SOON, || {
            guest.heard("rooms").len() == 1
        });
    }
    for emitter in &stand.emitters {
        let number = stand.number();
        let early = json!({"of": "guarded", "to": "early"});
        emitter.call("emit", early, &json!(["note", number]));
        for guest in guests() {
            guest.hears("note", &number);
        }
    }
    assert_eq!(stand.reached(&json!({})), ALL);
    for guest in guests() {
        assert_eq!(guest.payloads("note").len(), 2);
    }
    assert!(stand.all().all(|client| client.payloads("note").len() == 2));
}

#[test]
fn arguments_arrive_as_from_a_node_server() {
    let stand = Stand::new();
    let big = "ff".repeat(300_000);
    for (argument, arrives) in [
        (
            json!({"$bytes": "0001ff"}),
            json!({"type": "Buffer", "data": [0, 1, 255]}),
        ),
        (
            json!({"a": [{"$bytes": ""}]}),
            json!({"a": [{"type": "Buffer", "data": []}]}),
        ),
        (
            json!({"$date": 1_700_000_000_123_u64}),
            json!("2023-11-14T22:13:20.123Z"),
        ),
        (json!({"$undefined": true}), Value::Null),
        (
            json!([1.5, -7, 9_007_199_254_740_993_u64]),
            json!([1.5, -7, 9_007_199_254_740_992_u64]),
        ),
        (
            json!({"é": "😀\u{0}\"", "list": [[], {}, true, null]}),
            json!({"é": "😀\u{0}\"", "list": [[], {}, true, null]}),
        ),
    ] {
        for emitter in &stand.emitters {
            emitter.call("emit", json!({}), &json!(["value", argument]));
            for client in stand.all() {
                client.hears("value", &arrives);
                assert_eq!(client.take_heard().len(), 1);
            }
        }
    }
    for emitter in &stand.emitters {
        emitter.call("emit", json!({}), &json!(["big", {"$bytes": big}]));
        for client in stand.all() {
            assert!(client.hears_where(|heard| {
                let bytes = heard.payload["data"].as_array();
                heard.event == "big" && bytes.is_some_and(|bytes| bytes.len() == 300_000)
            }));
        }
    }
}

#[test]
fn sockets_of_all_machines_join_leave_and_are_disconnected() {
    let stand = Stand::new();
    stand.join("red", &[0, 5]);
    for emitter in &stand.emitters {
        let red = json!({"to": "red"});
        emitter.call("socketsJoin", red.clone(), &json!([["new", 42]]));
        stand.settle(emitter);
        assert_eq!(stand.reached(&json!({"to": "new"})), [0, 5]);
        assert_eq!(stand.reached(&json!({"to": 42})), [0, 5]);
        let one = json!({"to": stand.id(5)});
        emitter.call("socketsLeave", one, &json!(["new"]));
        stand.settle(emitter);
        assert_eq!(stand.reached(&json!({"to": "new"})), [0]);
        emitter.call(
            "socketsLeave",
            json!({"except": "blue"}),
            &json!([["new", 42]]),
        );
        stand.settle(emitter);
        assert_eq!(stand.reached(&json!({"to": ["new", 42]})), [0; 0]);
    }
    let [old, new] = &stand.emitters;
    old.call(
        "disconnectSockets",
        json!({"to": "red", "except": stand.id(0)}),
        &json!([]),
    );
    let (_, why) = stand.client(5).goes(SOON);
    assert_eq!(why, "io server disconnect");
    new.call("disconnectSockets", json!({"to": "red"}), &json!([true]));
    let (_, why) = stand.client(0).goes(SOON);
    assert_eq!(why, "io server disconnect");
    assert_eq!(stand.reached(&json!({})), [1, 2, 3, 4, 6, 7]);
}

#[test]
fn the_applications_of_all_workers_are_told_once() {
    let stand = Stand::new();
    let mut expected = Vec::new();
    for emitter in &stand.emitters {
        for (arguments, data) in [
            (json!(["tell"]), Value::Null),
            (json!(["tell", {"a": 1}]), json!({"a": 1})),
            (json!(["tell", 1, "b"]), json!([1, "b"])),
        ] {
            emitter.call("serverSideEmit", json!({}), &arguments);
            expected.push(data);
        }
        stand.settle(emitter);
    }
    let mut workers = 0;
    for crowd in &stand.crowds {
        let of_each = crowd.spread().len();
        for client in crowd.iter().take(of_each) {
            let heard = client.call("heard", json!([]))["heard"].take();
            assert_eq!(heard, json!(expected));
            workers += 1;
        }
    }
    assert_eq!(workers, 4);
}

#[test]
fn messages_that_make_no_sense_are_counted_and_harm_nobody() {
    let stand = Stand::new();
    let emitter = &stand.emitters[0];
    stand.settle(emitter);
    let before = stand.counted("garbled");
    let broken = ["", "c1", "93", "7b", "93a7656d697474657280", "ddffffffff"];
    for channel in ["socket.io#/#", "socket.io-request#/#", "socket.io#/#room#"] {
        for hex in broken {
            emitter.publish(channel, hex);
        }
    }
    // A name for which clients would close their connection.
    let reserved = "93a7656d697474657282a47479706502a46461746191a7636f6e6e65637480";
    emitter.publish("socket.io#/#", reserved);
    assert_eq!(stand.reached(&json!({})), ALL);
    let refused = broken.len() as u64 * 3 + 1;
    for (nth, before) in before.into_iter().enumerate() {
        eventually("all is counted", SOON, || {
            stand.counted("garbled")[nth] == before + refused
        });
        let told = stand.servers[nth].count_lines("a message of an emitter was dropped");
        assert_eq!(told, 1, "{:?}", stand.servers[nth].log());
    }
    nobody_went(stand.all());
}

#[test]
fn without_the_switch_no_emitter_is_heard() {
    let stand = Stand::with("emitter = false");
    let [old, new] = &stand.emitters;
    for emitter in [old, new] {
        emitter.call("emit", json!({}), &json!(["note", 1]));
        emitter.call("disconnectSockets", json!({}), &json!([]));
    }
    // What a client sends to all goes over the same Redis.
    stand
        .client(0)
        .call("emit", json!([{"as": "io"}, "settled", "here"]));
    for client in stand.all() {
        client.hears("settled", &json!("here"));
        assert_eq!(client.payloads("note"), [Value::Null; 0]);
    }
    nobody_went(stand.all());
}

#[test]
fn beside_node_servers_emitters_are_heard_once_or_not_at_all() {
    for (emitter, heard) in [(true, ALL.to_vec()), (false, Vec::new())] {
        let stand = Stand::with(&format!("node = true\nemitter = {emitter}"));
        eventually("each bridge is subscribed as a server is", SOON, || {
            let ask = ["PUBSUB", "NUMSUB", "socket.io-request#/#"];
            stand.redis.ask(&ask).trim_end().ends_with('2')
        });
        let [old, new] = &stand.emitters;
        for (number, emitter) in [old, new].into_iter().enumerate() {
            emitter.call("emit", json!({}), &json!(["note", number]));
            emitter.call("serverSideEmit", json!({}), &json!(["tell", number]));
            emitter.call("socketsJoin", json!({}), &json!(["all"]));
        }
        // What a client sends to all goes over the same Redis, behind it.
        let all = json!({"as": "io"});
        stand
            .client(0)
            .call("emit", json!([all, "settled", "here"]));
        for client in stand.all() {
            client.hears("settled", &json!("here"));
        }
        for (nth, client) in stand.all().enumerate() {
            let times = usize::from(heard.contains(&nth)) * 2;
            assert_eq!(client.payloads("note").len(), times, "{emitter}");
            let told = client.call("heard", json!([]))["heard"].take();
            assert_eq!(told.as_array().unwrap().len(), times, "{emitter}");
            let rooms = client.call("rooms", json!([{"as": "socket"}]));
            assert_eq!(rooms.to_string().contains("\"all\""), times > 0, "{rooms}");
        }
    }
}

#[test]
fn emitters_with_another_key_are_others() {
    let stand = Stand::with("emitter_prefix = \"shop\"");
    let of_the_shop = Emitter::start(5, &stand.redis.url(), "shop");
    stand.emitters[0].call("emit", json!({}), &json!(["note", "theirs"]));
    of_the_shop.call("emit", json!({}), &json!(["note", "ours"]));
    for client in stand.all() {
        client.hears("note", &json!("ours"));
        assert_eq!(client.payloads("note"), ["ours"]);
    }
}

#[test]
fn clients_of_either_parser_hear_emitters_and_no_worker_ends_over_the_others() {
    let msgpack = "[engine]\nparser = \"msgpack\"";
    let stand = Stand::of(["", msgpack], ["v4", "msgpack"]);
    let workers = stand.servers.each_ref().map(Server::workers);
    let both = json!([{"$bytes": "01"}, {"$date": 0}]);
    let arrives = |date: &str| json!([{"type": "Buffer", "data": [1]}, date]);
    for emitter in &stand.emitters {
        emitter.call("emit", json!({}), &json!(["value", both]));
        for client in stand.all() {
            // A date is one with msgpack, which the script's JSON shows as text.
            client.hears("value", &arrives("1970-01-01T00:00:00.000Z"));
            assert_eq!(client.take_heard().len(), 1);
        }
    }
    // What a client of one machine sends to all is heard there.
    for (nth, crowd) in stand.crowds.iter().enumerate() {
        crowd[0].call("emit", json!([{"as": "io"}, "own", nth]));
        for client in crowd.iter() {
            client.hears("own", &json!(nth));
        }
    }
    assert_eq!(stand.reached(&json!({})), ALL);
    for (nth, server) in stand.servers.iter().enumerate() {
        assert_eq!(server.workers(), workers[nth]);
        let told = server.count_lines("a worker with another engine.parser");
        assert!(told > 0, "{:?}", server.log());
    }
    nobody_went(stand.all());
}
