//! The RFC's own examples, and messages that Engine.IO gives a meaning.

use engineioxide::EndReason;

use crate::cases::{
    BINARY, CLOSE, Case, FIRST_TEXT, Frame, LAST, NEXT, PING, TEXT, case, echo, frame, pong, say,
    try_all,
};

/// What is no packet ends the session without a code.
fn no_packet(name: &str, payload: &str) -> Case {
    let sent = [say("before"), frame(TEXT, payload), say("after")].concat();
    case(name, sent)
        .gets(echo("before"))
        .ends_when_answered(EndReason::ProtocolError)
}

#[tokio::test]
async fn the_examples_of_section_5_7() {
    let hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let masked = |first: u8| [&[first, 0x85, 0x37, 0xfa, 0x21, 0x3d], &hello[..]].concat();
    try_all([
        case("a ping", masked(PING)).gets(pong("Hello")),
        case("a binary message", masked(BINARY)).gets(Frame::Binary(b"Hello".to_vec())),
        // It is right, and no packet.
        case("a text", masked(TEXT)).ends_when_answered(EndReason::ProtocolError),
        case("an unmasked text", *b"\x81\x05Hello").fails(1002),
        case("an unmasked ping", *b"\x89\x05Hello").fails(1002),
        case("an unmasked fragment", *b"\x01\x03Hel\x80\x02lo").fails(1002),
        case("256 bytes", frame(BINARY, [b'x'; 256])).gets(Frame::Binary(vec![b'x'; 256])),
        case("64 KiB", frame(BINARY, vec![b'x'; 65536])).gets(Frame::Binary(vec![b'x'; 65536])),
    ])
    .await;
}

#[tokio::test]
async fn a_message_comes_in_packets_of_a_network() {
    let message = "n".repeat(65_536);
    let bytes = format!("4{message}").into_bytes();
    let mut sent = Vec::new();
    let pieces = bytes.chunks(1300);
    let last = pieces.len() - 1;
    for (nth, piece) in pieces.enumerate() {
        let first = match nth {
            0 => FIRST_TEXT,
            nth if nth == last => LAST,
            _ => NEXT,
        };
        sent.extend(frame(first, piece));
    }
    try_all([case("64 KiB in fragments of 1,300 bytes", sent).gets(echo(&message))]).await;
}

#[tokio::test]
async fn packets_of_engine_io() {
    let nothing = [
        "0",
        "0{\"sid\":\"x\"}",
        "1",
        "1x",
        "3",
        "3probe",
        "5",
        "6",
        "6x",
    ];
    try_all(nothing.map(|packet| {
        let sent = [frame(TEXT, packet), say("after")].concat();
        case(packet, sent).gets(echo("after"))
    }))
    .await;
    try_all(
        [
            "",
            "7",
            "9",
            "x",
            "ä",
            "\n",
            " 4a",
            "2",
            "2probe",
            "\u{feff}4a",
            "\u{0}",
        ]
        .map(|packet| no_packet(packet, packet)),
    )
    .await;
    try_all([
        case("binary as text", frame(TEXT, "bAQID")).gets(Frame::Binary(vec![1, 2, 3])),
        case("nothing as text", frame(TEXT, "b")).gets(Frame::Binary(vec![])),
        case("an empty message", frame(TEXT, "4")).gets(echo("")),
        case("an empty binary message", frame(BINARY, [])).gets(Frame::Binary(vec![])),
    ])
    .await;
}

#[tokio::test]
async fn what_follows_the_end_is_not_heard() {
    let rest = [
        say("after"),
        frame(PING, "after"),
        frame(CLOSE, []),
        vec![0xff; 40],
    ]
    .concat();
    try_all([
        case("an error", [frame(0x83, []), rest.clone()].concat()).fails(1002),
        case("no packet", [frame(TEXT, "x"), rest.clone()].concat())
            .ends(&[], EndReason::ProtocolError),
        case("the application", [say("close"), rest].concat()).ends(&[], EndReason::Application),
    ])
    .await;
}
