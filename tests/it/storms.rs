//! All clients lose their sessions at once, and come back.

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

/// Both workers have their share of a storm, and those who follow make it even. Of what comes at once, whoever is ready
/// first or has a processor gets more; a third of its share each has on a busy machine, too.
#[track_caller]
fn shared_out(server: &Server) {
    let clients = CLIENTS as u64;
    server.wait_for_sessions(clients, SOON);
    let sessions = server.sessions();
    saw("clients of each worker", format!("{sessions:?}"));
    assert!(
        sessions.iter().all(|&count| count >= clients / 6),
        "{sessions:?}"
    );
    let mut more = Vec::new();
    eventually("those who follow make it even", SOON + SOON, || {
        let sessions = server.sessions();
        let missing = sessions[0].abs_diff(sessions[1]);
        more.extend((0..missing).map(|_| WebSocket::open(Raw::patient(server.addr))));
        missing == 0
    });
    saw("more that made it even", more.len());
}

/// What a server has refused, but for requests of sessions that it cannot know.
fn refused(server: &Server) -> f64 {
    let figures = Figures::of(server);
    let of = |labels| figures.sum("my_app_refused_total", labels);
    of("") - of("reason=\"unknown-session\"")
}

#[test]
fn official_clients_of_a_killed_server_come_back_to_all_workers_and_who_is_in_is_answered() {
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

    shared_out(&again);
    assert_eq!(refused(&again), 0.0);
}

#[test]
fn polling_clients_of_a_killed_server_come_back_to_all_workers_and_none_is_refused() {
    let mut server = Setup::new().systemd().start();
    let polling = ["--transport", "polling", "--reconnect"];
    let mut clients = Held::connect(&server.url(), CLIENTS, &polling);

    signal_process(server.pid, "KILL");
    server.ended(SOON);
    let began = Instant::now();
    let again = Setup::new().listeners_of(&server).start();
    eventually("all are back", BACK.saturating_sub(began.elapsed()), || {
        let told = clients.stats();
        [&told["connected"], &told["reconnects"]] == [CLIENTS; 2]
    });
    saw("all were back after", format!("{:?}", began.elapsed()));
    shared_out(&again);
    let told = clients.stats();
    assert_eq!(told["connectErrors"], json!({}));
    assert_eq!(refused(&again), 0.0);
    clients.leave();
}
