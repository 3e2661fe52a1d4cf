//! Clients that read slowly: whatever part of a frame is written at a time, the stream is the same.

use engineioxide::config::EngineIoConfig;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::harness::{Conn, Frame, ProtocolVersion, Server, WebSocket, client_frame, settings};

/// Lengths about which something changes: the header's form, what is copied, what one call writes.
const LENGTHS: [usize; 16] = [
    0, 1, 124, 125, 126, 127, 2046, 2047, 2048, 2049, 5000, 0, 1, 65_534, 65_535, 65_536,
];

fn server() -> Server {
    let config = EngineIoConfig {
        max_payload: 10_000_000,
        ..EngineIoConfig::default()
    };
    Server::with(config, settings())
}

/// Messages of all lengths, texts and bytes.
fn messages() -> Vec<Frame> {
    let messages = LENGTHS.iter().enumerate().flat_map(|(nth, &len)| {
        let letter = char::from(b'a' + u8::try_from(nth).unwrap());
        let text = std::iter::once('4').chain(std::iter::repeat_n(letter, len));
        let data = (0..len).map(|at| u8::try_from(at % 251).unwrap());
        [Frame::Text(text.collect()), Frame::Binary(data.collect())]
    });
    messages.collect()
}

fn sent(message: &Frame) -> Vec<u8> {
    match message {
        Frame::Text(text) => client_frame(0x81, text.as_bytes()),
        Frame::Binary(data) => client_frame(0x82, data),
        other => panic!("{other:?}"),
    }
}

/// Sends all messages and a ping behind each before it reads anything; then reads, a sip at a time. Of the pings of
/// one who does not read only the last must be answered; the order is that in which they were sent.
async fn reads_in_sips<S>(server: &Server, mut client: WebSocket<S>, sip: usize)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.opened().await;
    let messages = messages();
    for (nth, message) in messages.iter().enumerate() {
        client.send_raw(&sent(message)).await;
        client
            .send_raw(&client_frame(0x89, nth.to_string().as_bytes()))
            .await;
    }
    server
        .until("all is handled", |server| {
            server.told().len() == 1 + messages.len()
        })
        .await;
    assert!(server.engine.waiting() > 0, "it had room for everything");
    client.sip = sip;
    let mut came = 0;
    let mut answered = None;
    while answered != Some(messages.len() - 1) {
        match client.next().await {
            Frame::Pong(payload) => {
                let nth: usize = String::from_utf8(payload).unwrap().parse().unwrap();
                assert!(answered < Some(nth));
                assert!(nth < came, "the answer to {nth} came before {came}");
                answered = Some(nth);
            }
            message => {
                assert!(message == messages[came], "{came}");
                came += 1;
            }
        }
    }
    assert_eq!(came, messages.len());
    client.sip = usize::MAX;
    client.send("4after").await;
    assert_eq!(client.next().await, Frame::Text("4after".to_owned()));
    assert_eq!((server.engine.waiting(), server.engine.sessions()), (0, 1));
}

#[tokio::test]
async fn a_client_that_reads_a_byte_at_a_time_gets_everything_in_order() {
    for room in [1, 6 * 1024, 20 * 1024] {
        let server = server();
        let (ours, theirs) = UnixStream::pair().unwrap();
        set_socket_send_buffer_size(&theirs, room).unwrap();
        let client = server.websocket_over(ours, Conn::Unix(theirs), &[], ProtocolVersion::V4);
        reads_in_sips(&server, client, 1).await;
    }
}

#[tokio::test]
async fn a_client_with_little_room_gets_everything_in_order() {
    for (room, sip) in [(2304, 700), (4096, 1300), (16_384, 5000)] {
        let server = server();
        let client = server.websocket_over_tcp(room).await;
        reads_in_sips(&server, client, sip).await;
    }
}
