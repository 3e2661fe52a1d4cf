use std::time::Duration;

use engineioxide::config::EngineIoConfig;
use engineioxide::{DisconnectReason, EndReason, ProtocolVersion, Settings};

use crate::harness::{Frame, Server, Told, client_frame, quick, settings, soon, text};

#[tokio::test]
async fn a_websocket_is_greeted_and_echoes() {
    let server = Server::start();
    let mut client = server.websocket();
    let sid = client.sid.unwrap();
    let open = client.opened().await;
    assert_eq!(
        open,
        format!(
            "0{{\"sid\":\"{sid}-named\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":100000}}"
        )
    );
    client.send("4hello").await;
    client.send_raw(&client_frame(0x82, &[1, 2, 3])).await;
    assert_eq!(client.next().await, text("4hello"));
    assert_eq!(client.next().await, Frame::Binary(vec![1, 2, 3]));
    assert_eq!(
        server.told(),
        [
            Told::Connect,
            Told::Text("hello".into()),
            Told::Binary(vec![1, 2, 3])
        ]
    );
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_handled_and_answered_before_the_end() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    let mut bytes = client_frame(0x81, b"4a");
    bytes.extend(client_frame(0x81, b"4b"));
    bytes.extend(client_frame(0x88, b"\x03\xe8why"));
    client.send_raw(&bytes).await;
    for expected in [
        text("4a"),
        text("4b"),
        Frame::Close(b"\x03\xe8why".to_vec()),
        Frame::End,
    ] {
        assert_eq!(client.next().await, expected);
    }
    assert_eq!(server.ended().await, EndReason::ClientLeft);
    let told = server.told();
    assert_eq!(told[3], Told::Disconnect(DisconnectReason::TransportClose));
    assert_eq!(server.engine.sessions(), 0);
}

#[tokio::test]
async fn a_session_that_says_nothing_costs_the_handler_nothing() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    drop(client);
    assert_eq!(server.ended().await, EndReason::TransportClosed);
    assert_eq!(server.told(), []);
}

#[tokio::test]
async fn a_client_is_pinged_after_the_interval_and_ended_when_it_does_not_answer() {
    let server = Server::with(quick(), settings());
    let mut client = server.websocket();
    client.opened().await;
    assert_eq!(client.next().await, text("2"));
    client.send("3").await;
    assert_eq!(client.next().await, text("2"));
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(client.next().await, Frame::End);
    assert_eq!(server.ended().await, EndReason::PingTimeout);
}

#[tokio::test]
async fn revision_3_pings_and_has_types_before_binary() {
    let server = Server::with(quick(), settings());
    let mut client = server.websocket_of(ProtocolVersion::V3);
    client.opened().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send("2").await;
        assert_eq!(client.next().await, text("3"));
    }
    client.send_raw(&client_frame(0x82, &[4, 9, 8])).await;
    assert_eq!(client.next().await, Frame::Binary(vec![4, 9, 8]));
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(server.ended().await, EndReason::PingTimeout);
}

#[tokio::test]
async fn a_ping_frame_is_answered_with_its_payload() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    client.send_raw(&client_frame(0x89, b"hi")).await;
    assert_eq!(client.next().await, Frame::Pong(b"hi".to_vec()));
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_its_code() {
    for (bytes, code) in [
        (client_frame(0xc1, b"4x"), 1002_u16),
        (client_frame(0x81, b"4\xff"), 1007),
        (client_frame(0x82, &[0; 100_001]), 1009),
    ] {
        let server = Server::start();
        let mut client = server.websocket();
        client.opened().await;
        client.send("4before").await;
        client.send_raw(&bytes).await;
        assert_eq!(client.next().await, text("4before"));
        assert_eq!(
            client.next().await,
            Frame::Close(code.to_be_bytes().to_vec())
        );
        assert_eq!(client.next().await, Frame::End);
    }
}

#[tokio::test]
async fn a_panic_costs_one_event() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    client.send("4panic").await;
    client.send("4after").await;
    assert_eq!(client.next().await, text("4after"));
}

#[tokio::test]
async fn the_application_ends_a_session_after_what_it_emitted() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    client.send("4a").await;
    assert_eq!(client.next().await, text("4a"));
    let socket = server.socket(0);
    socket.emit("last").unwrap();
    socket.close(DisconnectReason::ClosingServer);
    assert!(socket.is_closed());
    assert!(socket.emit("too late").is_err());
    assert_eq!(client.next().await, text("4last"));
    assert_eq!(client.next().await, Frame::Close(vec![]));
    soon(socket.closed()).await;
    assert_eq!(server.ended().await, EndReason::Application);
}

#[tokio::test]
async fn a_drain_says_going_away() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    assert_eq!(client.next().await, Frame::Close(vec![3, 0xe9]));
    assert_eq!(client.next().await, Frame::End);
}

#[tokio::test]
async fn a_large_message_goes_both_ways() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    let large = format!("4{}", "x".repeat(99_000));
    for _ in 0..20 {
        client.send(&large).await;
        assert_eq!(client.next().await, Frame::Text(large.clone()));
    }
}

#[tokio::test]
async fn who_joins_nothing_in_time_is_ended() {
    let settings = Settings {
        connect_timeout: Duration::from_millis(100),
        ..settings()
    };
    let server = Server::with(quick(), settings);
    let mut client = server.websocket();
    client.opened().await;
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(server.ended().await, EndReason::ConnectTimeout);
}

#[tokio::test]
async fn an_event_instead_of_an_answer_gives_more_time_once() {
    let config = EngineIoConfig {
        ping_timeout: Duration::from_millis(600),
        ..quick()
    };
    let server = Server::with(config, settings());
    let mut client = server.websocket();
    client.opened().await;
    assert_eq!(client.next().await, text("2"));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.send("4quiet").await;
    }
    assert_eq!(server.ends(), [], "600 ms are over");
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(server.ended().await, EndReason::PingTimeout);
}
