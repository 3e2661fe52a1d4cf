//! Hostile clients: WebSocket frames against RFC 6455.

use super::harness::*;
use super::hostile::Victim;
use super::hostile_packets::assert_ended;

/// An event, as the engine's text.
const EVENT: &[u8] = b"42[\"whole\"]";

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    WebSocket::frame(first, payload)
}

/// Every one of these ends the session that sends it, and nothing else.
#[track_caller]
fn each_ends_its_session(cases: Vec<(&str, Vec<u8>)>) {
    let victim = Victim::new();
    for (what, bytes) in cases {
        let mut socket = victim.websocket();
        let _ = socket.raw.try_send(bytes);
        assert_ended(&mut socket, what);
        drop(socket);
        victim.unharmed();
    }
}

#[test]
fn text_that_is_not_utf8_ends_the_session() {
    each_ends_its_session(vec![
        ("no UTF-8", frame(0x81, b"42[\"\xff\xfe\"]")),
        ("half a character", frame(0x81, b"42[\"\xe2\x82")),
        ("a surrogate", frame(0x81, b"42[\"\xed\xa0\x80\"]")),
    ]);
}

#[test]
fn a_frame_over_the_limit_ends_the_session() {
    let claim = |length: u64| [&[0x81, 0xff], &length.to_be_bytes()[..], &[1, 2, 3, 4, 5]].concat();
    let piece = frame(0x00, &vec![b'x'; 500_000]);
    let start = frame(0x01, &vec![b'x'; 500_000]);
    each_ends_its_session(vec![
        ("2^63 - 1 bytes", claim(u64::MAX >> 1)),
        ("2^64 - 1 bytes", claim(u64::MAX)),
        ("4 GB", claim(1 << 32)),
        ("2 MB", frame(0x81, &vec![b'x'; 2_000_000])),
        ("2 MB of binary", frame(0x82, &vec![b'x'; 2_000_000])),
        (
            "2 MB in pieces",
            [&start[..], &piece, &piece, &piece].concat(),
        ),
    ]);
}

#[test]
fn frames_that_the_protocol_forbids_end_the_session() {
    let long = vec![b'x'; 126];
    let mut cases = vec![
        ("not masked", [&[0x81, 11], EVENT].concat()),
        ("a fragment without start", frame(0x80, EVENT)),
        (
            "interleaved",
            [frame(0x01, b"42"), frame(0x81, EVENT)].concat(),
        ),
        ("a ping in fragments", frame(0x09, b"x")),
        ("a close in fragments", frame(0x08, b"\x03\xe8")),
        ("a long ping", frame(0x89, &long)),
        ("a long pong", frame(0x8a, &long)),
        ("a long close", frame(0x88, &long)),
    ];
    for bit in [0x40, 0x20, 0x10] {
        cases.push(("a reserved bit", frame(0x81 | bit, EVENT)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("a reserved opcode", frame(0x80 | opcode, EVENT)));
    }
    each_ends_its_session(cases);
}

#[test]
fn a_close_ends_the_session_whatever_its_code() {
    let mut cases = vec![
        ("one byte", frame(0x88, b"x")),
        ("none", frame(0x88, b"")),
        ("not UTF-8", frame(0x88, b"\x03\xe8\xff\xfe")),
    ];
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        cases.push(("a code", frame(0x88, &code.to_be_bytes())));
    }
    each_ends_its_session(cases);
}

#[test]
fn fragments_and_empty_frames_are_put_together() {
    let victim = Victim::new();
    let mut socket = victim.websocket();
    let (first, rest) = EVENT.split_at(3);
    socket.raw.send(frame(0x01, first));
    for _ in 0..1_000 {
        socket.raw.send(frame(0x00, b""));
    }
    socket.raw.send(frame(0x89, b"in between"));
    socket.raw.send(frame(0x80, rest));
    let mut seen = Vec::new();
    while seen.last() != Some(&EVENT.to_vec()) {
        let (_, payload) = socket.read().expect("a frame");
        seen.push(payload);
    }
    assert!(seen.contains(&b"in between".to_vec()), "a pong");
    drop(socket);
    victim.unharmed();
}

#[test]
fn a_flood_of_pings_harms_nobody() {
    let victim = Victim::new();
    let flood = frame(0x89, b"ping").repeat(10_000);
    // One client reads none of its pongs, and leaves.
    let mut deaf = victim.websocket();
    let _ = deaf.raw.try_send(&flood);
    victim.serves("meanwhile");
    drop(deaf);
    let mut socket = victim.websocket();
    socket.raw.send(&flood);
    socket.raw.send(frame(0x81, EVENT));
    while socket.read().expect("a frame").1 != EVENT {}
    drop(socket);
    victim.unharmed();
}

#[test]
fn websockets_that_die_before_their_first_packet_leave_nothing() {
    let mut victim = Victim::new();
    let request = WebSocket::request("/socket.io/?EIO=4&transport=websocket");
    // What the engine keeps until the connect timeout overlaps for a few rounds, no more.
    for round in 0..10 {
        for nth in 0..150 {
            let mut raw = victim.tcp();
            raw.send(&request);
            if nth % 2 == 0 {
                raw.reset();
            }
            let mut raw = victim.unix();
            raw.send(&request);
            if nth % 3 == 0 {
                raw.half_close();
            }
        }
        match round {
            0..7 => victim.grew(),
            _ => victim.unharmed(),
        }
    }
}

#[test]
fn websockets_that_die_in_their_first_frame_leave_nothing() {
    let victim = Victim::new();
    let request = WebSocket::request("/socket.io/?EIO=4&transport=websocket");
    let connect = [request.as_bytes(), &frame(0x81, b"40")].concat();
    for end in request.len()..connect.len() {
        for _ in 0..10 {
            let mut raw = victim.tcp();
            raw.send(&connect[..end]);
            if end % 2 == 0 {
                raw.reset();
            }
        }
    }
    victim.unharmed();
}
