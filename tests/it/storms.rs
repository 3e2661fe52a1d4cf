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

    again.wait_for_sessions(CLIENTS as u64, SOON);
    shared_out(&again.sessions(), CLIENTS as u64);
    saw("more that made it even", make_even(&again).len());
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
    again.wait_for_sessions(CLIENTS as u64, SOON);
    shared_out(&again.sessions(), CLIENTS as u64);
    saw("more that made it even", make_even(&again).len());
    let told = clients.stats();
    assert_eq!(told["connectErrors"], json!({}));
    assert_eq!(refused(&again), 0.0);
    clients.leave();
}

#[test]
fn polling_clients_of_a_killed_worker_come_back_and_the_others_notice_nothing() {
    let server = Server::start();
    let polling = ["--transport", "polling", "--reconnect"];
    let mut clients = Held::connect(&server.url(), CLIENTS, &polling);
    let lost = server.sessions()[0];
    signal_process(server.workers()[0], "KILL");
    let after = eventually("all are back", BACK, || {
        let told = clients.stats();
        told["connected"] == CLIENTS && told["reconnects"] == lost
    });
    saw("clients, all back after", format!("{lost}, {after:?}"));
    server.wait_for_sessions(CLIENTS as u64, SOON);
    saw(
        "sessions of each worker",
        format!("{:?}", server.sessions()),
    );
    saw("more that made it even", make_even(&server).len());
    let told = clients.stats();
    assert_eq!(told["connectErrors"], json!({}));
    assert_eq!(told["disconnects"], lost, "{told}");
    assert_eq!(refused(&server), 0.0);
    clients.leave();
}
