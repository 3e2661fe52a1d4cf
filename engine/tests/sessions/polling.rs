use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engineioxide::{Delivery, EndReason, Refused};

use crate::harness::{Server, Told, quick, settings, soon};

#[tokio::test]
async fn a_poll_gets_what_waits_or_waits_for_what_comes() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a\u{1e}4b").await;
    assert_eq!(client.poll().await, "4a\u{1e}4b");
    let (polled, ()) = tokio::join!(client.poll(), client.post("4c\u{1e}bAQID"));
    assert_eq!(polled, "4c\u{1e}bAQID");
}

#[tokio::test]
async fn an_answer_that_was_not_delivered_is_sent_again_and_first() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    assert_eq!(client.poll_in_vain().await, "4a");
    client.post("4b").await;
    assert_eq!(client.poll().await, "4a\u{1e}4b");
    client.post("4c").await;
    assert_eq!(client.poll().await, "4c");
}

#[tokio::test]
async fn who_polls_again_has_the_answer_before() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let first = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    first.receipt.left(None);
    client.post("4b").await;
    let second = server.engine.poll(client.opened.sid).unwrap();
    drop(first);
    assert_eq!(&soon(second).await.body[..], b"4b");
}

#[tokio::test]
async fn two_polls_at_a_time_end_the_session() {
    let server = Server::start();
    let client = server.polling();
    let first = server.engine.poll(client.opened.sid).unwrap();
    let second = server.engine.poll(client.opened.sid);
    assert_eq!(second.err(), Some(Refused::Overlap));
    assert_eq!(&soon(first).await.body[..], b"6");
    assert_eq!(server.ended().await, EndReason::Overlap);
    let after = server.engine.poll(client.opened.sid);
    assert_eq!(after.err(), Some(Refused::UnknownSession));
}

#[tokio::test]
async fn two_posts_at_a_time_end_the_session() {
    let server = Server::start();
    let client = server.polling();
    let _first = server.engine.post(client.opened.sid).unwrap();
    let second = server.engine.post(client.opened.sid);
    assert_eq!(second.err(), Some(Refused::Overlap));
    assert_eq!(server.ended().await, EndReason::Overlap);
}

#[tokio::test]
async fn a_poll_whose_client_goes_ends_the_session() {
    let server = Server::start();
    let client = server.polling();
    client.post("4quiet").await;
    drop(server.engine.poll(client.opened.sid).unwrap());
    assert_eq!(server.ended().await, EndReason::TransportClosed);
    assert!(matches!(
        server.told()[..],
        [Told::Connect, Told::Text(_), Told::Disconnect(_)]
    ));
}

#[tokio::test]
async fn a_post_that_is_too_large_ends_nothing() {
    let server = Server::start();
    let client = server.polling();
    server.engine.post(client.opened.sid).unwrap().refuse();
    client.post("4a").await;
    assert_eq!(client.poll().await, "4a");
}

#[tokio::test]
async fn the_application_ends_a_session_after_what_it_emitted_and_says_so() {
    let server = Server::start();
    let client = server.polling();
    client.post("4last\u{1e}4close").await;
    assert_eq!(server.ended().await, EndReason::Application);
    assert_eq!(
        client.poll().await,
        "4last\u{1e}4close\u{1e}1".replace("\u{1e}4close", "")
    );
    server
        .until("it is gone", |server| {
            server.engine.poll(client.opened.sid).err() == Some(Refused::UnknownSession)
        })
        .await;
}

#[tokio::test]
async fn a_drain_answers_the_poll_and_never_says_farewell() {
    let server = Server::start();
    let client = server.polling();
    let poll = server.engine.poll(client.opened.sid).unwrap();
    server.engine.end(client.opened.sid, EndReason::Drain);
    assert_eq!(&soon(poll).await.body[..], b"6");
    server
        .until("it is gone", |server| {
            server.engine.poll(client.opened.sid).err() == Some(Refused::UnknownSession)
        })
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_has_its_poll_answered() {
    let server = Server::start();
    let client = server.polling();
    let poll = server.engine.poll(client.opened.sid).unwrap();
    client.post("4quiet\u{1e}1\u{1e}4never").await;
    assert_eq!(&soon(poll).await.body[..], b"6");
    assert_eq!(server.ended().await, EndReason::ClientLeft);
    assert_eq!(server.texts(), ["quiet"]);
}

#[tokio::test]
async fn pings_come_with_polls_and_pongs_with_posts() {
    let server = Server::with(quick(), settings());
    let client = server.polling();
    for _ in 0..3 {
        assert_eq!(client.poll().await, "2");
        client.post("3").await;
    }
    assert_eq!(client.poll().await, "2");
    assert_eq!(client.poll().await, "6");
    assert_eq!(server.ended().await, EndReason::PingTimeout);
}

#[tokio::test]
async fn an_answer_has_all_that_waits_up_to_four_mebibytes() {
    let server = Server::start();
    let client = server.polling();
    client.post("4quiet").await;
    let socket = server.socket(0);
    for _ in 0..5 {
        socket.emit("m".repeat(1 << 20)).unwrap();
    }
    // Three have room with their types and separators.
    assert_eq!(client.poll().await.len(), 3 * (1 << 20) + 3 + 2);
    assert_eq!(client.poll().await.len(), 2 * (1 << 20) + 2 + 1);
}

#[tokio::test]
async fn a_ping_waits_behind_nothing() {
    let server = Server::with(quick(), settings());
    let client = server.polling();
    client.post("4quiet").await;
    let socket = server.socket(0);
    for _ in 0..6 {
        socket.emit("m".repeat(1 << 20)).unwrap();
    }
    tokio::time::sleep(quick().ping_interval * 5 / 4).await;
    assert!(client.poll().await.starts_with("2\u{1e}4m"));
}

/// A connection that has failed, or not.
struct Connection(bool);

impl Delivery for Connection {
    fn has_failed(&self) -> bool {
        self.0
    }
}

#[tokio::test]
async fn an_answer_whose_connection_has_failed_unnoticed_comes_again_and_first() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let lost = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    lost.receipt.left(Some(Arc::new(Connection(true))));
    client.post("4b").await;
    let (polled, ()) = tokio::join!(client.poll(), async {
        tokio::task::yield_now().await;
        drop(lost);
    });
    assert_eq!(polled, "4a\u{1e}4b");
}

#[tokio::test]
async fn an_answer_whose_connection_lives_was_delivered_when_the_client_polls_again() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let first = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    first.receipt.left(Some(Arc::new(Connection(false))));
    client.post("4b").await;
    assert_eq!(client.poll().await, "4b");
    drop(first);
    client.post("4c").await;
    assert_eq!(client.poll().await, "4c");
}

#[tokio::test]
async fn an_answer_whose_connection_fails_while_the_client_polls_again_comes_again() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let lost = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    lost.receipt.left(Some(Arc::new(Connection(false))));
    // The poll comes before the news of the failure.
    let again = server.engine.poll(client.opened.sid).unwrap();
    drop(lost);
    assert_eq!(soon(again).await.body, "4a");
}

/// A connection of which it is known only at the second look that it has failed.
struct Late(AtomicBool);

impl Delivery for Late {
    fn has_failed(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn nothing_overtakes_an_answer_whose_connection_has_failed_when_the_next_is_due() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let lost = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    lost.receipt
        .left(Some(Arc::new(Late(AtomicBool::new(false)))));
    let again = server.engine.poll(client.opened.sid).unwrap();
    client.post("4b").await;
    let (polled, ()) = tokio::join!(soon(again), async {
        tokio::task::yield_now().await;
        drop(lost);
    });
    assert_eq!(polled.body, "4a\u{1e}4b");
}

#[tokio::test]
async fn an_answer_that_has_not_left_yet_is_waited_for() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let slow = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    client.post("4b").await;
    let (polled, ()) = tokio::join!(client.poll(), async {
        tokio::task::yield_now().await;
        slow.receipt.left(None);
    });
    assert_eq!(polled, "4b");
    slow.receipt.delivered();
}
