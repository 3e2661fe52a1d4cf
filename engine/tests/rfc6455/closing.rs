//! How a connection ends (RFC 6455 sections 5.5.1 and 7).

use engineioxide::{DisconnectReason, EndReason};

use crate::cases::{
    CLOSE, Frame, LAST, Length, MASK, PING, case, close_payload, echo, frame, frame_of, pause,
    pong, say, try_all, unmasked,
};
use crate::harness::{Server, Told, soon};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_close_frame_comes_back_as_it_is() {
    let reasons: [(&str, Vec<u8>); 8] = [
        ("nothing", vec![]),
        ("a code", close_payload(1000, "")),
        ("a reason", close_payload(1000, "Hello, world!")),
        (
            "a reason of 122 bytes",
            close_payload(1000, "*".repeat(122)),
        ),
        (
            "a reason of 123 bytes",
            close_payload(1000, "*".repeat(123)),
        ),
        ("a reason in UTF-8", close_payload(1001, "schön, 再见 👋")),
        ("a reason with null", close_payload(1001, "a\0b")),
        ("a reason of one byte", close_payload(4000, "x")),
    ];
    try_all(
        reasons
            .into_iter()
            .map(|(name, payload)| case(name, frame(CLOSE, &payload)).leaves(&payload)),
    )
    .await;
}

#[tokio::test]
async fn codes_that_a_client_may_send_come_back() {
    let codes = (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3001, 3999, 4000, 4001, 4500, 4998, 4999]);
    try_all(codes.flat_map(|code| {
        ["", "why"].map(|reason| {
            let payload = close_payload(code, reason);
            case(format!("{code} {reason}"), frame(CLOSE, &payload)).leaves(&payload)
        })
    }))
    .await;
}

#[tokio::test]
async fn codes_that_no_client_may_send_are_an_error() {
    let codes = [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 32768, 65535,
    ];
    try_all(codes.into_iter().flat_map(|code| {
        ["", "why"].map(|reason| {
            let payload = close_payload(code, reason);
            case(format!("{code} {reason}"), frame(CLOSE, payload)).fails(1002)
        })
    }))
    .await;
}

#[tokio::test]
async fn a_close_frame_that_is_malformed_is_an_error() {
    try_all([
        case("one byte", frame(CLOSE, [3])).fails(1002),
        case(
            "124 bytes of reason",
            frame(CLOSE, close_payload(1000, "*".repeat(124))),
        )
        .fails(1002),
        case(
            "much reason",
            frame(CLOSE, close_payload(1000, "*".repeat(70_000))),
        )
        .fails(1002),
        case(
            "a length in two bytes",
            frame_of(CLOSE, &[3, 0xe8], Length::Two, MASK),
        )
        .fails(1002),
        case("fragmented", frame(CLOSE & 0x7f, [3, 0xe8])).fails(1002),
        case(
            "gone on with",
            [frame(CLOSE & 0x7f, []), frame(LAST, [])].concat(),
        )
        .fails(1002),
        case("unmasked", unmasked(CLOSE, &[3, 0xe8])).fails(1002),
        case("no UTF-8", frame(CLOSE, close_payload(1000, [0xff]))).fails(1007),
        case(
            "half a character",
            frame(CLOSE, close_payload(1000, [0xe2, 0x82])),
        )
        .fails(1007),
        case(
            "a surrogate",
            frame(CLOSE, close_payload(1000, [0xed, 0xa0, 0x80])),
        )
        .fails(1007),
        case(
            "too long by far",
            frame(CLOSE, close_payload(1000, [0xc0, 0x80])),
        )
        .fails(1007),
        case(
            "a bad code before bad text",
            frame(CLOSE, close_payload(999, [0xff])),
        )
        .fails(1002),
    ])
    .await;
}

#[tokio::test]
async fn what_came_before_a_close_is_answered_and_what_comes_behind_is_not() {
    let close = frame(CLOSE, close_payload(1000, "bye"));
    let payload = close_payload(1000, "bye");
    let sent = |frames: &[&[u8]]| frames.concat();
    try_all([
        case("a text before", sent(&[&say("a"), &close]))
            .gets(echo("a"))
            .leaves(&payload),
        case("a ping before", sent(&[&frame(PING, "p"), &close]))
            .gets(pong("p"))
            .leaves(&payload),
        case(
            "both before",
            sent(&[
                &say("a"),
                &frame(PING, "p"),
                &say("b"),
                &frame(PING, "q"),
                &close,
            ]),
        )
        .gets(echo("a"))
        .gets(pong("p"))
        .gets(echo("b"))
        .gets(pong("q"))
        .leaves(&payload),
        case("a text behind", sent(&[&close, &say("a")])).leaves(&payload),
        case("a ping behind", sent(&[&close, &frame(PING, "p")])).leaves(&payload),
        case(
            "a second close",
            sent(&[&close, &frame(CLOSE, close_payload(1001, ""))]),
        )
        .leaves(&payload),
        case("an error behind", sent(&[&close, &frame(0xf3, "?")])).leaves(&payload),
        case("half a frame behind", sent(&[&close, &say("a")[..5]])).leaves(&payload),
        case(
            "much before",
            sent(&[&say(&"m".repeat(90_000)), &close, &say(&"n".repeat(90_000))]),
        )
        .gets(echo(&"m".repeat(90_000)))
        .leaves(&payload),
    ])
    .await;
}

/// How the server closes: who asks it to, and what the close frame carries.
#[tokio::test]
async fn a_server_that_closes_says_so_and_reads_the_answer() {
    for (reason, payload) in [
        (EndReason::Application, vec![]),
        (EndReason::Drain, vec![3, 0xe9]),
    ] {
        for answer in [
            frame(CLOSE, &payload),
            [say("late"), frame(PING, "late"), frame(CLOSE, &payload)].concat(),
            frame(CLOSE, close_payload(4000, "my own")),
            vec![0xff; 20],
        ] {
            let server = Server::start();
            let mut client = server.websocket();
            client.answers_close = false;
            client.opened().await;
            client.send("4a").await;
            assert_eq!(client.next().await, echo("a"));
            server.engine.end(client.sid.unwrap(), reason);
            assert_eq!(client.next().await, Frame::Close(payload.clone()));
            client.send_raw(&answer).await;
            assert_eq!(client.next().await, Frame::End);
            let left = Told::Disconnect(DisconnectReason::TransportClose);
            let drained = Told::Disconnect(DisconnectReason::ClosingServer);
            let told = server.told();
            assert!(told[2] == left || told[2] == drained, "{told:?}");
            assert_eq!((told.len(), server.ends()), (3, vec![reason]));
        }
    }
}

#[tokio::test]
async fn close_frames_may_cross() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    client
        .send_raw(&frame(CLOSE, close_payload(1000, "first")))
        .await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    let Frame::Close(payload) = client.next().await else {
        panic!("no close frame");
    };
    assert!(payload == [3, 0xe9] || payload == close_payload(1000, "first"));
    assert_eq!(client.next().await, Frame::End);
    assert_eq!(server.ends().len(), 1);
    assert_eq!(server.engine.sessions(), 0);
}

#[tokio::test]
async fn a_connection_may_end_without_a_close_frame_after_any_byte() {
    let server = Server::start();
    let bytes = [say("a"), frame(CLOSE & 0x0f | 0x01, "")].concat();
    let whole = say("a").len();
    for end in 0..=whole {
        let mut client = server.websocket();
        client.opened().await;
        client.send_raw(&bytes[..end]).await;
        pause().await;
        soon(client.conn.shutdown()).await.unwrap();
        if end == whole {
            assert_eq!(client.next().await, echo("a"));
        }
        assert_eq!(client.next().await, Frame::End, "{end}");
        assert_eq!(server.ends().last(), Some(&EndReason::TransportClosed));
    }
    assert_eq!(server.engine.sessions(), 0);
}
