//! The processes: how they start and end, what they are called, and what they say.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::harness::*;

/// What stands behind the time of a log line; nothing if it does not begin with one.
fn behind_time(line: &str) -> Option<&str> {
    const FORM: &str = "0000-00-00T00:00:00.000Z ";
    let (time, rest) = line.split_at_checked(FORM.len())?;
    let fits = |(is, form): (u8, u8)| is == form || (form == b'0' && is.is_ascii_digit());
    time.bytes().zip(FORM.bytes()).all(fits).then_some(rest)
}

/// Runs the program to its end.
fn my_app(arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("timeout")
        .arg("10")
        .arg(program())
        .args(arguments)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), said)
}

/// Runs it with this listener, until it refuses.
fn refused_to_listen(address: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("my-app.toml");
    fs::write(&config, "log.file = \"\"").unwrap();
    let config = config.to_str().unwrap();
    let (code, said) = my_app(&["--config", config, "--workers", "1", "--listen", address]);
    assert_eq!(code, 71, "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address}: ")),
        "{said}"
    );
    said.lines().next_back().unwrap().to_owned()
}

fn serves(mut raw: Raw) {
    Polling::open(&mut raw).echo(&mut raw, "served");
}

/// What the descriptors of a process are, without the numbers of pipes and sockets.
fn open_files(pid: u32) -> Vec<String> {
    let mut all: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_str().unwrap().to_owned())
        .collect();
    all.sort_unstable();
    all
}

/// The sockets that listen at `addr` or `unix`, as [`open_files`] calls them.
fn listening_sockets(addr: SocketAddr, unix: &Path) -> Vec<String> {
    let inode = |line: &str, column: usize| {
        let inode = line.split_whitespace().nth(column).unwrap();
        format!("socket:[{inode}]")
    };
    let port = format!("0100007F:{:04X} 00000000:0000 0A ", addr.port());
    let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
    let tcp = tcp.lines().filter(|line| line.contains(&port));
    let path = unix.to_str().unwrap();
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    // The flag says that it accepts; connections have the same path.
    let unix = unix
        .lines()
        .filter(|line| line.ends_with(path) && line.contains(" 00010000 "));
    let tcp = tcp.map(|line| inode(line, 9));
    tcp.chain(unix.map(|line| inode(line, 6))).collect()
}

fn soft_limit(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    files.unwrap().split_whitespace().nth(3).unwrap().to_owned()
}

#[test]
fn the_log_has_the_lines_of_the_node_sample() {
    let server = Server::start();
    let workers = server.workers();
    server.sessions();
    signal_process(workers[0], "KILL");
    server.wait_for_line(&format!("Worker {} died", workers[0]));
    eventually("a third worker", SOON, || {
        server.count_lines(" started") == 3
    });
    let mut expected = vec![
        format!("Master {} is running", server.pid),
        format!("Listening on http://{} (2 workers)", server.addr),
        format!("Worker {} died", workers[0]),
    ];
    for pid in workers.iter().chain(&server.workers()) {
        expected.push(format!("Worker {pid} started"));
        expected.push(format!("Worker {pid}: 0 connected client(s)"));
    }
    server.sessions();
    for lines in [
        server.log(),
        server.log_file().lines().map(Into::into).collect(),
    ] {
        let said: BTreeSet<_> = lines
            .iter()
            .map(|line| behind_time(line).unwrap_or_else(|| panic!("no time: {line}")))
            .collect();
        for line in &expected {
            assert!(said.contains(line.as_str()), "{line:?} is not in {said:#?}");
        }
        let warning = format!(
            "WARN a worker ended pid={} why=\"killed by signal 9\"",
            workers[0]
        );
        let others: Vec<_> = said
            .iter()
            .filter(|line| !expected.iter().any(|one| one == *line))
            .collect();
        assert_eq!(others, [&warning.as_str()]);
    }
}

#[test]
fn clients_are_counted_aloud_in_every_interval() {
    let server = Setup::new().workers(1).start();
    let pid = server.workers()[0];
    let _client = WebSocket::open(Raw::tcp(server.addr));
    let counted = format!("Worker {pid}: 1 connected client(s)");
    server.wait_for_line(&counted);
    let before = server.count_lines(&counted);
    std::thread::sleep(Duration::from_secs(2));
    let lines = server.count_lines(&counted) - before;
    saw("counts in 2 s, one each 200 ms", lines);
    assert!((8..=11).contains(&lines));
}

#[test]
fn processes_are_called_by_their_roles() {
    let server = Server::start();
    let name = names(server.pid);
    assert!(name.starts_with("my-app: master "), "{name}");
    let workers = server.workers();
    assert_eq!(
        [names(workers[0]), names(workers[1])],
        ["my-app: worker 0", "my-app: worker 1"]
    );
    for pid in [server.pid, workers[0], workers[1]] {
        let short = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(short, "my-app\n");
    }
}

#[test]
fn systemd_is_told_ready_when_every_worker_takes_connections_and_not_before() {
    let server = Setup::new().workers(4).systemd().unwaited().start();
    let mut before = Vec::new();
    while before.last().is_none_or(|message| message != "READY=1") {
        before.push(server.notified());
    }
    let workers = server.workers();
    assert_eq!(workers.len(), 4, "{before:?}");
    before.pop();
    let starting = |message: &str| {
        message == "WATCHDOG=1"
            || message.starts_with("EXTEND_TIMEOUT_USEC=")
            || message.contains(" of 4 worker(s), ")
    };
    assert!(before.iter().all(|m| starting(m)), "{before:?}");
    let status = server.wait_for_notification("STATUS=");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        status,
        format!("STATUS=my-app {version}: 4 worker(s), 0 client(s)")
    );
    // The line follows the worker's word to the master by a moment.
    eventually("four started", Duration::from_millis(200), || {
        server.count_lines(" started") == 4
    });
    serves(Raw::tcp(server.addr));
    serves(Raw::unix(&server.unix));
}

#[test]
fn systemd_is_shown_the_number_of_clients() {
    let server = Setup::new().systemd().start();
    let clients: Vec<_> = (0..3)
        .map(|_| WebSocket::open(Raw::unix(&server.unix)))
        .collect();
    saw(
        "status",
        server.wait_for_notification(": 2 worker(s), 3 client(s)"),
    );
    drop(clients);
    server.wait_for_notification(": 2 worker(s), 0 client(s)");
}

#[test]
fn systemds_watchdog_is_fed_twice_as_often_as_it_asks() {
    let server = Setup::new().systemd().start();
    server.wait_for_notification("WATCHDOG=1");
    let mut worst = Duration::ZERO;
    for _ in 0..4 {
        let last = Instant::now();
        server.wait_for_notification("WATCHDOG=1");
        worst = worst.max(last.elapsed());
    }
    saw("longest pause, 2 s allowed", format!("{worst:?}"));
    assert!(worst < Duration::from_millis(1200));
}

#[test]
fn systemd_is_told_that_the_server_stops() {
    let mut server = Setup::new().systemd().start();
    server.wait_for_notification("READY=1");
    server.signal("TERM");
    server.wait_for_notification("STOPPING=1");
    assert_eq!(server.ended(SOON).code(), Some(0));
    assert!(server.unix.exists(), "systemd's socket file is systemd's");
}

#[test]
fn workers_have_nothing_of_systemds() {
    let server = Setup::new().systemd().start();
    let listening = listening_sockets(server.addr, &server.unix);
    assert_eq!(listening.len(), 2, "{listening:?}");
    let of_master = open_files(server.pid);
    assert!(listening.iter().all(|socket| of_master.contains(socket)));
    for pid in server.workers() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for name in ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"] {
            assert!(!environment.contains(name), "{name} in {environment}");
        }
        let files = open_files(pid);
        saw("descriptors of a worker", format!("{files:?}"));
        let log = server.dir.path().join("app.log");
        for file in &files {
            let known = ["/dev/null", log.to_str().unwrap()].contains(&file.as_str())
                || ["pipe:", "anon_inode:", "socket:"]
                    .iter()
                    .any(|kind| file.starts_with(kind));
            assert!(known, "{file}");
        }
        // Its link, its end of the bus, and the two ends by which it hears of signals.
        let sockets: BTreeSet<_> = files.iter().filter(|f| f.starts_with("socket:")).collect();
        assert_eq!(sockets.len(), 4, "{files:?}");
        assert!(!listening.iter().any(|socket| sockets.contains(socket)));
        assert!(!of_master.iter().any(|socket| sockets.contains(socket)));
        assert!(files.len() < 16, "{files:?}");
    }
}

#[test]
fn it_listens_wherever_it_is_told_to() {
    let port = free_port();
    let setup = Setup::new().unix().listen(&format!("[::1]:{port}"));
    let server = setup.start();
    serves(Raw::tcp(server.addr));
    serves(Raw::tcp(format!("[::1]:{port}").parse().unwrap()));
    serves(Raw::unix(&server.unix));
}

#[test]
fn the_file_of_a_unix_socket_goes_with_the_server() {
    let mut server = Setup::new().unix().start();
    assert!(server.unix.exists());
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.unix.exists());
}

#[test]
fn the_file_of_a_dead_unix_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stale.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _server = Setup::new()
        .listen(&format!("unix:{}", path.display()))
        .start();
    serves(Raw::unix(&path));
}

#[test]
fn a_living_unix_socket_is_left_alone() {
    let server = Setup::new().unix().start();
    let said = refused_to_listen(&format!("unix:{}", server.unix.display()));
    assert!(
        said.ends_with("another process listens there already"),
        "{said}"
    );
    serves(Raw::unix(&server.unix));
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    fs::write(&path, "mine").unwrap();
    let said = refused_to_listen(&format!("unix:{}", path.display()));
    assert!(
        said.ends_with("there is a file at this path that is no socket"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused_to_listen(&taken.local_addr().unwrap().to_string());
    assert!(
        said.to_lowercase().contains("address already in use"),
        "{said}"
    );
}

#[test]
fn a_line_that_makes_no_sense_ends_with_64() {
    for arguments in [
        &["--wrong"][..],
        &["chekc"],
        &["--listen", "3000"],
        &["--workers", "x"],
    ] {
        let (code, said) = my_app(arguments);
        assert_eq!(code, 64, "{said}");
    }
}

#[test]
fn every_fault_of_a_configuration_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my-app.toml");
    let lines = "worker = 2\nbalance = 1\n\n[engine]\nping_interval = \"fast\"\n[limit]\nx = 1\n";
    fs::write(&path, lines).unwrap();
    let config = path.to_str().unwrap();
    for arguments in [&["--config", config][..], &["check", "--config", config]] {
        let (code, said) = my_app(arguments);
        assert_eq!(code, 78, "{said}");
        for fault in [
            "line 1: worker: unknown key; did you mean workers?",
            "line 2: balance = 1: expected a string, found a whole number",
            "line 5: engine.ping_interval = \"fast\": ",
            "line 6: limit: unknown section; did you mean [limits]?",
        ] {
            assert!(
                said.contains(&format!("{config}: {fault}")),
                "{fault}: {said}"
            );
        }
        assert_eq!(said.lines().count(), 4, "{said}");
    }
}

#[test]
fn a_configuration_that_is_not_there_ends_with_78() {
    for arguments in [
        &["--config", "/nonexistent"][..],
        &["check", "--config", "/nonexistent"],
    ] {
        let (code, said) = my_app(arguments);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("No such file"), "{said}");
    }
}

#[test]
fn a_good_configuration_is_called_good() {
    let server = Setup::new()
        .config("[engine]\nping_interval = \"5s\"")
        .start();
    let path = server.dir.path().join("my-app.toml");
    let (code, said) = my_app(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        said.lines().next(),
        Some(&format!("{}: good", path.display())[..])
    );
}

#[test]
fn there_is_one_worker_for_each_core_that_it_may_use() {
    let cores = Command::new("nproc").output().unwrap().stdout;
    let cores: usize = String::from_utf8(cores).unwrap().trim().parse().unwrap();
    let all = Setup::new().workers(0).start();
    let one = Setup::new()
        .workers(0)
        .under(&["taskset", "-c", "0"])
        .start();
    eventually("its workers", SOON, || all.count_lines(" started") == cores);
    eventually("its worker", SOON, || one.count_lines(" started") == 1);
    std::thread::sleep(Duration::from_millis(300));
    saw("workers on all cores", cores);
    assert_eq!((all.workers().len(), one.workers().len()), (cores, 1));
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    let server = Setup::new()
        .under(&["prlimit", "--nofile=100:1234"])
        .start();
    assert_eq!(soft_limit(server.pid), "1234");
    assert_eq!(soft_limit(server.workers()[0]), "1234");
}

#[test]
fn the_signal_to_reopen_the_log_ends_no_master() {
    let server = Server::start();
    let workers = server.workers();
    server.signal("USR1");
    server.sessions();
    assert_eq!((alive(server.pid), server.workers()), (true, workers));
}

/// As `systemctl kill --signal=USR1` sends it.
#[test]
fn the_signal_to_reopen_the_log_ends_no_worker() {
    let server = Server::start();
    let workers = server.workers();
    for &pid in &workers {
        signal_process(pid, "USR1");
    }
    server.sessions();
    assert_eq!(server.workers(), workers);
}

#[test]
fn a_rotated_log_goes_on_in_the_new_file() {
    let server = Server::start();
    let clients = Held::connect(&server.url(), 20, &["--every", "20"]);
    server.sessions();
    let log = server.dir.path().join("app.log");
    let old = server.dir.path().join("app.log.1");
    fs::rename(&log, &old).unwrap();
    let workers = server.workers();
    let within = eventually(
        "lines of all in the new file",
        Duration::from_secs(2),
        || {
            let lines = server.log_file();
            workers
                .iter()
                .all(|pid| lines.contains(&format!("Worker {pid}: ")))
        },
    );
    saw("rename to lines in the new file", format!("{within:?}"));
    let rotated = fs::read_to_string(&old).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::read_to_string(&old).unwrap(), rotated);
    let both = rotated + &server.log_file();
    assert!(both.lines().all(|line| behind_time(line).is_some()));
    let lost = server
        .log()
        .iter()
        .filter(|line| !both.contains(*line))
        .count();
    assert!(lost <= 2, "{lost} lines are in neither file");
    let stats = clients.quit();
    assert_eq!(
        (&stats["missing"], &stats["outOfOrder"]),
        (&0.into(), &0.into()),
        "{stats}"
    );
}
