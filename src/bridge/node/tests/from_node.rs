//! What Node servers do and ask.

use super::*;

fn emitted(stage: &mut Stage) -> (Str, BroadcastOptions, Value) {
    let mut delivered = stage.delivered();
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    match delivered.remove(0) {
        (
            None,
            Body::Command {
                ns,
                opts,
                command: Command::Emit(value),
            },
        ) => (ns, opts, value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn broadcasts_reach_the_workers_as_they_were_meant() {
    for of in BOTH {
        let mut stage = Stage::new();
        let mut hear = |what| {
            stage.hears(taken(of, what));
            emitted(&mut stage)
        };
        let (ns, opts, value) = hear("all");
        assert_eq!((&*ns, opts), ("/", broadcast_options(&[], &[])));
        let Value::Str(json, None) = value else {
            panic!("{value:?}");
        };
        let expected = json!(["hello", 1, "é", {"a": [true, null, 1.5, -3, 1e20]}]);
        let read: Json = serde_json::from_str(&json).unwrap();
        // notepack writes 1e20 as an integer that it has not, and reads this again.
        assert_eq!(read[3]["a"][4].as_f64(), Some(7_766_279_631_452_241_920.0));
        assert_eq!(
            (&read[0], &read[1], &read[2]),
            (&expected[0], &expected[1], &expected[2])
        );

        assert_eq!(hear("room").1, broadcast_options(&["room"], &[]));
        assert_eq!(hear("int room").1, broadcast_options(&["42"], &[]));
        let (_, opts, value) = hear("two rooms except");
        assert_eq!(opts, broadcast_options(&["room", "b"], &["c"]));
        let attachments = [Bytes::from_static(&[0, 255])].into();
        let placeholder = r#"["hello",{"_placeholder":true,"num":0}]"#;
        assert_eq!(value, Value::Str(placeholder.into(), Some(attachments)));

        let Value::Str(json, Some(attachments)) = hear("dialect").2 else {
            panic!("a date, undefined and bytes");
        };
        assert!(
            json.starts_with(r#"["d","2023-11-14T22:13:20.123Z",null,{"_placeholder""#),
            "{json}"
        );
        assert_eq!(attachments, [&[1, 2, 3][..], &[0, 0]]);

        assert!(hear("volatile flags").1.has_flag(BroadcastFlags::Volatile));
        let (ns, opts, _) = hear("chat");
        assert_eq!((&*ns, opts), ("/chat", broadcast_options(&["x#y"], &[])));
        let (_, opts, _) = hear("socket broadcast");
        assert_eq!(opts.except[0].len(), 20, "who sent it");
    }
}

#[test]
fn a_broadcast_counts_for_the_namespace_that_it_names() {
    let mut stage = Stage::new();
    let (_, payload) = taken(EIGHT, "room");
    // A room of "/" that makes its channel look like one of "/chat".
    let chat = "socket.io#/chat#".to_owned();
    stage.hears((chat, payload));
    assert_eq!(stage.outputs(), []);
}

#[test]
fn orders_are_for_the_workers_sockets() {
    for of in BOTH {
        let mut stage = Stage::new();
        for (what, rooms, command) in [
            (
                "join",
                &["room"][..],
                Command::Join(vec!["n".into(), "m".into()]),
            ),
            ("leave", &[], Command::Leave(vec!["n".into()])),
            ("disconnect", &["room"], Command::Disconnect),
        ] {
            stage.hears(taken(of, what));
            let (ns, opts) = ("/".into(), broadcast_options(rooms, &[]));
            assert_eq!(
                stage.delivered(),
                [(None, Body::Command { ns, opts, command })]
            );
        }
    }
}

#[test]
fn an_order_to_one_socket_is_answered_by_who_has_it() {
    for is_here in [true, false] {
        let mut stage = Stage::new();
        stage.hears(taken(SEVEN, "remoteJoin"));
        let delivered = stage.delivered();
        let [
            (None, Body::Ask { ticket, .. }),
            (None, Body::Command { command, .. }),
        ] = &delivered[..]
        else {
            panic!("{delivered:?}");
        };
        assert_eq!(*command, Command::Join(vec!["r2".into()]));
        stage.answers(0, *ticket, Answer::Sockets(vec![]));
        let found = if is_here { vec![socket(1)] } else { vec![] };
        stage.answers(1, *ticket, Answer::Sockets(found));
        let published = stage.published_json();
        if is_here {
            assert_eq!(published[0].1, json!({"requestId": "TABr1A"}));
        } else {
            assert_eq!(published, []);
        }
    }
}

#[test]
fn sockets_are_told_with_all_that_is_known_of_them() {
    for of in BOTH {
        let mut stage = Stage::new();
        stage.hears(taken(of, "fetch rooms"));
        let (to, ticket, question) = stage.asked();
        let (ns, opts) = ("/".into(), broadcast_options(&["room"], &["x"]));
        assert_eq!((to, question), (None, Question::Details { ns, opts }));
        let detail = |n: u8| Bytes::from(json!({"id": n, "rooms": ["a"]}).to_string());
        stage.answers(0, ticket, Answer::Details(vec![detail(1), detail(2)]));
        assert_eq!(stage.outputs(), [], "the other worker is still to answer");
        stage.answers(1, ticket, Answer::Details(vec![detail(3)]));
        let published = stage.published_json();
        let id = published[0].1["requestId"].as_str().unwrap().to_owned();
        assert_eq!(id.len(), 6);
        let sockets = json!([{"id": 1, "rooms": ["a"]}, {"id": 2, "rooms": ["a"]}, {"id": 3, "rooms": ["a"]}]);
        let channel = "socket.io-response#/#".to_owned();
        assert_eq!(
            published,
            [(channel, json!({"requestId": id, "sockets": sockets}))]
        );
    }
}

#[test]
fn a_worker_that_is_silent_costs_two_seconds_and_no_answer() {
    let mut stage = Stage::new();
    stage.hears(taken(EIGHT, "fetch"));
    let (_, ticket, _) = stage.asked();
    stage.answers(1, ticket, Answer::Details(vec![]));
    stage.waits(1_999);
    assert_eq!(stage.outputs(), []);
    stage.waits(1);
    assert_eq!(stage.published_json()[0].1["sockets"], json!([]));
    stage.answers(0, ticket, Answer::Details(vec![]));
    assert_eq!(stage.outputs(), [], "it was answered already");
}

#[test]
fn who_leaves_is_not_waited_for() {
    let mut stage = Stage::new();
    stage.hears(taken(EIGHT, "fetch"));
    let (_, ticket, _) = stage.asked();
    stage.answers(0, ticket, Answer::Details(vec![]));
    stage.node.members(stage.now, &[worker(0)]);
    assert_eq!(stage.published().len(), 1);
}

#[test]
fn ids_and_rooms_of_all_workers_are_told() {
    let mut stage = Stage::new();
    stage.hears(taken(SEVEN, "allSockets"));
    let (_, ticket, question) = stage.asked();
    let (ns, opts) = ("/".into(), broadcast_options(&["room"], &[]));
    assert_eq!(question, Question::Sockets { ns, opts });
    stage.answers(0, ticket, Answer::Sockets(vec![socket(1)]));
    stage.answers(1, ticket, Answer::Sockets(vec![socket(2)]));
    let sockets = [socket(1), socket(2)].map(|id| id.to_string());
    assert_eq!(
        stage.published_json()[0].1,
        json!({"requestId": "oBg7OJ", "sockets": sockets})
    );

    stage.hears(taken(EIGHT, "allrooms"));
    let (_, ticket, _) = stage.asked();
    stage.answers(0, ticket, Answer::Rooms(vec!["b".into(), "a".into()]));
    stage.answers(1, ticket, Answer::Rooms(vec!["a".into()]));
    let answer = json!({"requestId": "ze8-tB", "rooms": ["a", "b"]});
    assert_eq!(stage.published_json()[0].1, answer);
}

#[test]
fn events_for_applications_reach_each_worker_and_the_first_one_answers() {
    for of in BOTH {
        let mut stage = Stage::new();
        stage.hears(taken(of, "sse"));
        let (event, data) = ("hello".into(), Bytes::from_static(br#"["w",1]"#));
        assert_eq!(
            stage.delivered(),
            [(None, Body::ServerSide { event, data })]
        );

        for (answer, told) in [
            (Answer::ServerSide(Bytes::from_static(b"3")), json!(3)),
            (Answer::Failed(Failure::NoHandler), json!(null)),
        ] {
            stage.hears(taken(of, "sse ack"));
            let delivered = stage.delivered();
            let [other, first] = &delivered[..] else {
                panic!("{delivered:?}");
            };
            assert!(matches!(other, (Some(to), Body::ServerSide { .. }) if *to == worker(1).id));
            let (to, Body::Ask { ticket, question }) = first else {
                panic!("{first:?}");
            };
            assert_eq!(*to, Some(worker(0).id));
            let (event, data) = ("add".into(), Bytes::from_static(b"[1,2]"));
            assert_eq!(*question, Question::ServerSide { event, data });
            stage.answers(0, *ticket, answer);
            let published = stage.published_json();
            assert_eq!(
                (&published[0].1["type"], &published[0].1["data"]),
                (&json!(6), &told)
            );
        }
    }
}

#[test]
fn acknowledgements_are_counted_first_and_come_one_by_one() {
    for of in BOTH {
        let mut stage = Stage::new();
        stage.hears(taken(of, "ack"));
        let (_, ticket, question) = stage.asked();
        assert!(matches!(
            question,
            Question::Acks {
                timeout_ms: 1_000,
                ..
            }
        ));
        stage.answers(0, ticket, Answer::AcksOf(vec![socket(1), socket(2)]));
        let bytes = Value::Str(
            r#"[{"_placeholder":true,"num":0},"x"]"#.into(),
            Some([Bytes::from_static(&[1, 2])].into()),
        );
        stage.answers(0, ticket, Answer::Acks(vec![(socket(1), Ok(bytes))]));
        let early = stage.published();
        assert_eq!(early.len(), 1);
        // As Node's own server writes it, but for the number of the request.
        let (channel, theirs) = taken(of, "ack 2");
        assert_eq!((&early[0].0, &early[0].1), (&channel, &theirs));

        stage.answers(1, ticket, Answer::AcksOf(vec![socket(3)]));
        let counted = stage.published_json();
        assert_eq!(
            (&counted[0].1["type"], &counted[0].1["clientCount"]),
            (&json!(8), &json!(3))
        );
        let acks = vec![
            (socket(2), Err(AckFailure::Timeout)),
            (socket(2), Ok(text("[]"))),
        ];
        stage.answers(0, ticket, Answer::Acks(acks));
        assert_eq!(stage.published().len(), 1, "who did not answer is not told");
        stage.answers(0, ticket, Answer::AcksEnd);
        stage.answers(1, ticket, Answer::AcksEnd);
        assert_eq!(
            (stage.outputs(), stage.node.next_deadline()),
            (vec![], None)
        );
    }
}

#[test]
fn clients_are_counted_within_two_seconds_and_those_of_the_silent_are_not() {
    let mut stage = Stage::new();
    let target = write::Target::default();
    let value = text(r#"["e"]"#);
    let request = write::acks_request("abcdef", "number", "/", &value, &target, 4_000).unwrap();
    stage.hears(("socket.io-request#/#".to_owned(), request));
    let (_, ticket, _) = stage.asked();
    stage.answers(0, ticket, Answer::AcksOf(vec![socket(1)]));
    stage.waits(2_000);
    assert_eq!(stage.published_json()[0].1["clientCount"], json!(1));
    stage.answers(1, ticket, Answer::AcksOf(vec![socket(2)]));
    stage.answers(1, ticket, Answer::Acks(vec![(socket(2), Ok(text("[1]")))]));
    assert_eq!(stage.outputs(), [], "it was counted without this one");
    stage.answers(0, ticket, Answer::Acks(vec![(socket(1), Ok(text("[1]")))]));
    assert_eq!(stage.published().len(), 1);
    stage.waits(3_000);
    assert_eq!(stage.node.next_deadline(), None);
}

#[test]
fn a_machine_without_clients_says_so() {
    let mut stage = Stage::new();
    stage.hears(taken(EIGHT, "ack"));
    let (_, ticket, _) = stage.asked();
    stage.answers(0, ticket, Answer::AcksEnd);
    stage.answers(1, ticket, Answer::AcksOf(vec![]));
    assert_eq!(stage.published_json()[0].1["clientCount"], json!(0));
}

#[test]
fn what_machines_of_ours_say_is_not_taken_from_here() {
    let mut other = Stage::new();
    let ns = Str::from("/");
    let opts = broadcast_options(&["room"], &[]);
    for command in [
        Command::Emit(text(r#"["e"]"#)),
        Command::Join(vec!["a".into()]),
        Command::Disconnect,
    ] {
        let (ns, opts) = (ns.clone(), opts.clone());
        other.says(0, None, Body::Command { ns, opts, command });
    }
    let question = Question::Sockets { ns, opts };
    other.asks(question);
    let mut published = Vec::new();
    for output in other.outputs() {
        match output {
            Output::Publish { channel, payload } => published.push((channel, payload)),
            Output::NumSub { id, channel } => {
                let all = if channel.ends_with('~') { 2 } else { 3 };
                other.node.counted(other.now, id, Some(all));
            }
            other => panic!("{other:?}"),
        }
    }
    published.extend(other.published());
    assert_eq!(published.len(), 4);
    let mut stage = Stage::new();
    for message in published {
        stage.hears(message);
    }
    assert_eq!(stage.outputs(), []);
}

#[test]
fn what_waits_for_the_workers_while_the_server_is_asked_is_bounded() {
    let mut stage = Stage::new();
    let (channel, event) = taken(EIGHT, "all");
    // Nothing is polled: a subscription is under way.
    let mut heard = 0;
    while stage.node.figures().dropped == 0 {
        stage.hears((channel.clone(), event.clone()));
        heard += 1;
        assert!(heard * event.len() < 2 * MOST_WAITING);
    }
    let garbage = Bytes::from_static(b"garbage");
    for _ in 0..heard {
        stage.hears((channel.clone(), garbage.clone()));
    }
    assert!(
        stage.node.waiting <= MOST_WAITING + 1_000,
        "{}",
        stage.node.waiting
    );
    stage.outputs();
    assert_eq!(stage.node.waiting, 0);
}
