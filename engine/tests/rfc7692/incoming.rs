//! What clients send (RFC 7692 section 7.2.2).

use crate::cases::{
    BINARY, CLOSE, Case, FIRST_BINARY, FIRST_TEXT, Frame, LAST, NEXT, PING, PONG, TEXT, case, echo,
    frame, pong, say, try_all, try_all_with,
};
use crate::harness::{deflate, text};
use crate::{DEFLATED, deflated, say_deflated, server};

async fn try_deflated(cases: impl IntoIterator<Item = Case>) {
    try_all_with(server(), cases).await;
}

#[tokio::test]
async fn a_message_is_deflated_or_not_as_its_client_likes() {
    let many = (0..20).flat_map(|nth: u8| say_deflated(&nth.to_string()));
    let many: Vec<u8> = many.collect();
    try_deflated([
        case("a text", say_deflated("hello")).gets(echo("hello")),
        case("not ASCII", say_deflated("κόσμε 😀")).gets(echo("κόσμε 😀")),
        case("bytes", deflated(BINARY, [0, 255, 7])).gets(Frame::Binary(vec![0, 255, 7])),
        case("no bytes", deflated(BINARY, [])).gets(Frame::Binary(vec![])),
        case("no bytes, nor a block", frame(BINARY | DEFLATED, [])).gets(Frame::Binary(vec![])),
        case(
            "one of three",
            [say("a"), say_deflated("b"), say("c")].concat(),
        )
        .gets(echo("a"))
        .gets(echo("b"))
        .gets(echo("c")),
        (0..20).fold(case("many", many), |case, nth: u8| {
            case.gets(echo(&nth.to_string()))
        }),
    ])
    .await;
}

#[tokio::test]
async fn a_deflated_message_comes_in_fragments_with_control_frames_between() {
    let payload = deflate("4a message of some length, length, length");
    let whole = || echo("a message of some length, length, length");
    let (first, second) = payload.split_at(payload.len() / 2);
    let first_of = |first| frame(FIRST_TEXT | DEFLATED, first);
    try_deflated([
        case("two", [first_of(first), frame(LAST, second)].concat()).gets(whole()),
        case(
            "many",
            [
                first_of(&[]),
                payload
                    .iter()
                    .flat_map(|byte| frame(NEXT, [*byte]))
                    .collect(),
                frame(LAST, []),
            ]
            .concat(),
        )
        .gets(whole()),
        case(
            "a ping between",
            [first_of(first), frame(PING, "p"), frame(LAST, second)].concat(),
        )
        .gets(pong("p"))
        .gets(whole()),
        case(
            "bytes",
            [
                frame(FIRST_BINARY | DEFLATED, deflate([1; 300])),
                frame(LAST, []),
            ]
            .concat(),
        )
        .gets(Frame::Binary(vec![1; 300])),
    ])
    .await;
}

// RFC 7692 section 7.2.3.
#[tokio::test]
async fn the_examples_of_the_rfc_are_read() {
    let hello = |payload: &[u8]| frame(BINARY | DEFLATED, payload);
    let expected = || Frame::Binary(b"Hello".to_vec());
    try_deflated([
        case("one block", hello(b"\xf2\x48\xcd\xc9\xc9\x07\x00")).gets(expected()),
        case(
            "no compression",
            hello(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
        )
        .gets(expected()),
        case("a final block", hello(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")).gets(expected()),
        case(
            "two blocks",
            hello(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
        )
        .gets(expected()),
        case(
            "fragments",
            [
                frame(FIRST_BINARY | DEFLATED, b"\xf2\x48\xcd"),
                frame(LAST, b"\xc9\xc9\x07\x00"),
            ]
            .concat(),
        )
        .gets(expected()),
        // The second one looks back to the first, which was agreed on not to be kept.
        case(
            "a window that is kept",
            [
                hello(b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
                hello(b"\xf2\x00\x11\x00\x00"),
            ]
            .concat(),
        )
        .gets(expected())
        .fails(1007),
    ])
    .await;
}

#[tokio::test]
async fn the_bit_belongs_to_the_first_frame_of_a_message() {
    let payload = deflate("4a");
    try_deflated([
        case("a ping", frame(PING | DEFLATED, "p")).fails(1002),
        case("a pong", frame(PONG | DEFLATED, "p")).fails(1002),
        case("a close", frame(CLOSE | DEFLATED, [3, 0xe8])).fails(1002),
        case(
            "a later fragment",
            [
                frame(FIRST_TEXT | DEFLATED, &payload),
                frame(LAST | DEFLATED, []),
            ]
            .concat(),
        )
        .fails(1002),
        case(
            "a later fragment of a plain message",
            [frame(FIRST_TEXT, "4a"), frame(LAST | DEFLATED, "b")].concat(),
        )
        .fails(1002),
        case("the second bit", frame(TEXT | 0x20, "4a")).fails(1002),
        case("both", frame(TEXT | 0x60, &payload)).fails(1002),
    ])
    .await;
    try_all([case("not agreed on", frame(TEXT | DEFLATED, payload)).fails(1002)]).await;
}

#[tokio::test]
async fn what_is_wrong_in_a_deflated_message_has_its_close_code() {
    let before = || say_deflated("before");
    try_deflated([
        case(
            "no deflated data",
            [before(), frame(BINARY | DEFLATED, [0xff; 9]), say("after")].concat(),
        )
        .gets(echo("before"))
        .fails(1007),
        case("no UTF-8", deflated(TEXT, [b'4', 0xff])).fails(1007),
        case("as long as it may be", deflated(BINARY, vec![1; 100_000]))
            .gets(Frame::Deflated(Frame::Binary(vec![1; 100_000]).into())),
        case("one longer", deflated(BINARY, vec![1; 100_001])).fails(1009),
        case(
            "a bomb",
            [before(), deflated(TEXT, vec![b'4'; 8 << 20]), say("after")].concat(),
        )
        .gets(echo("before"))
        .fails(1009),
        case(
            "too long before it is inflated",
            frame(BINARY | DEFLATED, vec![0; 100_001]),
        )
        .fails(1009),
    ])
    .await;
}

#[tokio::test]
async fn a_probe_and_what_follows_it_may_be_deflated() {
    let server = server();
    let polling = server.polling();
    let mut socket = polling.upgrade();
    socket.send_raw(&deflated(TEXT, "2probe")).await;
    assert_eq!(socket.next().await, text("3probe"));
    let upgrade = [
        deflated(TEXT, "5"),
        say_deflated("moved"),
        say_deflated(&"m".repeat(5000)),
    ];
    socket.send_raw(&upgrade.concat()).await;
    assert_eq!(socket.next().await, echo("moved"));
    let long = echo(&"m".repeat(5000));
    assert_eq!(socket.next().await, Frame::Deflated(long.into()));
}
