//! The bridge's process: it crashes, is restarted, meets its machine's double and garbage; and what it takes from the
//! master, which is nothing.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use super::harness::*;

/// Bridges die under traffic, again and again.
#[track_caller]
fn killed(kind: Kind, kill: impl Fn(&Machines, u64)) {
    let machines = Plan::of(2, kind).start();
    let crowds = machines.chat(4);
    let workers = machines.iter().map(|machine| machine.server.workers());
    let workers: Vec<_> = workers.collect();
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 200, 100));
    let times = if long_tests() { 20 } else { 5 };
    for nth in 0..times {
        kill(&machines, nth);
        machines.wait_until_joined();
    }
    let all = Flow::stop_all(flows);
    for (sent, own) in all.iter().zip(&crowds) {
        saw("messages on the machine", sent.arrives_at(own.iter()));
    }
    let missing = [
        all[1].missing_at(&crowds[0][1]),
        all[0].missing_at(&crowds[1][1]),
    ];
    saw("missing on either machine", format!("{missing:?}"));
    eventually("all of it is counted", SOON, || machines.lost() == missing);
    for (machine, workers) in machines.iter().zip(&workers) {
        assert_eq!(machine.server.workers(), *workers);
    }
    nobody_went(everybody(&crowds));
}

fn one_dies(machines: &Machines, nth: u64) {
    thread::sleep(Duration::from_millis(200 + 50 * (nth % 5)));
    machines[0].end_bridge("KILL");
}

fn both_die(machines: &Machines, nth: u64) {
    thread::sleep(Duration::from_millis(300 + 70 * (nth % 5)));
    machines.end_bridges("KILL");
    // Every other time they die again before they know each other.
    if nth.is_multiple_of(2) {
        machines.end_bridges("KILL");
    }
}

#[test]
fn a_bridge_that_is_killed_again_and_again_costs_no_session_and_what_is_lost_is_counted() {
    killed(Kind::Redis, one_dies);
}

#[test]
fn a_bridge_to_postgres_that_is_killed_again_and_again_costs_the_same() {
    killed(Kind::Postgres, one_dies);
}

#[test]
fn when_the_bridges_of_two_machines_are_killed_together_what_is_missing_is_counted() {
    killed(Kind::Redis, both_die);
}

#[test]
fn a_bridge_that_is_restarted_loses_nothing() {
    let machines = Plan::of(2, Kind::Redis).start();
    let crowds = machines.chat(4);
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 200, 100));
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(300));
        machines[0].end_bridge("TERM");
        machines.wait_until_joined();
    }
    for (sent, machine) in Flow::stop_all(flows).iter().zip(machines.iter()) {
        println!("    of {}:", machine.name);
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    assert_eq!(machines.lost(), [0, 0]);
    nobody_went(everybody(&crowds));
}

#[test]
fn machines_with_one_number_are_both_named() {
    let machines = Plan::of(2, Kind::Redis).numbers(&[7, 7]).start();
    for machine in machines.iter() {
        let log = || machine.server.log();
        eventually("a warning with both names", SOON, || {
            let named = |line: &String| {
                ["alpha", "beta", " 7"]
                    .iter()
                    .all(|word| line.contains(word))
            };
            log().iter().any(named)
        });
    }
}

#[track_caller]
fn garbage(kind: Kind) {
    let machines = Plan::of(2, kind).start();
    let crowds = machines.chat(4);
    let before = machines.processes();
    let flow = Flow::start(&crowds[0][0], 100, 100);
    let channels = match kind {
        Kind::Redis => machines.bus.ask(&["PUBSUB", "CHANNELS", "my-app*"]),
        Kind::Postgres => "my-app/1/all\nmy-app/hello\n".to_owned(),
    };
    let channels: Vec<_> = channels.lines().collect();
    saw("channels", format!("{channels:?}"));
    assert!(channels.len() >= 2);
    let mut seed = 1_u32;
    let mut random = |length: usize| {
        let byte = |_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        (0..length).map(byte).collect::<Vec<_>>()
    };
    for channel in &channels {
        for length in [1, 10, 100, 1000] {
            let mut bytes = random(length);
            machines.bus.publish(channel, &bytes);
            // What begins like one of ours.
            bytes[0] = 1;
            machines.bus.publish(channel, &bytes);
        }
    }
    eventually("it is counted", SOON, || {
        let counted = machines
            .iter()
            .map(|machine| machine.bridge()["garbled"].as_u64());
        counted.into_iter().all(|count| count.unwrap() > 0)
    });
    flow.stop().arrives_at(everybody(&crowds));
    machines.assert_same_processes(&before);
    assert_eq!(machines.lost(), [0, 0]);
}

#[test]
fn garbage_on_the_channels_of_redis_is_counted_and_costs_nothing() {
    garbage(Kind::Redis);
}

#[test]
fn garbage_on_the_channels_of_postgres_is_counted_and_costs_nothing() {
    garbage(Kind::Postgres);
}

/// The sockets of a process.
fn sockets(pid: u32) -> BTreeSet<String> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let inodes = targets.filter_map(|target| {
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        Some(inode.trim_end_matches(']').to_owned())
    });
    inodes.collect()
}

/// Of these sockets, those of the Internet's protocols that are no listeners.
fn talking(pid: u32) -> Vec<String> {
    let own = sockets(pid);
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
    let tables =
        tables.map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let talking = lines.filter(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // proc_pid_net(5): the state, of which 0A is LISTEN, and the inode.
        words[3] != "0A" && own.contains(words[9])
    });
    talking.map(str::to_owned).collect()
}

/// The threads of a process that do not write its log.
fn threads(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    names.filter(|name| !name.starts_with("log-")).count()
}

#[test]
fn the_master_talks_to_nobody_over_the_network_and_has_one_thread() {
    let machines = Plan::of(2, Kind::Redis).start();
    let crowds = machines.chat(2);
    Flow::start(&crowds[0][0], 100, 100)
        .stop()
        .arrives_at(everybody(&crowds));
    for machine in machines.iter() {
        let server = &machine.server;
        eventually("no connection is on its way through it", SOON, || {
            talking(server.pid).is_empty()
        });
        assert_eq!(threads(server.pid), 1);
        assert_eq!(
            talking(server.bridge().unwrap()).len(),
            2,
            "two connections to the server"
        );
    }
}
