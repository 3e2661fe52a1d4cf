//! Metrics: what the server counts is what happened to it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// Are these the same, but for one in a hundred?
#[track_caller]
fn assert_near(what: &str, told: f64, counted: f64) {
    saw(what, format!("told {told}, counted {counted}"));
    assert!((told - counted).abs() <= counted / 100.0, "{what}");
}

#[allow(clippy::cast_precision_loss, reason = "they are small")]
fn figure(stats: &serde_json::Value, name: &str) -> f64 {
    number(stats, name) as f64
}

/// What has a transport, or a reason: `sum`'s labels.
fn transport(word: &str) -> String {
    format!("transport=\"{word}\"")
}

#[test]
fn figures_agree_with_what_a_load_opened_and_sent() {
    const EACH: usize = 50;
    let server = Server::start();
    let began = Instant::now();
    let mut clients = ["websocket", "polling"].map(|transport| {
        let arguments = ["--every", "100", "--transport", transport];
        Held::connect(&server.url(), EACH, &arguments)
    });
    let figures = Figures::wait_for(&server, "my_app_sessions", "", 100.0);
    for word in ["websocket", "polling"] {
        let labels = transport(word);
        assert_eq!(figures.sum("my_app_sessions", &labels), 50.0);
        assert_eq!(figures.sum("my_app_sessions_opened_total", &labels), 50.0);
    }
    // As many seconds as a rate is of, and two more for the clients to begin.
    thread::sleep(Duration::from_secs(7).saturating_sub(began.elapsed()));
    let sent = |clients: &mut [Held; 2]| {
        let stats = clients.each_mut().map(Held::stats);
        stats.iter().map(|stats| figure(stats, "sent")).sum::<f64>()
    };
    let (from, before) = (Instant::now(), sent(&mut clients));
    thread::sleep(Duration::from_secs(5));
    let rate = (sent(&mut clients) - before) / from.elapsed().as_secs_f64();
    let status = server.control().get("/status");
    let told = status["rates"]["messages_in_per_second"].as_f64().unwrap();
    saw("messages a second", format!("told {told}, sent {rate}"));
    assert!((told - rate).abs() < rate / 5.0);

    // One that is cut off between two of its polls is there until its ping's answer is missed.
    clients[1].leave();
    Figures::wait_for(&server, "my_app_sessions", &transport("polling"), 0.0);
    let stats = clients.map(Held::quit);
    let sum = |name| stats.iter().map(|stats| figure(stats, name)).sum::<f64>();
    assert_eq!(sum("missing"), 0.0, "{stats:#?}");
    let figures = Figures::wait_for(&server, "my_app_sessions_ended_total", "", 100.0);
    let reasons = ["client-left", "transport-closed"];
    let left = reasons.map(|reason| format!("reason=\"{reason}\""));
    let left = left.map(|reason| figures.sum("my_app_sessions_ended_total", &reason));
    assert_eq!(left, [50.0, 50.0]);
    assert_eq!(figures.sum("my_app_sessions", ""), 0.0);
    // Each says CONNECT, and hears that it is connected.
    let echoes = sum("sent");
    assert_near("events", figures.sum("my_app_events_total", ""), echoes);
    for way in ["in", "out"] {
        let told = figures.sum("my_app_messages_total", &format!("direction=\"{way}\""));
        assert_near(&format!("messages {way}"), told, echoes + 100.0);
    }
    let measured = figures.sum("my_app_handler_seconds_count", "");
    assert!(
        (measured - echoes / 16.0).abs() <= 2.0,
        "{measured} of {echoes}"
    );
    assert!(figures.sum("my_app_handler_seconds_sum", "") > 0.0);
    assert!(figures.sum("my_app_event_loop_lag_seconds_count", "") > 100.0);
    assert!(figures.sum("my_app_worker_memory_bytes", "") > 1e6);
}

#[test]
fn every_byte_of_a_message_is_counted_both_ways() {
    let server = Setup::new().workers(1).start();
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    let mut raw = Raw::tcp(server.addr);
    let polling = Polling::open(&mut raw);
    let figures = Figures::wait_for(&server, "my_app_sessions", "", 2.0);
    let bytes = |figures: &Figures, way| {
        figures.sum(
            "my_app_message_bytes_total",
            &format!("direction=\"{way}\""),
        )
    };
    let before = ["in", "out"].map(|way| bytes(&figures, way));
    for length in 0..50 {
        socket.echo(&"x".repeat(10 * length));
        polling.echo(&mut raw, &"é".repeat(length));
    }
    // `2["echo",""]` and what is in it; the digit of Engine.IO's type does not count.
    let each: usize = (0..50).map(|length| 2 * 12 + 12 * length).sum();
    #[allow(clippy::cast_precision_loss, reason = "it is small")]
    let each = each as f64;
    let messages = "direction=\"out\"";
    let figures = Figures::wait_for(&server, "my_app_messages_total", messages, 102.0);
    assert_eq!(bytes(&figures, "in") - before[0], each);
    assert_eq!(bytes(&figures, "out") - before[1], each);
}

#[test]
fn no_counter_falls_when_a_worker_is_killed() {
    let server = Server::start();
    let clients = Held::connect(&server.url(), 40, &["--every", "20", "--reconnect"]);
    eventually("both workers have counted something", SOON, || {
        let figures = Figures::of(&server);
        let events = |slot| figures.sum("my_app_events_total", &format!("worker=\"{slot}\""));
        events(0) > 500.0 && events(1) > 500.0
    });
    let victim = server.workers()[0];
    let mut last = Figures::of(&server);
    let mut scrapes = 0;
    let mut check = || {
        let figures = Figures::of(&server);
        let (before, now) = (last.counters(), figures.counters());
        for (name, value) in &now {
            let before = before.get(name).unwrap_or_else(|| panic!("{name} is new"));
            assert!(value >= before, "{name} fell from {before} to {value}");
        }
        assert_eq!(before.len(), now.len());
        scrapes += 1;
        last = figures.clone();
        figures
    };
    check();
    signal_process(victim, "KILL");
    eventually("the worker is replaced", SOON, || {
        let figures = check();
        let restarts = figures.sum("my_app_worker_restarts_total", "worker=\"0\"");
        restarts == 1.0 && figures.sum("my_app_workers_ready", "") == 2.0
    });
    eventually("its successor has sessions", SOON, || {
        check().sum("my_app_sessions", "worker=\"0\"") >= 10.0
    });
    let figures = check();
    saw("scrapes", scrapes);
    let gone = figures.sum("my_app_sessions_ended_total", "reason=\"worker-gone\"");
    assert!((10.0..=30.0).contains(&gone), "{gone}");
    // What was opened has ended, or is there.
    for slot in ["worker=\"0\"", "worker=\"1\""] {
        let [opened, ended, there] = ["_opened_total", "_ended_total", ""]
            .map(|end| figures.sum(&format!("my_app_sessions{end}"), slot));
        assert_eq!(opened - ended, there, "{slot}");
    }
    drop(clients);
}

#[test]
fn promtool_finds_nothing_to_say() {
    let server = Server::start();
    let _clients = Held::connect(&server.url(), 10, &["--every", "20"]);
    Figures::wait_for(&server, "my_app_sessions", "", 10.0);
    let figures = Figures::of(&server);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus (make test-deps)");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(figures.text.as_bytes()).unwrap();
    drop(input);
    let said = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.is_empty(), "{words}");
}

#[test]
fn what_happens_once_is_counted_once() {
    let limits = "[limits]\nmax_connections = 5";
    let server = Setup::new().workers(1).config(limits).start();
    let sum = |name: &str, label: &str| Figures::of(&server).sum(name, label);
    // Requests, and one that is refused.
    let mut raw = Raw::tcp(server.addr);
    assert_eq!(raw.get("/socket.io/?EIO=4&transport=pigeon").status, 400);
    assert_eq!(raw.get("/socket.io/?EIO=3&transport=polling").status, 400);
    let unknown = "/socket.io/?EIO=4&transport=polling&sid=nobody";
    assert_eq!(raw.get(unknown).status, 400);
    let polling = Polling::open(&mut raw);
    // An acknowledgement that the server gives.
    assert_eq!(polling.post(&mut raw, "421[\"echo\",1]").body, "ok");
    assert_eq!(polling.packets(&mut raw), ["431[\"echo\",1]"]);
    // An upgrade that fails, and one that is done.
    let upgrade = polling.target().replace("polling", "websocket");
    let probe = || {
        let mut raw = Raw::tcp(server.addr);
        raw.send(WebSocket::request(&upgrade));
        let mut socket = WebSocket::switched(raw);
        socket.text("2probe");
        assert_eq!(socket.read_text(), "3probe");
        socket
    };
    drop(probe());
    let of = |outcome: &str| format!("outcome=\"{outcome}\"");
    Figures::wait_for(&server, "my_app_upgrades_total", &of("failed"), 1.0);
    let mut socket = probe();
    socket.text("5");
    socket.echo("over the WebSocket");
    let figures = Figures::wait_for(&server, "my_app_sessions", &transport("websocket"), 1.0);
    assert_eq!(figures.sum("my_app_sessions", &transport("polling")), 0.0);
    assert_eq!(figures.sum("my_app_upgrades_total", &of("tried")), 2.0);
    assert_eq!(figures.sum("my_app_upgrades_total", &of("done")), 1.0);
    assert_eq!(figures.sum("my_app_upgrades_total", &of("failed")), 1.0);
    assert_eq!(figures.sum("my_app_acks_total", "direction=\"out\""), 1.0);
    // A broadcast.
    let chat = Crowd::light(&server, "/chat", 2);
    chat[0].call("announce", serde_json::json!([1]));
    Figures::wait_for(&server, "my_app_broadcasts_total", "", 1.0);
    // One connection too many.
    let _all: Vec<_> = (0..3).map(|_| Raw::tcp(server.addr)).collect();
    let refused = |reason: &str| sum("my_app_refused_total", &format!("reason=\"{reason}\""));
    eventually("a connection is refused", SOON, || {
        let mut raw = Raw::tcp(server.addr);
        let _ = raw.try_send("GET / HTTP/1.1\r\n\r\n");
        raw.try_response().is_ok_and(|answer| answer.status == 503)
    });
    assert!(refused("full") >= 1.0);
    eventually("what the worker refused is told", SOON, || {
        refused("malformed") == 1.0
            && refused("unsupported-protocol") == 1.0
            && refused("unknown-session") == 1.0
    });
    for (purpose, least) in [
        ("handshake", 1.0),
        ("poll", 2.0),
        ("post", 2.0),
        ("upgrade", 2.0),
    ] {
        let told = sum(
            "my_app_http_requests_total",
            &format!("purpose=\"{purpose}\""),
        );
        assert!(told >= least, "{purpose}: {told}");
    }
    assert_eq!(
        sum("my_app_http_requests_total", "purpose=\"refused\""),
        3.0
    );
    assert!(sum("my_app_connections_accepted_total", "listener=\"tcp\"") >= 8.0);
    assert_eq!(sum("my_app_build_info", ""), 1.0);
}
