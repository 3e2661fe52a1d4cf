//! Faults of the bus between the workers: some die, hang, or fall behind, and the others neither
//! wait nor lose anything.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

const ROOM: &str = "room";
/// What an answer may take when a worker has just died.
const PROMPT: Duration = Duration::from_millis(200);
/// So many messages of one client may be on their way to the server, and so many bytes.
const WINDOW: usize = 200;
const WINDOW_BYTES: usize = 10_000_000;
/// What the log says of a worker that gave no answer.
const GAP: &str = "did not answer";

fn sample(workers: u16) -> Server {
    Setup::new().workers(workers).start()
}

fn operators(workers: u16) -> Server {
    Setup::new().workers(workers).example("operators").start()
}

/// Light clients in the chat, all in one room, as many on each worker.
#[track_caller]
fn chat(server: &Server, count: usize) -> Crowd {
    let crowd = Crowd::light(server, "/chat", count);
    let spread = crowd.spread();
    let even = count / spread.len();
    assert!(spread.iter().all(|&count| count == even), "{spread:?}");
    crowd.all_call("join", &json!([ROOM]));
    crowd
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Messages to the room from one client, numbered, until told to stop or the client is gone.
struct Flow {
    from: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Instant>>,
}

/// What a flow sent, and when.
struct Sent {
    from: String,
    at: Vec<Instant>,
}

impl Flow {
    /// So many a second, each with so much padding.
    fn start(client: &Client, rate: u32, bytes: usize) -> Self {
        Self::every(client, Duration::from_secs(1) / rate, bytes)
    }

    /// As fast as the server takes them.
    fn flood(client: &Client, bytes: usize) -> Self {
        Self::every(client, Duration::ZERO, bytes)
    }

    fn every(client: &Client, interval: Duration, bytes: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let from = client.id();
        let thread = thread::spawn({
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            let padding = "x".repeat(bytes);
            let window = WINDOW.min(WINDOW_BYTES / bytes);
            move || {
                let mut at = Vec::new();
                let mut open = VecDeque::<Asked>::new();
                let mut next = Instant::now();
                while !stop.load(Relaxed) && client.gone().is_none() {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += interval;
                    let payload = json!({"n": at.len(), "padding": padding});
                    at.push(Instant::now());
                    open.push_back(client.ask("message", json!([ROOM, payload])));
                    if open.len() > window {
                        // No answer: the client is gone.
                        let _ = open.pop_front().unwrap().outcome();
                    }
                }
                for asked in open {
                    let _ = asked.outcome();
                }
                at
            }
        });
        Self { from, stop, thread }
    }

    fn stop(self) -> Sent {
        self.stop.store(true, Relaxed);
        Sent {
            from: self.from,
            at: self.thread.join().unwrap(),
        }
    }

    /// Stops all of these at the same time.
    fn stop_all(flows: impl IntoIterator<Item = Self>) -> Vec<Sent> {
        let flows = flows.into_iter();
        let stopping = flows.inspect(|flow| flow.stop.store(true, Relaxed));
        let stopping: Vec<_> = stopping.collect();
        stopping.into_iter().map(Self::stop).collect()
    }
}

impl Sent {
    /// The numbers of this flow that a client got so far, which must be 0, 1, and so on; when each
    /// came.
    #[track_caller]
    fn prefix(&self, receiver: &Client) -> Vec<Instant> {
        let got: Vec<_> = receiver.with_heard(|heard| {
            let messages = heard.iter().filter(|heard| heard.event == "message");
            let of_flow = messages.filter(|heard| heard.payload["from"] == self.from);
            let number = |heard: &Heard| heard.payload["payload"]["n"].as_u64().unwrap();
            of_flow.map(|heard| (number(heard), heard.at)).collect()
        });
        for (expected, (number, _)) in (0..).zip(&got) {
            assert_eq!(*number, expected, "lost, doubled or out of order");
        }
        got.into_iter().map(|(_, at)| at).collect()
    }

    /// All of the flow arrives at these clients, in order; how long each message took.
    #[track_caller]
    fn arrives_at<'a>(&self, receivers: impl IntoIterator<Item = &'a Client>) -> Times {
        let mut times = Vec::new();
        for receiver in receivers {
            if receiver.id() == self.from {
                continue;
            }
            let mut came = Vec::new();
            eventually("all of it arrives", SOON, || {
                came = self.prefix(receiver);
                came.len() >= self.at.len() || receiver.gone().is_some()
            });
            assert_eq!(came.len(), self.at.len(), "{:?}", receiver.gone());
            let took = |(came, sent): (Instant, &Instant)| came.saturating_duration_since(*sent);
            times.extend(came.into_iter().zip(&self.at).map(took));
        }
        Times::of(times)
    }
}

/// Durations, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// So many of a hundred took no longer.
    fn percentile(&self, of_hundred: usize) -> Duration {
        self.0[(self.0.len() - 1) * of_hundred / 100]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|of| self.percentile(of));
        let count = self.0.len();
        write!(
            f,
            "{count}, median {half:.1?}, p99 {most:.1?}, {all:.1?} at most"
        )
    }
}

#[track_caller]
fn nobody_went<'a>(clients: impl IntoIterator<Item = &'a Client>) {
    for client in clients {
        assert_eq!(client.gone(), None);
    }
}

/// Another worker is there in the place of this one of four, and takes connections.
#[track_caller]
fn wait_for_replacement(server: &Server, victim: u32) -> Duration {
    eventually("a new worker", SOON, || {
        let workers = server.workers();
        let started = |pid: &u32| server.count_lines(&format!("Worker {pid} started")) == 1;
        workers.len() == 4 && !workers.contains(&victim) && workers.iter().all(started)
    })
}

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

/// The sockets of these pairs, sorted.
fn firsts(pairs: &Value) -> Vec<String> {
    let pairs = pairs.as_array().unwrap().iter();
    let mut ids: Vec<_> = pairs
        .map(|pair| pair[0].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids
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
    let server = sample(4);
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
    eventually("it is ended", Duration::from_secs(9), || !alive(victim));
    saw("ended after", format!("{:?}", stopped.elapsed()));
    wait_for_replacement(&server, victim);
    let sent = flow.stop();
    let times = sent.arrives_at(others.iter().copied());
    saw("messages to the others", &times);
    assert!(times.percentile(99) < Duration::from_secs(2));
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
    let server = sample(4);
    let crowd = chat(&server, 4);
    let victim = server.workers()[1];
    let before = memory(server.pid).pss;
    signal_process(victim, "STOP");
    let flow = Flow::start(crowd.not_on(victim)[0], 40, 500_000);
    thread::sleep(Duration::from_secs(1));
    let sent = flow.stop();
    sent.arrives_at(crowd.not_on(victim));
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

/// Tells others to stop, even if the test fails before it would.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Kills five workers, one after another, while clients that come back talk, and then looks
/// whether all find each other.
fn five_die(
    server: &Server,
    crowd: &Crowd,
    say: impl Fn(&Client, &str, u64) -> Asked + Sync,
    present: impl Fn(&Client) -> Vec<String>,
) {
    let stop = AtomicBool::new(false);
    let (mut said, mut unanswered) = (0, 0);
    thread::scope(|scope| {
        let talk = scope.spawn(|| {
            let (mut said, mut unanswered) = (0, 0);
            while !stop.load(Relaxed) {
                let asked: Vec<_> = crowd.iter().map(|c| say(c, "noise", said)).collect();
                said += asked.len() as u64;
                let outcomes = asked.into_iter().map(Asked::outcome);
                unanswered += outcomes.filter(Option::is_none).count();
                thread::sleep(Duration::from_millis(20));
            }
            (said, unanswered)
        });
        let stop = Stop(&stop);
        for nth in 0..5 {
            thread::sleep(Duration::from_millis(300));
            let victim = server.workers()[nth % 4];
            signal_process(victim, "KILL");
            wait_for_replacement(server, victim);
        }
        drop(stop);
        (said, unanswered) = talk.join().unwrap();
    });
    saw(
        "messages",
        format!("{said}, {unanswered} of them lost with their workers"),
    );
    let connects: Vec<_> = crowd.iter().map(Client::connects).collect();
    saw("connections of each client", format!("{connects:?}"));
    let began = Instant::now();
    for client in crowd.iter() {
        client.connected(1, SOON);
    }
    eventually("all find all", SOON, || {
        let all = ids(crowd.iter());
        crowd.iter().all(|client| present(client) == all)
    });
    saw("all found all after", format!("{:?}", began.elapsed()));
    assert!(connects.iter().sum::<usize>() > crowd.len());
    assert_eq!(server.count_lines(" died"), 5);
    for (number, speaker) in (0..).zip(crowd.iter()) {
        ok(say(speaker, "last", number).answer().value);
    }
    for (number, speaker) in (0..).zip(crowd.iter()) {
        let listeners = crowd
            .iter()
            .filter(|listener| listener.id() != speaker.id());
        for listener in listeners {
            let said = json!({"word": "last", "n": number});
            assert!(listener.hears_where(|heard| heard.payload["payload"] == said));
        }
    }
}

/// Clients who come now find each other, and nobody else.
#[track_caller]
fn newcomers_are_all(server: &Server) {
    let crowd = Crowd::light(server, "/", 8);
    let all = ids(crowd.iter());
    for client in crowd.iter() {
        assert_eq!(client.call("servers", json!([]))["count"], 4);
        let found = client.call("fetch", json!([{"as": "io"}]));
        assert_eq!(strings(&found["sockets"]), all);
        client.call("emit", json!([{"as": "io"}, "hello", client.id()]));
    }
    for listener in crowd.iter() {
        for speaker in &all {
            listener.hears("hello", &json!(speaker));
        }
    }
}

#[test]
fn after_all_workers_died_at_once_the_new_ones_are_a_cluster() {
    let server = operators(4);
    let crowd = Crowd::light(&server, "/", 8);
    let victims = server.workers();
    for &victim in &victims {
        signal_process(victim, "KILL");
    }
    for client in crowd.iter() {
        client.goes(SOON);
    }
    for victim in victims {
        wait_for_replacement(&server, victim);
    }
    newcomers_are_all(&server);
}

#[test]
fn workers_that_die_before_they_have_started_leave_no_trace() {
    let server = operators(4);
    let mut victim = server.workers()[1];
    for _ in 0..4 {
        signal_process(victim, "KILL");
        eventually("another one", SOON, || {
            let workers = server.workers();
            let another = workers.len() == 4 && !workers.contains(&victim);
            if another {
                victim = workers[1];
            }
            another
        });
    }
    signal_process(victim, "KILL");
    wait_for_replacement(&server, victim);
    saw("started", server.count_lines(" started"));
    newcomers_are_all(&server);
}

const COME_BACK: [&str; 5] = [
    "--reconnect",
    "--join",
    ROOM,
    "--transports",
    "websocket,polling",
];

#[test]
fn after_five_deaths_every_operator_is_right() {
    let server = operators(4);
    let crowd = Crowd::official(&server, "/", 12, &COME_BACK);
    let say = |client: &Client, word: &str, n: u64| {
        let selection = json!({"as": "socket", "to": [ROOM]});
        let payload = json!({"payload": {"word": word, "n": n}});
        client.ask("emit", json!([selection, "message", payload]))
    };
    five_die(&server, &crowd, say, |client| {
        let found = client.call("fetch", json!([{"as": "io", "to": [ROOM]}]));
        strings(&found["sockets"])
    });
    let all = ids(crowd.iter());
    for client in crowd.iter() {
        assert_eq!(client.call("servers", json!([]))["count"], 4);
        let everybody = client.call("fetch", json!([{"as": "io"}]));
        assert_eq!(strings(&everybody["sockets"]), all);
    }
}

#[test]
fn after_five_deaths_a_chat_is_whole() {
    let server = sample(4);
    let crowd = Crowd::official(&server, "/chat", 12, &COME_BACK);
    let say = |client: &Client, word: &str, n: u64| {
        client.ask("message", json!([ROOM, {"word": word, "n": n}]))
    };
    five_die(&server, &crowd, say, |client| {
        let found = client.call("who", json!([ROOM]));
        strings(&found["sockets"])
    });
}
