use super::*;
use socketioxide_core::adapter::BroadcastFlags;

fn id(n: u8) -> Sid {
    format!("member_or_sock{n:02}").parse().unwrap()
}

fn opts() -> BroadcastOptions {
    let mut opts = BroadcastOptions::new(id(3));
    opts.add_flag(BroadcastFlags::Broadcast);
    opts.rooms.extend(["room".into(), "é".into()]);
    opts.except.push(Room::Borrowed(""));
    opts
}

fn binary() -> Value {
    let attachments = [Bytes::from_static(b"\0\xff"), Bytes::new()];
    Value::Str("[1]".into(), Some(attachments.into()))
}

fn member(machine: &'static str) -> BusMember {
    BusMember {
        id: id(1),
        slot: 513,
        pid: 70_000,
        machine: machine.into(),
    }
}

fn heard(n: u64) -> (Address, Position) {
    let (incarnation, epoch) = (u64::MAX - n, 7);
    let at = Position {
        n,
        hub: 2 * n,
        common: 3 * n,
        directed: 4 * n,
    };
    (Address { incarnation, epoch }, at)
}

fn volatile() -> Body {
    let mut opts = BroadcastOptions::default();
    opts.add_flag(BroadcastFlags::Volatile);
    Body::Command {
        ns: "/".into(),
        opts,
        command: Command::Disconnect,
    }
}

/// One of each kind.
fn all() -> Vec<Body> {
    let ns = Str::from("/chat");
    let text = Value::Str(r#"["message",{}]"#.into(), None);
    let event = Str::from("tick");
    let data = Bytes::from_static(b"{}");
    let command = |command| Body::Command {
        ns: ns.clone(),
        opts: opts(),
        command,
    };
    let ask = |question| Body::Ask {
        ticket: u64::MAX,
        question,
    };
    let answer = |answer| Body::Answer { ticket: 7, answer };
    vec![
        Body::Hello(Role::Worker),
        Body::Hello(Role::Bridge),
        Body::Welcome(Welcome {
            incarnation: u64::MAX,
            epoch: 3,
            machine: 4095,
            name: "ip-10-0-0-1".into(),
            passed: 7,
            heard: vec![heard(1), heard(2)],
        }),
        Body::Members(vec![member("")]),
        Body::Elsewhere(vec![member("ip-10-0-0-2")]),
        Body::Link(true),
        Body::Responders {
            ticket: 1,
            ids: vec![id(1), id(2)],
        },
        command(Command::Emit(text.clone())),
        command(Command::Emit(binary())),
        command(Command::Emit(Value::Bytes(Bytes::from_static(b"\x90")))),
        command(Command::Join(vec!["a".into(), "b".into()])),
        command(Command::Leave(vec![])),
        command(Command::Disconnect),
        Body::ServerSide {
            event: event.clone(),
            data: data.clone(),
        },
        ask(Question::Sockets {
            ns: ns.clone(),
            opts: BroadcastOptions::default(),
        }),
        ask(Question::Rooms {
            ns: ns.clone(),
            opts: opts(),
        }),
        ask(Question::Acks {
            ns: ns.clone(),
            opts: opts(),
            timeout_ms: 2000,
            value: text.clone(),
        }),
        ask(Question::ServerSide {
            event,
            data: data.clone(),
        }),
        answer(Answer::Sockets(vec![id(4), id(5)])),
        answer(Answer::Rooms(vec!["room".into()])),
        answer(Answer::AcksOf(vec![])),
        answer(Answer::Acks(vec![
            (id(1), Ok(text)),
            (id(2), Err(AckFailure::Timeout)),
            (id(3), Err(AckFailure::Closed)),
            (id(4), Ok(binary())),
        ])),
        answer(Answer::AcksEnd),
        answer(Answer::ServerSide(data.clone())),
        answer(Answer::Failed(Failure::NoHandler)),
        answer(Answer::Failed(Failure::Other("it panicked".into()))),
        Body::Namespace {
            ns: ns.clone(),
            is_here: true,
        },
        Body::TellNamespaces,
        ask(Question::Details {
            ns: ns.clone(),
            opts: opts(),
        }),
        answer(Answer::Details(vec![data.clone(), data.clone()])),
        answer(Answer::ServerSides {
            answers: vec![data],
            missing: 2,
        }),
        Body::Report(Bytes::from_static(b"{}")),
        Body::Heard {
            at: vec![heard(3)],
            report: Bytes::from_static(b"{}"),
        },
    ]
}

fn frames() -> impl Iterator<Item = Frame> {
    all().into_iter().flat_map(|body| {
        [(None, Sid::ZERO), (Some(id(9)), id(8))].map(|(to, from)| Frame {
            to,
            from,
            body: body.clone(),
        })
    })
}

#[test]
fn every_kind_comes_back() {
    for frame in frames() {
        let bytes = frame.encode().unwrap();
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(Frame::decode(&bytes), Ok(frame));
    }
}

#[test]
fn every_cut_is_an_error_and_so_is_a_byte_too_many() {
    for frame in frames() {
        let bytes = frame.encode().unwrap();
        for end in 0..bytes.len() {
            let cut = bytes.slice(..end);
            assert_eq!(Frame::decode(&cut), Err(FrameError::Short), "{frame:?}");
            // The same with a head that tells the truth.
            let mut cut = cut.to_vec();
            if let Some(length) = cut.get_mut(..LENGTH).filter(|_| end >= HEAD) {
                length.copy_from_slice(&u32::try_from(end - LENGTH).unwrap().to_le_bytes());
                assert_eq!(Frame::decode(&cut.into()), Err(FrameError::Short));
            }
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert_eq!(Frame::decode(&longer), Err(FrameError::Trailing));
    }
}

#[test]
fn the_hub_reads_the_head_alone() {
    for frame in frames() {
        let bytes = frame.encode().unwrap();
        let head = Head::read(&bytes).unwrap();
        assert_eq!(
            (head.len, head.to, head.from),
            (bytes.len(), frame.to, frame.from)
        );
        match frame.body {
            Body::Hello(_) => assert_eq!(head.kind, HeadKind::Hello),
            Body::Elsewhere(_) | Body::Link(_) | Body::Report(_) | Body::Heard { .. } => {
                assert_eq!(head.kind, HeadKind::Bridge);
            }
            Body::Namespace { .. } => assert_eq!(head.kind, HeadKind::ForBridge),
            Body::Ask { ticket, .. } => {
                assert_eq!(head.kind, HeadKind::Ask);
                assert_eq!(Head::ticket(&bytes), Some(ticket));
            }
            _ => assert_eq!(head.kind, HeadKind::Pass),
        }
    }
}

#[test]
fn another_version_and_unknown_kinds_are_refused() {
    let bytes = Frame {
        to: None,
        from: id(1),
        body: Body::Members(vec![member("")]),
    };
    let bytes = bytes.encode().unwrap().to_vec();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        Frame::decode(&bytes.into())
    };
    assert_eq!(with(4, 1), Err(FrameError::Version(1)));
    assert_eq!(with(5, 99), Err(FrameError::Kind(99)));
    assert_eq!(with(8, b'!'), Err(FrameError::Id));
    assert_eq!(with(24, b'!'), Err(FrameError::Id));
    assert_eq!(with(HEAD + 4, b'!'), Err(FrameError::Id));
}

#[test]
fn lengths_are_capped() {
    let huge = u32::MAX.to_le_bytes();
    assert!(matches!(length(&huge), Err(FrameError::Long(_))));
    assert_eq!(length(&[0; 4]), Err(FrameError::Short));
    assert_eq!(length(&[1, 2]), Ok(None));
    let frame = |body| Frame {
        to: None,
        from: Sid::ZERO,
        body,
    };
    let long = frame(Body::ServerSide {
        event: "e".into(),
        data: vec![0; MAX_FRAME].into(),
    });
    assert!(matches!(long.encode(), Err(FrameError::Long(_))));
    let long = frame(Body::Command {
        ns: "n".repeat(70_000).into(),
        opts: BroadcastOptions::default(),
        command: Command::Disconnect,
    });
    assert_eq!(long.encode(), Err(FrameError::Namespace));
    // A list that says it has more items than there are bytes.
    let lying = frame(Body::Members(vec![]));
    let mut bytes = lying.encode().unwrap().to_vec();
    bytes[HEAD..].copy_from_slice(&huge);
    assert_eq!(Frame::decode(&bytes.into()), Err(FrameError::Short));
}

#[test]
fn numbers_are_written_into_the_head_and_change_nothing_else() {
    for frame in frames() {
        let bytes = frame.encode().unwrap();
        let head = Head::read(&bytes).unwrap();
        assert_eq!((head.counter, head.hub_number), (0, 0));
        let shared = bytes.clone();
        let numbered = number(bytes, 7);
        assert_eq!(
            Head::read(&shared).unwrap().counter,
            0,
            "others have it, too"
        );
        let parts = number_for_bridge(&numbered, 9);
        let passed = Bytes::from(parts.concat());
        let head = Head::read(&passed).unwrap();
        assert_eq!((head.counter, head.hub_number), (7, 9));
        assert_eq!(Frame::decode(&passed), Ok(frame));
    }
}

#[test]
fn what_waits_for_the_bridge_keeps_what_is_large_and_nothing_that_came_with_what_is_small() {
    for (len, is_copied) in [(10, true), (10_000, false)] {
        let (to, from) = (None, id(1));
        let (event, data) = ("e".into(), vec![1; len].into());
        let body = Body::ServerSide { event, data };
        let frame = Frame { to, from, body }.encode().unwrap();
        let parts = number_for_bridge(&frame, 1);
        assert_eq!(parts.concat().len(), frame.len());
        assert_eq!(frame.is_unique(), is_copied, "{len}");
    }
}

#[test]
fn the_head_tells_what_may_be_lost() {
    let with = |body| {
        let (to, from) = (None, id(1));
        Head::read(&Frame { to, from, body }.encode().unwrap()).unwrap()
    };
    assert!(with(volatile()).volatile);
    assert!(!with(Body::Link(true)).volatile);
}

/// What the fuzzer begins with, and the format as it is: whoever changes a byte of it changes
/// [`VERSION`], and has the files written anew by `WRITE_CORPUS=1 cargo test corpus`.
#[test]
fn the_corpus_has_every_kind() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frame");
    let write = std::env::var_os("WRITE_CORPUS").is_some();
    for (nth, frame) in frames().enumerate() {
        let bytes = frame.encode().unwrap();
        let file = folder.join(format!("{nth:02}-kind-{:02}", frame.body.kind()));
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let kept = std::fs::read(&file).unwrap_or_default();
        assert!(kept == bytes, "{} is not {frame:?}", file.display());
    }
}
