//! Limits that are reached, descriptors that are used up, disks that are full. What goes wrong in one
//! place costs nobody in another.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

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
    let mut held: Vec<_> = (0..26)
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
fn with_a_limit_of_200_descriptors_newcomers_are_told_to_come_later_and_nobody_else_suffers() {
    let server = Setup::new().descriptors(200).start();
    let mut websockets: Vec<_> = (0..100)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let mut polling: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = Raw::tcp(server.addr);
            (Polling::open(&mut raw), raw)
        })
        .collect();
    let mut outcomes = Outcomes::new();
    let mut others = Vec::new();
    let mut slowest = Duration::ZERO;
    for nth in 0..600 {
        let mut raw = Raw::tcp(server.addr);
        let sent = raw.try_send(WebSocket::request(HANDSHAKE));
        let outcome = match sent.and_then(|()| raw.try_response()) {
            Ok(answer) if answer.status == 503 && answer.header("retry-after").is_none() => {
                "503 without Retry-After".to_owned()
            }
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.kind().to_string(),
        };
        *outcomes.entry(outcome).or_default() += 1;
        others.push(raw);
        let began = Instant::now();
        websockets[nth % 100].echo("still here");
        let (session, raw) = &mut polling[nth % 20];
        session.echo(raw, "still here");
        // A poll may come over another connection.
        if nth % 60 == 0 {
            session.echo(&mut Raw::tcp(server.addr), "here, too");
        }
        slowest = slowest.max(began.elapsed());
    }
    saw("600 more clients", format!("{outcomes:?}"));
    saw(
        "the slowest echo of those that were there",
        format!("{slowest:?}"),
    );
    let known = ["101", "503"];
    assert!(
        outcomes.keys().all(|it| known.contains(&it.as_str())),
        "{outcomes:?}"
    );
    assert!(
        outcomes["101"] >= 100 && outcomes["503"] >= 100,
        "{outcomes:?}"
    );
    assert_eq!(server.count_lines(" died"), 0);
    // One place is enough for one.
    drop(others.drain(..20));
    let within = eventually("there is a place", SOON, || handshake(server.addr) == "101");
    saw("a newcomer is served after", format!("{within:?}"));
    assert!(within < Duration::from_secs(1));
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
    let began = Instant::now();
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
    let took = began.elapsed();
    // It is this address that asks for too many.
    let (refused, admitted): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 429);
    saw("admitted of 40", admitted.len());
    // As many as in a second at once, and then as many in each second.
    let most = 12.0 + 10.0 * took.as_secs_f64();
    assert!(admitted.len() >= 8 && admitted.len() as f64 <= most);
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

#[test]
fn a_worker_is_replaced_while_idle_connections_have_all_other_descriptors() {
    let server = Setup::new().descriptors(64).start();
    let mut held: Vec<_> = (0..4)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(server.addr).unwrap())
        .collect();
    server.wait_for_line("cannot accept connections");
    saw("the master's descriptors", descriptors(server.pid));
    for (slot, started) in [(0, 3), (1, 4), (0, 5)] {
        signal_process(server.workers()[slot], "KILL");
        let within = eventually("the worker is replaced", SOON, || {
            server.workers().len() == 2 && server.count_lines(" started") == started
        });
        saw("a worker is replaced after", format!("{within:?}"));
    }
    // All of them at once.
    for worker in server.workers() {
        signal_process(worker, "KILL");
    }
    eventually("both are replaced", SOON, || {
        server.count_lines(" started") == 7
    });
    assert_eq!(server.count_lines("a worker cannot be started"), 0);
    // Their sessions went with them; who comes next is served.
    held.clear();
    drop(silent);
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
}
