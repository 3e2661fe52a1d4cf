//! Streams: sessions spread, and one client's pace is no other's.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

/// Echoes every 50 ms from clients on both workers.
fn bystanders(server: &Server) -> Held {
    Held::connect(&server.url(), 20, &["--every", "50"])
}

#[track_caller]
fn lost_nothing(stats: &Value) {
    saw("echoes of the others", &stats["received"]);
    for fault in ["missing", "outOfOrder", "disconnects"] {
        assert_eq!(stats[fault], 0, "{stats}");
    }
}

/// A frame with an event that carries `bytes` characters.
fn large_event(bytes: usize) -> Vec<u8> {
    let event = format!("42[\"echo\",\"{}\"]", "x".repeat(bytes));
    WebSocket::frame(0x81, event.as_bytes())
}

/// Sends what nobody reads, until that is done or the connection is over; when it last got on.
fn send_all(mut raw: Raw, count: usize, bytes: usize) -> (Instant, io::Result<()>) {
    let frame = large_event(bytes);
    let mut got_on = Instant::now();
    for _ in 0..count {
        for piece in frame.chunks(16 * 1024) {
            if let Err(error) = raw.try_send(piece) {
                return (got_on, Err(error));
            }
            got_on = Instant::now();
        }
    }
    (got_on, Ok(()))
}

/// Sends 50 MB of echoes to a client that reads none of them.
fn never_read(count: usize, bytes: usize) {
    let server = Setup::new()
        .config("[engine]\nwrite_stall_timeout = \"2s\"")
        .start();
    let others = bystanders(&server);
    let workers = server.workers();
    let before: Vec<_> = workers.iter().map(|&pid| memory(pid).pss).collect();
    let deaf = WebSocket::open(Raw::tcp(server.addr));
    let sender = deaf.raw.sender();
    let sending = thread::spawn(move || send_all(sender, count, bytes));
    let warning = "a client does not read what it is sent; its connection was closed";
    let mut most = 0;
    eventually("the deaf client's end", Duration::from_secs(20), || {
        let now = workers.iter().map(|&pid| memory(pid).pss).max();
        most = most.max(now.unwrap());
        server.count_lines(warning) > 0
    });
    let ended = Instant::now();
    let (got_on, outcome) = sending.join().unwrap();
    let after = ended.saturating_duration_since(got_on);
    saw("closed after its last progress", format!("{after:?}"));
    saw("the sender's end", format!("{outcome:?}"));
    assert!(outcome.is_err());
    assert!(after < Duration::from_secs(3));
    server.wait_for_sessions(20, Duration::from_secs(3));
    saw("PSS before, KiB", format!("{before:?}"));
    saw("PSS at most, KiB", most);
    let began = Instant::now();
    eventually("memory back", Duration::from_secs(5), || {
        workers
            .iter()
            .zip(&before)
            .all(|(&pid, before)| memory(pid).pss < before * 6 / 5 + 4096)
    });
    let now: Vec<_> = workers.iter().map(|&pid| memory(pid).pss).collect();
    saw(
        "PSS after, KiB",
        format!("{now:?} within {:?}", began.elapsed()),
    );
    assert_eq!(server.count_lines(warning), 1);
    drop(deaf);
    lost_nothing(&others.quit());
}

#[test]
fn a_burst_of_clients_spreads_and_those_that_follow_make_it_even() {
    let server = Server::start();
    let mut first = Held::connect(&server.url(), 200, &[]);
    shared_out(&server.sessions(), 200);
    first.close(100);
    server.wait_for_sessions(100, Duration::from_secs(3));
    saw(
        "with half of them closed",
        format!("{:?}", server.sessions()),
    );
    let second = Held::connect(&server.url(), 100, &[]);
    shared_out(&server.sessions(), 200);
    let more = make_even(&server);
    saw("more that made it even", more.len());
    lost_nothing(&first.quit());
    lost_nothing(&second.quit());
}

#[test]
fn polling_sessions_spread_and_count_no_longer_when_closed() {
    let server = Server::start();
    let mut clients = Held::connect(&server.url(), 60, &["--transport", "polling"]);
    shared_out(&server.sessions(), 60);
    clients.close(60);
    server.wait_for_sessions(0, Duration::from_secs(2));
    lost_nothing(&clients.quit());
}

#[test]
fn the_emptier_worker_is_filled_first() {
    let server = Server::start();
    let mut clients: Vec<_> = (0..20)
        .map(|_| Some(WebSocket::open(Raw::tcp(server.addr))))
        .collect();
    // One after the other they took turns: every other one is on the same worker.
    for client in clients.iter_mut().step_by(2) {
        client.take();
    }
    server.wait_for_sessions(10, Duration::from_secs(2));
    let uneven = server.sessions();
    let _more: Vec<_> = (0..10)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let even = server.sessions();
    saw("before and after", format!("{uneven:?}, {even:?}"));
    assert_eq!(uneven.iter().max(), Some(&10));
    assert_eq!(even, [10, 10]);
}

#[test]
fn round_robin_takes_turns() {
    let server = Setup::new().top("balance = \"round-robin\"").start();
    let _clients: Vec<_> = (0..40)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    assert_eq!(server.sessions(), [20, 20]);
}

#[test]
fn random_takes_everybody() {
    let server = Setup::new().top("balance = \"random\"").start();
    let _clients: Vec<_> = (0..200)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let sessions = server.sessions();
    saw("sessions", format!("{sessions:?}"));
    assert!(sessions.iter().all(|count| (60..=140).contains(count)));
}

#[test]
fn a_client_that_never_reads_large_messages_costs_nobody_else_anything() {
    never_read(56, 900_000);
}

#[test]
fn a_client_that_never_reads_many_messages_costs_nobody_else_anything() {
    never_read(500, 100_000);
}

#[test]
fn a_client_that_reads_slowly_is_served() {
    let server = Setup::new()
        .config("[engine]\nwrite_stall_timeout = \"2s\"")
        .start();
    let mut slow = WebSocket::open(Raw::tcp(server.addr));
    let sender = slow.raw.sender();
    let sending = thread::spawn(move || send_all(sender, 300, 100_000));
    let began = Instant::now();
    let mut read = 0;
    while began.elapsed() < Duration::from_secs(9) {
        thread::sleep(Duration::from_millis(200));
        let bytes = slow.raw.take(50_000);
        assert!(
            bytes.is_ok(),
            "{bytes:?} after {:?} and {read} bytes",
            began.elapsed()
        );
        read += 50_000;
    }
    saw("read at 250 kB/s", read);
    assert_eq!(server.count_lines("does not read"), 0);
    // And now all the rest, in full.
    let whole: usize = 300 * (100_000 + "42[\"echo\",\"\"]".len() + 10);
    while read < whole {
        let next = (whole - read).min(1_000_000);
        slow.raw.take(next).unwrap();
        read += next;
    }
    sending.join().unwrap().1.unwrap();
}

#[test]
fn a_client_that_pipelines_gets_every_echo_in_order() {
    let server = Server::start();
    let others = bystanders(&server);
    let figures = node("pipeline.mjs", &server.url(), &["--count", "20000"]);
    saw("ms for 20,000 echoes", &figures["ms"]);
    lost_nothing(&others.quit());
}

#[test]
fn a_kept_alive_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let server = Setup::new()
        .config("[limits]\nhead_timeout = \"1s\"")
        .start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    thread::sleep(Duration::from_millis(2500));
    session.echo(&mut raw, "still here");
}

#[test]
fn half_a_head_on_a_kept_alive_connection_is_ended_in_time() {
    let server = Setup::new()
        .config("[limits]\nhead_timeout = \"1s\"")
        .start();
    let mut raw = Raw::tcp(server.addr);
    let _session = Polling::open(&mut raw);
    thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    raw.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: loc");
    let end = raw.read_to_end();
    let after = began.elapsed();
    let said = end.map(|bytes| {
        String::from_utf8_lossy(&bytes)
            .lines()
            .next()
            .map(str::to_owned)
    });
    saw("ended after", format!("{after:?}: {said:?}"));
    assert!((Duration::from_millis(900)..Duration::from_millis(2500)).contains(&after));
    assert!(said.is_ok(), "{said:?}");
}
