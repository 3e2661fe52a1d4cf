//! Sessions come and go by the thousand: a place that is free is given again, and nothing of who had it before
//! reaches who has it now. What is over holds no memory.

use std::sync::Weak;
use std::time::Duration;

use engineioxide::{DisconnectReason, EndReason, Refused, Socket};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::harness::{Frame, Server, client_frame, quick, settings, soon, text};

impl Server {
    async fn is_empty(&self) {
        self.until("nothing is left", |server| {
            (server.engine.sessions(), server.engine.waiting()) == (0, 0)
                && server.engine.sids().is_empty()
        })
        .await;
    }
}

/// Waits until nobody holds them.
async fn are_freed(server: &Server, sockets: Vec<Weak<Socket<()>>>) {
    assert!(!sockets.is_empty());
    server
        .until("all are freed", |_| {
            sockets.iter().all(|socket| socket.strong_count() == 0)
        })
        .await;
}

#[tokio::test]
async fn thousands_of_sessions_hear_only_what_is_theirs() {
    let server = Server::start();
    for round in 0..6 {
        let mut clients = Vec::new();
        for nth in 0..500 {
            let mut client = server.websocket();
            client.send(&format!("4{round}-{nth}")).await;
            clients.push(client);
            if nth % 3 == 0 {
                // One goes at once, and its place is given to the next.
                clients.swap_remove(nth / 2 % clients.len());
            }
        }
        for client in &mut clients {
            client.opened().await;
            let Frame::Text(own) = client.next().await else {
                panic!("no echo");
            };
            assert!(own.starts_with(&format!("4{round}-")), "{own}");
            client.send("4again").await;
            assert_eq!(client.next().await, text("4again"));
        }
        for (nth, client) in clients.iter_mut().enumerate() {
            match nth % 4 {
                0 => client.send_raw(&client_frame(0x88, &[3, 0xe8])).await,
                1 => client.send_raw(&client_frame(0x83, &[])).await,
                2 => server.engine.end(client.sid.unwrap(), EndReason::Drain),
                _ => client.send("4close").await,
            }
        }
        for (nth, client) in clients.iter_mut().enumerate() {
            let payload = [vec![3, 0xe8], vec![3, 0xea], vec![3, 0xe9], vec![]];
            assert_eq!(client.next().await, Frame::Close(payload[nth % 4].clone()));
            assert_eq!(client.next().await, Frame::End);
        }
        drop(clients);
        server.is_empty().await;
        are_freed(&server, server.forget()).await;
    }
    assert_eq!(server.ends().len(), 3000);
}

#[tokio::test]
async fn thousands_of_polling_sessions_come_and_go() {
    let server = Server::start();
    for round in 0..4 {
        let clients: Vec<_> = (0..500).map(|_| server.polling()).collect();
        for (nth, client) in clients.iter().enumerate() {
            client.post(&format!("4{round}-{nth}")).await;
        }
        for (nth, client) in clients.iter().enumerate() {
            assert_eq!(client.poll().await, format!("4{round}-{nth}"));
            match nth % 3 {
                0 => client.post("1").await,
                1 => client.post("4close").await,
                _ => server.engine.end(client.opened.sid, EndReason::Drain),
            }
        }
        server.is_empty().await;
        are_freed(&server, server.forget()).await;
    }
}

#[tokio::test]
async fn who_has_a_socket_of_an_ended_session_reaches_nobody() {
    let server = Server::start();
    let mut before = server.websocket();
    before.opened().await;
    before.send("4a").await;
    assert_eq!(before.next().await, text("4a"));
    let ended = server.socket(0);
    drop(before);
    server.is_empty().await;
    let mut client = server.websocket();
    client.opened().await;
    client.send("4b").await;
    assert_eq!(client.next().await, text("4b"));
    assert!(ended.emit("to nobody").is_err());
    assert!(ended.emit_binary(vec![1]).is_err());
    assert!(!ended.emit_volatile("to nobody"));
    assert!(ended.reserve().is_err());
    ended.close(DisconnectReason::ClosingServer);
    server.engine.end(ended.id, EndReason::Drain);
    assert_eq!(
        server.engine.poll(ended.id).err(),
        Some(Refused::UnknownSession)
    );
    soon(ended.closed()).await;
    client.send("4c").await;
    assert_eq!(client.next().await, text("4c"));
    assert_eq!(server.ends(), [EndReason::TransportClosed]);
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn a_permit_of_a_session_that_has_ended_meanwhile_queues_nothing() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    client.send("4a").await;
    assert_eq!(client.next().await, text("4a"));
    let socket = server.socket(0);
    let permit = socket.reserve().unwrap();
    drop(client);
    server.is_empty().await;
    permit.emit("too late".into());
    let mut next = server.websocket();
    next.opened().await;
    next.send("4b").await;
    assert_eq!(next.next().await, text("4b"));
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn the_due_times_of_who_had_a_place_are_not_those_of_who_has_it() {
    let server = Server::with(quick(), settings());
    for _ in 0..3 {
        let mut before = server.websocket();
        before.opened().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(before);
        server.is_empty().await;
        let opened = Instant::now();
        let mut client = server.websocket();
        client.opened().await;
        assert_eq!(client.next().await, text("2"));
        let pinged = opened.elapsed();
        assert!(pinged >= Duration::from_millis(299), "{pinged:?}");
        client.send("3").await;
        assert_eq!(client.next().await, text("2"));
        drop(client);
        server.is_empty().await;
    }
}

/// A polling session that has ended may be polled for a while. Here the clock is the test's.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_polling_session_does_not_end_who_has_its_place() {
    let server = Server::start();
    for _ in 0..5 {
        let before = server.polling();
        before.post("4a\u{1e}4close").await;
        assert_eq!(before.poll().await, "4a\u{1e}1");
        server.is_empty().await;
        let client = server.polling();
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(1)).await;
            yield_now().await;
        }
        client.post("4b").await;
        assert_eq!(client.poll().await, "4b");
        client.post("1").await;
        server.is_empty().await;
    }
}

#[tokio::test]
async fn a_session_that_nobody_polls_any_more_is_forgotten() {
    let server = Server::start();
    let client = server.polling();
    client.post("4never polled\u{1e}4close").await;
    assert_eq!(server.ended().await, EndReason::Application);
    assert!(server.engine.waiting() > 0);
    server.is_empty().await;
    are_freed(&server, server.forget()).await;
}

#[tokio::test]
async fn what_was_half_sent_is_freed_with_its_session() {
    let server = Server::start();
    let whole = client_frame(0x82, &[7; 50_000]);
    for cut in [1, 5, 100, 40_000] {
        let mut client = server.websocket();
        client.opened().await;
        client.send("4a").await;
        assert_eq!(client.next().await, text("4a"));
        client.send_raw(&whole[..cut]).await;
        drop(client);
    }
    server.is_empty().await;
    are_freed(&server, server.forget()).await;
}

#[tokio::test]
async fn a_session_is_freed_however_its_upgrade_went() {
    let server = Server::with(quick(), settings());
    for bytes in ["2probe", "5", "4x", ""] {
        let client = server.polling();
        client.post("4quiet").await;
        let mut websocket = client.upgrade();
        if !bytes.is_empty() {
            websocket.send(bytes).await;
        }
        yield_now().await;
        server.engine.end(client.opened.sid, EndReason::Drain);
        let end = async { while websocket.next().await != Frame::End {} };
        assert!(timeout(Duration::from_secs(4), end).await.is_ok());
    }
    server.is_empty().await;
    are_freed(&server, server.forget()).await;
}
