//! All clients lose their sessions at once, and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

const CLIENTS: usize = 300;

/// All are back within so long.
const BACK: Duration = Duration::from_secs(15);

/// Who is in waits for an echo no longer than this; the programs are debug builds, on a machine that does much else.
const ANSWERED: Duration = Duration::from_secs(2);

/// The first that comes back, and echoes until told to stop: how many echoes, and how long the slowest took.
fn established(addr: SocketAddr, stop: &AtomicBool) -> (usize, Duration) {
    let mut socket = WebSocket::open(Raw::patient(addr));
    let (mut echoes, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Relaxed) {
        let asked = Instant::now();
        socket.echo("here");
        slowest = slowest.max(asked.elapsed());
        echoes += 1;
        thread::sleep(Duration::from_millis(10));
    }
    (echoes, slowest)
}

#[test]
fn official_clients_of_a_killed_server_come_back_to_all_workers_alike_and_who_is_in_is_answered() {
    let mut server = Setup::new().systemd().start();
    let transports = ["--transports", "websocket,upgrade", "--reconnect"];
    let clients = Crowd::official(&server, "/chat", CLIENTS, &transports);

    signal_process(server.pid, "KILL");
    server.ended(SOON);
    let began = Instant::now();
    let again = Setup::new().listeners_of(&server).start();
    let stop = Arc::<AtomicBool>::default();
    let echoing = thread::spawn({
        let (addr, stop) = (again.addr, Arc::clone(&stop));
        move || established(addr, &stop)
    });
    for client in clients.iter() {
        client.connected(2, BACK.saturating_sub(began.elapsed()));
    }
    saw("all were back after", format!("{:?}", began.elapsed()));
    stop.store(true, Relaxed);
    let (echoes, slowest) = echoing.join().unwrap();
    saw(
        "echoes meanwhile",
        format!("{echoes}, the slowest took {slowest:?}"),
    );
    assert!(echoes > 0 && slowest < ANSWERED, "{echoes}, {slowest:?}");

    let asked: Vec<_> = clients
        .iter()
        .map(|client| client.ask("whereami", json!([])))
        .collect();
    let mut workers = BTreeMap::<u64, usize>::new();
    for asked in asked {
        let worker = asked.answer().value["worker"].as_u64().unwrap();
        *workers.entry(worker).or_default() += 1;
    }
    saw("clients of each worker", format!("{workers:?}"));
    assert_eq!(workers.len(), 2, "{workers:?}");
    let even = CLIENTS / 2;
    let alike = |&count: &usize| count.abs_diff(even) * 5 <= even;
    assert!(workers.values().all(alike), "{workers:?}");
}
