use std::time::Duration;

use engineioxide::{EndReason, Settings};

use crate::harness::{Frame, Server, client_frame, quick, settings, text};

/// More than a socket pair takes, and than may wait before a client is held back.
const MUCH: usize = 400_000;

#[tokio::test]
async fn a_client_that_does_not_read_is_held_back_and_gets_everything_later() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    for _ in 0..20 {
        client.send(&format!("4much:{MUCH}")).await;
    }
    let handled = server.texts().len();
    assert!(handled < 20, "it was held back: {handled}");
    for _ in 0..20 {
        match client.next().await {
            Frame::Text(text) => assert_eq!(text.len(), MUCH + 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.texts().len(), 20);
    client.send("4after").await;
    assert_eq!(client.next().await, text("4after"));
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_ended() {
    let settings = Settings {
        write_stall_timeout: Duration::from_millis(600),
        ..settings()
    };
    let server = Server::with(engineioxide::config::EngineIoConfig::default(), settings);
    let mut client = server.websocket();
    client.opened().await;
    for _ in 0..10 {
        client.send(&format!("4much:{MUCH}")).await;
    }
    assert_eq!(server.ended().await, EndReason::WriteStall);
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn pongs_of_a_client_that_is_held_back_are_read() {
    let server = Server::with(quick(), settings());
    let mut client = server.websocket();
    client.opened().await;
    for _ in 0..10 {
        client.send(&format!("4much:{MUCH}")).await;
    }
    for _ in 0..10 {
        client.send("3").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.ends(), []);
}

#[tokio::test]
async fn a_post_waits_until_its_answers_are_polled() {
    let server = Server::start();
    let client = server.polling();
    let body = vec![format!("4much:{MUCH}"); 10].join("\u{1e}");
    let posts = client.post(&body);
    let polls = async {
        server
            .until("it is held back", |server| !server.texts().is_empty())
            .await;
        assert!(server.texts().len() < 10);
        let mut polled = 0;
        while polled < 10 {
            polled += client.poll().await.matches("4m").count();
        }
    };
    tokio::join!(posts, polls);
    assert_eq!(server.texts().len(), 10);
}

#[tokio::test]
async fn nothing_is_counted_after_the_end() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    for _ in 0..10 {
        client.send(&format!("4much:{MUCH}")).await;
    }
    server
        .until("it waits", |server| server.engine.waiting() > 0)
        .await;
    drop(client);
    server
        .until("it is gone", |server| server.engine.waiting() == 0)
        .await;
    assert_eq!(server.engine.sessions(), 0);
}

#[tokio::test]
async fn pings_of_a_client_that_does_not_read_are_not_collected() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    let pings = client_frame(0x89, b"ping").repeat(5000);
    let mut most = 0;
    for _ in 0..40 {
        client.send_raw(&pings).await;
        most = most.max(server.engine.waiting());
    }
    assert!(most < 1 << 20, "{most}");
    client.send_raw(&client_frame(0x89, b"last")).await;
    while client.next().await != Frame::Pong(b"last".to_vec()) {}
    assert_eq!((server.engine.waiting(), server.engine.sessions()), (0, 1));
}
