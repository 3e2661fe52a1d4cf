//! What it costs to be two machines. The figures of docs/SCALING.md are from a run of the program that is shipped, on a
//! machine with nothing else to do.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// Receivers on the other machine, as many on each worker.
const RECEIVERS: usize = 20;

/// CPU of a machine's master, bridge and workers, in this order.
fn cpu(machine: &Machine) -> [Duration; 3] {
    let workers = machine.server.workers();
    let bridge = machine.server.bridge().unwrap();
    [
        cpu_time(machine.server.pid),
        cpu_time(bridge),
        workers.into_iter().map(cpu_time).sum(),
    ]
}

#[track_caller]
fn cost(kind: Kind) {
    let machines = Plan::of(2, kind).start();
    let crowds = [
        chat(&machines[0].server, 2),
        chat(&machines[1].server, RECEIVERS),
    ];
    saw(
        "connections that the server has",
        machines.bus.connections().len(),
    );
    let before = [0, 1].map(|nth| cpu(&machines[nth]));
    let began = Instant::now();
    let flows: Vec<_> = crowds[0]
        .iter()
        .map(|client| Flow::flood(client, 200))
        .collect();
    thread::sleep(Duration::from_secs(2));
    let all = Flow::stop_all(flows);
    let mut messages = 0;
    for sent in &all {
        saw(
            "messages to the other machine",
            sent.arrives_at(crowds[1].iter()),
        );
        messages += sent.at.len();
    }
    let took = began.elapsed();
    let after = [0, 1].map(|nth| cpu(&machines[nth]));
    let count = f64::from(u32::try_from(messages).unwrap());
    saw(
        "messages a second between the machines",
        format!("{:.0}", count / took.as_secs_f64()),
    );
    let mut sum = Duration::ZERO;
    for (machine, (before, after)) in machines.iter().zip(before.iter().zip(&after)) {
        for (process, (before, after)) in ["master", "bridge", "workers"]
            .iter()
            .zip(before.iter().zip(after))
        {
            let used = *after - *before;
            sum += used;
            let each = used.as_secs_f64() * 1e6 / count;
            saw(
                &format!("{}'s {process}, CPU us a message", machine.name),
                format!("{each:.1}"),
            );
        }
    }
    let each = sum.as_secs_f64() * 1e6 / count;
    saw("all of ours, CPU us a message", format!("{each:.1}"));
    // Each message goes to the other sender as well.
    let deliveries = RECEIVERS as f64 + 1.0;
    saw(
        "all of ours, CPU us for 1000 deliveries",
        format!("{:.0}", each * 1000.0 / deliveries),
    );
    assert_eq!(machines.lost(), [0, 0]);
}

#[test]
fn what_a_message_between_two_machines_costs_over_redis() {
    cost(Kind::Redis);
}

#[test]
fn what_a_message_between_two_machines_costs_over_postgres() {
    cost(Kind::Postgres);
}
