//! Text is UTF-8 (RFC 6455 section 8.1). It is judged when the message is whole, as Node's `ws` does.

use crate::cases::{
    BINARY, Case, FIRST_BINARY, FIRST_TEXT, Frame, LAST, NEXT, PING, PONG, TEXT, case, echo, frame,
    pong, try_all, try_many,
};

/// What is UTF-8.
const VALID: [(&str, &str); 34] = [
    ("ASCII", "Hello, world!"),
    ("Latin", "Hello-µ@ßöäüàá-UTF-8!!"),
    ("Greek", "κόσμε"),
    ("an accent of its own", "κο\u{301}σμε"),
    ("the first of one byte", "\u{0}"),
    ("the first of two bytes", "\u{80}"),
    ("the first of three bytes", "\u{800}"),
    ("the first of four bytes", "\u{10000}"),
    ("the last of one byte", "\u{7f}"),
    ("the last of two bytes", "\u{7ff}"),
    ("the last of three bytes", "\u{ffff}"),
    ("the last of four bytes", "\u{10ffff}"),
    ("before the surrogates", "\u{d7ff}"),
    ("after the surrogates", "\u{e000}"),
    ("the private use's end", "\u{f8ff}"),
    ("the replacement", "\u{fffd}"),
    ("the replacement among others", "a\u{fffd}b"),
    ("a byte order mark in the middle", "a\u{feff}b"),
    ("the mark's mirror", "\u{fffe}"),
    ("no character, 1", "\u{1fffe}"),
    ("no character, 2", "\u{2ffff}"),
    ("no character, 3", "\u{3fffe}"),
    ("no character, 8", "\u{8ffff}"),
    ("no character, 15", "\u{ffffe}"),
    ("no character, 16", "\u{10fffe}"),
    ("no characters of three bytes", "\u{fdd0}\u{fdef}"),
    ("lines", "a\nb\r\nc\u{2028}d\u{2029}e\u{85}f"),
    ("null among others", "a\u{0}b"),
    ("controls", "\u{1}\u{8}\u{1b}\u{7f}\u{9f}"),
    ("one of each length", "aä€𝄞"),
    ("one of each length, backwards", "𝄞€äa"),
    ("an emoji of many", "👩\u{200d}👩\u{200d}👧\u{200d}👦"),
    ("from right to left", "\u{202e}שלום"),
    ("what separates packets in a body", "a\u{1e}b"),
];

#[tokio::test]
async fn all_utf_8_is_echoed() {
    try_all(VALID.map(|(name, message)| {
        let sent = frame(TEXT, format!("4{message}"));
        case(name, sent).gets(echo(message))
    }))
    .await;
}

#[tokio::test]
async fn a_character_may_be_cut_by_fragments_anywhere() {
    try_many(VALID.into_iter().flat_map(|(name, message)| {
        let bytes = format!("4{message}").into_bytes();
        let two = (1..bytes.len()).map({
            let bytes = bytes.clone();
            move |cut| {
                let (first, second) = bytes.split_at(cut);
                let sent = [frame(FIRST_TEXT, first), frame(LAST, second)].concat();
                (format!("{name}, cut at {cut}"), sent)
            }
        });
        let each = bytes
            .iter()
            .enumerate()
            .flat_map(|(nth, &byte)| frame(if nth == 0 { FIRST_TEXT } else { NEXT }, [byte]));
        let each = [each.collect(), frame(LAST, [])].concat();
        let all: Vec<_> = two
            .chain([(format!("{name}, byte by byte"), each)])
            .collect();
        all.into_iter()
            .map(move |(name, sent)| case(name, sent).gets(echo(message)))
    }))
    .await;
}

#[tokio::test]
async fn a_control_frame_may_stand_within_a_character() {
    let cases = [
        ("between two bytes", vec![b'4', 0xc3], vec![0xa4]),
        ("between three bytes", vec![b'4', 0xe2, 0x82], vec![0xac]),
        (
            "between four bytes",
            vec![b'4', 0xf0, 0x9d],
            vec![0x84, 0x9e],
        ),
    ];
    try_all(cases.map(|(name, first, second)| {
        let message = [&first[1..], &second[..]].concat();
        let sent = [
            frame(FIRST_TEXT, &first),
            frame(PING, [0xff]),
            frame(PONG, [0xff]),
            frame(LAST, &second),
        ];
        case(name, sent.concat())
            .gets(pong([0xff]))
            .gets(echo(&String::from_utf8(message).unwrap()))
    }))
    .await;
}

#[tokio::test]
async fn binary_is_not_text() {
    let data = [0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80];
    let fragments = [frame(FIRST_BINARY, &data[..3]), frame(LAST, &data[3..])];
    let cases: [Case; 3] = [
        case("a message", frame(BINARY, data)).gets(Frame::Binary(data.to_vec())),
        case("fragments", fragments.concat()).gets(Frame::Binary(data.to_vec())),
        case("a ping", frame(PING, data)).gets(pong(data)),
    ];
    try_all(cases).await;
}
