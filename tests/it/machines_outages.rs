//! What becomes of the bus's server: it crashes, hangs, is not there, is another. What clients of one machine say to each
//! other never depends on it, and what is for other machines comes late.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

/// A slow line is noticed within this.
const NOTICED: Duration = Duration::from_secs(15);

/// Each machine's first client sends to the room; ends with how long messages took on their machine, and to others.
#[track_caller]
fn while_all_talk(machines: &Machines, crowds: &[Crowd], rate: u32, happens: impl FnOnce()) {
    let before = machines.processes();
    let senders = crowds.iter().map(|crowd| &crowd[0]);
    let flows: Vec<_> = senders
        .map(|sender| Flow::start(sender, rate, 100))
        .collect();
    thread::sleep(Duration::from_millis(300));
    happens();
    machines.wait_until_joined();
    let all = Flow::stop_all(flows);
    for (sent, own) in all.iter().zip(crowds) {
        saw("messages on the machine", sent.arrives_at(own.iter()));
        let others = crowds.iter().filter(|crowd| crowd[0].id() != sent.from);
        let others = others.flat_map(|crowd| crowd.iter());
        saw("messages to the other machines", sent.arrives_at(others));
    }
    nobody_went(everybody(crowds));
    machines.assert_same_processes(&before);
    assert_eq!(machines.lost(), vec![0; machines.len()]);
}

#[track_caller]
fn crashes(kind: Kind, times: usize) {
    let machines = Plan::of(3, kind).start();
    let crowds = machines.chat(4);
    while_all_talk(&machines, &crowds, 50, || {
        for _ in 0..times {
            machines.bus.kill();
            thread::sleep(Duration::from_millis(300));
            machines.bus.start_again();
            saw(
                "joined again after",
                format!("{:?}", machines.wait_until_joined()),
            );
        }
    });
}

#[test]
fn a_redis_that_crashes_five_times_makes_messages_late_and_loses_none() {
    crashes(Kind::Redis, 5);
}

#[test]
fn a_postgres_that_crashes_three_times_makes_messages_late_and_loses_none() {
    crashes(Kind::Postgres, 3);
}

/// How long echoes of one client of a machine, and messages among its others, take; and those messages.
fn local_times(crowd: &Crowd, echo: &Client, lasts: Duration) -> (Times, Times, Sent) {
    let flow = Flow::start(&crowd[0], 100, 100);
    let until = Instant::now() + lasts;
    let mut echoes = Vec::new();
    while Instant::now() < until {
        echoes.push(echo.ask("echo", json!([1])).answer().took);
        thread::sleep(Duration::from_millis(5));
    }
    let sent = flow.stop();
    (Times::of(echoes), sent.arrives_at(crowd.iter()), sent)
}

#[track_caller]
fn hangs(kind: Kind) {
    let machines = Plan::of(2, kind).start();
    let crowds = machines.chat(4);
    let echo = &Crowd::unplaced(&machines[0].server, "/", 1)[0];
    let jitter = Jitter::watch();
    let lasts = Duration::from_secs(if long_tests() { 20 } else { 5 });
    let (echoes, messages, sent) = local_times(&crowds[0], echo, Duration::from_secs(2));
    sent.arrives_at(everybody(&crowds));
    for client in everybody(&crowds) {
        client.take_heard();
    }
    machines.bus.stop();
    let (echoes_then, messages_then, sent) = local_times(&crowds[0], echo, lasts);
    machines.bus.go_on();
    for (what, before, during) in [
        ("echoes", echoes, echoes_then),
        ("messages", messages, messages_then),
    ] {
        saw(&format!("{what} before"), &before);
        saw(&format!("{what} while it hangs"), &during);
        let limit = before.percentile(99) * 3 + Duration::from_millis(20);
        jitter.assert_within(during.percentile(99), limit);
    }
    machines.wait_until_joined();
    saw(
        "messages to the other machine",
        sent.arrives_at(crowds[1].iter()),
    );
    assert_eq!(machines.lost(), [0, 0]);
    nobody_went(everybody(&crowds));
}

#[test]
fn a_redis_that_hangs_slows_nothing_on_the_machine() {
    hangs(Kind::Redis);
}

#[test]
fn a_postgres_that_hangs_slows_nothing_on_the_machine() {
    hangs(Kind::Postgres);
}

#[track_caller]
fn comes_later(kind: Kind) {
    let machines = Plan::of(2, kind).without_server().start();
    let crowds = machines.crowds("/chat", 2);
    for (machine, crowd) in machines.iter().zip(&crowds) {
        crowd.all_call("join", &json!([ROOM]));
        let flow = Flow::start(&crowd[0], 100, 100);
        thread::sleep(Duration::from_millis(300));
        flow.stop().arrives_at(crowd.iter());
        eventually("the status says what is missing", SOON, || {
            machine.missing().contains(ADDRESS)
        });
        saw("missing", machine.missing());
        assert_eq!(present(&crowd[0]), ids(crowd.iter()));
    }
    machines.bus.start_again();
    let met = machines.wait_until_joined();
    saw("joined after", format!("{met:?}"));
    assert!(met < Duration::from_secs(6));
    assert_eq!(present(&crowds[0][0]), ids(everybody(&crowds)));
    for machine in machines.iter() {
        assert_eq!(machine.missing(), "[]");
    }
}

#[test]
fn without_its_redis_a_machine_serves_and_says_so_and_meets_the_others_when_it_comes() {
    comes_later(Kind::Redis);
}

#[test]
fn without_its_postgres_a_machine_serves_and_says_so_and_meets_the_others_when_it_comes() {
    comes_later(Kind::Postgres);
}

/// Whatever can happen to the server and the connections to it, again and again.
#[track_caller]
fn storm(kind: Kind) {
    let machines = Plan::of(3, kind).relayed().start();
    let crowds = machines.chat(2);
    let (rounds, rate) = if long_tests() { (4, 500) } else { (1, 200) };
    let moment = |millis| thread::sleep(Duration::from_millis(millis));
    while_all_talk(&machines, &crowds, rate, || {
        for _ in 0..rounds {
            for _ in 0..2 {
                machines.cut_connections();
                moment(900);
                machines.cut_connections();
                moment(300);
                machines.bus.stop();
                moment(1000);
                machines.bus.go_on();
                moment(900);
            }
            machines.bus.kill();
            moment(500);
            machines.bus.start_again();
            moment(1000);
        }
    });
    for machine in machines.iter() {
        let bridge = machine.bridge();
        saw(
            "outages, repaired",
            format!("{}, {}", bridge["outages"], bridge["repaired"]),
        );
    }
}

#[test]
fn a_storm_of_crashes_cuts_and_pauses_of_redis_loses_nothing() {
    storm(Kind::Redis);
}

#[test]
fn a_storm_of_crashes_cuts_and_pauses_of_postgres_loses_nothing() {
    storm(Kind::Postgres);
}

/// What each machine says is missing, again and again for so long.
fn reasons(machines: &Machines, lasts: Duration) -> Vec<String> {
    let until = Instant::now() + lasts;
    let mut all = Vec::new();
    while Instant::now() < until {
        all.extend(machines.iter().map(Machine::missing));
        thread::sleep(Duration::from_millis(50));
    }
    all.retain(|reason| reason != "[]");
    all.sort();
    all.dedup();
    saw("reasons", all.join("\n"));
    all
}

#[test]
fn connections_that_break_are_not_said_to_be_connected_wrongly() {
    let machines = Plan::of(3, Kind::Redis).relayed().start();
    let crowds = machines.chat(2);
    let flows: Vec<_> = crowds
        .iter()
        .map(|crowd| Flow::start(&crowd[0], 500, 100))
        .collect();
    for _ in 0..3 {
        // What is published has no answer yet when the connections break; and nobody answers new ones.
        machines.bus.stop();
        thread::sleep(Duration::from_millis(300));
        machines.cut_connections();
        let reasons = reasons(&machines, Duration::from_secs(1));
        machines.bus.go_on();
        assert!(!reasons.is_empty());
        for reason in reasons {
            assert!(!reason.contains("refused to publish"), "{reason}");
            assert!(!reason.contains("ACL"), "{reason}");
        }
        machines.wait_until_joined();
    }
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    assert_eq!(machines.lost(), [0, 0, 0]);
}

#[test]
fn over_a_thin_line_the_link_holds_and_all_comes_late() {
    let machines = Plan::of(2, Kind::Redis).relayed().start();
    let crowds = machines.chat(2);
    let outages = || machines.iter().map(Machine::outages).collect::<Vec<_>>();
    let before = outages();
    machines.relay().narrow(100_000);
    let flow = Flow::start(&crowds[0][0], 300, 500);
    thread::sleep(Duration::from_secs(4));
    let sent = flow.stop();
    saw("messages", sent.arrives_at(everybody(&crowds)));
    assert_eq!(outages(), before);
    assert_eq!(machines.lost(), [0, 0]);
}

#[test]
fn a_connection_that_is_too_slow_is_said_to_be_and_all_comes_late() {
    let machines = Plan::of(2, Kind::Redis).relayed().start();
    let crowds = machines.chat(2);
    machines.relay().narrow(16_000);
    let flow = Flow::start(&crowds[0][0], 300, 2000);
    eventually("the second machine says it", NOTICED, || {
        machines[1].missing().contains("too slow")
    });
    let sent = flow.stop();
    machines.relay().narrow(0);
    machines.wait_until_joined();
    saw("messages", sent.arrives_at(everybody(&crowds)));
    assert_eq!(machines.lost(), [0, 0]);
    nobody_went(everybody(&crowds));
}
