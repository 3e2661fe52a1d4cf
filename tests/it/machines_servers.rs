//! Servers between the machines that are not the plain one: a primary that is one no more, sentinels, a pooler; and what
//! is as large as anything can be.

use std::collections::BTreeSet;
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
fn replica(switch: &Space, port: u16) -> Bus {
    let replica = Bus::redis(switch, port, &format!("--replicaof {ADDRESS} 6379"));
    replica.start();
    eventually("the copy is in step", SOON, || {
        replica.ask(&["ROLE"]).contains("connected")
    });
    replica
}

#[test]
fn machines_leave_a_primary_that_was_demoted_behind_their_backs_within_seconds_and_lose_nothing() {
    let machines = Plan::of(3, Kind::Redis).relayed().start();
    let crowds = machines.chat(2);
    let new = replica(&machines.switch, 6380);
    let flows: Vec<_> = crowds
        .iter()
        .map(|crowd| Flow::start(&crowd[0], 100, 100))
        .collect();
    thread::sleep(Duration::from_millis(300));
    // As when an address moves: those who are connected stay with the old one.
    machines.relay().lead_to(new.addr());
    let demoted = Instant::now();
    new.ask(&["REPLICAOF", "NO", "ONE"]);
    machines.bus.ask(&["REPLICAOF", ADDRESS, "6380"]);
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
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let beside = Self(child.unwrap());
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
    let first = Bus::new(Kind::Redis, &switch);
    first.start();
    let second = replica(&switch, 6380);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sentinel.conf");
    let settings = format!(
        "port 26379\nbind {ADDRESS}\ndir {}\nprotected-mode no\nsentinel monitor main {ADDRESS} 6379 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        dir.path().display()
    );
    fs::write(&file, settings).unwrap();
    let mut command = switch.command("redis-server");
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
        second.ask(&["ROLE"]).starts_with("master")
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
    machines.bus.start();
}

#[test]
fn a_pooler_that_lends_connections_for_transactions_is_named_in_the_status() {
    let switch = Space::switch();
    let postgres = Bus::new(Kind::Postgres, &switch);
    postgres.start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("users"), "\"my_app\" \"\"\n").unwrap();
    let settings = format!(
        "[databases]\npostgres = host={ADDRESS} port=5432\n[pgbouncer]\nlisten_addr = {ADDRESS}\nlisten_port = 6432\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n",
        path("users").display()
    );
    fs::write(path("settings"), settings).unwrap();
    own_by_postgres(dir.path());
    let mut command = switch.command("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ]);
    command.arg("/usr/sbin/pgbouncer").arg(path("settings"));
    let _pooler = Beside::start(command, &switch, 6432);
    let url = format!("postgres://my_app@{ADDRESS}:6432/postgres?sslmode=disable");
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
    let connections = || match kind {
        Kind::Redis => {
            let list = machines.bus.ask(&["CLIENT", "LIST"]);
            let named = list.lines().filter(|line| !line.contains("cmd=client"));
            named
                .map(|line| line.split(' ').next().unwrap().to_owned())
                .collect::<BTreeSet<_>>()
        }
        Kind::Postgres => {
            let list = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
            machines
                .bus
                .ask(&[list])
                .lines()
                .map(str::to_owned)
                .collect()
        }
    };
    let connected = connections();
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
    assert_eq!(connections(), connected, "connections to the server");
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
