//! Why sessions end, and what went over them.

use std::time::Duration;

use engineioxide::{EndReason, Traffic};

use crate::harness::{Frame, Server, settings, text};

#[tokio::test]
async fn what_went_over_a_session_is_counted_without_frames_and_pings() {
    let server = Server::start();
    let mut client = server.websocket();
    let sid = client.sid.unwrap();
    client.opened().await;
    client.send("4hello").await;
    assert_eq!(client.next().await, text("4hello"));
    client.send("4much:1000").await;
    client.next().await;
    let live = server.engine.live(sid).unwrap();
    let expected = Traffic {
        bytes_in: 5 + 9,
        bytes_out: 5 + 1000,
        messages_in: 2,
        messages_out: 2,
    };
    assert_eq!(live.traffic, expected);
    server.engine.end(sid, EndReason::Drain);
    let ended = server.last_end().await;
    assert_eq!((ended.traffic, ended.reason), (expected, EndReason::Drain));
    assert!(server.engine.live(sid).is_none());
}

#[tokio::test]
async fn a_client_is_let_in_for_a_time() {
    let server = Server::start();
    let mut client = server.websocket();
    let polling = server.polling();
    client.opened().await;
    for sid in [client.sid.unwrap(), polling.opened.sid] {
        server.engine.ends_in(sid, Duration::from_secs(30));
        // The soonest counts: a second admission prolongs nothing.
        server.engine.ends_in(sid, Duration::from_millis(50));
        server.engine.ends_in(sid, Duration::from_secs(60));
    }
    assert_eq!(polling.poll().await, "6");
    assert_eq!(client.next().await, Frame::Close(vec![]));
    server
        .until("both are over", |server| server.ends().len() == 2)
        .await;
    assert_eq!(server.ends(), [EndReason::Until; 2]);
    assert!(server.last_end().await.lived >= Duration::from_millis(50));
}

#[tokio::test]
async fn an_operator_disconnects_a_session_once() {
    let server = Server::start();
    let client = server.websocket();
    let sid = client.sid.unwrap();
    assert!(server.engine.disconnect(sid));
    assert!(!server.engine.disconnect(sid), "it is over");
    let ended = server.last_end().await;
    assert_eq!(
        (ended.reason, ended.by_operator),
        (EndReason::Application, true)
    );
    assert!(!server.engine.disconnect(sid));
}

#[tokio::test]
async fn what_happened_before_a_clients_silence_is_the_reason() {
    let settings = engineioxide::Settings {
        common_parser: true,
        ..settings()
    };
    for (says, reason) in [
        (&[][..], EndReason::TransportClosed),
        (&["1"], EndReason::ClientLeft),
    ] {
        let server = Server::with(engineioxide::config::EngineIoConfig::default(), settings);
        let mut client = server.websocket();
        client.opened().await;
        for packet in says {
            client.send(packet).await;
        }
        drop(client);
        assert_eq!(server.ended().await, reason, "{says:?}");
    }
    let server = Server::start();
    for (goes_on, reason) in [(false, EndReason::TooLarge), (true, EndReason::ClientLeft)] {
        let polling = server.polling();
        server
            .engine
            .post(polling.opened.sid)
            .unwrap()
            .refuse_too_large();
        if goes_on {
            polling.post("4quiet").await;
        }
        polling.post("1").await;
        server
            .until("it ends", |server| server.ends().last() == Some(&reason))
            .await;
    }
}
