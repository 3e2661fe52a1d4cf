//! Processes that die or hang cost nobody in another one anything.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// Forty clients of each transport, with an echo every 50 ms.
fn eighty_clients(server: &Server) -> [Held; 2] {
    ["websocket", "polling"].map(|transport| {
        let arguments = ["--every", "50", "--transport", transport];
        Held::connect(&server.url(), 40, &arguments)
    })
}

/// Is there a worker in place of this one of two, and has it said so?
pub fn replaced(server: &Server, pid: u32) -> bool {
    let workers = server.workers();
    workers.len() == 2
        && !workers.contains(&pid)
        && workers
            .iter()
            .all(|pid| server.count_lines(&format!("Worker {pid} started")) == 1)
}

#[test]
fn a_killed_worker_costs_its_own_clients_their_connections_and_nobody_else_anything() {
    let server = Server::start();
    let clients = eighty_clients(&server);
    let sessions = server.sessions();
    saw("sessions", format!("{sessions:?}"));
    let newcomers = Newcomers::come(server.addr, 4);
    thread::sleep(Duration::from_millis(500));
    let victim = server.workers()[0];
    let killed = Instant::now();
    signal_process(victim, "KILL");
    eventually("a new worker", SOON, || replaced(&server, victim));
    let within = killed.elapsed();
    saw("kill to the new worker's line", format!("{within:?}"));
    thread::sleep(Duration::from_secs(1));
    let outcomes = newcomers.stop();
    let stats = clients.map(Held::quit);
    let sum = |name| stats.iter().map(|stats| number(stats, name)).sum::<u64>();
    saw("echoes", sum("received"));
    saw(
        "reasons",
        format!("{} {}", stats[0]["reasons"], stats[1]["reasons"]),
    );
    assert!(within < Duration::from_secs(1));
    assert_eq!(sum("disconnects"), sessions[0], "{stats:#?}");
    assert_eq!(sum("missing"), sum("lost"), "{stats:#?}");
    assert_eq!(sum("outOfOrder"), 0, "{stats:#?}");
    // A debug build on a busy machine opens few; what counts is that they go on.
    assert!(outcomes["101"] > 20, "{outcomes:?}");
    // What the victim itself was reading cannot be saved: one for each thread at most.
    let cut: usize = outcomes.values().sum::<usize>() - outcomes["101"];
    assert!(cut <= 4, "{outcomes:?}");
    assert!(!outcomes.contains_key("connection refused"), "{outcomes:?}");
}

#[test]
fn behind_nginx_too_a_killed_worker_costs_its_own_clients_alone() {
    let server = Setup::new().unix().start();
    let nginx = Nginx::shipped(&server.unix, 2);
    let arguments = ["--every", "50", "--transport", "upgrade"];
    let clients = Held::connect(&nginx.url(), 40, &arguments);
    let sessions = server.sessions();
    saw("sessions", format!("{sessions:?}"));
    thread::sleep(Duration::from_millis(500));
    let victim = server.workers()[0];
    signal_process(victim, "KILL");
    eventually("a new worker", SOON, || replaced(&server, victim));
    thread::sleep(Duration::from_secs(1));
    let stats = clients.quit();
    saw("reasons", &stats["reasons"]);
    assert_eq!(number(&stats, "disconnects"), sessions[0], "{stats:#?}");
}

/// How often a worker is killed. With `DEATHS=13`, which takes two minutes, the pauses reach their maximum.
const DEATHS: usize = 5;

#[test]
fn a_worker_that_dies_again_and_again_is_replaced_with_growing_pauses() {
    const MOST: Duration = Duration::from_secs(30);
    let deaths = env::var("DEATHS").map_or(DEATHS, |deaths| deaths.parse().unwrap());
    let server = Setup::new().systemd().start();
    let mut pauses = Vec::new();
    for _ in 0..deaths {
        let workers = server.workers();
        let victim = workers[0];
        let killed = Instant::now();
        signal_process(victim, "KILL");
        eventually("it is gone", SOON, || !alive(victim));
        // The other one serves.
        WebSocket::open(Raw::tcp(server.addr)).echo("served");
        eventually("a new worker", 2 * MOST, || replaced(&server, victim));
        pauses.push(killed.elapsed());
        assert!(
            server.workers().contains(&workers[1]),
            "the other one stayed"
        );
    }
    saw("replaced after", format!("{pauses:.1?}"));
    assert!(alive(server.pid));
    assert!(pauses[0] < Duration::from_secs(1));
    assert!(
        pauses[4] > pauses[0] + Duration::from_millis(300),
        "no back-off"
    );
    assert!(
        pauses
            .iter()
            .all(|&pause| pause < MOST + Duration::from_secs(5))
    );
    assert_eq!(server.count_lines(" died"), deaths);
    if deaths > 7 {
        let told =
            server.wait_for_notification("ended again and again; another one is started in ");
        saw("STATUS", told);
    }
    if deaths > 11 {
        assert!(*pauses.last().unwrap() >= MOST, "not the longest pause");
    }
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
    let healthy = |told: &str| told.ends_with(": 2 worker(s), 1 client(s)");
    let _client = WebSocket::open(Raw::tcp(server.addr));
    eventually("all is well again", SOON, || healthy(&server.notified()));
}

#[test]
fn workers_do_not_outlive_their_master() {
    let server = Setup::new().workers(4).start();
    let _clients: Vec<_> = (0..8)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let workers = server.workers();
    server.signal("KILL");
    let within = eventually("all workers gone", Duration::from_secs(1), || {
        !workers.iter().any(|&pid| alive(pid))
    });
    saw("workers gone after", format!("{within:?}"));
}

#[test]
fn a_worker_that_hangs_for_a_while_gets_nothing_new_and_lives_on() {
    let server = Setup::new().top("watchdog = \"4s\"").start();
    let workers = server.workers();
    signal_process(workers[0], "STOP");
    thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let _clients: Vec<_> = (0..20)
        .map(|_| {
            let began = Instant::now();
            let mut client = WebSocket::open(Raw::tcp(server.addr));
            client.echo("served");
            slowest = slowest.max(began.elapsed());
            client
        })
        .collect();
    let all = began.elapsed();
    signal_process(workers[0], "CONT");
    saw(
        "20 clients served in",
        format!("{all:?}, the slowest in {slowest:?}"),
    );
    assert!(slowest < Duration::from_millis(500));
    assert_eq!(server.sessions(), [0, 20]);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(
        (server.workers(), server.count_lines(" died")),
        (workers, 0)
    );
    let _more: Vec<_> = (0..20)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    assert_eq!(server.sessions(), [20, 20]);
}

#[test]
fn a_worker_that_hangs_for_too_long_is_replaced_and_the_log_says_why() {
    let server = Setup::new().top("watchdog = \"3s\"").start();
    let victim = server.workers()[0];
    let stopped = Instant::now();
    signal_process(victim, "STOP");
    eventually("a new worker", SOON, || replaced(&server, victim));
    let after = stopped.elapsed();
    saw("replaced after", format!("{after:?}"));
    assert!((Duration::from_secs(3)..Duration::from_millis(4500)).contains(&after));
    server.wait_for_line(&format!(
        "a worker ended pid={victim} why=\"it did not answer for 3s\""
    ));
    server.wait_for_line(&format!("Worker {victim} died"));
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
}
