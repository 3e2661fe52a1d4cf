//! The ceiling of a worker's memory: slow readers go before the memory does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::harness::*;

const ROOM: &str = "r";
const PAYLOAD: usize = 50_000;

/// A client in the room.
fn member(server: &Server) -> WebSocket {
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    socket.text("40/chat,");
    assert!(socket.read_text().starts_with("40/chat,"));
    socket.text(&format!("42/chat,1[\"join\",\"{ROOM}\"]"));
    assert!(socket.read_text().starts_with("43/chat,1"));
    socket
}

fn number(message: &str) -> Option<usize> {
    let payload = message.split("\"payload\":\"").nth(1)?;
    payload.split(' ').next()?.parse().ok()
}

/// Reads 16 KiB every 20 ms: it gets on, and can never catch up.
fn dawdle(mut slow: WebSocket, over: Arc<AtomicBool>) {
    while slow.raw.take(16 * 1024).is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
    over.store(true, Relaxed);
}

/// What a worker may have in these tests, in bytes.
const CEILING: u64 = 60_000_000;

fn server() -> Server {
    Setup::new()
        .workers(1)
        .config(&format!("[limits]\nworker_memory = {CEILING}"))
        .start()
}

#[test]
fn a_slow_reader_goes_before_the_memory_does_and_the_others_get_everything() {
    let server = server();
    let worker = server.workers()[0];
    let mut sender = member(&server);
    let mut fast = member(&server);
    let slow = member(&server);
    let poller = {
        let mut raw = Raw::tcp(server.addr);
        let poller = Polling::open(&mut raw);
        poller.post(&mut raw, "40/chat,");
        poller.post(&mut raw, &format!("42/chat,[\"join\",\"{ROOM}\"]"));
        poller
    };
    let slow_is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&slow_is_over);
    thread::spawn(move || dawdle(slow, over));

    let count = 2_000;
    let received = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&received);
    let reading = thread::spawn(move || {
        for expected in 0..count {
            let message = fast.read_text();
            assert_eq!(number(&message), Some(expected), "{:.80}", message);
            counter.store(expected + 1, Relaxed);
        }
        fast
    });
    let padding = "x".repeat(PAYLOAD);
    let mut most = 0;
    for n in 0..count {
        sender.text(&format!(
            "42/chat,[\"message\",\"{ROOM}\",\"{n} {padding}\"]"
        ));
        eventually("the fast reader keeps up", SOON, || {
            received.load(Relaxed) + 20 >= n
        });
        thread::sleep(Duration::from_millis(2));
        if n % 50 == 0 {
            most = most.max(memory(worker).pss * 1024);
        }
    }
    let mut fast = reading.join().unwrap();
    saw("sent to each, MB", count * PAYLOAD / 1_000_000);
    saw("the worker's memory at most, MB", most / 1_000_000);
    assert!(most < 2 * CEILING);
    assert!(slow_is_over.load(Relaxed), "the slow reader was not ended");
    let ended = "or had most in memory, were ended";
    let lines = server.count_lines(ended);
    saw("times that sessions were ended", lines);
    assert!((1..=4).contains(&lines), "the slow reader and the poller");
    let gone = poller.post(&mut Raw::tcp(server.addr), "3");
    assert_eq!(gone.status, 400, "{gone:?}");
    // Who keeps up is not behind, whatever the memory.
    sender.text("42/chat,2[\"whereami\"]");
    assert!(sender.read_text().contains(&worker.to_string()));
    fast.text("42[\"echo\",\"still\"]");
    assert_eq!(fast.read_text(), "42[\"echo\",\"still\"]");
}

/// As much as one message or post may have, nearly.
const LARGE: usize = 950_000;

/// 200 polling clients do something that makes the worker hold this much, in bytes, for each of them, and then nothing
/// more. The memory stays in bounds, and who talks meanwhile is answered.
fn hoarders(what: &str, each: usize, hoard: impl Fn(&Server, &Polling, Raw) -> Vec<Raw>) {
    let server = server();
    let worker = server.workers()[0];
    let mut talker = WebSocket::open(Raw::tcp(server.addr));
    let clients: Vec<_> = std::iter::repeat_with(|| {
        let mut raw = Raw::tcp(server.addr);
        (Polling::open(&mut raw), raw)
    })
    .take(200)
    .collect();
    let all = (clients.len() * each) as u64;
    assert!(all > 3 * CEILING);
    let mut held = Vec::new();
    let mut most = 0;
    for (session, raw) in clients {
        held.push(hoard(&server, &session, raw));
        talker.echo("still");
        most = most.max(memory(worker).pss * 1024);
    }
    let ended = server.count_lines("or had most in memory, were ended");
    saw(&format!("{what}: MB in all"), all / 1_000_000);
    saw("the worker's memory at most, MB", most / 1_000_000);
    assert!(ended > 0, "nobody was ended");
    // It is looked at ten times a second, and may grow by tens of megabytes meanwhile.
    assert!(most < CEILING + all * 3 / 5, "{most}");
    talker.echo("still");
}

#[test]
fn posts_that_stop_half_way_do_not_fill_the_memory() {
    hoarders("half posts", LARGE, |_, session, mut raw| {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            session.target(),
            LARGE + 1
        );
        let _ = raw.try_send(head + &"4".repeat(LARGE));
        vec![raw]
    });
}

/// Has as much echoed as one may before it polls, and polls; then it reads the answer, or not.
fn poller(what: &str, each: usize, headers: &str, reads: bool) {
    hoarders(what, each, |_, session, mut raw| {
        let target = session.target();
        let large = format!("42[\"echo\",\"{}\"]", "l".repeat(LARGE));
        let length = large.len();
        let post = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{large}"
        );
        for _ in 0..2 {
            // It may have been ended, and its connection, too.
            if raw.try_send(&post).is_err() || raw.try_response().is_err() {
                return vec![raw];
            }
        }
        let poll = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        if raw.try_send(poll).is_ok() && reads {
            let _ = raw.try_response();
        }
        vec![raw]
    });
}

#[test]
fn answers_that_are_not_read_do_not_fill_the_memory() {
    // Encoded, and as it is kept in case that it does not arrive.
    poller("unread answers", 4 * LARGE, "", false);
}

#[test]
fn what_is_kept_of_answers_does_not_fill_the_memory() {
    poller("answers that were read last", 2 * LARGE, "", true);
    poller(
        "small answers of much",
        2 * LARGE,
        "Accept-Encoding: gzip\r\n",
        false,
    );
}

#[test]
fn half_events_do_not_fill_the_memory() {
    hoarders("half events", LARGE, |_, session, mut raw| {
        let text = "b".repeat(LARGE);
        let event = format!("451-[\"echo\",\"{text}\",{{\"_placeholder\":true,\"num\":0}}]");
        let length = event.len();
        let post = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{event}",
            session.target()
        );
        if raw.try_send(post).is_ok() {
            let _ = raw.try_response();
        }
        vec![raw]
    });
}

#[test]
fn half_messages_before_an_upgrade_do_not_fill_the_memory() {
    hoarders("half messages", LARGE, |server, session, raw| {
        let mut second = Raw::tcp(server.addr);
        let target = session.target().replace("polling", "websocket");
        second.send(WebSocket::request(&target));
        // The session may have been ended.
        if second.response().status == 101 {
            let frame = WebSocket::frame(0x81, &[b'4'; LARGE]);
            let _ = second.try_send(&frame[..LARGE]);
        }
        vec![raw, second]
    });
}
