//! Workers hang, or fall behind: as long as it is short nobody loses anything, and nobody waits for long.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

#[test]
fn a_worker_that_hangs_for_a_while_delays_nobody_else_and_its_clients_lose_nothing() {
    let server = sample(4);
    let crowd = chat(&server, 12);
    let workers = server.workers();
    let victim = workers[1];
    let flows = [workers[0], workers[2]].map(|pid| Flow::start(crowd.on(pid)[0], 100, 1000));
    thread::sleep(Duration::from_millis(300));
    signal_process(victim, "STOP");
    thread::sleep(Duration::from_secs(5));
    let continued = Instant::now();
    signal_process(victim, "CONT");
    thread::sleep(Duration::from_millis(500));
    for sent in Flow::stop_all(flows) {
        let others = sent.arrives_at(crowd.not_on(victim));
        saw("messages to the others", &others);
        assert!(others.percentile(99) < Duration::from_secs(2));
        let own = sent.arrives_at(crowd.on(victim));
        saw("messages to its own clients", &own);
    }
    saw(
        "all there after it went on",
        format!("{:?}", continued.elapsed()),
    );
    nobody_went(crowd.iter());
    assert_eq!(server.workers(), workers);
}

#[test]
fn a_worker_that_hangs_for_a_moment_answers_late_and_nothing_is_missing() {
    let server = sample(4);
    let crowd = chat(&server, 8);
    let victim = server.workers()[3];
    let all = ids(crowd.iter());
    let askers = crowd.not_on(victim);
    signal_process(victim, "STOP");
    let who: Vec<_> = askers.iter().map(|c| c.ask("who", json!([ROOM]))).collect();
    thread::sleep(Duration::from_secs(1));
    signal_process(victim, "CONT");
    for asked in who {
        let Answered { value, took, .. } = asked.answer();
        assert_eq!(strings(&ok(value)["sockets"]), all);
        assert!(took > Duration::from_millis(900), "{took:?}");
    }
    assert_eq!(server.count_lines(GAP), 0);
}

#[test]
fn questions_wait_for_a_worker_that_hangs_as_long_as_they_may_and_the_log_names_it() {
    let server = sample(4);
    let crowd = chat(&server, 8);
    let victim = server.workers()[2];
    let asker = crowd.not_on(victim)[0];
    let others = ids(crowd.not_on(victim));
    signal_process(victim, "STOP");
    let who = asker.ask("who", json!([ROOM]));
    let collect = asker.ask("collect", json!(["?"]));
    let (who, collect) = (who.answer(), collect.answer());
    signal_process(victim, "CONT");
    saw(
        "who and collect",
        format!("{:?}, {:?}", who.took, collect.took),
    );
    assert_eq!(strings(&ok(who.value)["sockets"]), others);
    let mut responses = strings(&ok(collect.value)["responses"]);
    responses.sort_unstable();
    assert_eq!(responses, others);
    // Its clients have two seconds to answer, and the worker a little longer.
    assert!((2..5).contains(&collect.took.as_secs()));
    assert!(who.took < Duration::from_secs(8));
    let log = server.log();
    let named = log.iter().filter(|line| line.contains(GAP)).count();
    let pid = format!("(pid {victim})");
    assert!(named > 0, "{log:?}");
    assert!(
        log.iter()
            .filter(|line| line.contains(GAP))
            .all(|line| line.contains(&pid))
    );
    // What it says too late changes nothing.
    let later = asker.call("who", json!([ROOM]));
    assert_eq!(strings(&later["sockets"]), ids(crowd.iter()));
}

#[test]
fn a_worker_that_falls_too_far_behind_is_replaced_and_nobody_waits_for_it() {
    let server = Setup::new().workers(4).top("watchdog = \"20s\"").start();
    let crowd = chat(&server, 4);
    let workers = server.workers();
    let victim = workers[2];
    let others = crowd.not_on(victim);
    // 900 kB each: beyond what a worker may leave lying after some 75 of them.
    let flow = Flow::start(crowd.on(workers[0])[0], 25, 900_000);
    thread::sleep(Duration::from_millis(300));
    let stopped = Instant::now();
    signal_process(victim, "STOP");
    // Before the watchdog would.
    eventually("it is ended", Duration::from_secs(18), || !alive(victim));
    saw("ended after", format!("{:?}", stopped.elapsed()));
    wait_for_replacement(&server, victim);
    let sent = flow.stop();
    let times = sent.arrives_at(others.iter().copied());
    saw("messages to the others", &times);
    // Who sends waits for a quarter of that at most.
    assert!(times.percentile(99) < Duration::from_secs(6));
    nobody_went(others.iter().copied());
    let log = server.log();
    let why = log.iter().find(|line| line.contains("MiB"));
    let why = why.expect("the log says why");
    saw("line", why);
    assert!(why.contains(&victim.to_string()), "{why}");
    for client in crowd.on(victim) {
        client.goes(SOON);
    }
    let present = ids(others.iter().copied());
    let found = others[0].call("who", json!([ROOM]));
    assert_eq!(strings(&found["sockets"]), present);
}

#[test]
fn a_worker_that_gets_on_slowly_slows_the_others_and_loses_nothing() {
    let server = sample(4);
    let crowd = chat(&server, 4);
    let workers = server.workers();
    let slow = workers[1];
    // 60 MB a second, which it cannot take.
    let flows = [workers[0], workers[2]].map(|pid| Flow::start(crowd.on(pid)[0], 300, 100_000));
    let heard = || crowd.on(slow)[0].with_heard(<[Heard]>::len);
    let mut most = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) && alive(slow) {
        signal_process(slow, "STOP");
        let before = heard();
        thread::sleep(Duration::from_millis(200));
        if !alive(slow) {
            break;
        }
        signal_process(slow, "CONT");
        // However busy the machine is: it does get on.
        eventually("it gets on", SOON, || heard() > before || !alive(slow));
        thread::sleep(Duration::from_millis(5));
        most = most.max(memory(server.pid).pss);
    }
    let lasted = began.elapsed();
    let all = Flow::stop_all(flows);
    let times =
        crowd.on(slow)[0].with_heard(|heard| heard.iter().map(|h| h.at).collect::<Vec<_>>());
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    saw("pauses of its client's messages", Times::of(pauses));
    saw("the master's PSS at most, KiB", most);
    assert_eq!(server.workers(), workers, "after {lasted:?}");
    for sent in all {
        saw(
            "messages, the slow worker's too",
            sent.arrives_at(crowd.iter()),
        );
    }
    nobody_went(crowd.iter());
}

#[test]
fn a_master_that_keeps_what_a_hanging_worker_does_not_take_is_idle_and_forgets_it_with_the_worker()
{
    // Its watchdog waits for longer than this test does.
    let server = Setup::new().workers(4).top("watchdog = \"1m\"").start();
    let crowd = chat(&server, 4);
    let victim = server.workers()[1];
    let before = memory(server.pid).pss;
    signal_process(victim, "STOP");
    let others = crowd.not_on(victim);
    let flow = Flow::start(others[0], 40, 500_000);
    // However busy the machine is: 12 MB and more wait then.
    let got = |heard: &[Heard]| heard.iter().filter(|it| it.event == "message").count();
    eventually("enough is sent", SOON, || others[1].with_heard(got) >= 25);
    let sent = flow.stop();
    sent.arrives_at(others);
    let waiting = memory(server.pid).pss;
    let used = cpu_time(server.pid);
    thread::sleep(Duration::from_secs(1));
    let used = cpu_time(server.pid).saturating_sub(used);
    saw("CPU time of the master in a second", format!("{used:?}"));
    assert!(used < Duration::from_millis(100));
    signal_process(victim, "KILL");
    wait_for_replacement(&server, victim);
    eventually("memory back", SOON, || {
        memory(server.pid).pss < before * 6 / 5 + 4096
    });
    let after = memory(server.pid).pss;
    saw(
        "its PSS before, with messages, after, KiB",
        format!("{before}, {waiting}, {after}"),
    );
    assert!(waiting > before + 10_000, "it kept nothing");
}
