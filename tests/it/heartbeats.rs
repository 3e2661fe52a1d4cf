//! Pings: when they come, and what becomes of clients that missed some because their machine slept.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

/// How long a client may take to find out that its session is gone, and to come back.
const BACK: Duration = Duration::from_secs(20);

/// Clients in a process that can be stopped.
struct Sleepers {
    child: Child,
    clients: Arc<Mutex<Vec<Sleeper>>>,
}

#[derive(Debug, Clone, Default)]
struct Sleeper {
    connects: usize,
    online: bool,
}

impl Sleepers {
    /// Python clients over WebSocket.
    #[track_caller]
    fn python(server: &Server, count: usize) -> Self {
        Self::start(server, count, "/usr/bin/python3", &["sleepers.py"])
    }

    /// Official clients, over each transport in turn.
    #[track_caller]
    fn official(server: &Server, count: usize) -> Self {
        let transports = ["--transports", "websocket,polling,upgrade", "--reconnect"];
        let script = [&["puppets.mjs"][..], &transports].concat();
        Self::start(server, count, "node", &script)
    }

    #[track_caller]
    fn start(server: &Server, count: usize, interpreter: &str, script: &[&str]) -> Self {
        let mut child = Command::new(interpreter)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
            .args(script)
            .args(["--url", &server.url(), "--clients", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter is installed (make test installs it)");
        let clients = Arc::new(Mutex::new(vec![Sleeper::default(); count]));
        let output = BufReader::new(child.stdout.take().unwrap());
        let told = Arc::clone(&clients);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let news: Value = serde_json::from_str(&line).unwrap();
                let nth = usize::try_from(news["client"].as_u64().unwrap()).unwrap();
                let client = &mut told.lock().unwrap()[nth];
                client.online = news["connected"].is_string();
                client.connects += usize::from(client.online);
            }
        });
        Self { child, clients }
    }

    /// Their machine sleeps until the server has no session left.
    #[track_caller]
    fn sleep_too_long(&self, server: &Server) {
        signal_process(self.child.id(), "STOP");
        server.wait_for_sessions(0, BACK);
        signal_process(self.child.id(), "CONT");
    }

    /// Waits until all have connected for the nth time, and are connected.
    #[track_caller]
    fn all_connect(&self, nth: usize) {
        let deadline = Instant::now() + BACK;
        let there = |client: &Sleeper| client.online && client.connects == nth;
        while !self.clients.lock().unwrap().iter().all(there) {
            let clients = self.clients.lock().unwrap().clone();
            assert!(
                Instant::now() < deadline,
                "not all connected {nth} times: {clients:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        // Only what this test started is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With pings so often that a nap is too long.
fn pings_often() -> Server {
    let short = "[engine]\nping_interval = \"1s\"\nping_timeout = \"1s\"";
    Setup::new().config(short).start()
}

#[track_caller]
fn come_back(server: &Server, sleepers: &Sleepers) {
    sleepers.all_connect(1);
    for nth in 2..=3 {
        sleepers.sleep_too_long(server);
        sleepers.all_connect(nth);
    }
}

#[test]
fn python_clients_come_back_after_their_machine_slept() {
    let server = pings_often();
    come_back(&server, &Sleepers::python(&server, 10));
}

#[test]
fn official_clients_come_back_after_their_machine_slept() {
    let server = pings_often();
    come_back(&server, &Sleepers::official(&server, 12));
}

/// A client that waits after the open packet, and expects the answer to its CONNECT next.
#[test]
fn the_answer_to_connect_comes_next_however_late_it_is_asked_for() {
    let server = Server::start();
    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::handshake(&mut raw);
    // A ping that comes too early would be here by then.
    thread::sleep(Duration::from_millis(300));
    socket.text("40");
    let (opcode, first) = socket.read().unwrap();
    let first = String::from_utf8_lossy(&first);
    assert!(opcode == 1 && first.starts_with("40{"), "{opcode}: {first}");
    session.post(&mut raw, "40");
    let first = session.poll(&mut raw).body;
    assert!(
        first.starts_with("40{") && !first.contains('\x1e'),
        "{first}"
    );
}

#[test]
fn the_first_ping_comes_after_the_ping_interval() {
    let interval = Duration::from_millis(800);
    let server = Setup::new()
        .config("[engine]\nping_interval = \"800ms\"\nping_timeout = \"5s\"")
        .start();
    let opened = Instant::now();
    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::handshake(&mut raw);
    assert_eq!(socket.read().unwrap(), (1, b"2".to_vec()));
    let over_websocket = opened.elapsed();
    assert_eq!(session.poll(&mut raw).body, "2");
    let over_polling = opened.elapsed();
    for took in [over_websocket, over_polling] {
        assert!(took >= interval && took < interval * 3, "{took:?}");
    }
}
