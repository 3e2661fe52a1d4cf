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

#[test]
fn a_slow_reader_goes_before_the_memory_does_and_the_others_get_everything() {
    let ceiling = 60_000_000;
    let server = Setup::new()
        .workers(1)
        .config(&format!("[limits]\nworker_memory = {ceiling}"))
        .start();
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
    assert!(most < 2 * ceiling);
    assert!(slow_is_over.load(Relaxed), "the slow reader was not ended");
    let ended = "or whose clients read too slowly, were ended";
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
