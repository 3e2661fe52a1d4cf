//! Real clients come back after a drain, over each transport, and have had all that was sent to them before.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::drains::Announcer;
use super::harness::*;

/// How many a client missed that got the others in order, and once: from the end of its old session to the beginning
/// of the new one.
#[track_caller]
pub fn missed_once(heard: &[u64]) -> u64 {
    assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    let gaps = heard
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    assert!(gaps <= 1, "{heard:?}");
    heard.last().unwrap() - heard[0] + 1 - heard.len() as u64
}

/// Over each transport in turn, while events go to everybody: each client is back, and has had all that came to it.
#[track_caller]
fn come_back(version: &str, server: &Server) {
    let transports = ["--transports", "websocket,polling,upgrade"];
    let more = [&transports[..], &["--reconnect", "--version", version]].concat();
    let clients = Crowd::official(server, "/chat", 12, &more);
    let announcer = Announcer::start(server);
    thread::sleep(Duration::from_millis(500));
    let body = json!({"over_seconds": 3});
    server.control().post("/drain", &body);
    for client in clients.iter() {
        client.connected(2, Duration::from_secs(20));
    }
    let sent = announcer.stop();
    let mut missed = Vec::new();
    for client in clients.iter() {
        let heard: Vec<_> = client
            .payloads("n")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let mut once = heard.clone();
        once.dedup();
        assert!(
            heard.is_sorted() && once == heard,
            "in order, and once: {heard:?}"
        );
        // One gap: from the end of the old session to the beginning of the new one.
        let gaps = heard
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count();
        assert!(gaps <= 1, "{heard:?}");
        missed.push(heard.last().unwrap() - heard[0] + 1 - heard.len() as u64);
    }
    saw(
        &format!("{version}: of {sent}, each missed"),
        format!("{missed:?}"),
    );
    assert!(missed.iter().all(|&missed| missed <= 8), "{missed:?}");
}

#[test]
fn v4_clients_come_back_and_have_had_what_they_were_sent() {
    come_back("v4", &Server::start());
}

#[test]
fn v3_clients_come_back_and_have_had_what_they_were_sent() {
    come_back("v3", &Server::start());
}

#[test]
fn v2_clients_come_back_and_have_had_what_they_were_sent() {
    come_back("v2", &Setup::new().eio3().start());
}

#[test]
fn python_clients_come_back_and_have_had_what_they_were_sent() {
    for transport in ["websocket", "polling", "upgrade"] {
        let server = Server::start();
        let mut child = Command::new("/usr/bin/python3")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
            .arg("drained.py")
            .args(["--url", &server.url(), "--transport", transport])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut connected = |count| {
            for _ in 0..count {
                assert_eq!(lines.next().unwrap().unwrap(), "connected");
            }
        };
        connected(6);
        let announcer = Announcer::start(&server);
        thread::sleep(Duration::from_millis(500));
        server.control().post("/drain", &json!({"over_seconds": 3}));
        connected(6);
        let sent = announcer.stop();
        drop(child.stdin.take());
        let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        child.wait().unwrap();
        let mut missed = Vec::new();
        for client in told["clients"].as_array().unwrap() {
            assert_eq!(client["connects"], 2, "{told}");
            let heard = client["heard"].as_array().unwrap().iter();
            let heard: Vec<_> = heard.filter_map(Value::as_u64).collect();
            missed.push(missed_once(&heard));
        }
        saw(
            &format!("python, {transport}: of {sent}, each missed"),
            format!("{missed:?}"),
        );
    }
}
