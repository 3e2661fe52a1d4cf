//! Servers between the machines that are not the plain one: a primary that is one no more, sentinels, a pooler; and what
//! is as large as anything can be.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

/// Back on the new primary within this.
const BACK: Duration = Duration::from_secs(7);

/// A Redis that is a copy of another one, in the same network.
#[track_caller]
fn replica(switch: &Space, primary: &Bus) -> Bus {
    let replica = Bus::redis(switch, &["--replicaof", ADDRESS, &primary.port.to_string()]);
    eventually("the copy is in step", SOON, || {
        replica.ask(&["ROLE"]).contains("connected")
    });
    replica
}

#[test]
fn machines_leave_a_primary_that_was_demoted_behind_their_backs_within_seconds_and_lose_nothing() {
    let machines = Plan::of(3, Kind::Redis).relayed().start();
    let crowds = machines.chat(2);
    let new = replica(&machines.switch, &machines.bus);
    let flows: Vec<_> = crowds
        .iter()
        .map(|crowd| Flow::start(&crowd[0], 100, 100))
        .collect();
    thread::sleep(Duration::from_millis(300));
    // As when an address moves: those who are connected stay with the old one.
    machines.relay().lead_to(new.addr());
    let demoted = Instant::now();
    new.ask(&["REPLICAOF", "NO", "ONE"]);
    machines
        .bus
        .ask(&["REPLICAOF", ADDRESS, &new.port.to_string()]);
    eventually("all are with the new one", SOON, || {
        new.ask(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .lines()
            .count()
            >= machines.len()
    });
    machines.wait_until_joined();
    let back = demoted.elapsed();
    saw("back after", format!("{back:?}"));
    assert!(back < BACK);
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    assert_eq!(machines.lost(), [0, 0, 0]);
    nobody_went(everybody(&crowds));
}

/// Something that runs in the switch's network. It ends with the value.
struct Beside(Child);

impl Beside {
    fn start(mut command: Command, switch: &Space, port: u16) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let beside = Self(switch.network().within(|| command.spawn().unwrap()));
        let there = || TcpStream::connect((ADDRESS, port)).is_ok();
        eventually("it listens", SOON, || switch.network().within(there));
        beside
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Only what this test started is ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn machines_follow_their_sentinels_to_another_primary_and_lose_nothing() {
    let switch = Space::switch();
    let first = Bus::start(Kind::Redis, &switch);
    let second = replica(&switch, &first);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sentinel.conf");
    let settings = format!(
        "port 26379\nbind {ADDRESS}\ndir {}\nprotected-mode no\nsentinel monitor main {ADDRESS} {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        dir.path().display(),
        first.port
    );
    fs::write(&file, settings).unwrap();
    let mut command = redis_program("server");
    command.arg(&file).arg("--sentinel");
    let _sentinel = Beside::start(command, &switch, 26379);
    let url = format!("redis+sentinel://{ADDRESS}:26379/main");
    let machines = Plan::of(2, Kind::Redis).url(&url).start_with(switch, first);
    let crowds = machines.chat(2);
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 100, 100));
    thread::sleep(Duration::from_millis(300));
    machines.bus.kill();
    let killed = Instant::now();
    eventually("another primary", SOON + SOON, || {
        // Whoever is connected in that moment is cut off.
        second
            .try_ask(&["ROLE"])
            .is_some_and(|role| role.starts_with("master"))
    });
    let promoted = Instant::now();
    eventually("all are with it", SOON, || {
        second
            .ask(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .lines()
            .count()
            >= machines.len()
    });
    machines.wait_until_joined();
    saw("promoted after", format!("{:?}", promoted - killed));
    saw(
        "joined again after the promotion",
        format!("{:?}", promoted.elapsed()),
    );
    assert!(promoted.elapsed() < BACK);
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    assert_eq!(machines.lost(), [0, 0]);
}

#[test]
fn a_pooler_that_lends_connections_for_transactions_is_named_in_the_status() {
    let switch = Space::switch();
    let postgres = Bus::start(Kind::Postgres, &switch);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("users"), "\"app\" \"\"\n").unwrap();
    let settings = format!(
        "[databases]\napp = host={ADDRESS} port={} user=app password='{PASSWORD}'\n[pgbouncer]\nlisten_addr = {ADDRESS}\n\
         listen_port = 6432\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n",
        postgres.port,
        path("users").display()
    );
    fs::write(path("settings"), settings).unwrap();
    let mut command = Command::new("/usr/sbin/pgbouncer");
    command.arg(path("settings"));
    lower(
        &mut command,
        &[dir.path(), &path("users"), &path("settings")],
    );
    let _pooler = Beside::start(command, &switch, 6432);
    let url = format!("postgres://app@{ADDRESS}:6432/app?sslmode=disable");
    let machines = Plan::of(1, Kind::Postgres)
        .url(&url)
        .unjoined()
        .start_with(switch, postgres);
    eventually("it is named", SOON, || {
        machines[0].missing().contains("pool")
    });
    saw("missing", machines[0].missing());
    let crowd = Crowd::light(&machines[0].server, "/chat", 2);
    crowd.all_call("join", &json!([ROOM]));
    Flow::start(&crowd[0], 100, 100)
        .stop()
        .arrives_at(crowd.iter());
}

#[track_caller]
fn large(kind: Kind) {
    const BYTES: usize = 30 << 20;
    let machines = Plan::of(2, kind)
        .config("[engine]\nmax_payload = 40000000")
        .start();
    let crowds = machines.chat(2);
    let before = machines.processes();
    let connected = machines.bus.connections();
    let sent = Instant::now();
    let payload = json!({"n": 0, "padding": "x".repeat(BYTES)});
    let asked = crowds[0][0].ask("message", json!([ROOM, payload]));
    ok(asked.answer().value);
    for client in &crowds[1][..] {
        let came = client.hears_where(|heard| heard.payload["payload"]["padding"] == BYTES);
        assert!(came, "{:?}", client.gone());
    }
    saw(
        "on the other machine after",
        format!("{:?}", sent.elapsed()),
    );
    assert_eq!(
        machines.bus.connections(),
        connected,
        "connections to the server"
    );
    machines.assert_same_processes(&before);
    assert_eq!(machines.lost(), [0, 0]);
}

#[test]
fn thirty_megabytes_arrive_on_the_other_machine_and_cut_no_subscriber_of_redis() {
    large(Kind::Redis);
}

#[test]
fn thirty_megabytes_arrive_on_the_other_machine_over_postgres() {
    large(Kind::Postgres);
}
