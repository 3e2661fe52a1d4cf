//! Workers die: the others neither wait for them nor lose anything on the bus.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::*;

#[test]
fn just_after_a_kill_the_survivors_are_found_at_once_and_lose_nothing() {
    let server = sample(4);
    let crowd = chat(&server, 16);
    let workers = server.workers();
    let asker = crowd.on(workers[0])[0];
    let jitter = Jitter::watch();
    let flow = Flow::start(crowd.on(workers[0])[1], 100, 100);
    let mut present = ids(crowd.iter());
    let mut times = Vec::new();
    for &victim in &workers[1..] {
        let before = asker.call("who", json!([ROOM]));
        assert_eq!(strings(&before["sockets"]), present);
        thread::sleep(Duration::from_millis(50));
        signal_process(victim, "KILL");
        let lost = ids(crowd.on(victim));
        present.retain(|id| !lost.contains(id));
        thread::sleep(Duration::from_millis(50));
        let who = asker.ask("who", json!([ROOM]));
        let collect = asker.ask("collect", json!(["?"]));
        let (who, collect) = (who.answer(), collect.answer());
        times.push((who.took, collect.took));
        assert_eq!(strings(&ok(who.value)["sockets"]), present);
        let mut responses = strings(&ok(collect.value)["responses"]);
        responses.sort_unstable();
        assert_eq!(responses, present);
        for took in [who.took, collect.took] {
            jitter.assert_within(took, PROMPT);
        }
        wait_for_replacement(&server, victim);
    }
    saw("who and collect 50 ms after a kill", format!("{times:.1?}"));
    let survivors = crowd.on(workers[0]);
    let times = flow.stop().arrives_at(survivors.clone());
    saw("messages to the survivors of all", times);
    nobody_went(survivors);
    assert_eq!(server.count_lines(GAP), 0, "nobody had been asked");
}

#[test]
fn nobody_who_asks_while_a_worker_is_killed_waits_for_it() {
    let server = sample(4);
    let crowd = chat(&server, 16);
    let workers = server.workers();
    let all = ids(crowd.iter());
    let jitter = Jitter::watch();
    let victim = workers[3];
    let survivors = ids(crowd.not_on(victim));
    let stop = AtomicBool::new(false);
    let askers: Vec<_> = workers[..3].iter().map(|&pid| crowd.on(pid)[0]).collect();
    let answers: Vec<Vec<Answered>> = thread::scope(|scope| {
        let threads: Vec<_> = askers
            .iter()
            .map(|asker| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while !stop.load(Relaxed) {
                        // Some of them are always on their way.
                        let asked: Vec<_> =
                            (0..10).map(|_| asker.ask("who", json!([ROOM]))).collect();
                        answers.extend(asked.into_iter().map(Asked::answer));
                    }
                    answers
                })
            })
            .collect();
        let stop = Stop(&stop);
        thread::sleep(Duration::from_millis(500));
        signal_process(victim, "KILL");
        thread::sleep(Duration::from_millis(500));
        drop(stop);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let times = Times::of(answers.iter().flatten().map(|answer| answer.took));
    saw("who, across a kill", &times);
    saw("lines of it", server.count_lines(GAP));
    for answers in answers {
        let found = answers
            .into_iter()
            .map(|a| strings(&ok(a.value)["sockets"]));
        let found: Vec<_> = found.collect();
        let since = found.iter().position(|found| *found == survivors).unwrap();
        assert!(found[..since].iter().all(|found| *found == all));
        assert!(found[since..].iter().all(|found| *found == survivors));
    }
    jitter.assert_within(times.percentile(100), PROMPT);
}

#[test]
fn a_question_that_a_dying_worker_did_not_answer_is_answered_without_it_and_the_log_says_so() {
    let server = sample(4);
    let crowd = chat(&server, 16);
    let victim = server.workers()[2];
    let survivors = ids(crowd.not_on(victim));
    let jitter = Jitter::watch();
    // Stopped it answers nothing, so that all questions are open when it dies.
    signal_process(victim, "STOP");
    let askers = crowd.not_on(victim);
    let who: Vec<_> = askers.iter().map(|c| c.ask("who", json!([ROOM]))).collect();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.count_lines(GAP), 0, "it still may");
    let killed = Instant::now();
    signal_process(victim, "KILL");
    let answers: Vec<_> = who.into_iter().map(Asked::answer).collect();
    let after = |answer: &Answered| answer.at.saturating_duration_since(killed);
    let times = Times::of(answers.iter().map(after));
    saw("answers after the kill", &times);
    for answer in answers {
        assert!(answer.at > killed, "it was not asked");
        assert_eq!(strings(&ok(answer.value)["sockets"]), survivors);
    }
    jitter.assert_within(times.percentile(100), PROMPT);
    server.wait_for_line(GAP);
    let lines = server.log().into_iter().filter(|line| line.contains(GAP));
    let lines: Vec<_> = lines.collect();
    saw(
        "lines of it",
        format!("{}, such as {}", lines.len(), lines[0]),
    );
}

#[test]
fn sockets_that_die_with_their_worker_while_they_are_asked_are_errors() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 16);
    let workers = server.workers();
    let (asker, victim) = (crowd.on(workers[0])[0], workers[1]);
    let (lost, survivors) = (crowd.on(victim), ids(crowd.not_on(victim)));
    let (answering, silent) = lost.split_at(2);
    for client in silent {
        client.answers(Answer::Never);
    }
    let jitter = Jitter::watch();
    let asked = asker.ask(
        "ask",
        json!([{"as": "io", "timeout": 8000}, "question", "?"]),
    );
    for client in crowd.iter() {
        client.hears("question", &json!("?"));
    }
    thread::sleep(Duration::from_millis(200));
    let killed = Instant::now();
    signal_process(victim, "KILL");
    let answer = asked.answer();
    let after = answer.at.saturating_duration_since(killed);
    let value = ok(answer.value);
    saw("answered after the kill", format!("{after:?}"));
    saw("an error", &value["errors"][0][1]);
    let (mut acks, errors) = (firsts(&value["acks"]), firsts(&value["errors"]));
    // What they had answered may have died with the worker; nobody is both or neither.
    acks.retain(|id| !survivors.contains(id));
    saw("answers of the dead", acks.len());
    assert!(
        acks.iter()
            .all(|id| ids(answering.iter().copied()).contains(id))
    );
    assert_eq!(firsts(&value["acks"]).len(), survivors.len() + acks.len());
    acks.extend(errors);
    acks.sort_unstable();
    assert_eq!(acks, ids(lost));
    jitter.assert_within(after, PROMPT);
}

#[test]
fn a_worker_that_dies_before_it_could_ask_its_sockets_is_a_gap_that_the_log_names() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 16);
    let workers = server.workers();
    let (asker, victim) = (crowd.on(workers[3])[0], workers[1]);
    let jitter = Jitter::watch();
    signal_process(victim, "STOP");
    let asked = asker.ask(
        "ask",
        json!([{"as": "io", "timeout": 8000}, "question", "?"]),
    );
    thread::sleep(Duration::from_millis(300));
    let killed = Instant::now();
    signal_process(victim, "KILL");
    let answer = asked.answer();
    let after = answer.at.saturating_duration_since(killed);
    let value = ok(answer.value);
    saw(
        "answered after the kill",
        format!("{after:?}, {}", value["errors"]),
    );
    assert!(answer.at > killed, "it was not asked");
    assert_eq!(firsts(&value["acks"]), ids(crowd.not_on(victim)));
    if firsts(&value["errors"]) != ids(crowd.on(victim)) {
        assert_eq!(value["errors"], json!([]));
        server.wait_for_line(GAP);
    }
    jitter.assert_within(after, PROMPT);
}

/// Kills a worker that broadcasts as fast as it can messages of so many bytes.
fn dies_in_full_flow(bytes: usize) {
    let server = sample(4);
    let crowd = chat(&server, 8);
    let victim = server.workers()[1];
    let survivors = crowd.not_on(victim);
    let senders = crowd.on(victim);
    let flows: Vec<_> = senders
        .iter()
        .map(|sender| Flow::flood(sender, bytes))
        .collect();
    let bystanders = Flow::start(survivors[0], 100, 1000);
    thread::sleep(Duration::from_millis(700));
    signal_process(victim, "KILL");
    let sent = Flow::stop_all(flows);
    wait_for_replacement(&server, victim);
    // From here on nothing of the dead one comes: what did so far is out of the others' queues
    // when a later message of theirs is there.
    thread::sleep(Duration::from_millis(300));
    let later = bystanders.stop();
    let times = later.arrives_at(survivors.iter().copied());
    saw("messages of a bystander", &times);
    nobody_went(survivors.iter().copied());
    let mut arrived = 0;
    for sent in sent {
        let lengths: Vec<_> = survivors
            .iter()
            .map(|receiver| sent.prefix(receiver).len())
            .collect();
        saw("of how many sent", sent.at.len());
        saw("arrived at each", format!("{lengths:?}"));
        arrived += lengths[0];
        assert!(
            lengths.iter().all(|&length| length == lengths[0]),
            "{lengths:?}"
        );
    }
    assert!(arrived > 0);
}

#[test]
fn what_a_dying_worker_still_sent_arrives_everywhere_or_nowhere() {
    dies_in_full_flow(200);
    dies_in_full_flow(10_000);
}

#[test]
fn what_a_dying_worker_sent_of_a_large_message_arrives_everywhere_or_nowhere() {
    dies_in_full_flow(300_000);
}

#[test]
fn whoever_talks_to_a_worker_that_dies_does_not_wait_and_reaches_the_others() {
    let server = sample(4);
    let crowd = chat(&server, 8);
    let workers = server.workers();
    let survivors = [crowd.on(workers[0]), crowd.on(workers[2])].concat();
    let flows = [workers[0], workers[2]].map(|pid| Flow::start(crowd.on(pid)[0], 400, 20_000));
    for victim in [workers[1], workers[3]] {
        thread::sleep(Duration::from_millis(300));
        signal_process(victim, "KILL");
        wait_for_replacement(&server, victim);
    }
    thread::sleep(Duration::from_millis(300));
    for sent in Flow::stop_all(flows) {
        let pauses = sent.at.windows(2).map(|pair| pair[1] - pair[0]);
        saw("pauses of the sender", Times::of(pauses.clone()));
        assert!(pauses.max() < Some(Duration::from_secs(1)));
        saw(
            "messages to the survivors",
            sent.arrives_at(survivors.iter().copied()),
        );
    }
    nobody_went(survivors);
}
