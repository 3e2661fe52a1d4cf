use super::*;

const RULES: Rules = Rules {
    max_payload: 1000,
    revision3: false,
    deflate: false,
};

/// A masked frame, as a client sends it.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_header(Opcode::Binary, payload.len(), &mut out);
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&[1, 2, 3, 4]);
    let mut masked = payload.to_vec();
    frame::unmask(&mut masked, [1, 2, 3, 4], 0);
    out.extend_from_slice(&masked);
    out
}

fn feed(pieces: &[&[u8]], rules: Rules) -> (Vec<Incoming>, Result<(), CloseCode>) {
    let mut assembly = Assembly::default();
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    for piece in pieces {
        let mut bytes = piece.to_vec();
        while !bytes.is_empty() {
            if let Err(code) = assembly.feed(&mut bytes, rules, &mut inflater, &mut out) {
                return (out, Err(code));
            }
            inflater.take_inflated();
            bytes = assembly.take_unread();
        }
    }
    (out, Ok(()))
}

fn text(text: &'static str) -> Incoming {
    Incoming::Packet(Packet::Message(text.into()))
}

#[test]
fn a_stream_means_the_same_wherever_it_is_cut() {
    let stream = [
        client_frame(0x81, b"42[\"a\"]"),
        client_frame(0x01, b"4fra"),
        client_frame(0x89, b"p"),
        client_frame(0x00, b"gmen"),
        client_frame(0x80, b"ted"),
        client_frame(0x82, &[7; 300]),
        client_frame(0x81, b"3"),
        client_frame(0x88, &[3, 0xe8]),
    ]
    .concat();
    let expected = [
        text("2[\"a\"]"),
        Incoming::Ping(Bytes::from_static(b"p")),
        text("fragmented"),
        Incoming::Packet(Packet::Binary(vec![7; 300].into())),
        Incoming::Packet(Packet::Pong(Str::default())),
        Incoming::Close(Bytes::from_static(&[3, 0xe8])),
    ];
    for cut in 0..stream.len() {
        let (first, second) = stream.split_at(cut);
        let (seen, ended) = feed(&[first, second], RULES);
        assert_eq!((seen.as_slice(), ended), (&expected[..], Ok(())), "{cut}");
    }
    let single: Vec<_> = stream.chunks(1).collect();
    assert_eq!(feed(&single, RULES).0, expected);
}

#[test]
fn nothing_is_kept_between_two_messages() {
    let mut assembly = Assembly::default();
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    let frame = client_frame(0x81, b"4hello");
    assembly
        .feed(&mut frame[..5].to_vec(), RULES, &mut inflater, &mut out)
        .unwrap();
    assert!(assembly.0.is_some());
    assembly
        .feed(&mut frame[5..].to_vec(), RULES, &mut inflater, &mut out)
        .unwrap();
    assert!(assembly.0.is_none());
    assert_eq!(out, [text("hello")]);
}

#[test]
fn what_is_wrong_has_its_close_code() {
    let fragment = client_frame(0x01, &[b'4'; 600]);
    let rest = client_frame(0x80, &[b'4'; 600]);
    for (stream, code) in [
        (client_frame(0x80, b"4x"), CloseCode::Protocol),
        (
            [client_frame(0x01, b"4"), client_frame(0x81, b"4")].concat(),
            CloseCode::Protocol,
        ),
        (client_frame(0x81, &[b'4', 0xff]), CloseCode::InvalidData),
        (client_frame(0x82, &[0; 1001]), CloseCode::TooBig),
        ([fragment, rest].concat(), CloseCode::TooBig),
        (client_frame(0x88, &[3]), CloseCode::Protocol),
    ] {
        assert_eq!(feed(&[&stream], RULES).1, Err(code));
        let single: Vec<_> = stream.chunks(1).collect();
        assert_eq!(feed(&single, RULES).1, Err(code));
    }
}

#[test]
fn a_header_that_announces_much_costs_nothing() {
    let mut assembly = Assembly::default();
    let rules = Rules {
        max_payload: 1 << 30,
        ..RULES
    };
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    let head = [0x82, 0xff, 0, 0, 0, 0, 0x30, 0, 0, 0, 1, 2, 3, 4, 5];
    assembly
        .feed(&mut head.clone(), rules, &mut inflater, &mut out)
        .unwrap();
    assert_eq!((assembly.kept(), out.len()), (1, 0));
}

#[test]
fn revision_3_has_the_type_before_binary_data() {
    let rules = Rules {
        revision3: true,
        ..RULES
    };
    let stream = client_frame(0x82, &[4, 1, 2]);
    let data = Packet::Binary(Bytes::from_static(&[1, 2]));
    assert_eq!(feed(&[&stream], rules).0, [Incoming::Packet(data)]);
    let stream = client_frame(0x82, &[9, 1, 2]);
    let nothing = Incoming::Packet(Packet::Noop);
    assert_eq!(feed(&[&stream], rules).0, [nothing], "as in Node");
}
