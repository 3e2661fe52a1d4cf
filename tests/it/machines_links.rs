//! A machine's cable is cut: the others go on without it, and when it is whole again nothing is missing that was not
//! counted.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

/// After so long without a sign of life a machine is gone.
const GONE: Duration = Duration::from_secs(3);

/// The first client of each machine sends to the room.
fn flows(crowds: &[Crowd], rate: u32) -> Vec<Flow> {
    let senders = crowds.iter().map(|crowd| &crowd[0]);
    senders
        .map(|sender| Flow::start(sender, rate, 100))
        .collect()
}

/// Asks until these, and nobody else, are there; how long after `since` that was.
#[track_caller]
fn sees(client: &Client, expected: &[String], since: Instant) -> Duration {
    eventually("who is there", SOON, || present(client) == expected);
    since.elapsed()
}

#[track_caller]
fn cut(kind: Kind) {
    let machines = Plan::of(3, kind).start();
    let crowds = machines.chat(4);
    let before = machines.processes();
    let all = ids(everybody(&crowds));
    let cut_off = ids(crowds[0].iter());
    let others = ids(crowds[1].iter().chain(crowds[2].iter()));
    let flows = flows(&crowds, 50);
    let jitter = Jitter::watch();
    thread::sleep(Duration::from_millis(500));

    let cut = Instant::now();
    machines.cut_link(0);
    let missed = sees(&crowds[1][0], &others, cut);
    saw("the others answer without it after", format!("{missed:?}"));
    jitter.assert_within(missed, GONE + Duration::from_millis(500));
    saw(
        "it answers alone after",
        format!("{:?}", sees(&crowds[0][0], &cut_off, cut)),
    );
    for crowd in &crowds {
        let asked = Instant::now();
        present(&crowd[1]);
        jitter.assert_within(asked.elapsed(), PROMPT);
    }

    machines.restore_link(0);
    let restored = Instant::now();
    for crowd in &crowds {
        sees(&crowd[0], &all, restored);
    }
    saw("complete after", format!("{:?}", restored.elapsed()));
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    nobody_went(everybody(&crowds));
    machines.assert_same_processes(&before);
    assert_eq!(machines.lost(), [0, 0, 0]);
}

#[test]
fn a_machine_that_is_cut_off_is_waited_for_for_three_seconds_and_misses_nothing_over_redis() {
    cut(Kind::Redis);
}

#[test]
fn a_machine_that_is_cut_off_is_waited_for_for_three_seconds_and_misses_nothing_over_postgres() {
    cut(Kind::Postgres);
}

#[test]
fn what_is_kept_no_longer_when_the_cable_is_whole_again_is_counted_exactly() {
    let machines = Plan::of(3, Kind::Redis).bridge("catch_up = \"2s\"").start();
    let crowds = machines.chat(2);
    let before = machines.processes();
    let all = ids(everybody(&crowds));
    let flows = flows(&crowds, 50);
    machines.cut_link(0);
    thread::sleep(Duration::from_secs(6));
    machines.restore_link(0);
    for crowd in &crowds {
        sees(&crowd[0], &all, Instant::now());
    }
    let sent = Flow::stop_all(flows);
    let missing = |machine: usize| -> usize {
        sent.iter()
            .map(|sent| match sent.from == crowds[machine][0].id() {
                true => 0,
                false => sent.missing_at(&crowds[machine][1]),
            })
            .sum()
    };
    let missing: Vec<_> = (0..3).map(missing).collect();
    saw("missing", format!("{missing:?}"));
    assert!(missing.iter().all(|&count| count > 0));
    eventually("all of it is counted", SOON, || machines.lost() == missing);
    // Among clients of one machine there is no bridge.
    for (sent, crowd) in sent.iter().zip(&crowds) {
        sent.arrives_at(crowd.iter());
    }
    machines.assert_same_processes(&before);
}

#[test]
fn machines_that_are_far_from_their_redis_miss_nothing() {
    let machines = Plan::of(2, Kind::Redis)
        .far(Duration::from_millis(80))
        .start();
    let crowds = machines.chat(4);
    let flows = flows(&crowds, 300);
    thread::sleep(Duration::from_secs(2));
    let all = Flow::stop_all(flows);
    for (sent, [own, other]) in all.iter().zip([[0, 1], [1, 0]]) {
        let here = sent.arrives_at(crowds[own].iter());
        let there = sent.arrives_at(crowds[other].iter());
        saw("messages on the machine", &here);
        saw("messages on the other one", &there);
        // There and back: to the server, and to the other machine.
        assert!(there.percentile(50) >= here.percentile(50) + Duration::from_millis(60));
    }
    assert_eq!(machines.lost(), [0, 0]);
}
