use engineioxide::EndReason;

use crate::harness::{Frame, Server, client_frame, quick, settings, soon, text};

#[tokio::test]
async fn a_session_moves_to_its_websocket_with_all_that_waits() {
    let server = Server::start();
    let client = server.polling();
    client.post("4quiet").await;
    let poll = server.engine.poll(client.opened.sid).unwrap();
    let mut websocket = client.upgrade();
    websocket.send("2probe").await;
    assert_eq!(websocket.next().await, text("3probe"));
    let answer = soon(poll).await;
    assert_eq!(&answer.body[..], b"6");
    answer.receipt.delivered();
    client.post("4a").await;
    websocket.send("5").await;
    websocket.send("4b").await;
    assert_eq!(websocket.next().await, text("4a"));
    assert_eq!(websocket.next().await, text("4b"));
    assert_eq!(server.texts(), ["quiet", "a", "b"]);
    assert!(server.engine.poll(client.opened.sid).is_err());
    assert_eq!(server.ends(), []);
}

#[tokio::test]
async fn who_upgrades_has_the_answer_before_whatever_becomes_of_a_proxys_connection() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let answer = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    answer.receipt.left(None);
    let mut websocket = client.upgrade();
    websocket.send("5").await;
    websocket.send("4b").await;
    assert_eq!(websocket.next().await, text("4b"));
    drop(answer);
    websocket.send("4c").await;
    assert_eq!(websocket.next().await, text("4c"));
    assert_eq!(server.ends(), []);
}

#[tokio::test]
async fn an_answer_that_has_never_left_ends_the_session_that_was_upgraded_meanwhile() {
    let server = Server::start();
    let client = server.polling();
    client.post("4a").await;
    let answer = soon(server.engine.poll(client.opened.sid).unwrap()).await;
    let mut websocket = client.upgrade();
    websocket.send("5").await;
    websocket.send("4b").await;
    assert_eq!(websocket.next().await, text("4b"));
    drop(answer);
    assert_eq!(server.ended().await, EndReason::TransportClosed);
}

#[tokio::test]
async fn a_bare_5_moves_the_session_and_frees_its_poll() {
    let server = Server::start();
    let client = server.polling();
    let poll = server.engine.poll(client.opened.sid).unwrap();
    let mut websocket = client.upgrade();
    websocket.send("5").await;
    assert_eq!(&soon(poll).await.body[..], b"6");
    websocket.send("4a").await;
    assert_eq!(websocket.next().await, text("4a"));
}

#[tokio::test]
async fn probe_upgrade_and_event_may_come_in_one_write() {
    let server = Server::start();
    let client = server.polling();
    let mut websocket = client.upgrade();
    let mut bytes = client_frame(0x81, b"2probe");
    bytes.extend(client_frame(0x81, b"5"));
    bytes.extend(client_frame(0x81, b"4a"));
    websocket.send_raw(&bytes).await;
    assert_eq!(websocket.next().await, text("3probe"));
    assert_eq!(websocket.next().await, text("4a"));
}

#[tokio::test]
async fn an_upgrade_that_dies_after_any_byte_leaves_the_session_as_it_was() {
    let server = Server::start();
    let client = server.polling();
    let probe = client_frame(0x81, b"2probe");
    for cut in 0..=probe.len() {
        let mut websocket = client.upgrade();
        websocket.send_raw(&probe[..cut]).await;
        if cut == probe.len() {
            assert_eq!(websocket.next().await, text("3probe"));
        }
        drop(websocket);
        client.post("4a").await;
        assert_eq!(client.poll().await.replace("6\u{1e}", ""), "4a");
        server
            .until("another may be tried", |server| {
                server.engine.upgrade(client.opened.sid).is_ok()
            })
            .await;
    }
    assert_eq!(server.ends(), []);
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_and_the_session_polls_on() {
    for (bytes, close) in [
        (client_frame(0x81, b"4a"), Frame::Close(vec![])),
        (client_frame(0x81, b"2"), Frame::Close(vec![])),
        (client_frame(0xc1, b"2probe"), Frame::Close(vec![3, 0xea])),
        (client_frame(0x88, &[3, 0xe8]), Frame::Close(vec![3, 0xe8])),
    ] {
        let server = Server::start();
        let client = server.polling();
        let mut websocket = client.upgrade();
        websocket.send_raw(&bytes).await;
        assert_eq!(websocket.next().await, close);
        assert_eq!(websocket.next().await, Frame::End);
        client.post("4a").await;
        assert_eq!(client.poll().await, "4a");
    }
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_is_ended_and_the_session_is_not() {
    let server = Server::with(quick(), settings());
    let client = server.polling();
    let mut websocket = client.upgrade();
    assert_eq!(websocket.next().await, Frame::Close(vec![]));
    client.post("4a").await;
    assert!(client.poll().await.contains("4a"));
}

#[tokio::test]
async fn a_second_upgrade_waits_for_the_end_of_the_first() {
    let server = Server::start();
    let client = server.polling();
    let _websocket = client.upgrade();
    assert!(server.engine.upgrade(client.opened.sid).is_err());
}

#[tokio::test]
async fn a_post_that_waits_does_not_keep_its_client_from_upgrading() {
    let server = Server::start();
    let client = server.polling();
    let body = ["4quiet", "4much:2000000", "4much:10", "4a"].join("\u{1e}");
    // It is held back, for it does not poll what it has to take.
    let post = client.post(&body);
    let upgrade = async {
        server
            .until("it is held back", |server| server.texts().len() == 2)
            .await;
        let mut websocket = client.upgrade();
        websocket.send("2probe").await;
        assert_eq!(websocket.next().await, text("3probe"));
        websocket
    };
    let ((), mut websocket) = tokio::join!(post, upgrade);
    // Only now does it say that it polls no more.
    websocket.send("5").await;
    websocket.send("4b").await;
    let Frame::Text(much) = websocket.next().await else {
        panic!("no text");
    };
    assert_eq!(much.len(), 2_000_001);
    assert_eq!(websocket.next().await, text("4mmmmmmmmmm"));
    assert_eq!(websocket.next().await, text("4a"));
    assert_eq!(websocket.next().await, text("4b"));
}
