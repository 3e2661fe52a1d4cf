use serde_json::json;
use socketioxide_core::Value;

use super::*;
use crate::wire::frame::Command;

/// What `tests/redis/capture.mjs` had of the real emitters, and what Node's server makes of it.
const CAPTURED: &str = include_str!("captured.txt");

fn id() -> Sid {
    "the_bridge's_own".replace('\'', "_").parse().unwrap()
}

fn unhex(hex: &str) -> Bytes {
    assert!(hex.len().is_multiple_of(2));
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A captured message of one version of the emitter.
struct Captured {
    channel: &'static str,
    payload: Bytes,
    /// JSON and attachments.
    sent: Vec<String>,
}

fn captured(version: char, name: &str) -> Captured {
    let mut lines = CAPTURED.lines();
    loop {
        let head = lines.next().expect(name);
        let (payload, sent) = (lines.next().unwrap(), lines.next().unwrap());
        let mut words = head.splitn(3, ' ');
        let of = words.next().unwrap().starts_with(version);
        let channel = words.next().unwrap();
        if of && words.next() == Some(name) {
            return Captured {
                channel,
                payload: unhex(payload),
                sent: serde_json::from_str(sent).unwrap(),
            };
        }
    }
}

fn emitter() -> Emitter {
    Emitter::new("socket.io", Parser::Common)
}

/// What both versions' message of this name is for the workers: it must be the same.
fn emitted(name: &str) -> Body {
    let [old, new] = ['4', '5'].map(|version| {
        let it = captured(version, name);
        emitter().decode(it.channel, &it.payload).unwrap()
    });
    assert_eq!(old, new, "{name}");
    match new {
        Message::Emitted(body) => *body,
        Message::OfServer => panic!("{name} is of a server"),
    }
}

/// Namespace, rooms, except, volatile, and what is to be done.
fn command(body: Body) -> (String, Vec<String>, Vec<String>, bool, Command) {
    let Body::Command { ns, opts, command } = body else {
        panic!("{body:?}");
    };
    assert!(opts.has_flag(BroadcastFlags::Broadcast));
    assert_eq!((opts.sid, opts.server_id), (None, None));
    let names = |rooms: &[Room]| rooms.iter().map(ToString::to_string).collect();
    (
        ns.to_string(),
        names(&opts.rooms),
        names(&opts.except),
        opts.has_flag(BroadcastFlags::Volatile),
        command,
    )
}

/// A message of this prefix' root namespace.
fn decode(channel: &str, payload: impl AsRef<[u8]>) -> Result<Message, EmitterError> {
    emitter().decode(channel, &Bytes::copy_from_slice(payload.as_ref()))
}

fn msgpack(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn packet(uid: &str, packet: &serde_json::Value) -> Vec<u8> {
    msgpack(&json!([uid, packet, {"rooms": [], "except": [], "flags": {}}]))
}

#[test]
fn clients_are_sent_what_a_node_server_would_send_them() {
    let mut events = 0;
    for version in ['4', '5'] {
        for head in CAPTURED.lines().step_by(3) {
            let name = head.splitn(3, ' ').nth(2).unwrap();
            let it = captured(version, name);
            if it.sent.is_empty() {
                continue;
            }
            let Ok(Message::Emitted(body)) = emitter().decode(it.channel, &it.payload) else {
                panic!("{version} {name}");
            };
            let Command::Emit(Value::Str(text, attachments)) = command(*body).4 else {
                panic!("{version} {name}");
            };
            let mut sent = vec![text.to_string()];
            sent.extend(attachments.iter().flatten().map(|bytes| hex(bytes)));
            assert_eq!(sent, it.sent, "{version} {name}");
            events += 1;
        }
    }
    assert_eq!(events, 56);
}

#[test]
fn events_go_where_the_emitter_says() {
    let to = |name| {
        let (ns, rooms, except, volatile, _) = command(emitted(name));
        (ns, rooms.join(" "), except.join(" "), volatile)
    };
    let plain = |ns: &str, rooms: &str| (ns.to_owned(), rooms.to_owned(), String::new(), false);
    assert_eq!(to("to all"), plain("/", ""));
    assert_eq!(to("to a room"), plain("/", "room"));
    assert_eq!(to("to a socket id"), plain("/", "AbCdEfGhIjKlMnOp"));
    assert_eq!(to("to a room that is a number"), plain("/", "42"));
    assert_eq!(to("in a namespace"), plain("/chat", "room#1"));
    let (ns, rooms, except, _) = to("to rooms but for one");
    assert_eq!(
        (ns.as_str(), rooms.as_str(), except.as_str()),
        ("/", "x y", "z")
    );
    assert!(to("flags").3);
}

#[test]
fn sockets_are_made_to_join_to_leave_and_to_disconnect() {
    let room = |name: &'static str| Room::Borrowed(name);
    let (ns, rooms, except, _, what) = command(emitted("join"));
    assert_eq!(
        (ns.as_str(), rooms, except),
        ("/chat", vec!["x".into(), "y".into()], vec!["z".into()])
    );
    assert_eq!(what, Command::Join(vec![room("r"), room("7")]));
    let (ns, rooms, _, _, what) = command(emitted("leave"));
    assert_eq!((ns.as_str(), rooms), ("/", vec![]));
    assert_eq!(what, Command::Leave(vec![room("r")]));
    let (_, rooms, _, _, what) = command(emitted("disconnect"));
    assert_eq!((rooms, what), (vec!["x".into()], Command::Disconnect));
}

#[test]
fn applications_are_told_the_only_argument_or_a_list_of_them() {
    let told = |name| match emitted(name) {
        Body::ServerSide { event, data } => {
            assert_eq!(&*event, "tick");
            String::from_utf8(data.into()).unwrap()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(told("tell servers nothing"), "null");
    assert_eq!(told("tell servers one thing"), r#"{"a":[1]}"#);
    assert_eq!(told("tell servers three things"), r#"[1,"b",null]"#);
}

#[test]
fn frames_are_from_the_bridge_for_all_workers_and_counted() {
    let emitter = emitter();
    let it = captured('5', "in a namespace");
    let frame = emitter.frame(id(), it.channel, &it.payload).unwrap();
    let frame = Frame::decode(&frame).unwrap();
    assert_eq!((frame.to, frame.from), (None, id()));
    assert_eq!(
        emitter.frame(id(), "socket.io#/#", &Bytes::from_static(b"\xc1")),
        None
    );
    let of_server = packet("aB3dE6", &json!({"type": 2, "data": ["a"], "nsp": "/"}));
    assert_eq!(emitter.frame(id(), "socket.io#/#", &of_server.into()), None);
    assert_eq!((emitter.taken(), emitter.refused()), (1, 1));
}

#[test]
fn a_flag_of_volatile_stands_in_the_frames_head() {
    let it = captured('5', "flags");
    let frame = emitter().frame(id(), it.channel, &it.payload).unwrap();
    assert!(crate::wire::frame::Head::read(&frame).unwrap().volatile);
}

#[test]
fn what_servers_say_to_each_other_is_not_an_emitters() {
    let event = json!({"type": 2, "data": ["a"], "nsp": "/"});
    for uid in ["aB3dE6", "~aB3dE"] {
        let of_server = decode("socket.io#/#", packet(uid, &event));
        assert_eq!(of_server, Ok(Message::OfServer));
    }
    for request in [
        r#"{"uid":"aB3dE6","requestId":"x","type":5,"opts":{"rooms":[],"except":[]}}"#,
        r#"{"uid":"aB3dE6","type":2,"opts":{"rooms":[],"except":[]},"rooms":["r"]}"#,
        r#"{"requestId":"x","type":2,"sid":"y","room":"r"}"#,
        r#"{"uid":"emitter","requestId":"x","type":6,"data":["a"]}"#,
    ] {
        assert_eq!(
            decode("socket.io-request#/#", request),
            Ok(Message::OfServer)
        );
    }
    let asked = msgpack(&json!({"uid": "aB3dE6", "requestId": "x", "type": 7, "packet": {}}));
    assert_eq!(decode("socket.io-request#/#", asked), Ok(Message::OfServer));
    // Other emitters than Node's have other uids, or none that is text.
    assert!(decode("socket.io#/#", packet("php-emitter", &event)).is_ok());
    let nobody = msgpack(&json!([null, event, {}]));
    assert!(matches!(
        decode("socket.io#/#", nobody),
        Ok(Message::Emitted(_))
    ));
}

#[test]
fn a_packet_without_a_namespace_is_for_that_of_the_channel() {
    let it = packet("emitter", &json!({"type": 5, "data": ["a"]}));
    let Ok(Message::Emitted(body)) = decode("socket.io#/chat#room#", it) else {
        panic!();
    };
    let (ns, rooms, ..) = command(*body);
    // What was published for a room goes to no more than that.
    assert_eq!((ns.as_str(), rooms), ("/chat", vec!["room".to_owned()]));
    let it = packet("emitter", &json!({"type": 2, "data": ["a"], "nsp": "/a#b"}));
    let Ok(Message::Emitted(body)) = decode("socket.io#/a#b#", it.clone()) else {
        panic!();
    };
    assert_eq!(command(*body).0, "/a#b");
    for other in [
        "socket.io#/a#",
        "socket.io#/#",
        "socket.io#/a#bc#",
        "socket.io#/a#b",
    ] {
        assert_eq!(decode(other, &it), Err(EmitterError::Namespace), "{other}");
    }
}

#[test]
fn broken_and_unknown_messages_are_errors_that_say_what_they_are() {
    let request = "socket.io-request#/#";
    let with = |it: &serde_json::Value| decode("socket.io#/#", packet("emitter", it));
    assert_eq!(decode("socket.io#/#", ""), Err(NotepackError::Short.into()));
    assert_eq!(decode("socket.io#/#", "\u{1}"), Err(EmitterError::Shape));
    assert_eq!(decode("other#/#", ""), Err(EmitterError::Channel));
    assert_eq!(
        decode("socket.io-response#/#", "{}"),
        Err(EmitterError::Channel)
    );
    assert_eq!(with(&json!([])), Err(EmitterError::Shape));
    assert_eq!(with(&json!({"type": 2})), Err(EmitterError::Shape));
    assert_eq!(
        with(&json!({"type": "2", "data": []})),
        Err(EmitterError::Shape)
    );
    assert_eq!(
        with(&json!({"type": 1, "data": ["a"]})),
        Err(EmitterError::Packet(1))
    );
    assert_eq!(
        with(&json!({"type": 2, "data": {}})),
        Err(NotepackError::Event.into())
    );
    assert_eq!(
        with(&json!({"type": 2, "data": []})),
        Err(NotepackError::Event.into())
    );
    let reserved = json!({"type": 2, "data": ["disconnect"]});
    assert_eq!(with(&reserved), Err(NotepackError::ReservedName.into()));
    assert_eq!(decode(request, "{"), Err(EmitterError::Json(1)));
    assert_eq!(decode(request, "[1"), Err(NotepackError::Trailing.into()));
    assert_eq!(
        decode(request, r#"{"type":2,"opts":{}}"#),
        Err(EmitterError::Lacks("rooms"))
    );
    assert_eq!(
        decode(request, r#"{"type":4}"#),
        Err(EmitterError::Lacks("opts"))
    );
    assert_eq!(
        decode(request, r#"{"type":8}"#),
        Err(EmitterError::Request(8))
    );
    assert!(matches!(
        decode(request, r#"{"type":6,"data":[]}"#),
        Err(EmitterError::Json(_))
    ));
    assert!(matches!(
        decode(request, r#"{"type":6,"data":[1]}"#),
        Err(EmitterError::Json(_))
    ));
    let rooms = r#"{"type":4,"opts":{"rooms":[{}]}}"#;
    assert!(matches!(decode(request, rooms), Err(EmitterError::Json(_))));
    let rooms = msgpack(&json!(["emitter", {"type": 2, "data": ["a"]}, {"rooms": [[]]}]));
    assert_eq!(decode("socket.io#/#", rooms), Err(EmitterError::Room));
    let many = "1,".repeat(MAX_ROOMS);
    let many = format!(r#"{{"type":4,"opts":{{"rooms":[{many}1]}}}}"#);
    assert!(matches!(decode(request, many), Err(EmitterError::Json(_))));
    let long = vec![0xc0; MAX_FRAME + 1];
    assert!(matches!(
        decode(request, long),
        Err(EmitterError::Frame(FrameError::Long(_)))
    ));
}

#[test]
fn no_cut_and_no_flipped_bit_of_a_message_is_a_panic() {
    for head in CAPTURED.lines().step_by(3) {
        let name = head.splitn(3, ' ').nth(2).unwrap();
        let it = captured(head.chars().next().unwrap(), name);
        for end in 0..it.payload.len() {
            assert!(
                emitter()
                    .decode(it.channel, &it.payload.slice(..end))
                    .is_err()
            );
            let mut flipped = it.payload.to_vec();
            flipped[end] ^= 0x80;
            let _ = emitter().decode(it.channel, &flipped.into());
        }
    }
}

#[test]
fn the_patterns_take_all_namespaces_of_this_prefix_alone() {
    let names = |prefix| {
        let channels = Emitter::new(prefix, Parser::Common).channels();
        channels.map(|channel| channel.name().to_owned())
    };
    assert_eq!(names("socket.io"), ["socket.io#/*", "socket.io-request#/*"]);
    assert_eq!(
        names("a*[b]?"),
        [r"a\*\[b\]\?#/*", r"a\*\[b\]\?-request#/*"]
    );
}
