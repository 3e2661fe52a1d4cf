//! What the server sends (RFC 7692 section 7.2.1).

use std::sync::Arc;

use engineioxide::Str;
use engineioxide::config::EngineIoConfig;
use flate2::{Decompress, FlushDecompress};
use tokio::io::AsyncReadExt;

use crate::cases::{BINARY, Frame, Server, echo, frame, say};
use crate::harness::{ProtocolVersion, WebSocket, noise, settings, soon};
use crate::{say_deflated, server};

/// JSON as it is sent by many.
fn json(len: usize) -> String {
    let mut text = String::new();
    for nth in 0.. {
        text.push_str(&format!("{{\"id\":{nth},\"name\":\"somebody\"}},"));
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
}

fn deflated(frame: Frame) -> Frame {
    Frame::Deflated(frame.into())
}

async fn open(server: &Server) -> WebSocket {
    let mut client = server.websocket();
    client.opened().await;
    client
}

#[tokio::test]
async fn what_is_long_enough_goes_out_deflated() {
    let server = server();
    let mut client = open(&server).await;
    for (len, long) in [(10, false), (1022, false), (1023, true), (50_000, true)] {
        let message = json(len);
        client.send_raw(&say(&message)).await;
        let expected = echo(&message);
        let expected = if long { deflated(expected) } else { expected };
        assert_eq!(client.next().await, expected, "{len}");
    }
    let data = json(1024).into_bytes();
    client.send_raw(&frame(BINARY, &data)).await;
    assert_eq!(client.next().await, deflated(Frame::Binary(data)));
}

#[tokio::test]
async fn what_does_not_become_shorter_goes_out_as_it_is() {
    let server = server();
    let mut client = open(&server).await;
    let noise = noise(70_000);
    client.send_raw(&frame(BINARY, &noise)).await;
    assert!(client.next().await == Frame::Binary(noise));
}

#[tokio::test]
async fn who_did_not_agree_gets_plain_messages() {
    let server = Server::start();
    let mut client = open(&server).await;
    let message = json(5000);
    client.send_raw(&say(&message)).await;
    assert_eq!(client.next().await, echo(&message));
}

#[tokio::test]
async fn the_threshold_is_a_setting() {
    let settings = engineioxide::Settings {
        compression_threshold: 50,
        ..settings()
    };
    let server = Server::with(EngineIoConfig::default(), settings).agreeing("permessage-deflate");
    let mut client = server.websocket();
    assert!(
        matches!(client.next().await, Frame::Deflated(_)),
        "the open packet"
    );
    client.send_raw(&say("a short one")).await;
    assert_eq!(client.next().await, echo("a short one"));
    let message = "a".repeat(60);
    client.send_raw(&say(&message)).await;
    assert_eq!(client.next().await, deflated(echo(&message)));
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_in_the_form_that_was_agreed_on() {
    let mut server = server();
    let mut clients = vec![open(&server).await, open(&server).await];
    server = server.agreeing("permessage-deflate; server_max_window_bits=9");
    clients.push(open(&server).await);
    server.deflate = None;
    clients.push(open(&server).await);
    for client in &mut clients {
        client.send_raw(&say("quiet")).await;
    }
    server
        .until("all are there", |server| server.texts().len() == 4)
        .await;
    let message = Str::from(json(60_000));
    for nth in 0..4 {
        server.socket(nth).emit(message.clone()).unwrap();
    }
    for (nth, client) in clients.iter_mut().enumerate() {
        let expected = echo(&message);
        let expected = if nth < 3 {
            deflated(expected)
        } else {
            expected
        };
        assert!(client.next().await == expected, "{nth}");
    }
    server
        .until("all is taken", |server| server.engine.waiting() == 0)
        .await;
}

#[tokio::test]
async fn a_client_with_little_memory_can_inflate_what_it_gets() {
    for bits in 8..=15 {
        let offers = format!("permessage-deflate; server_max_window_bits={bits}");
        let server = Server::start().agreeing(&offers);
        let mut client = open(&server).await;
        let message = format!("4{}", json(90_000));
        client.send_raw(&say(&message[1..])).await;
        let mut head = [0; 4];
        soon(client.conn.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[..2], [0xc1, 126], "{bits}");
        let len = u16::from_be_bytes([head[2], head[3]]);
        let mut payload = vec![0; len.into()];
        soon(client.conn.read_exact(&mut payload)).await.unwrap();
        payload.extend([0, 0, 0xff, 0xff]);
        // It can look back no further than the client's memory, but within what it is given in one go.
        let mut stream = Decompress::new_with_window_bits(false, bits.max(9));
        let mut came = Vec::new();
        while came.len() < message.len() {
            came.reserve_exact(64);
            let (taken, had) = (stream.total_in() as usize, came.len());
            let mut piece = Vec::with_capacity(64);
            stream
                .decompress_vec(&payload[taken..], &mut piece, FlushDecompress::Sync)
                .unwrap();
            came.extend(piece);
            assert!(came.len() > had, "{bits}");
        }
        assert!(came == message.as_bytes(), "{bits}");
    }
}

#[tokio::test]
async fn revision_3_is_deflated_too() {
    let server = server();
    let mut client = server.websocket_of(ProtocolVersion::V3);
    client.opened().await;
    let data = json(2000).into_bytes();
    let typed = [&[4], &data[..]].concat();
    client.send_raw(&frame(BINARY, &typed)).await;
    assert_eq!(client.next().await, deflated(Frame::Binary(typed)));
    client.send_raw(&say_deflated("hello")).await;
    assert_eq!(client.next().await, echo("hello"));
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_it_in_order() {
    let server = server();
    let mut client = server.websocket_over_tcp(4 << 10).await;
    client.opened().await;
    client.send_raw(&say("quiet")).await;
    server
        .until("it is there", |server| !server.texts().is_empty())
        .await;
    let socket = server.socket(0);
    let messages: Vec<_> = (0..40)
        .map(|nth| format!("{nth}{}", json(80_000)))
        .collect();
    for message in &messages {
        socket.emit(message.clone()).unwrap();
    }
    drop(Arc::clone(&socket));
    client.sip = 700;
    for message in &messages {
        assert!(client.next().await == deflated(echo(message)));
    }
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn what_was_queued_goes_out_before_the_close_frame() {
    let server = server();
    let mut client = open(&server).await;
    let message = json(30_000);
    client
        .send_raw(&[say(&message), say("close")].concat())
        .await;
    let first = client.next().await;
    let plain = echo(&message);
    assert!(first == plain || first == deflated(plain));
    assert!(matches!(client.next().await, Frame::Close(_)));
}
