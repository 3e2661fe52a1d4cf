//! The server stops, politely and in time, and starts again.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// Stops a server with a hundred clients, in this way.
fn stops_politely(setup: Setup, stop: impl FnOnce(&Server)) {
    let mut server = setup.start();
    let clients = ["websocket", "polling"].map(|transport| {
        let arguments = ["--every", "100", "--transport", transport];
        Held::connect(&server.url(), 50, &arguments)
    });
    let mut websocket = WebSocket::open(Raw::tcp(server.addr));
    let mut raw = Raw::tcp(server.addr);
    let polling = Polling::open(&mut raw);
    // With the engine's first ping out of the way the next poll has nothing to bring.
    thread::sleep(Duration::from_millis(100));
    polling.echo(&mut raw, "nothing is left");
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        polling.target()
    ));
    thread::sleep(Duration::from_millis(300));

    let asked = Instant::now();
    stop(&server);
    let frame = thread::spawn(move || {
        loop {
            match websocket.read() {
                // Pings, and nothing else, come before.
                Ok((1, payload)) => assert_eq!(payload, b"2"),
                last => return last,
            }
        }
    });
    let answer = thread::spawn(move || raw.try_response());
    let status = server.ended(SOON);
    let after = asked.elapsed();
    saw("ended after", format!("{after:?}"));
    let frame = frame.join().unwrap();
    let answer = answer.join().unwrap();
    saw("the pending poll's answer", format!("{answer:?}"));
    let counts = clients.map(Held::quit);
    saw(
        "reasons",
        format!("{} {}", counts[0]["reasons"], counts[1]["reasons"]),
    );
    assert_eq!(status.code(), Some(0));
    assert!(after < Duration::from_secs(3));
    // 1001 is 0x03e9; a reason may follow.
    assert!(
        matches!(&frame, Ok((8, payload)) if payload.starts_with(&[3, 0xe9])),
        "{frame:?}"
    );
    let answer = answer.unwrap();
    // A close packet, or a packet that changes nothing.
    assert!(
        answer.status == 200 && ["1", "6"].contains(&answer.body.as_str()),
        "{answer:?}"
    );
    for stats in counts {
        let reasons = stats["reasons"].as_object().unwrap();
        let transport = ["transport close", "transport error"];
        assert!(
            reasons
                .keys()
                .all(|reason| transport.contains(&reason.as_str())),
            "{stats}"
        );
        assert_eq!(number(&stats, "disconnects"), 50, "{stats}");
        assert_eq!(number(&stats, "outOfOrder"), 0, "{stats}");
    }
}

#[test]
fn a_stop_ends_all_sessions_at_the_transport_and_in_time() {
    stops_politely(Setup::new(), |server| server.signal("TERM"));
}

/// Sends a signal to all processes of a server that was started in a group of its own.
fn signal_group(server: &Server, signal: &str) {
    let group = format!("-{}", server.pid);
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), "--", &group])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_key_press_that_reaches_every_process_stops_as_politely() {
    stops_politely(Setup::new().own_group(), |server| {
        signal_group(server, "INT");
    });
}

/// As systemd does it, unless the unit says otherwise.
#[test]
fn a_stop_that_reaches_every_process_is_as_polite() {
    stops_politely(Setup::new().own_group(), |server| {
        signal_group(server, "TERM");
    });
}

#[test]
fn an_idle_server_stops_at_once_and_no_worker_dies_of_it() {
    // Whichever process hears of it first.
    for _ in 0..40 {
        let mut server = Setup::new().own_group().start();
        signal_group(&server, "TERM");
        let asked = Instant::now();
        assert_eq!(server.ended(SOON).code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(1));
        assert_eq!(
            (server.count_lines(" died"), server.count_lines(" started")),
            (0, 2),
            "a worker that was told to stop did not die"
        );
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Setup::new().top("stop_drain = \"30s\"").start();
    let _clients: Vec<_> = (0..20)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let workers = server.workers();
    server.signal("TERM");
    thread::sleep(Duration::from_millis(500));
    assert!(alive(server.pid));
    server.signal("TERM");
    let asked = Instant::now();
    assert_eq!(server.ended(SOON).code(), Some(0));
    saw("ended after", format!("{:?}", asked.elapsed()));
    assert!(asked.elapsed() < Duration::from_millis(500));
    eventually("its workers gone", Duration::from_secs(1), || {
        !workers.iter().any(|&pid| alive(pid))
    });
}

#[test]
fn a_restart_under_systemd_refuses_and_resets_nobody() {
    let mut first = Setup::new().systemd().start();
    let held = Held::connect(&first.url(), 50, &["--reconnect", "--every", "100"]);
    let newcomers = Newcomers::come(first.addr, 8);
    thread::sleep(Duration::from_millis(300));
    first.signal("TERM");
    let status = first.ended(SOON);
    thread::sleep(Duration::from_millis(300));
    let second = Setup::new().listeners_of(&first).start();
    thread::sleep(Duration::from_millis(1500));
    let outcomes = newcomers.stop();
    let stats = held.quit();
    saw("the held clients", &stats);
    assert_eq!(status.code(), Some(0));
    assert_eq!(number(&stats, "connected"), 50);
    WebSocket::open(Raw::unix(&second.unix)).echo("served");
    assert!(outcomes["101"] > 100);
    // Accepted before the stop and told to come again: an answer, neither refused nor reset.
    assert!(
        outcomes
            .keys()
            .all(|outcome| outcome == "101" || outcome == "503"),
        "{outcomes:?}"
    );
}
