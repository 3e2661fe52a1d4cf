//! Faults: processes that die or hang, limits that are reached, disks that are full. What goes
//! wrong in one place costs nobody in another.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=websocket";

/// One handshake on a connection of its own, and what came of it.
fn handshake(addr: SocketAddr) -> String {
    let attempt = || {
        let mut raw = Raw::try_tcp(addr)?;
        raw.try_send(WebSocket::request(HANDSHAKE))?;
        raw.try_response()
    };
    match attempt() {
        Ok(answer) => answer.status.to_string(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

type Outcomes = BTreeMap<String, usize>;

/// Handshakes without a pause, on several threads, until told to stop.
struct Newcomers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcomes>>,
}

impl Newcomers {
    fn come(addr: SocketAddr, threads: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..threads)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut outcomes = Outcomes::new();
                    while !stop.load(Relaxed) {
                        *outcomes.entry(handshake(addr)).or_default() += 1;
                        thread::sleep(Duration::from_millis(2));
                    }
                    outcomes
                })
            })
            .collect();
        Self { stop, threads }
    }

    fn stop(self) -> Outcomes {
        self.stop.store(true, Relaxed);
        let mut all = Outcomes::new();
        for thread in self.threads {
            for (outcome, count) in thread.join().unwrap() {
                *all.entry(outcome).or_default() += count;
            }
        }
        saw("new clients", format!("{all:?}"));
        all
    }
}

/// Forty clients of each transport, with an echo every 50 ms.
fn eighty_clients(server: &Server) -> [Held; 2] {
    ["websocket", "polling"].map(|transport| {
        let arguments = ["--every", "50", "--transport", transport];
        Held::connect(&server.url(), 40, &arguments)
    })
}

fn number(stats: &Value, name: &str) -> u64 {
    stats[name].as_u64().unwrap()
}

fn replaced(server: &Server, pid: u32) -> bool {
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
    assert!(outcomes["101"] > 100);
    // What the victim itself was reading cannot be saved: one for each thread at most.
    let cut: usize = outcomes.values().sum::<usize>() - outcomes["101"];
    assert!(cut <= 4, "{outcomes:?}");
    assert!(!outcomes.contains_key("connection refused"), "{outcomes:?}");
}

#[test]
fn a_worker_that_dies_again_and_again_is_replaced_with_growing_pauses() {
    let server = Server::start();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let victim = server.workers()[0];
        let killed = Instant::now();
        signal_process(victim, "KILL");
        eventually("a new worker", SOON, || replaced(&server, victim));
        pauses.push(killed.elapsed());
    }
    saw("replaced after", format!("{pauses:?}"));
    assert!(alive(server.pid));
    assert!(pauses[0] < Duration::from_secs(1));
    assert!(
        pauses[4] > pauses[0] + Duration::from_millis(300),
        "no back-off"
    );
    assert_eq!(server.count_lines(" died"), 5);
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
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

#[test]
fn a_master_without_descriptors_says_so_once_waits_and_serves_again() {
    let server = Setup::new().descriptors(64).start();
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(server.addr).unwrap())
        .collect();
    server.wait_for_line("cannot accept connections");
    let before = cpu_time(server.pid);
    thread::sleep(Duration::from_secs(1));
    let used = cpu_time(server.pid).saturating_sub(before);
    saw("CPU time in a second", format!("{used:?}"));
    saw("its descriptors", descriptors(server.pid));
    assert!(used < Duration::from_millis(100));
    assert_eq!(server.count_lines("cannot accept connections"), 1);
    drop(silent);
    let began = Instant::now();
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
    saw("served again after", format!("{:?}", began.elapsed()));
}

/// What is the matter, in the server's words, and who was served.
fn saw_exhaustion(server: &Server, outcomes: &Outcomes) {
    saw("200 more clients", format!("{outcomes:?}"));
    let log = server.log();
    let troubles = log.iter().filter(|line| !line.contains("connected client"));
    for line in troubles.skip(2).take(6) {
        saw("line", line);
    }
    saw("warnings", server.count_lines("WARN"));
}

/// The clients that were there are served, nobody is busy, and there is a place when others go.
fn serves_on(server: &Server, held: &mut [WebSocket], others: Vec<Raw>) {
    for client in &mut *held {
        client.echo("still here");
    }
    let worker = server.workers()[0];
    let used = || cpu_time(worker) + cpu_time(server.pid);
    let before = used();
    thread::sleep(Duration::from_secs(1));
    let used = used().saturating_sub(before);
    saw("CPU time in a second", format!("{used:?}"));
    assert!(used < Duration::from_millis(100));
    drop(others);
    server.wait_for_sessions(held.len() as u64, SOON);
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
}

#[test]
fn a_worker_without_descriptors_keeps_its_clients_and_serves_again() {
    let server = Setup::new().workers(1).descriptors(64).start();
    let workers = server.workers();
    let mut held: Vec<_> = (0..30)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let mut outcomes = Outcomes::new();
    let mut others = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::tcp(server.addr);
        let sent = raw.try_send(WebSocket::request(HANDSHAKE));
        let outcome = match sent.and_then(|()| raw.try_response()) {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.kind().to_string(),
        };
        *outcomes.entry(outcome).or_default() += 1;
        others.push(raw);
    }
    saw_exhaustion(&server, &outcomes);
    assert_eq!(
        (server.workers(), server.count_lines(" died")),
        (workers, 0)
    );
    assert!(outcomes["101"] >= 10);
    serves_on(&server, &mut held, others);
}

#[test]
fn a_burst_beyond_everybodys_descriptors_ends_nobody() {
    let server = Setup::new().workers(1).descriptors(64).start();
    let workers = server.workers();
    let mut held: Vec<_> = (0..10)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let mut others: Vec<_> = (0..200)
        .filter_map(|_| {
            let mut raw = Raw::tcp(server.addr);
            raw.try_send(WebSocket::request(HANDSHAKE))
                .map(|()| raw)
                .ok()
        })
        .collect();
    thread::sleep(Duration::from_secs(2));
    let mut outcomes = Outcomes::new();
    for raw in others.iter_mut().take(40) {
        let outcome = match raw.try_response() {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.kind().to_string(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    saw_exhaustion(&server, &outcomes);
    assert!(alive(server.pid), "the server ended");
    assert_eq!(
        (server.workers(), server.count_lines(" died")),
        (workers, 0)
    );
    serves_on(&server, &mut held, others);
}

#[test]
fn more_connections_than_allowed_are_told_to_come_again() {
    let server = Setup::new()
        .config("[limits]\nmax_connections = 10")
        .start();
    let mut clients: Vec<_> = (0..10)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    // The workers report what they have every few milliseconds.
    thread::sleep(Duration::from_millis(100));
    for _ in 0..20 {
        let refusal = Raw::tcp(server.addr).get("/socket.io/?EIO=4&transport=polling");
        assert_eq!(
            (refusal.status, refusal.header("retry-after")),
            (503, Some("1"))
        );
    }
    clients.pop();
    let within = eventually("a place is free", SOON, || handshake(server.addr) == "101");
    saw(
        "a closed client's place is free after",
        format!("{within:?}"),
    );
    for client in &mut clients {
        client.echo("still here");
    }
}

#[test]
fn no_haste_gets_past_the_limit_of_connections() {
    let server = Setup::new()
        .config("[limits]\nmax_connections = 10")
        .start();
    let mut clients = Vec::new();
    let mut outcomes = Outcomes::new();
    for _ in 0..100 {
        let mut raw = Raw::tcp(server.addr);
        let answer = raw.send(WebSocket::request(HANDSHAKE)).response();
        *outcomes.entry(answer.status.to_string()).or_default() += 1;
        clients.push(raw);
    }
    saw("100 where 10 are allowed", format!("{outcomes:?}"));
    assert_eq!((outcomes["101"], outcomes["503"]), (10, 90));
}

#[test]
fn more_new_sessions_than_allowed_are_told_to_come_again() {
    let server = Setup::new()
        .config("[limits]\nnew_sessions_per_second = 10")
        .start();
    let answers: Vec<_> = (0..40)
        .map(|nth| {
            let mut raw = Raw::tcp(server.addr);
            if nth % 2 == 0 {
                raw.get("/socket.io/?EIO=4&transport=polling")
            } else {
                raw.send(WebSocket::request(HANDSHAKE)).response()
            }
        })
        .collect();
    let (refused, admitted): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 503);
    saw("admitted of 40", admitted.len());
    assert!((8..=16).contains(&admitted.len()));
    assert!(
        admitted
            .iter()
            .all(|answer| [200, 101].contains(&answer.status))
    );
    for refusal in refused {
        assert_eq!(refusal.header("retry-after"), Some("1"));
        assert!(
            refusal.body.contains("too many new sessions"),
            "{refusal:?}"
        );
    }
    thread::sleep(Duration::from_millis(1100));
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
}

#[test]
fn a_log_that_takes_nothing_keeps_nobody_waiting() {
    let mut server = Setup::new().log_file(Path::new("/dev/full")).start();
    let clients = Held::connect(&server.url(), 20, &["--every", "20"]);
    server.wait_for_line("No space left on device");
    thread::sleep(Duration::from_secs(1));
    let stats = clients.quit();
    assert_eq!(
        (number(&stats, "missing"), number(&stats, "disconnects")),
        (0, 0),
        "{stats}"
    );
    // Each process says it once; only for a file can they agree who does.
    assert_eq!(server.count_lines("No space left on device"), 3);
    assert_eq!(server.stop().code(), Some(0));
}

/// A file system of 64 KiB.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = as_root("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }
}

/// A command that only root may give; others need sudo for it, as for the packages.
fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = as_root("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn a_full_disk_costs_lines_until_there_is_space_again() {
    let disk = TinyDisk::mount();
    let log = disk.0.path().join("app.log");
    let server = Setup::new().log_file(&log).start();
    let filler = disk.0.path().join("filler");
    // Writes as much as there is space for.
    assert!(fs::write(&filler, vec![0; 100_000]).is_err());
    server.wait_for_line("No space left on device");
    let clients = Held::connect(&server.url(), 20, &["--every", "20"]);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(server.count_lines("No space left on device"), 1);
    fs::remove_file(&filler).unwrap();
    server.wait_for_line("log file: it can be written again; ");
    let stats = clients.quit();
    assert_eq!(
        (number(&stats, "missing"), number(&stats, "disconnects")),
        (0, 0),
        "{stats}"
    );
    let pid = server.workers()[0];
    let lines = fs::read_to_string(&log).unwrap();
    server.sessions();
    let more = fs::read_to_string(&log).unwrap();
    assert!(more.len() > lines.len() && more.contains(&format!("Worker {pid}: ")));
}
