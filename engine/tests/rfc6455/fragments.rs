//! Fragmented messages, and what may stand between their frames (RFC 6455 section 5.4).

use crate::cases::{
    BINARY, CLOSE, Case, FIRST_BINARY, FIRST_TEXT, Frame, LAST, NEXT, PING, PONG, TEXT, case,
    close_payload, echo, frame, pong, say, try_all,
};

fn concat(frames: &[(u8, &str)]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|&(first, payload)| frame(first, payload))
        .collect()
}

/// Frames, and the message that they are.
type Whole<'a> = (&'a str, &'a [(u8, &'a str)], &'a str);

#[tokio::test]
async fn fragments_are_one_message() {
    let cases: [Whole; 11] = [
        ("two", &[(FIRST_TEXT, "4a"), (LAST, "b")], "ab"),
        (
            "three",
            &[(FIRST_TEXT, "4a"), (NEXT, "b"), (LAST, "c")],
            "abc",
        ),
        ("the first is empty", &[(FIRST_TEXT, ""), (LAST, "4b")], "b"),
        ("the last is empty", &[(FIRST_TEXT, "4a"), (LAST, "")], "a"),
        (
            "the middle is empty",
            &[(FIRST_TEXT, "4a"), (NEXT, ""), (LAST, "c")],
            "ac",
        ),
        (
            "only the middle is not empty",
            &[(FIRST_TEXT, ""), (NEXT, "4b"), (LAST, "")],
            "b",
        ),
        ("the type alone", &[(FIRST_TEXT, "4"), (LAST, "ab")], "ab"),
        (
            "the type in the last",
            &[(FIRST_TEXT, ""), (NEXT, ""), (NEXT, ""), (LAST, "4")],
            "",
        ),
        (
            "each a byte",
            &[
                (FIRST_TEXT, "4"),
                (NEXT, "a"),
                (NEXT, "b"),
                (NEXT, "c"),
                (LAST, "d"),
            ],
            "abcd",
        ),
        ("two in UTF-8", &[(FIRST_TEXT, "4ä"), (LAST, "€")], "ä€"),
        (
            "lengths grow",
            &[(FIRST_TEXT, "4"), (NEXT, "22"), (LAST, "333")],
            "22333",
        ),
    ];
    try_all(cases.map(|(name, frames, message)| case(name, concat(frames)).gets(echo(message))))
        .await;
}

#[tokio::test]
async fn fragments_are_one_binary_message() {
    let cases: [Whole; 4] = [
        ("two", &[(FIRST_BINARY, "a"), (LAST, "b")], "ab"),
        (
            "all are empty",
            &[(FIRST_BINARY, ""), (NEXT, ""), (LAST, "")],
            "",
        ),
        (
            "the last is not empty",
            &[(FIRST_BINARY, ""), (LAST, "4")],
            "4",
        ),
        (
            "four",
            &[(FIRST_BINARY, "a"), (NEXT, "b"), (NEXT, "c"), (LAST, "d")],
            "abcd",
        ),
    ];
    try_all(cases.map(|(name, frames, data)| {
        case(name, concat(frames)).gets(Frame::Binary(data.as_bytes().to_vec()))
    }))
    .await;
}

#[tokio::test]
async fn messages_may_be_fragmented_one_after_the_other() {
    let sent = concat(&[
        (FIRST_TEXT, "4a"),
        (LAST, "b"),
        (FIRST_BINARY, "c"),
        (LAST, "d"),
        (TEXT, "4e"),
        (FIRST_TEXT, "4f"),
        (LAST, "g"),
    ]);
    try_all([case("four", sent)
        .gets(echo("ab"))
        .gets(Frame::Binary(b"cd".to_vec()))
        .gets(echo("e"))
        .gets(echo("fg"))])
    .await;
}

#[tokio::test]
async fn a_control_frame_is_not_fragmented() {
    let mut cases = Vec::new();
    for (name, first, payload) in [
        ("a ping", PING & 0x7f, "a"),
        ("an empty ping", PING & 0x7f, ""),
        ("a pong", PONG & 0x7f, "a"),
        ("an empty pong", PONG & 0x7f, ""),
        ("an empty close", CLOSE & 0x7f, ""),
        ("a close", CLOSE & 0x7f, "\u{3}\u{7f}"),
    ] {
        let sent = concat(&[(TEXT, "4before"), (first, payload), (LAST, "b")]);
        cases.push(case(name, sent).gets(echo("before")).fails(1002));
        let sent = concat(&[(FIRST_TEXT, "4a"), (first, payload)]);
        cases.push(case(format!("{name} between fragments"), sent).fails(1002));
    }
    try_all(cases).await;
}

#[tokio::test]
async fn control_frames_may_stand_between_fragments() {
    let cases = [
        case(
            "a ping",
            concat(&[(FIRST_TEXT, "4a"), (PING, "p"), (LAST, "b")]),
        )
        .gets(pong("p"))
        .gets(echo("ab")),
        case(
            "an empty ping",
            concat(&[(FIRST_TEXT, "4a"), (PING, ""), (LAST, "b")]),
        )
        .gets(pong(""))
        .gets(echo("ab")),
        case(
            "a pong",
            concat(&[(FIRST_TEXT, "4a"), (PONG, "p"), (LAST, "b")]),
        )
        .gets(echo("ab")),
        case(
            "in every gap",
            concat(&[
                (FIRST_TEXT, "4a"),
                (PING, "1"),
                (NEXT, "b"),
                (PING, "2"),
                (PONG, "x"),
                (NEXT, "c"),
                (PING, "3"),
                (LAST, "d"),
            ]),
        )
        .gets(pong("1"))
        .gets(pong("2"))
        .gets(pong("3"))
        .gets(echo("abcd")),
        case(
            "a ping before an empty end",
            concat(&[(FIRST_TEXT, "4a"), (PING, "p"), (LAST, "")]),
        )
        .gets(pong("p"))
        .gets(echo("a")),
        case(
            "125 bytes in a binary message",
            [
                frame(FIRST_BINARY, "a"),
                frame(PING, [7; 125]),
                frame(LAST, "b"),
            ]
            .concat(),
        )
        .gets(pong([7; 125]))
        .gets(Frame::Binary(b"ab".to_vec())),
    ];
    try_all(cases).await;
}

/// After what is wrong more follows, which nobody hears.
fn wrong(name: &str, frames: &[(u8, &str)]) -> Case {
    let sent = [say("before"), concat(frames), say("after")].concat();
    case(name, sent).gets(echo("before")).fails(1002)
}

#[tokio::test]
async fn what_goes_on_has_begun_and_what_has_begun_goes_on() {
    try_all([
        wrong("the end of nothing", &[(LAST, "4a")]),
        wrong("an empty end of nothing", &[(LAST, "")]),
        wrong("a continuation of nothing", &[(NEXT, "4a")]),
        wrong("an empty continuation of nothing", &[(NEXT, "")]),
        wrong(
            "a second end",
            &[(FIRST_BINARY, "a"), (LAST, "b"), (LAST, "c")],
        )
        .gets(Frame::Binary(b"ab".to_vec())),
        wrong(
            "a continuation after the end",
            &[(FIRST_BINARY, "a"), (LAST, "b"), (NEXT, "c")],
        )
        .gets(Frame::Binary(b"ab".to_vec())),
        wrong("a text in a text", &[(FIRST_TEXT, "4a"), (TEXT, "4b")]),
        wrong("a binary in a text", &[(FIRST_TEXT, "4a"), (BINARY, "b")]),
        wrong("a text in a binary", &[(FIRST_BINARY, "a"), (TEXT, "4b")]),
        wrong(
            "a binary in a binary",
            &[(FIRST_BINARY, "a"), (BINARY, "b")],
        ),
        wrong(
            "a fragmented text in a text",
            &[(FIRST_TEXT, "4a"), (FIRST_TEXT, "4b")],
        ),
        wrong(
            "a fragmented binary in a text",
            &[(FIRST_TEXT, "4a"), (FIRST_BINARY, "b")],
        ),
        wrong(
            "a text after a continuation",
            &[(FIRST_TEXT, "4a"), (NEXT, "b"), (TEXT, "4c")],
        ),
        wrong("a text in an empty text", &[(FIRST_TEXT, ""), (TEXT, "4b")]),
    ])
    .await;
}

#[tokio::test]
async fn what_does_not_belong_there_is_an_error_however_long_it_is_said_to_be() {
    let huge = |first: u8| {
        let mut head = vec![first, 0xff, 0, 0, 0, 1, 0, 0, 0, 0];
        head.extend([0; 4]);
        head
    };
    let begun = frame(FIRST_TEXT, "4a");
    try_all([
        case("the end of nothing", huge(LAST)).fails(1002),
        case("a continuation of nothing", huge(NEXT)).fails(1002),
        case("a text in a text", [begun.clone(), huge(TEXT)].concat()).fails(1002),
        case("a binary in a text", [begun, huge(BINARY)].concat()).fails(1002),
    ])
    .await;
}

#[tokio::test]
async fn fragments_are_as_long_together_as_a_message_may_be() {
    let half = "h".repeat(50_000);
    let begun = frame(FIRST_TEXT, format!("4{}", &half[1..]));
    let whole = format!("{}{half}", &half[1..]);
    let announced = |len: u32| {
        let mut head = vec![LAST, 0xff, 0, 0, 0, 0];
        head.extend(len.to_be_bytes());
        head.extend([0; 4]);
        head
    };
    try_all([
        case("as long", [begun.clone(), frame(LAST, &half)].concat()).gets(echo(&whole)),
        case("longer", [begun.clone(), announced(50_001)].concat()).fails(1009),
        case(
            "longer by one in the end",
            [begun.clone(), frame(NEXT, &half), frame(LAST, "x")].concat(),
        )
        .fails(1009),
        case(
            "an empty end",
            [begun, frame(NEXT, &half), frame(LAST, "")].concat(),
        )
        .gets(echo(&whole)),
    ])
    .await;
}

#[tokio::test]
async fn a_message_may_be_left_unfinished() {
    let begun = frame(FIRST_TEXT, "4a");
    let close = frame(CLOSE, close_payload(1000, "enough"));
    try_all([
        case("for now", begun.clone()),
        case("for good", [begun.clone(), close.clone()].concat())
            .leaves(&close_payload(1000, "enough")),
        case(
            "after a ping",
            [begun, frame(PING, "p"), frame(NEXT, "b"), close].concat(),
        )
        .gets(pong("p"))
        .leaves(&close_payload(1000, "enough")),
    ])
    .await;
}
