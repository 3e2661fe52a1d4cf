//! The control socket: who may ask, how it is asked, and how the server is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Instant;

use super::harness::*;

#[test]
fn the_status_of_a_healthy_server_says_so() {
    let server = Setup::new().unix().start();
    let status = server.control().get("/status");
    assert_eq!(status["state"], "healthy", "{status:#}");
    assert_eq!(status["reasons"], serde_json::json!([]));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], server.pid);
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    let started = status["started_at"].as_str().unwrap();
    assert!(started.len() == 20 && started.ends_with('Z'), "{started}");
    let workers = status["workers"].as_array().unwrap();
    let pids: Vec<_> = workers.iter().map(|w| w["pid"].as_u64().unwrap()).collect();
    assert_eq!(
        pids,
        server
            .workers()
            .iter()
            .map(|&p| p.into())
            .collect::<Vec<u64>>()
    );
    for (slot, worker) in workers.iter().enumerate() {
        assert_eq!(
            (&worker["slot"], &worker["state"]),
            (&slot.into(), &"ready".into())
        );
        assert_eq!(worker["restarts"], 0);
    }
    let listeners: Vec<_> = status["listeners"].as_array().unwrap().clone();
    assert_eq!(listeners[0]["address"], format!("http://{}", server.addr));
    assert_eq!(
        listeners[1]["address"],
        format!("unix:{}", server.unix.display())
    );
    assert!(listeners.iter().all(|l| l["state"] == "listening"));
    assert_eq!(status["limits"]["rooms_per_socket"], 10_000);
    assert!(status["limits"]["worker_memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(status["limits"]["open_files"].as_u64().unwrap() > 100);
    assert_eq!(status["log"]["level"], "info");
    assert_eq!(status["faults"], serde_json::json!([]));
}

#[test]
fn a_killed_worker_is_a_fault_and_a_restart() {
    let server = Server::start();
    let killed = server.workers()[1];
    signal_process(killed, "KILL");
    let control = server.control();
    eventually("the worker is replaced", SOON, || {
        let status = control.get("/status");
        status["state"] == "healthy" && status["workers"][1]["restarts"] == 1
    });
    let status = control.get("/status");
    let fault = status["faults"][0]["what"].as_str().unwrap();
    let said = format!("worker 1 (pid {killed}) ended: killed by signal 9");
    assert!(fault.starts_with(&said), "{fault}");
    assert_eq!(status["workers"][0]["restarts"], 0);
}

#[test]
fn a_worker_that_is_stopped_is_named() {
    let server = Setup::new().top("watchdog = \"1m\"").start();
    let stopped = server.workers()[0];
    signal_process(stopped, "STOP");
    let control = server.control();
    eventually("the worker is seen not to answer", SOON, || {
        let status = control.get("/status");
        status["state"] == "degraded" && status["workers"][0]["state"] == "stalled"
    });
    let reasons = control.get("/status")["reasons"].clone();
    assert_eq!(reasons, serde_json::json!(["worker 0 does not answer"]));
    signal_process(stopped, "CONT");
    eventually("it answers again", SOON, || {
        control.get("/status")["state"] == "healthy"
    });
}

#[test]
fn the_socket_is_for_the_user_and_the_group_and_goes_with_the_server() {
    let mut server = Server::start();
    let path = server.control().path;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let own = fs::metadata("/proc/self").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), own.gid());
    server.stop();
    assert!(!path.exists());
}

/// Only root can become another user.
#[test]
fn another_user_is_refused() {
    let server = Server::start();
    let path = server.control().path;
    // The directory may be entered: it is the socket that refuses.
    fs::set_permissions(server.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let asked = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "curl",
            "-sS",
            "--unix-socket",
        ])
        .arg(&path)
        .arg("http://localhost/status")
        .output()
        .unwrap();
    assert!(!asked.status.success());
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        said.contains("denied")
            || said.contains("Could not connect")
            || said.contains("Couldn't connect"),
        "{said}"
    );
    assert_eq!(server.control().get("/status")["state"], "healthy");
}

#[test]
fn a_stale_file_is_replaced_and_a_live_server_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    let first = Setup::new().workers(1).control_socket(&path).start();
    assert_eq!(first.control().get("/status")["pid"], first.pid);
    let second = Setup::new().workers(1).control_socket(&path).start();
    second.wait_for_line("another process listens there already; the server runs on without");
    assert_eq!(second.control().get("/status")["pid"], first.pid);
    assert_eq!(second.count_lines("control socket"), 1);
    drop(second);
    assert_eq!(first.control().get("/status")["pid"], first.pid);
}

#[test]
fn a_socket_that_cannot_be_had_keeps_nobody_from_being_served() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), dir.path().join("none/control.sock")] {
        let server = Setup::new().workers(1).control_socket(&path).start();
        server.wait_for_line("the server runs on without its control socket");
        let answer = Raw::tcp(server.addr).get("/socket.io/?EIO=4&transport=polling");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn what_cannot_be_answered_is_an_error_in_words() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let answer = |method, target, lines: &[&str]| error(&control.ask(method, target, lines, ""));
    assert_eq!(answer("GET", "/nothing", &[]).0, 404);
    let refused = control.ask("POST", "/status", &["X-Requested-With: my-app"], "");
    assert_eq!(error(&refused), (405, "this takes GET, HEAD only".into()));
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    assert_eq!(answer("GET", "/status", &["Host: example.com"]).0, 403);
    assert_eq!(answer("POST", "/status", &[]).0, 403);
    assert_eq!(answer("GET", "/status?a=1", &[]).0, 400);
    for host in ["localhost", "127.0.0.1:8080", "[::1]:1"] {
        let answer = control.ask("GET", "/status", &[&format!("Host: {host}")], "");
        assert_eq!(answer.status, 200, "{host}");
    }
    for garbage in [
        "\r\n\r\nX\r\n\r\n",
        "\x16\x03\x01",
        "GET /status HTTP/9.9\r\n\r\n",
    ] {
        let mut raw = control.raw();
        raw.send(garbage).half_close();
        let _ = raw.read_to_end();
    }
    assert_eq!(control.get("/status")["state"], "healthy");
}

#[test]
fn mute_connections_keep_nobody_from_asking() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let mut mute: Vec<_> = (0..16).map(|_| control.raw()).collect();
    // Half a head is no request yet.
    for raw in &mut mute {
        raw.send("GET /status HTTP/1.1\r\nHos");
    }
    let began = Instant::now();
    for _ in 0..17 {
        assert_eq!(control.get("/status")["state"], "healthy");
    }
    saw(
        "seventeen answers beside sixteen mute connections",
        format!("{:?}", began.elapsed()),
    );
    // The others lost their places to them, the oldest first.
    assert!(mute[0].read_to_end().unwrap_or_default().is_empty());
}

#[test]
fn a_connection_can_be_used_again() {
    let server = Setup::new().workers(1).start();
    let mut raw = server.control().raw();
    for _ in 0..3 {
        assert_eq!(raw.get("/status").status, 200);
    }
}

#[test]
fn metrics_over_tcp_are_metrics_and_nothing_else() {
    let server = Setup::new().metrics().start();
    let metrics = server.metrics.unwrap();
    for target in ["/", "/status", "/socket.io/?EIO=4&transport=polling"] {
        let answer = Raw::tcp(metrics).get(target);
        assert_eq!(error(&answer).0, 404, "{target}");
    }
    let answer = Raw::tcp(server.addr).get("/socket.io/?EIO=4&transport=polling");
    assert_eq!(answer.status, 200);
    let status = server.control().get("/status");
    assert_eq!(
        status["listeners"].as_array().unwrap().len(),
        2,
        "{status:#}"
    );
}
