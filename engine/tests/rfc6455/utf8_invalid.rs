//! What is no UTF-8 is closed with 1007 (RFC 6455 section 8.1).

use crate::cases::{Case, FIRST_TEXT, LAST, NEXT, TEXT, case, echo, frame, say, try_all, try_many};

const INVALID: [(&str, &[u8]); 60] = [
    ("beyond the last", b"\xf4\x90\x80\x80"),
    ("far beyond the last", b"\xf7\xbf\xbf\xbf"),
    ("the first of five bytes", b"\xf8\x88\x80\x80\x80"),
    ("the last of five bytes", b"\xfb\xbf\xbf\xbf\xbf"),
    ("the first of six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("the last of six bytes", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    // Continuations of nothing.
    ("the first continuation", b"\x80"),
    ("the last continuation", b"\xbf"),
    ("two continuations", b"\x80\xbf"),
    ("three continuations", b"\x80\xbf\x80"),
    ("four continuations", b"\x80\xbf\x80\xbf"),
    ("a continuation after a character", b"\xc3\xa4\x80"),
    ("a continuation among letters", b"a\x80b"),
    // Beginnings that are not gone on with.
    ("c0", b"\xc0 "),
    ("c1", b"\xc1 "),
    ("c2", b"\xc2 "),
    ("df", b"\xdf "),
    ("e0", b"\xe0 "),
    ("ef", b"\xef "),
    ("f0", b"\xf0 "),
    ("f4", b"\xf4 "),
    ("f5", b"\xf5 "),
    ("f8", b"\xf8 "),
    ("fc", b"\xfc "),
    ("a beginning after a beginning", b"\xc3\xc3\xa4"),
    // The last byte is missing.
    ("one of two", b"\xc0"),
    ("one of two, late", b"\xdf"),
    ("two of three", b"\xe0\x80"),
    ("two of three, late", b"\xef\xbf"),
    ("three of four", b"\xf0\x80\x80"),
    ("three of four, late", b"\xf7\xbf\xbf"),
    ("four of five", b"\xf8\x80\x80\x80"),
    ("five of six", b"\xfc\x80\x80\x80\x80"),
    ("two of three among letters", b"a\xe2\x82b"),
    ("all of them", b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80"),
    // Bytes that never occur.
    ("fe", b"\xfe"),
    ("ff", b"\xff"),
    ("fe fe ff ff", b"\xfe\xfe\xff\xff"),
    // Longer than needed.
    ("a slash in two bytes", b"\xc0\xaf"),
    ("a slash in three bytes", b"\xe0\x80\xaf"),
    ("a slash in four bytes", b"\xf0\x80\x80\xaf"),
    ("a slash in five bytes", b"\xf8\x80\x80\x80\xaf"),
    ("a slash in six bytes", b"\xfc\x80\x80\x80\x80\xaf"),
    ("7f in two bytes", b"\xc1\xbf"),
    ("7ff in three bytes", b"\xe0\x9f\xbf"),
    ("ffff in four bytes", b"\xf0\x8f\xbf\xbf"),
    ("null in two bytes", b"\xc0\x80"),
    ("null in three bytes", b"\xe0\x80\x80"),
    ("null in four bytes", b"\xf0\x80\x80\x80"),
    // Halves of UTF-16.
    ("the first high surrogate", b"\xed\xa0\x80"),
    ("the last high surrogate", b"\xed\xaf\xbf"),
    ("the last private surrogate", b"\xed\xae\x80"),
    ("the first low surrogate", b"\xed\xb0\x80"),
    ("the last low surrogate", b"\xed\xbf\xbf"),
    ("a pair of the first", b"\xed\xa0\x80\xed\xb0\x80"),
    ("a pair of the last", b"\xed\xaf\xbf\xed\xbf\xbf"),
    ("a pair, first and last", b"\xed\xa0\x80\xed\xbf\xbf"),
    // Among what is right.
    (
        "after Greek",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    ),
    ("Latin 1", b"Gr\xfc\xdfe"),
    ("at the end", b"all is well until here \xff"),
];

fn invalid(name: impl Into<String>, sent: Vec<u8>) -> Case {
    let sent = [say("before"), sent, say("after")].concat();
    case(name, sent).gets(echo("before")).fails(1007)
}

#[tokio::test]
async fn what_is_no_utf_8_ends_the_session() {
    try_all(INVALID.map(|(name, bytes)| invalid(name, frame(TEXT, [b"4", bytes].concat())))).await;
}

#[tokio::test]
async fn what_is_no_utf_8_ends_the_session_however_it_is_fragmented() {
    try_many(INVALID.map(|(name, bytes)| {
        let each = bytes.iter().flat_map(|&byte| frame(NEXT, [byte]));
        let each: Vec<u8> = each.collect();
        invalid(
            name,
            [frame(FIRST_TEXT, "4"), each, frame(LAST, [])].concat(),
        )
    }))
    .await;
}

/// Text that is right up to some byte is right whatever it is cut into; each of its beginnings is right or not.
#[tokio::test]
async fn a_beginning_of_a_text_is_right_at_the_ends_of_its_characters() {
    let message = "4κόσμε€𝄞";
    try_all((1..message.len()).map(|end| {
        let bytes = &message.as_bytes()[..end];
        match std::str::from_utf8(bytes) {
            Ok(text) => case(format!("{end} bytes"), frame(TEXT, bytes)).gets(echo(&text[1..])),
            Err(_) => case(format!("{end} bytes"), frame(TEXT, bytes)).fails(1007),
        }
    }))
    .await;
}

#[tokio::test]
async fn a_text_is_judged_when_it_is_whole() {
    let begun = frame(FIRST_TEXT, b"4\xff");
    try_all([
        case("the first fragment", begun.clone()),
        case(
            "a later fragment",
            [begun.clone(), frame(NEXT, "b")].concat(),
        ),
        case("the last fragment", [begun, frame(LAST, "")].concat()).fails(1007),
        case("before its type is looked at", frame(TEXT, b"x\xff")).fails(1007),
        case("where there is no type", frame(TEXT, b"\xff")).fails(1007),
    ])
    .await;
}
