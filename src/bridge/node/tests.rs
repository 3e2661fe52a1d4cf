use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use socketioxide_core::Value;

use crate::bridge::notepack::Parser;
use crate::wire::frame::{AckFailure, Answer, Failure, Question};

mod captured;
mod from_node;
mod to_node;

use captured::{Captured, EIGHT, SEVEN};

const BOTH: [&Captured; 2] = [SEVEN, EIGHT];

/// A bridge of a machine with two workers, which have the namespaces `/` and `/chat`, on the same Redis as Node servers.
struct Stage {
    node: Node,
    now: Instant,
}

fn worker(slot: u16) -> BusMember {
    BusMember {
        id: format!("worker_{slot:09}").parse().unwrap(),
        slot,
        pid: 100 + u32::from(slot),
        machine: "".into(),
    }
}

fn socket(n: u8) -> Sid {
    format!("socket_{n:09}").parse().unwrap()
}

fn text(json: &str) -> Value {
    Value::Str(json.to_owned().into(), None)
}

/// What was taken from Redis, by the name of what was done.
fn taken(of: &Captured, what: &str) -> (String, Bytes) {
    let mut all = of.iter();
    let (_, channel, payload) = all.find(|(name, ..)| *name == what).unwrap();
    let payload = if payload.starts_with('{') {
        Bytes::from(*payload)
    } else {
        STANDARD.decode(payload).unwrap().into()
    };
    ((*channel).to_owned(), payload)
}

/// By which pattern a broadcast comes.
fn pattern_of(channel: &str) -> Option<&'static str> {
    match channel {
        it if it.starts_with("socket.io#/chat#") => Some("socket.io#/chat#*"),
        it if it.starts_with("socket.io#/#") => Some("socket.io#/#*"),
        _ => None,
    }
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self::before_the_link();
        stage.node.connected();
        stage.outputs();
        stage
    }

    fn before_the_link() -> Self {
        let settings = NodeSettings {
            key: "socket.io".to_owned(),
            emitter: true,
            parser: Parser::Common,
            id: "nodes_nodes_node".parse().unwrap(),
        };
        let mut stage = Self {
            node: Node::new(settings),
            now: Instant::now(),
        };
        stage.node.members(stage.now, &[worker(1), worker(0)]);
        for slot in [0, 1] {
            for ns in ["/", "/chat"] {
                stage.namespace(slot, ns, true);
            }
        }
        stage
    }

    fn namespace(&mut self, slot: u16, ns: &str, is_here: bool) {
        let ns = ns.to_owned().into();
        self.says(slot, None, Body::Namespace { ns, is_here });
    }

    /// A worker sends something.
    fn says(&mut self, slot: u16, to: Option<Sid>, body: Body) {
        let from = worker(slot).id;
        let frame = Frame { to, from, body }.encode().unwrap();
        self.node.local(self.now, Frame::decode(&frame).unwrap());
    }

    fn answers(&mut self, slot: u16, ticket: u64, answer: Answer) {
        let to = Some(self.node.id());
        self.says(slot, to, Body::Answer { ticket, answer });
    }

    fn asks(&mut self, question: Question) {
        let ticket = 7;
        self.says(0, None, Body::Ask { ticket, question });
    }

    /// Redis passes something on.
    fn hears(&mut self, (channel, payload): (String, Bytes)) {
        let pattern = pattern_of(&channel);
        assert!(self.node.received(self.now, &channel, pattern, &payload));
    }

    fn hears_json(&mut self, channel: &str, json: &Json) {
        self.hears((channel.to_owned(), json.to_string().into()));
    }

    fn waits(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.node.tick(self.now);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.node.poll()).collect()
    }

    /// What the workers get, and nothing else happens.
    fn delivered(&mut self) -> Vec<(Option<Sid>, Body)> {
        let outputs = self.outputs().into_iter();
        let frames = outputs.map(|output| match output {
            Output::Deliver(frame) => {
                let frame = Frame::decode(&frame).unwrap();
                assert_eq!(frame.from, self.node.id());
                (frame.to, frame.body)
            }
            other => panic!("{other:?}"),
        });
        frames.collect()
    }

    /// What Node servers get, and nothing else happens.
    fn published(&mut self) -> Vec<(String, Bytes)> {
        let outputs = self.outputs().into_iter();
        let messages = outputs.map(|output| match output {
            Output::Publish { channel, payload } => (channel, payload),
            other => panic!("{other:?}"),
        });
        messages.collect()
    }

    fn published_json(&mut self) -> Vec<(String, Json)> {
        let published = self.published().into_iter();
        let read =
            |(channel, payload): (_, Bytes)| (channel, serde_json::from_slice(&payload).unwrap());
        published.map(read).collect()
    }

    /// The one question that workers are asked.
    fn asked(&mut self) -> (Option<Sid>, u64, Question) {
        let mut delivered = self.delivered();
        assert_eq!(delivered.len(), 1, "{delivered:?}");
        match delivered.remove(0) {
            (to, Body::Ask { ticket, question }) => (to, ticket, question),
            other => panic!("{other:?}"),
        }
    }

    /// Redis says how many are subscribed to channels of requests, and how many of these are ours.
    fn count(&mut self, all: u64, ours: u64) -> Vec<String> {
        let mut channels = Vec::new();
        for output in self.outputs() {
            let Output::NumSub { id, channel } = output else {
                panic!("{output:?}");
            };
            let count = if channel.ends_with('~') { ours } else { all };
            self.node.counted(self.now, id, Some(count));
            channels.push(channel);
        }
        channels
    }
}

fn broadcast_options(rooms: &[&'static str], except: &[&'static str]) -> BroadcastOptions {
    let mut opts = BroadcastOptions::default();
    if rooms.is_empty() {
        opts.add_flag(BroadcastFlags::Broadcast);
    }
    opts.rooms.extend(rooms.iter().map(|&it| it.into()));
    opts.except.extend(except.iter().map(|&it| it.into()));
    opts
}

#[test]
fn when_something_was_missed_the_workers_are_asked_anew_and_what_is_known_stays() {
    let mut stage = Stage::new();
    stage.node.missed();
    stage.namespace(0, "/", true);
    stage.namespace(0, "/late", true);
    let outputs = stage.outputs();
    assert!(matches!(outputs[0], Output::Deliver(_)), "{outputs:?}");
    assert!(matches!(outputs[1], Output::Subscribe(_)), "{outputs:?}");
    assert_eq!(outputs.len(), 2);
}

#[test]
fn a_machine_is_counted_while_it_has_the_namespace_and_the_link() {
    let mut stage = Stage::before_the_link();
    assert_eq!(
        stage.delivered(),
        [(None, Body::TellNamespaces)],
        "nothing of Redis yet"
    );
    stage.node.connected();
    let outputs = stage.outputs();
    let subscribed: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Subscribe(channels) => Some(channels),
            _ => None,
        })
        .flatten()
        .map(Channel::name)
        .collect();
    for ns in ["/", "/chat"] {
        let of = |name: &str| {
            let name = name.replace("NS", ns);
            subscribed.iter().position(|it| *it == name).unwrap()
        };
        // The mark first: at no moment is this machine taken for a Node server.
        assert!(of("socket.io-request#NS#~") < of("socket.io-request#NS#"));
        of("socket.io#NS#*");
        of("socket.io-response#NS#");
        of("socket.io-response#NS#~nodes#");
    }
    assert!(
        matches!(outputs.last(), Some(Output::Elsewhere(Some(member))) if &*member.machine == "node")
    );

    stage.namespace(0, "/chat", false);
    assert_eq!(stage.outputs(), [], "the other worker has it");
    stage.node.members(stage.now, &[worker(0)]);
    let outputs = stage.outputs();
    let [Output::Unsubscribe(channels)] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(channels[0].name(), "socket.io-request#/chat#");
    assert_eq!(channels.last().unwrap().name(), "socket.io-request#/chat#~");
    stage.node.goodbye();
    let outputs = stage.outputs();
    assert!(matches!(
        &outputs[..],
        [Output::Unsubscribe(_), Output::Elsewhere(None)]
    ));
}

#[test]
fn anything_on_a_channel_is_counted_and_ends_nothing() {
    let mut stage = Stage::new();
    let mut random = 1_u64;
    let mut garbled = 0;
    for n in 0..3_000 {
        let mut bytes = Vec::new();
        for _ in 0..n % 90 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            bytes.push(random.to_be_bytes()[0]);
        }
        // Some look better at first.
        if n % 3 == 0 {
            bytes.splice(0..0, *b"{\"type\":5");
        } else if n % 7 == 0 {
            bytes.splice(0..0, [0x93, 0xa1, b'u', 0x83]);
        }
        let channel = [
            "socket.io#/#",
            "socket.io-request#/#",
            "socket.io-response#/#",
        ][n % 3];
        stage.hears((channel.to_owned(), bytes.into()));
        for output in stage.outputs() {
            assert!(
                matches!(output, Output::Tell(Notice::Garbled { .. })),
                "{output:?}"
            );
            garbled += 1;
        }
    }
    assert_eq!(stage.node.figures().garbled, garbled);
    assert!(garbled > 2_900, "{garbled}");
    // Every message of Node's, cut and with a byte changed.
    for of in BOTH {
        for (what, ..) in of {
            let (channel, payload) = taken(of, what);
            for at in 0..payload.len() {
                stage.hears((channel.clone(), payload.slice(..at)));
                let mut other = payload.to_vec();
                other[at] ^= 0x55;
                stage.hears((channel.clone(), other.into()));
            }
            stage.outputs();
        }
    }
    stage.waits(4_000_000);
    assert_eq!(
        stage.node.next_deadline(),
        None,
        "nothing is waited for any more"
    );
}

#[test]
fn what_is_not_ours_is_left_to_others() {
    let mut stage = Stage::new();
    let payload = Bytes::from_static(b"{}");
    for (channel, pattern) in [
        ("my-app/1/all", None),
        ("socket.io#/#", Some("socket.io#*")),
        ("socket.io#/other#", Some("socket.io#/other#*")),
    ] {
        assert!(!stage.node.received(stage.now, channel, pattern, &payload));
    }
    assert_eq!(stage.outputs(), []);
}

#[test]
fn without_the_link_nothing_is_kept_and_nobody_waits() {
    let mut stage = Stage::new();
    let question = Question::Sockets {
        ns: "/".into(),
        opts: broadcast_options(&[], &[]),
    };
    stage.asks(question.clone());
    stage.hears(taken(EIGHT, "fetch"));
    stage.node.disconnected();
    assert_eq!(stage.node.next_deadline(), None);
    let outputs = stage.outputs();
    assert_eq!(outputs.last(), Some(&Output::Elsewhere(None)));
    let ns = Str::from("/");
    let opts = broadcast_options(&[], &[]);
    let command = Command::Emit(text(r#"["e"]"#));
    stage.says(0, None, Body::Command { ns, opts, command });
    assert_eq!((stage.outputs(), stage.node.figures().dropped), (vec![], 1));
    stage.asks(question);
    let answer = Answer::Sockets(vec![]);
    let (to, ticket) = (Some(worker(0).id), 7);
    assert_eq!(stage.delivered(), [(to, Body::Answer { ticket, answer })]);
}
