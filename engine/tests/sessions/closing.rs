//! The end of a WebSocket: nothing of what was sent before it is lost, and nobody is waited for without end.

use std::time::Duration;

use engineioxide::config::EngineIoConfig;
use engineioxide::{DisconnectReason, EndReason, Settings};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{
    Conn, Frame, ProtocolVersion, SOON, Server, Told, client_frame, quick, settings, text,
};

/// More than a client with little room has room for, and less than the server's socket takes.
const MUCH: usize = 60_000;

fn much() -> Frame {
    text(&format!("4{}", "m".repeat(MUCH)))
}

#[tokio::test]
async fn what_a_client_sends_behind_the_end_does_not_reset_what_it_has_not_read() {
    for wrong in [client_frame(0x83, b""), client_frame(0x88, &[3, 0xea])] {
        let server = Server::start();
        let mut client = server.websocket_over_tcp(4096).await;
        client.opened().await;
        client.send(&format!("4much:{MUCH}")).await;
        let mut sent = wrong;
        sent.extend(client_frame(0x81, b"4never").repeat(50_000));
        client.send_raw(&sent).await;
        assert_eq!(client.next().await, much());
        assert_eq!(client.next().await, Frame::Close(vec![3, 0xea]));
        client.send_raw(&sent).await;
        assert_eq!(client.next().await, Frame::End);
        assert!(!server.texts().contains(&"never".to_owned()));
    }
}

#[tokio::test]
async fn a_session_that_is_closed_when_something_is_due_is_ended_all_the_same() {
    let server = Server::with(quick(), settings());
    let mut client = server.websocket();
    client.opened().await;
    client.send("4hello").await;
    assert_eq!(client.next().await, text("4hello"));
    // Nothing else runs meanwhile: the ping is due, and the session closed, before the engine looks again.
    std::thread::sleep(Duration::from_millis(350));
    server.socket(0).close(DisconnectReason::ClosingServer);
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(server.ended().await, EndReason::Application);
    assert!(matches!(server.told()[..], [.., Told::Disconnect(_)]));
}

#[tokio::test]
async fn a_client_that_sends_without_an_end_is_not_heard_without_an_end() {
    let server = Server::start();
    let mut client = server.websocket_over_tcp(65_536).await;
    client.opened().await;
    client.send_raw(&client_frame(0x83, b"")).await;
    let endless = async {
        let mut sent = 0_usize;
        while client.conn.write_all(&[0; 65_536]).await.is_ok() {
            sent += 65_536;
        }
        sent
    };
    let sent = timeout(SOON, endless).await.expect("it is heard for ever");
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn a_client_that_does_not_close_is_not_waited_for_without_an_end() {
    let settings = Settings {
        write_stall_timeout: Duration::from_millis(500),
        ..settings()
    };
    let server = Server::with(EngineIoConfig::default(), settings);
    let mut client = server.websocket_over_tcp(65_536).await;
    client.answers_close = false;
    client.opened().await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    assert_eq!(client.next().await, Frame::Close(vec![3, 0xe9]));
    assert_eq!(client.next().await, Frame::End);
    let until_refused = async {
        // While somebody reads, nothing comes of it.
        while client.conn.write_all(b"?").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = timeout(SOON, until_refused).await;
    assert!(refused.is_ok(), "its connection stays open");
}

/// A server that gives a client this long to take anything, and a client whose connection has little room.
fn narrow(stall: u64) -> (Server, crate::harness::WebSocket) {
    let settings = Settings {
        write_stall_timeout: Duration::from_millis(stall),
        ..settings()
    };
    let server = Server::with(EngineIoConfig::default(), settings);
    let (ours, theirs) = UnixStream::pair().unwrap();
    set_socket_send_buffer_size(&theirs, 16 * 1024).unwrap();
    let client = server.websocket_over(ours, Conn::Unix(theirs), &[], ProtocolVersion::V4);
    (server, client)
}

#[tokio::test]
async fn a_message_that_is_read_slowly_is_read_to_its_end_after_the_session_has_ended() {
    let (server, mut client) = narrow(400);
    client.opened().await;
    client.send("4much:300000").await;
    server
        .until("it waits", |server| server.engine.waiting() > 0)
        .await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    let began = Instant::now();
    let mut came = Vec::new();
    let mut piece = [0; 8192];
    // It takes something all the time, and far longer than a client may take nothing.
    loop {
        let read = timeout(SOON, client.conn.read(&mut piece)).await;
        match read.expect("it takes too long").expect("no reset") {
            0 => break,
            read => came.extend_from_slice(&piece[..read]),
        }
        sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(came.len(), 10 + 300_001 + 4);
    assert!(came.ends_with(&[0x88, 2, 3, 0xe9]));
    assert!(
        began.elapsed() > Duration::from_millis(1000),
        "it was no slow reader"
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_after_the_end_is_given_up() {
    let (server, mut client) = narrow(300);
    client.opened().await;
    client.send("4much:300000").await;
    server
        .until("it waits", |server| server.engine.waiting() > 0)
        .await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    server
        .until("it is given up", |server| server.engine.waiting() == 0)
        .await;
    assert_eq!(server.engine.sessions(), 0);
    let mut came = Vec::new();
    let _ = timeout(SOON, client.conn.read_to_end(&mut came))
        .await
        .expect("its connection stays open");
    assert!(came.len() < 300_000);
}

#[tokio::test]
async fn what_was_queued_goes_before_the_close_frame() {
    let (server, mut client) = narrow(5000);
    client.opened().await;
    for nth in 0..20 {
        client.send(&format!("4much:{}", 10_000 + nth)).await;
    }
    client.send("4close").await;
    for nth in 0..20 {
        let message = "m".repeat(10_000 + nth);
        assert_eq!(client.next().await, text(&format!("4{message}")));
    }
    assert_eq!(client.next().await, Frame::Close(vec![]));
    assert_eq!(client.next().await, Frame::End);
    assert_eq!(server.engine.waiting(), 0);
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_sending_reads_to_the_end() {
    let server = Server::start();
    let mut client = server.websocket_over_tcp(4096).await;
    client.opened().await;
    client.send("4much:20000").await;
    server
        .until("it is handled", |server| server.texts().len() == 1)
        .await;
    server.engine.end(client.sid.unwrap(), EndReason::Drain);
    server
        .until("all is written", |server| server.engine.waiting() == 0)
        .await;
    // What the server's kernel has now is not lost by what arrives meanwhile.
    let mut came = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = timeout(SOON, client.conn.read(&mut piece)).await;
        match read.expect("it takes too long").expect("no reset") {
            0 => break,
            read => came.extend_from_slice(&piece[..read]),
        }
        if came.ends_with(&[0x88, 2, 3, 0xe9]) {
            client.send_raw(&client_frame(0x88, &[3, 0xe9])).await;
        } else {
            client.send("3").await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(came.ends_with(&[0x88, 2, 3, 0xe9]), "{}", came.len());
}
