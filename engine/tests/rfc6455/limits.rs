//! Large messages, many messages, and small pieces.

use engineioxide::config::EngineIoConfig;

use crate::cases::{
    BINARY, FIRST_BINARY, FIRST_TEXT, Frame, LAST, NEXT, TEXT, case, echo, frame, pause, say,
    try_all,
};
use crate::harness::{Server, WebSocket, settings, soon};

const MIB: usize = 1 << 20;

fn large() -> Server {
    let config = EngineIoConfig {
        max_payload: 16 * MIB as u64,
        ..EngineIoConfig::default()
    };
    Server::with(config, settings())
}

async fn open(server: &Server) -> WebSocket {
    let mut client = server.websocket();
    client.opened().await;
    client
}

/// Bytes of which none is where another should be.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(4)).flatten().collect();
    bytes.truncate(len);
    bytes
}

#[tokio::test]
async fn large_messages_come_back() {
    let server = large();
    let mut client = open(&server).await;
    for len in [64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB] {
        let data = pattern(len);
        client.send_raw(&frame(BINARY, &data)).await;
        assert!(client.next().await == Frame::Binary(data), "{len}");
    }
    for len in [64 << 10, 256 << 10, MIB] {
        let message = "ä".repeat(len / 2 - 1);
        client.send_raw(&say(&message)).await;
        assert!(client.next().await == echo(&message), "{len}");
    }
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn a_large_message_comes_in_fragments_of_any_size() {
    let server = large();
    let mut client = open(&server).await;
    let data = pattern(MIB);
    for size in [64, 256, 1 << 10, 4 << 10, 64 << 10, 256 << 10, MIB] {
        for pieces_of in [usize::MAX, 1300] {
            let mut sent = frame(FIRST_BINARY, []);
            for piece in data.chunks(size) {
                sent.extend(frame(NEXT, piece));
            }
            sent.extend(frame(LAST, []));
            for piece in sent.chunks(pieces_of) {
                client.send_raw(piece).await;
            }
            assert!(client.next().await == Frame::Binary(data.clone()), "{size}");
        }
    }
}

#[tokio::test]
async fn a_large_message_comes_in_writes_of_any_size() {
    let server = large();
    let mut client = open(&server).await;
    let message = "w".repeat(256 << 10);
    let sent = say(&message);
    for size in [64, 128, 256, 512, 1 << 10, 2 << 10] {
        for piece in sent.chunks(size) {
            client.send_raw(piece).await;
            pause().await;
        }
        assert!(client.next().await == echo(&message), "{size}");
    }
}

#[tokio::test]
async fn many_messages_are_answered_in_their_order() {
    let server = large();
    for len in [0, 16, 64, 256, 1024] {
        let client = open(&server).await;
        let message = |nth: usize| format!("{nth} {}", "m".repeat(len));
        let sent: Vec<u8> = (0..1000).flat_map(|nth| say(&message(nth))).collect();
        let (mut read, mut write) = tokio::io::split(client.conn);
        let expected: Vec<u8> = (0..1000)
            .flat_map(|nth| {
                let text = format!("4{}", message(nth));
                let mut head = vec![TEXT];
                match u8::try_from(text.len()) {
                    Ok(len @ 0..126) => head.push(len),
                    _ => {
                        head.push(126);
                        head.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
                    }
                }
                head.extend(text.into_bytes());
                head
            })
            .collect();
        let mut came = vec![0; expected.len()];
        let (wrote, got) = tokio::join!(
            soon(tokio::io::AsyncWriteExt::write_all(&mut write, &sent)),
            soon(tokio::io::AsyncReadExt::read_exact(&mut read, &mut came)),
        );
        wrote.unwrap();
        got.unwrap();
        assert!(came == expected, "{len}");
    }
}

#[tokio::test]
async fn a_message_takes_turns_with_its_echo() {
    let server = large();
    let mut client = open(&server).await;
    for nth in 0..2000 {
        let message = nth.to_string();
        client.send(&format!("4{message}")).await;
        assert_eq!(client.next().await, echo(&message));
    }
}

#[tokio::test]
async fn ten_thousand_fragments_are_one_message() {
    let server = large();
    let mut client = open(&server).await;
    let mut sent = frame(FIRST_TEXT, "4");
    for _ in 0..10_000 {
        sent.extend(frame(NEXT, ""));
        sent.extend(frame(NEXT, "f"));
    }
    sent.extend(frame(LAST, ""));
    client.send_raw(&sent).await;
    assert!(client.next().await == echo(&"f".repeat(10_000)));
    assert_eq!(server.engine.weights()[0].bytes, 0);
}

#[tokio::test]
async fn a_message_is_as_long_as_it_may_be() {
    let most = "m".repeat(99_999);
    try_all([
        case("a text", say(&most)).gets(echo(&most)),
        case("a text, one longer", say(&format!("{most}x"))).fails(1009),
        case("bytes", frame(BINARY, vec![1; 100_000])).gets(Frame::Binary(vec![1; 100_000])),
        case("bytes, one longer", frame(BINARY, vec![1; 100_001])).fails(1009),
        case(
            "after what was right",
            [say("before"), frame(BINARY, vec![1; 100_001]), say("after")].concat(),
        )
        .gets(echo("before"))
        .fails(1009),
    ])
    .await;
}
