//! A start that is not perfect: listeners that cannot be had, workers that are slow or do not start. And
//! what systemd is told of times.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::harness::*;

/// The example whose workers are slow or broken, as these variables say.
fn slow_start(variables: &[&str]) -> Setup {
    let prefix: Vec<_> = ["env"].iter().chain(variables).copied().collect();
    Setup::new().example("slow_start").under(&prefix).unwaited()
}

/// The messages to systemd up to READY=1, and how long that took.
fn until_ready(server: &Server) -> (Vec<String>, Duration) {
    let began = Instant::now();
    let mut messages = Vec::new();
    while messages.last().is_none_or(|last| last != "READY=1") {
        messages.push(server.notified());
    }
    (messages, began.elapsed())
}

fn serves(mut raw: Raw) {
    Polling::open(&mut raw).echo(&mut raw, "served");
}

#[test]
fn a_listener_that_cannot_be_had_costs_no_other_and_is_tried_again() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    // No machine has this one (RFC 5737).
    let setup = Setup::new().listen(&taken.to_string());
    let server = setup.listen("192.0.2.1:1").start();
    serves(Raw::tcp(server.addr));
    for address in [taken.to_string().as_str(), "192.0.2.1:1"] {
        server.wait_for_line(&format!("WARN cannot listen on {address}: "));
    }
    drop(other);
    let freed = Instant::now();
    server.wait_for_line(&format!("listening on {taken} now"));
    saw("served there after", format!("{:?}", freed.elapsed()));
    serves(Raw::tcp(taken));
}

#[test]
fn without_any_listener_the_server_ends_and_names_them_all() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let output = std::process::Command::new("timeout")
        .arg("10")
        .arg(program())
        .args(["--workers", "1"])
        .args(["--listen", &taken, "--listen", "192.0.2.1:1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{said}");
    for address in [&taken, "192.0.2.1:1"] {
        let line = format!("my-app: cannot listen on {address}: ");
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn a_worker_that_is_slow_to_start_holds_nobody_up() {
    let server = slow_start(&["SLOW_WORKERS=1", "SLOW_SECONDS=6"])
        .top("start_timeout = \"1s\"\nwatchdog = \"1s\"")
        .systemd()
        .start();
    let (before, after) = until_ready(&server);
    saw("ready after", format!("{after:?}"));
    assert!(after < Duration::from_secs(5), "{after:?}");
    let asked = |message: &String| message == "EXTEND_TIMEOUT_USEC=15000000";
    assert!(before.iter().any(asked), "{before:?}");
    // What systemd knows already is not told again.
    let missing = "1 of 2 worker(s), 0 client(s); worker 1 is still starting";
    if !before.iter().any(|message| message.ends_with(missing)) {
        server.wait_for_notification(missing);
    }
    server.wait_for_line("WARN serving, although worker 1 is still starting");
    let workers = server.workers();
    serves(Raw::tcp(server.addr));
    // It is waited for, longer than a worker that serves would be.
    let status = server.wait_for_notification(": 2 worker(s), ");
    saw("status", status);
    assert_eq!(
        (server.workers(), server.count_lines(" died")),
        (workers, 0)
    );
}

#[test]
fn a_slot_that_does_not_start_costs_no_other() {
    let server = slow_start(&["BROKEN_WORKERS=0", "SLOW_WORKERS=1", "SLOW_SECONDS=2"])
        .top("start_timeout = \"1s\"")
        .systemd()
        .start();
    let (before, after) = until_ready(&server);
    saw("ready after", format!("{after:?}"));
    let tries = server.count_lines("why=\"exit code 101\"");
    assert!(tries >= 3, "{tries}");
    let missing = "; worker 0 does not start (exit code 101) and is tried again";
    if !before.iter().any(|message| message.contains(missing)) {
        server.wait_for_notification(missing);
    }
    // The pauses grow, and how long one still takes is told.
    let told = server.wait_for_notification("(exit code 101) and is tried again in ");
    saw("STATUS", told);
    let next = server.control().get("/status")["workers"][0]["next_attempt_seconds"].as_f64();
    assert!(next.is_some_and(|next| next < 30.0), "{next:?}");
    serves(Raw::tcp(server.addr));
}

#[test]
fn a_server_of_which_no_worker_starts_ends_with_71_and_says_why() {
    let mut server = slow_start(&["BROKEN_WORKERS=0,1"]).start();
    assert_eq!(server.ended(SOON).code(), Some(71));
    server.wait_for_line("did not start: exit code 101");
}

#[test]
fn whoever_connects_before_the_first_worker_is_ready_waits_and_is_served() {
    let server = slow_start(&["SLOW_WORKERS=0,1", "SLOW_SECONDS=7"])
        .top("start_timeout = \"1s\"")
        .systemd()
        .start();
    let began = Instant::now();
    let client = Raw::tcp(server.addr);
    serves(client);
    saw("served after", format!("{:?}", began.elapsed()));
    assert!(began.elapsed() > Duration::from_secs(5));
    server.wait_for_line("WARN no worker takes connections after 1s; ");
}

#[test]
fn a_worker_that_does_not_become_ready_at_all_is_started_anew() {
    let mut server = slow_start(&["SLOW_WORKERS=0"])
        .top("start_timeout = \"200ms\"")
        .start();
    server.wait_for_line("why=\"it was not ready within 2s\"");
    serves(Raw::tcp(server.addr));
    // Nor does a stop wait for it.
    let asked = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn systemd_is_asked_for_the_time_that_a_stop_takes() {
    let mut server = Setup::new().top("stop_drain = \"3s\"").systemd().start();
    let _clients: Vec<_> = (0..4)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    server.wait_for_notification(", 4 client(s)");
    server.signal("TERM");
    server.wait_for_notification("STOPPING=1");
    assert!(
        server
            .wait_for_notification("STATUS=")
            .contains("within 3s")
    );
    // At once, and then again and again.
    for _ in 0..2 {
        server.wait_for_notification("EXTEND_TIMEOUT_USEC=15000000");
    }
    assert_eq!(server.ended(SOON).code(), Some(0));
}

/// As a terminal that is closed, or `systemctl kill --signal=HUP`, sends it.
#[test]
fn a_hangup_ends_nobody_and_the_log_says_what_to_do() {
    let server = Server::start();
    let workers = server.workers();
    let _clients: Vec<_> = (0..6)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    server.wait_for_sessions(6, SOON);
    for &pid in workers.iter().chain([&server.pid]) {
        signal_process(pid, "HUP");
    }
    server.wait_for_line("WARN SIGHUP does nothing: 'systemctl reload my-app.service'");
    server.wait_for_sessions(6, SOON);
    assert_eq!((alive(server.pid), server.workers()), (true, workers));
}
