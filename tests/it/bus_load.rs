//! Much at one time: floods, thousands of answers, clients that take nothing. Everybody else gets on.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

#[test]
fn a_hundred_questions_of_every_worker_at_the_same_time_are_all_answered_right() {
    let server = sample(4);
    let crowd = chat(&server, 40);
    let all = ids(crowd.iter());
    let askers: Vec<_> = server
        .workers()
        .iter()
        .map(|&pid| crowd.on(pid)[0])
        .collect();
    let began = Instant::now();
    let asked: Vec<_> = (0..400)
        .map(|n| askers[n % 4].ask("who", json!([ROOM])))
        .collect();
    let answers: Vec<_> = asked.into_iter().map(Asked::answer).collect();
    saw("400 answers in", format!("{:?}", began.elapsed()));
    saw(
        "each in",
        Times::of(answers.iter().map(|answer| answer.took)),
    );
    for answer in answers {
        assert_eq!(strings(&ok(answer.value)["sockets"]), all);
    }
    assert_eq!(server.count_lines(GAP), 0);
}

/// Asks five thousand clients, again and again.
fn five_thousand_answer(workers: u16) {
    const CLIENTS: usize = 5000;
    const ROUNDS: u32 = 4;
    let server = operators(workers);
    let began = Instant::now();
    let crowd = Crowd::light(&server, "/", CLIENTS);
    saw("connected in", format!("{:?}", began.elapsed()));
    saw("clients of each worker", format!("{:?}", crowd.spread()));
    let all = ids(crowd.iter());
    let used = || {
        let pids = server.workers().into_iter().chain([server.pid]);
        pids.map(cpu_time).sum::<Duration>()
    };
    let before = used();
    for round in 0..ROUNDS {
        let selection = json!({"as": "io", "timeout": 30_000});
        let asked = crowd[0].ask("ask", json!([selection, "question", round]));
        let Answered { value, took, .. } = asked.answer();
        let value = ok(value);
        saw("asked all in", format!("{took:?}"));
        assert_eq!(value["errors"], json!([]));
        let acks = value["acks"].as_array().unwrap().iter();
        let mut acks: Vec<_> = acks.map(|ack| (ack[0].as_str(), ack[1].as_str())).collect();
        acks.sort_unstable();
        let expected: Vec<_> = all.iter().map(|id| (Some(&**id), Some(&**id))).collect();
        assert!(acks == expected, "{} of {CLIENTS}", acks.len());
    }
    let used = used().saturating_sub(before) / ROUNDS;
    let each = used.as_secs_f64() * 1e6 / CLIENTS as f64;
    saw("CPU time of the server for each, µs", format!("{each:.1}"));
    nobody_went(crowd.iter());
    let rounds = usize::try_from(ROUNDS).unwrap();
    assert!(
        crowd
            .iter()
            .all(|client| client.payloads("question").len() == rounds)
    );
}

#[test]
fn five_thousand_clients_of_two_workers_answer_one_question() {
    five_thousand_answer(2);
}

#[test]
fn five_thousand_clients_of_four_workers_answer_one_question() {
    five_thousand_answer(4);
}

/// The memory of a worker that had a client that took nothing.
struct Burden {
    worker: u32,
    before: u64,
    most: u64,
}

impl Burden {
    fn of(worker: u32) -> Self {
        let before = memory(worker).pss;
        Self {
            worker,
            before,
            most: before,
        }
    }

    fn look(&mut self) {
        self.most = self.most.max(memory(self.worker).pss);
    }

    #[track_caller]
    fn is_gone(&self) {
        let Self {
            worker,
            before,
            most,
        } = *self;
        let within = eventually("memory back", SOON, || {
            memory(worker).pss < before * 6 / 5 + 4096
        });
        let after = memory(worker).pss;
        saw(
            "its worker's PSS before, at most, after, KiB",
            format!("{before}, {most}, {after} within {within:?}"),
        );
    }
}

/// Joins the chat's room by hand, and gives its worker.
fn join_by_hand(mut packets: impl FnMut(&str) -> String) -> u32 {
    let joined = packets("40/chat,");
    assert!(joined.starts_with("40/chat,{\"sid\":"), "{joined}");
    let in_room = packets(&format!("42/chat,1[\"join\",\"{ROOM}\"]"));
    assert!(in_room.starts_with("43/chat,1[{"), "{in_room}");
    let whereami = packets("42/chat,2[\"whereami\"]");
    let answer = whereami.strip_prefix("43/chat,2").unwrap();
    let answer: Value = serde_json::from_str(answer).unwrap();
    u32::try_from(answer[0]["worker"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_client_that_never_reads_what_its_room_gets_costs_nobody_else_anything() {
    let server = Setup::new()
        .workers(4)
        .config("[engine]\nwrite_stall_timeout = \"2s\"")
        .start();
    let crowd = chat(&server, 8);
    let mut deaf = WebSocket::handshake(Raw::tcp(server.addr));
    let worker = join_by_hand(|packet| {
        deaf.text(packet);
        deaf.read_text()
    });
    let mut burden = Burden::of(worker);
    let elsewhere = crowd.not_on(worker);
    let flow = Flow::start(elsewhere[0], 50, 100_000);
    let began = Instant::now();
    let warning = "a client does not read what it is sent; its connection was closed";
    eventually("the deaf client's end", Duration::from_secs(20), || {
        burden.look();
        server.count_lines(warning) > 0
    });
    saw("closed after", format!("{:?}", began.elapsed()));
    let times = flow.stop().arrives_at(crowd.iter());
    saw("messages to the others", &times);
    nobody_went(crowd.iter());
    assert!(times.percentile(99) < Duration::from_secs(1));
    let found = crowd[0].call("who", json!([ROOM]));
    assert_eq!(strings(&found["sockets"]), ids(crowd.iter()));
    burden.is_gone();
    assert_eq!(server.count_lines(warning), 1);
}

#[test]
fn a_polling_client_that_never_polls_for_what_its_room_gets_costs_nobody_else_anything() {
    let server = Setup::new()
        .workers(4)
        .config("[engine]\nping_interval = \"2s\"\nping_timeout = \"3s\"")
        .start();
    let crowd = chat(&server, 8);
    let raw = &mut Raw::tcp(server.addr);
    let session = Polling::handshake(raw);
    let worker = join_by_hand(|packet| {
        assert_eq!(session.post(raw, packet).body, "ok");
        let mut packets = session.packets(raw);
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    });
    let mut burden = Burden::of(worker);
    let elsewhere = crowd.not_on(worker);
    let flow = Flow::start(elsewhere[0], 50, 100_000);
    let began = Instant::now();
    let present = ids(crowd.iter());
    eventually("the silent client's end", Duration::from_secs(20), || {
        burden.look();
        let found = crowd[0].call("who", json!([ROOM]));
        strings(&found["sockets"]) == present
    });
    let after = began.elapsed();
    saw("ended after", format!("{after:?}"));
    assert!(after < Duration::from_secs(10));
    let times = flow.stop().arrives_at(crowd.iter());
    saw("messages to the others", &times);
    nobody_went(crowd.iter());
    assert!(times.percentile(99) < Duration::from_secs(1));
    burden.is_gone();
}

#[test]
fn workers_that_flood_each_other_all_get_on() {
    let server = sample(4);
    let crowd = chat(&server, 4);
    let workers = server.workers();
    let flows: Vec<_> = crowd
        .iter()
        .map(|client| Flow::flood(client, 20_000))
        .collect();
    thread::sleep(Duration::from_secs(3));
    let all = Flow::stop_all(flows);
    for sent in &all {
        saw("messages to three others", sent.arrives_at(crowd.iter()));
    }
    let shares: Vec<_> = all.iter().map(|sent| sent.at.len()).collect();
    saw("messages of each", format!("{shares:?}"));
    nobody_went(crowd.iter());
    assert_eq!(server.workers(), workers);
}

#[test]
fn whoever_says_little_is_heard_beside_those_who_flood() {
    let server = sample(4);
    let crowd = chat(&server, 16);
    let workers = server.workers();
    let here = crowd.on(workers[1]);
    let floods = [here[0], here[1]].map(|sender| Flow::flood(sender, 200));
    let quiet = [here[2], crowd.on(workers[3])[0]].map(|sender| Flow::start(sender, 20, 100));
    thread::sleep(Duration::from_secs(2));
    for sent in Flow::stop_all(floods) {
        saw("messages of a flood", sent.at.len());
    }
    for sent in Flow::stop_all(quiet) {
        let times = sent.arrives_at(crowd.iter());
        saw("messages of who says little", &times);
        assert!(times.percentile(50) < Duration::from_millis(500));
        assert!(times.percentile(99) < Duration::from_secs(2));
    }
}

#[test]
fn handlers_that_wait_for_seconds_hold_nobody_up() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 16);
    let here = crowd.on(server.workers()[2]);
    // As many as each may have at one time, or almost.
    let sleepers: Vec<_> = (0..180)
        .map(|n| here[[0, 2, 3][n % 3]].ask("serverSideAsk", json!(["sleep", 8000])))
        .collect();
    thread::sleep(Duration::from_millis(300));
    let beside: Vec<_> = (0..500)
        .map(|n| {
            thread::sleep(Duration::from_millis(3));
            here[1].ask("emit", json!([{"as": "io"}, "n", n]))
        })
        .collect();
    let fetched = here[0].ask("fetch", json!([{"as": "io"}])).answer();
    let beside = Times::of(beside.into_iter().map(|asked| asked.answer().took));
    saw("500 emits beside 180 handlers that wait", &beside);
    assert!(beside.percentile(99) < Duration::from_secs(1));
    assert!(fetched.took < Duration::from_secs(2));
    assert_eq!(strings(&ok(fetched.value)["sockets"]), ids(crowd.iter()));
    for sleeper in sleepers {
        let value = ok(sleeper.answer().value);
        assert_eq!(
            value["answers"].as_array().map(Vec::len),
            Some(3),
            "{value}"
        );
    }
}

#[test]
fn questions_that_nobody_answers_leave_nothing_behind() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 8);
    for client in crowd.iter() {
        client.answers(Answer::Never);
    }
    let used = || {
        server
            .workers()
            .iter()
            .map(|&pid| memory(pid).dirty)
            .sum::<u64>()
    };
    let ask = |rounds| {
        for _ in 0..rounds {
            let question = json!([{"as": "io", "timeout": 5}, "question", "?"]);
            let all = (0..500).map(|n| crowd[n % 8].ask("ask", question.clone()));
            let asked: Vec<_> = all.collect();
            for asked in asked {
                ok(asked.answer().value);
            }
            for client in crowd.iter() {
                client.take_heard();
            }
        }
    };
    ask(10);
    let before = used();
    ask(30);
    let after = used();
    saw(
        "dirty memory of four workers, KiB",
        format!("{before}, {after}"),
    );
    // 120,000 acknowledgements that never came, at 50 bytes each, would be twice as much.
    assert!(after < before + 3072);
}

#[test]
fn a_server_that_is_told_to_stop_while_everybody_talks_stops_in_time() {
    let mut server = sample(4);
    let crowd = chat(&server, 8);
    let workers = server.workers();
    let flows: Vec<_> = workers
        .iter()
        .map(|&pid| Flow::flood(crowd.on(pid)[0], 1000))
        .collect();
    thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    server.signal("TERM");
    let status = server.ended(SOON);
    saw("ended after", format!("{:?}", asked.elapsed()));
    Flow::stop_all(flows);
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (server.count_lines(" died"), server.count_lines(GAP)),
        (0, 0)
    );
}
