//! What workers do and ask, and Node's answers.

use super::*;

fn command(opts: BroadcastOptions, command: Command) -> Body {
    let ns = "/".into();
    Body::Command { ns, opts, command }
}

fn emitted(opts: BroadcastOptions) -> (String, read::Broadcast<'static>) {
    let mut stage = Stage::new();
    stage.says(0, None, command(opts, Command::Emit(text(r#"["e",1]"#))));
    let (channel, payload) = stage.published().remove(0);
    let payload: &'static [u8] = Box::leak(payload.to_vec().into_boxed_slice());
    (channel, read::broadcast(payload).unwrap())
}

#[test]
fn broadcasts_go_to_one_rooms_channel_or_to_the_base() {
    let (channel, read) = emitted(broadcast_options(&["room"], &["x"]));
    assert_eq!(channel, "socket.io#/#room#");
    assert_eq!((&*read.uid, &*read.ns), ("~nodes", "/"));
    assert_eq!(
        (read.target.rooms, read.target.except),
        (vec!["room".into()], vec!["x".into()])
    );
    let (channel, read) = emitted(broadcast_options(&[], &[]));
    assert_eq!((&*channel, read.target.rooms.len()), ("socket.io#/#", 0));
    let (channel, _) = emitted(broadcast_options(&["a", "b"], &[]));
    assert_eq!(channel, "socket.io#/#");
}

#[test]
fn a_room_that_is_a_number_is_named_as_text_and_as_number() {
    let (channel, read) = emitted(broadcast_options(&["42"], &["-7"]));
    assert_eq!(
        channel, "socket.io#/#",
        "the room's channel would name the one alone"
    );
    assert_eq!(read.target.rooms, ["42", "42"]);
    assert_eq!(read.target.except, ["-7", "-7"]);
    for text in ["042", "4.0", "+4", "9007199254740993", ""] {
        let text: &'static str = text;
        let (_, read) = emitted(broadcast_options(&[text], &[]));
        assert_eq!(read.target.rooms, [text]);
    }
}

#[test]
fn who_sends_to_all_others_is_excepted_and_volatile_stays_so() {
    let mut opts = broadcast_options(&[], &[]);
    opts.sid = Some(socket(1));
    opts.add_flag(BroadcastFlags::Volatile);
    let (_, read) = emitted(opts);
    assert_eq!(read.target.except, [socket(1).to_string()]);
    assert!(read.target.is_volatile);
}

#[test]
fn messages_are_as_nodes_own_servers_write_them() {
    let mut stage = Stage::new();
    let mut opts = broadcast_options(&["room", "b"], &["c"]);
    let attachments = [Bytes::from_static(&[0, 255])].into();
    let placeholder = r#"["hello",{"_placeholder":true,"num":0}]"#;
    let value = Value::Str(placeholder.into(), Some(attachments));
    stage.says(0, None, command(opts.clone(), Command::Emit(value)));
    let (channel, payload) = stage.published().remove(0);
    for of in BOTH {
        let (their_channel, theirs) = taken(of, "two rooms except");
        assert_eq!(channel, their_channel);
        // But for the sender, and a list's length, which may be written longer.
        let read = |payload: &Bytes| {
            let read = read::broadcast(payload).unwrap();
            let event = notepack::event(payload, read.data, Parser::Common).unwrap();
            (read.target, event)
        };
        assert_eq!(read(&payload), read(&theirs));
    }
    opts = broadcast_options(&["room"], &[]);
    let leave_all = broadcast_options(&[], &[]);
    for (what, opts, did) in [
        (
            "join",
            opts.clone(),
            Command::Join(vec!["n".into(), "m".into()]),
        ),
        ("leave", leave_all, Command::Leave(vec!["n".into()])),
    ] {
        stage.says(0, None, command(opts, did));
        let (channel, mut ours) = stage.published_json().remove(0);
        let (their_channel, theirs) = taken(EIGHT, what);
        let theirs: Json = serde_json::from_slice(&theirs).unwrap();
        ours["uid"] = theirs["uid"].clone();
        assert_eq!((channel, ours), (their_channel, theirs));
    }
    stage.says(0, None, command(opts, Command::Disconnect));
    let expected = json!({
        "uid": "~nodes", "type": 4, "opts": {"rooms": ["room"], "except": []}, "close": false,
    });
    assert_eq!(stage.published_json()[0].1, expected);
    let (event, data) = ("hello".into(), Bytes::from_static(br#"["w",1]"#));
    stage.says(0, None, Body::ServerSide { event, data });
    let expected = json!({"uid": "~nodes", "type": 6, "data": ["hello", "w", 1]});
    assert_eq!(stage.published_json()[0].1, expected);
}

fn fetch() -> Question {
    Question::Sockets {
        ns: "/".into(),
        opts: broadcast_options(&[], &[]),
    }
}

/// The number of the one request that was published.
fn request_id(stage: &mut Stage) -> String {
    let published = stage.published();
    let (_, payload) = &published[0];
    let request = read::request(payload).unwrap();
    request.id.unwrap()
}

fn answer(stage: &mut Stage) -> Answer {
    let mut delivered = stage.delivered();
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    match delivered.remove(0) {
        (Some(to), Body::Answer { ticket: 7, answer }) if to == worker(0).id => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_node_servers_are_asked_and_none_of_ours() {
    let mut stage = Stage::new();
    stage.asks(fetch());
    let channels = stage.count(5, 3);
    assert_eq!(channels, ["socket.io-request#/#", "socket.io-request#/#~"]);
    let id = request_id(&mut stage);
    let response = |of: &str| json!({"requestId": id, "sockets": [{"id": of, "handshake": {}, "rooms": [of, "r", 42], "data": {}}]});
    stage.hears_json("socket.io-response#/#", &response("RLPs7Ku6JgpTaIyeAAAA"));
    assert_eq!(stage.outputs(), [], "there are two of them");
    stage.hears_json(
        "socket.io-response#/#~nodes#",
        &response("ufLZMATbMUOwy-f1AAAB"),
    );
    let Answer::Sockets(ids) = answer(&mut stage) else {
        panic!("no sockets");
    };
    assert_eq!(ids.len(), 2);

    // What is done with them goes to Node by their own ids: to one of them, and to a room of that name.
    let nodes = stage.node.id();
    stage.says(
        0,
        Some(nodes),
        command(BroadcastOptions::new(ids[1]), Command::Disconnect),
    );
    let name: &'static str = Box::leak(ids[0].to_string().into_boxed_str());
    let to_room = broadcast_options(&[name], &[]);
    stage.says(0, None, command(to_room, Command::Disconnect));
    let rooms: Vec<_> = stage
        .published_json()
        .into_iter()
        .map(|(_, order)| order["opts"]["rooms"].clone())
        .collect();
    assert_eq!(
        rooms,
        [
            json!(["ufLZMATbMUOwy-f1AAAB"]),
            json!(["RLPs7Ku6JgpTaIyeAAAA"])
        ]
    );
}

#[test]
fn a_socket_that_is_nobody_of_node_is_nobodys_concern_there() {
    let mut stage = Stage::new();
    let nodes = Some(stage.node.id());
    stage.says(
        0,
        nodes,
        command(BroadcastOptions::new(socket(1)), Command::Disconnect),
    );
    stage.says(
        0,
        Some(worker(1).id),
        command(broadcast_options(&[], &[]), Command::Disconnect),
    );
    assert_eq!(stage.outputs(), []);
}

#[test]
fn rooms_are_those_of_the_sockets_that_are_meant() {
    let mut stage = Stage::new();
    stage.asks(Question::Rooms {
        ns: "/".into(),
        opts: broadcast_options(&["r"], &[]),
    });
    stage.count(1, 0);
    let id = request_id(&mut stage);
    let socket = |id: &str| json!({"id": id, "rooms": [id, "r", 42]});
    let response = json!({"requestId": id, "sockets": [socket("a"), socket("b")]});
    stage.hears_json("socket.io-response#/#", &response);
    assert_eq!(
        answer(&mut stage),
        Answer::Rooms(vec!["42".into(), "r".into()])
    );
}

#[test]
fn without_node_servers_the_answer_is_there_at_once() {
    let mut stage = Stage::new();
    stage.asks(fetch());
    stage.count(2, 2);
    assert_eq!(answer(&mut stage), Answer::Sockets(vec![]));
    assert_eq!(stage.node.next_deadline(), None);
}

#[test]
fn after_two_seconds_what_has_come_is_the_answer() {
    let mut stage = Stage::new();
    stage.asks(fetch());
    stage.count(3, 1);
    let id = request_id(&mut stage);
    let response = json!({"requestId": id, "sockets": [{"id": "a"}]});
    stage.hears_json("socket.io-response#/#", &response);
    stage.waits(2_000);
    let outputs = stage.outputs();
    assert_eq!(outputs[0], Output::Tell(Notice::Unanswered { missing: 1 }));
    assert_eq!(outputs.len(), 2);
    stage.hears_json("socket.io-response#/#", &response);
    assert_eq!(stage.outputs(), [], "too late");
    assert_eq!(stage.node.figures().unanswered, 1);
}

#[test]
fn a_count_that_does_not_come_is_waited_for_no_longer() {
    let mut stage = Stage::new();
    stage.asks(fetch());
    stage.outputs();
    stage.waits(2_000);
    assert_eq!(stage.outputs().len(), 2);
    assert_eq!(stage.node.next_deadline(), None);
}

#[test]
fn applications_of_all_node_servers_answer() {
    let mut stage = Stage::new();
    let (event, data) = ("add".into(), Bytes::from_static(b"[1,2]"));
    stage.asks(Question::ServerSide { event, data });
    stage.count(3, 0);
    let id = request_id(&mut stage);
    for response in [
        json!({"type": 6, "requestId": id, "data": 3}),
        json!({"type": 6, "requestId": id}),
    ] {
        stage.hears_json("socket.io-response#/#", &response);
    }
    stage.waits(2_000);
    stage.node.outputs.pop_front();
    let answers = vec![Bytes::from_static(b"3"), Bytes::from_static(b"null")];
    let missing = 1;
    assert_eq!(answer(&mut stage), Answer::ServerSides { answers, missing });
}

#[test]
fn acknowledgements_of_nodes_clients_come_under_ids_that_are_made_up() {
    let mut stage = Stage::new();
    stage.asks(Question::Acks {
        ns: "/".into(),
        opts: broadcast_options(&[], &[]),
        timeout_ms: 500,
        value: text(r#"["e"]"#),
    });
    stage.count(2, 0);
    let id = request_id(&mut stage);
    let ack = |n: &str| {
        (
            "socket.io-response#/#".to_owned(),
            write::ack(&id, &text(n)).unwrap(),
        )
    };
    let count = |n: u64| json!({"type": 8, "requestId": id, "clientCount": n});
    stage.hears_json("socket.io-response#/#", &count(2));
    stage.hears(ack("[1]"));
    assert_eq!(
        stage.outputs(),
        [],
        "it is not known yet how many there are"
    );
    stage.hears_json("socket.io-response#/#", &count(1));
    let mut delivered = stage.delivered().into_iter().map(|(_, body)| match body {
        Body::Answer { ticket: 7, answer } => answer,
        other => panic!("{other:?}"),
    });
    let Some(Answer::AcksOf(mut ids)) = delivered.next() else {
        panic!("the sockets");
    };
    assert_eq!(ids.len(), 3);
    let Some(Answer::Acks(first)) = delivered.next() else {
        panic!("the first one");
    };
    assert_eq!(first, [(ids.pop().unwrap(), Ok(text("[1]")))]);
    assert!(delivered.next().is_none());
    drop(delivered);
    stage.hears(ack("[2]"));
    assert_eq!(
        answer(&mut stage),
        Answer::Acks(vec![(ids.pop().unwrap(), Ok(text("[2]")))])
    );
    stage.waits(1_499);
    assert_eq!(stage.outputs(), []);
    stage.waits(1);
    let delivered: Vec<_> = stage
        .delivered()
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    let late = Answer::Acks(vec![(ids[0], Err(AckFailure::Timeout))]);
    let answers = [late, Answer::AcksEnd].map(|answer| Body::Answer { ticket: 7, answer });
    assert_eq!(delivered, answers);
}

#[test]
fn an_asker_that_is_gone_is_forgotten() {
    let mut stage = Stage::new();
    stage.asks(fetch());
    stage.outputs();
    stage.node.members(stage.now, &[worker(1)]);
    assert_eq!(stage.node.next_deadline(), None);
}

#[test]
fn what_waits_is_bounded() {
    let mut stage = Stage::new();
    let large = format!(r#"["e","{}"]"#, "x".repeat(10 << 20));
    let mut full_at = None;
    for n in 0..10 {
        let emit = Command::Emit(text(&large));
        stage.says(0, None, command(broadcast_options(&[], &[]), emit));
        if full_at.is_none() && stage.node.is_full() {
            full_at = Some(n);
        }
    }
    assert_eq!(full_at, Some(3));
    let published = stage.outputs();
    let of = |what: fn(&Output) -> bool| published.iter().filter(|it| what(it)).count();
    assert_eq!(of(|it| matches!(it, Output::Publish { .. })), 6);
    assert_eq!(
        of(|it| matches!(it, Output::Tell(Notice::Dropped { .. }))),
        4
    );
    assert!(!stage.node.is_full());
}
