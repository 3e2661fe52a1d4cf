use socketioxide_core::Sid;

use super::batch::{FRAMES, aged};
use super::*;
use crate::wire::frame::{Body, BusMember, Frame};

const FROM: Address = Address {
    incarnation: 0x1122_3344_5566_7788,
    epoch: 3,
};
const TO: Address = Address {
    incarnation: u64::MAX,
    epoch: 1,
};

fn id(n: u8) -> Sid {
    format!("member_or_sock{n:02}").parse().unwrap()
}

fn frames(count: u8) -> Bytes {
    let frame = |says| Frame {
        to: None,
        from: id(1),
        body: Body::ServerSide {
            event: "e".into(),
            data: vec![says].into(),
        },
    };
    let frames = (0..count).map(|n| frame(n).encode().unwrap());
    frames.flat_map(|frame| frame.to_vec()).collect()
}

fn batch(count: u8) -> Batch {
    Batch {
        n: 9,
        after: 4,
        hub: 77,
        common: 50,
        directed: 0,
        reader: None,
        age: 1234,
        count: count.into(),
        frames: frames(count),
        marks: vec![Mark {
            reader: 5,
            n: 8,
            directed: 2,
        }],
    }
}

fn heartbeat(phase: Phase) -> Heartbeat {
    Heartbeat {
        phase,
        beat: 12,
        passed: 7,
        tail: 9,
        hub: 77,
        common: 51,
        machine: 4095,
        name: "ip-10-0-0-1".into(),
        members: vec![BusMember {
            id: id(2),
            slot: 513,
            pid: 70_000,
            machine: "ip-10-0-0-1".into(),
        }],
        heard: vec![Heard { of: TO, n: 3 }],
        marks: batch(1).marks,
    }
}

const AT: Position = Position {
    n: 1,
    hub: 2,
    common: 3,
    directed: 4,
};

/// One of each kind.
fn all() -> Vec<Message> {
    let directed = Batch {
        reader: Some(5),
        directed: 2,
        marks: vec![],
        ..batch(1)
    };
    let volatile = Batch {
        n: 0,
        after: 0,
        ..directed.clone()
    };
    let start = |earlier| Message::Start {
        to: TO,
        at: AT,
        earlier,
    };
    vec![
        Message::Batch(batch(1)),
        Message::Batch(batch(3)),
        Message::Batch(directed),
        Message::Batch(volatile),
        Message::Heartbeat(heartbeat(Phase::Stays)),
        Message::Heartbeat(heartbeat(Phase::Leaving)),
        Message::Heartbeat(heartbeat(Phase::Left)),
        Message::Join { to: TO, since: 6 },
        start(None),
        start(Some(Earlier {
            at: AT,
            exact: false,
        })),
        start(Some(Earlier {
            at: AT,
            exact: true,
        })),
        Message::Ask {
            to: TO,
            have: 4,
            upto: 8,
        },
        Message::NoMore { to: TO, at: AT },
        Message::Heard { to: TO, n: 9 },
    ]
}

fn envelopes() -> impl Iterator<Item = Envelope> {
    all().into_iter().map(|message| Envelope {
        from: FROM,
        message,
    })
}

#[test]
fn every_kind_comes_back() {
    for envelope in envelopes() {
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }
}

#[test]
fn every_cut_is_an_error_and_so_is_a_byte_too_many() {
    for envelope in envelopes() {
        let bytes = envelope.encode();
        for end in 0..bytes.len() {
            let cut = Envelope::decode(&bytes.slice(..end));
            assert!(cut.is_err(), "{end} bytes of {envelope:?}");
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert_eq!(Envelope::decode(&longer), Err(EnvelopeError::Trailing));
    }
}

#[test]
fn what_is_of_another_version_or_kind_is_told_apart() {
    let bytes = Message::Heard { to: TO, n: 9 };
    let bytes = Envelope {
        from: FROM,
        message: bytes,
    }
    .encode();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        Envelope::decode(&bytes.into()).map(|_| ())
    };
    assert_eq!(with(0, 2), Err(EnvelopeError::Version(2)));
    assert_eq!(with(3, 1), Err(EnvelopeError::FrameVersion(1)));
    assert_eq!(with(1, 99), Err(EnvelopeError::Kind(99)));
    // What a key would sign is not looked at yet.
    assert_eq!(with(16, 1), Ok(()));
}

#[test]
fn a_batch_of_impossible_numbers_is_refused() {
    let refused = |batch| {
        let message = Message::Batch(batch);
        Envelope::decode(
            &Envelope {
                from: FROM,
                message,
            }
            .encode(),
        )
        .unwrap_err()
    };
    let after = Batch {
        after: 9,
        ..batch(1)
    };
    assert_eq!(refused(after), EnvelopeError::Numbers);
    let mut marked = batch(1);
    marked.marks[0].n = 9;
    assert_eq!(refused(marked), EnvelopeError::Numbers);
    let miscounted = Batch {
        count: 2,
        ..batch(1)
    };
    assert_eq!(refused(miscounted), EnvelopeError::Numbers);
    let empty = Batch {
        count: 0,
        frames: Bytes::new(),
        ..batch(1)
    };
    assert_eq!(refused(empty), EnvelopeError::Numbers);
    let garbage = Batch {
        frames: Bytes::from_static(&[255; 80]),
        ..batch(1)
    };
    assert!(matches!(refused(garbage), EnvelopeError::Frame(_)));
}

#[test]
fn long_lists_that_are_not_there_cost_nothing_and_long_messages_are_refused() {
    let mut beat = heartbeat(Phase::Stays);
    beat.marks.clear();
    let message = Message::Heartbeat(beat);
    let mut bytes = Envelope {
        from: FROM,
        message,
    }
    .encode()
    .to_vec();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[255, 255]);
    assert_eq!(
        Envelope::decode(&bytes.clone().into()),
        Err(EnvelopeError::Short)
    );
    bytes.resize(MAX_CONTROL + 1, 0);
    assert!(matches!(
        Envelope::decode(&bytes.into()),
        Err(EnvelopeError::Long(_))
    ));
}

#[test]
fn a_name_is_cut_at_255_bytes_and_has_no_control_characters() {
    let named = |name: String| {
        let mut beat = heartbeat(Phase::Stays);
        beat.name = name.into();
        beat.members.clear();
        let message = Message::Heartbeat(beat);
        Envelope::decode(
            &Envelope {
                from: FROM,
                message,
            }
            .encode(),
        )
    };
    let Message::Heartbeat(beat) = named("é".repeat(200)).unwrap().message else {
        panic!("another kind");
    };
    assert_eq!(&*beat.name, "é".repeat(127));
    assert_eq!(named("a\nb".into()), Err(EnvelopeError::Text));
}

#[test]
fn a_machine_has_no_more_workers_than_it_may_have() {
    let with = |workers| {
        let mut beat = heartbeat(Phase::Stays);
        beat.members = vec![beat.members[0].clone(); workers];
        let message = Message::Heartbeat(beat);
        let from = FROM;
        Envelope::decode(&Envelope { from, message }.encode()).map(|_| ())
    };
    assert_eq!(with(8192), Ok(()));
    assert_eq!(with(8193), Err(EnvelopeError::Members(8193)));
}

#[test]
fn a_batch_says_what_each_reader_must_have_before_it() {
    let batch = batch(1);
    assert_eq!((batch.after(5), batch.after(6)), (8, 4));
    let each: Vec<Bytes> = super::tests::batch(3).each().collect();
    assert_eq!(each.len(), 3);
    assert_eq!(each.concat(), frames(3));
}

#[test]
fn the_age_is_written_anew_and_nothing_else() {
    let envelope = Envelope {
        from: FROM,
        message: Message::Batch(batch(2)),
    };
    let again = Envelope::decode(&aged(&envelope.encode(), 60_000)).unwrap();
    let expected = Batch {
        age: 60_000,
        ..batch(2)
    };
    assert_eq!(again.message, Message::Batch(expected));
    assert_eq!(FRAMES, 92);
}

#[test]
fn a_hello_of_a_later_version_is_read_and_cleaned() {
    let later = br#"{"name":"m\u0007","envelope":2,"frame":9,"more":{"x":1}}"#;
    let hello = Hello::decode(later).unwrap();
    assert_eq!((&*hello.name, hello.envelope, hello.frame), ("m", 2, 9));
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    assert_eq!(Hello::decode(b"{}"), Err(EnvelopeError::Hello));
    assert_eq!(Hello::decode(&[b' '; 5000]), Err(EnvelopeError::Long(5000)));
}

/// What the fuzzer begins with, and the format as it is: whoever changes a byte of it changes
/// [`VERSION`], and has the files written anew by `WRITE_CORPUS=1 cargo test corpus`.
#[test]
fn the_corpus_has_every_kind() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/envelope");
    let write = std::env::var_os("WRITE_CORPUS").is_some();
    for (nth, envelope) in envelopes().enumerate() {
        let bytes = envelope.encode();
        let file = folder.join(format!("{nth:02}-kind-{:02}", bytes[1]));
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        let kept = std::fs::read(&file).unwrap_or_default();
        assert!(kept == bytes, "{} is not {envelope:?}", file.display());
    }
}
