//! What one client does costs no worker its life, and no worker memory without bound: rooms without number,
//! questions that go to many, answers that are large.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

const MEGABYTE: usize = 990_000;

/// A client in `/chat`.
fn client(server: &Server) -> WebSocket {
    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    socket.text("40/chat,");
    assert!(socket.read_text().starts_with("40/chat,"));
    socket
}

/// The acknowledgement 7 of an event; what comes before it is passed over.
fn ask(socket: &mut WebSocket, event: &Value) -> Value {
    socket.text(&format!("42/chat,7{event}"));
    loop {
        let text = socket.read_text();
        if let Some(answer) = text.strip_prefix("43/chat,7") {
            return serde_json::from_str::<Value>(answer).unwrap()[0].take();
        }
    }
}

fn worker_of(socket: &mut WebSocket) -> u32 {
    let worker = &ask(socket, &json!(["whereami"]))["worker"];
    u32::try_from(worker.as_u64().unwrap()).unwrap()
}

/// Sends 1 MB to a room that nobody is in, again and again, until it is over.
fn floods(server: &Server, over: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let mut socket = client(server);
    let over = Arc::clone(over);
    let message = format!(
        "42/chat,7[\"message\",\"nowhere\",\"{}\"]",
        "x".repeat(MEGABYTE)
    );
    thread::spawn(move || {
        while !over.load(Relaxed) {
            socket.text(&message);
            while !socket.read_text().starts_with("43/chat,7") {}
        }
    })
}

#[test]
fn a_socket_is_in_as_many_rooms_as_it_may_and_is_told_so() {
    let server = Setup::new()
        .workers(1)
        .config("[limits]\nrooms_per_socket = 3")
        .start();
    let mut socket = client(&server);
    let mut other = client(&server);
    for room in ["a", "b", "c", "a"] {
        let joined = ask(&mut socket, &json!(["join", room]));
        assert_eq!(joined, json!({ "ok": true, "room": room }));
    }
    let refused = ask(&mut socket, &json!(["join", "d"]));
    assert_eq!(refused["ok"], false);
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("3 rooms"), "{error}");
    assert_eq!(ask(&mut other, &json!(["who", "d"]))["sockets"], json!([]));
    // Nothing else has happened, and there is room again when it leaves one.
    assert_eq!(ask(&mut socket, &json!(["leave", "b"]))["ok"], true);
    assert_eq!(ask(&mut socket, &json!(["join", "d"]))["ok"], true);
    let who = ask(&mut other, &json!(["who", "d"]));
    assert_eq!(who["sockets"].as_array().unwrap().len(), 1);
    assert_eq!(
        ask(&mut other, &json!(["join", "d"]))["ok"],
        true,
        "another's"
    );
}

#[test]
fn the_names_of_rooms_have_a_megabyte_together_whoever_invents_them() {
    let server = Setup::new().workers(1).start();
    let mut socket = client(&server);
    let before = memory(server.workers()[0]).pss;
    let name = |n: usize| format!("{n:0>50000}");
    for n in 0..20 {
        let joined = ask(&mut socket, &json!(["join", name(n)]));
        assert_eq!(joined["ok"], true, "{n}");
    }
    for n in 20..300 {
        let refused = ask(&mut socket, &json!(["join", name(n)]));
        let error = refused["error"].as_str().unwrap();
        assert!(error.contains("1048576 bytes together"), "{error}");
    }
    let grown = memory(server.workers()[0]).pss.saturating_sub(before);
    // All of them would be 45 MB; PSS grows by itself when other servers of this program end.
    assert!(grown < 16 << 10, "{grown} KiB");
    assert_eq!(ask(&mut socket, &json!(["leave", name(0)]))["ok"], true);
    assert_eq!(ask(&mut socket, &json!(["join", name(20)]))["ok"], true);
}

/// Somebody joins a great many rooms, and leaves while others flood a room that nobody is in.
#[track_caller]
fn leaves_while_others_flood(limits: &str, rooms: usize) {
    let server = Setup::new().workers(4).config(limits).start();
    let workers = server.workers();
    let mut guest = client(&server);
    let home = worker_of(&mut guest);
    // Long names cost more time when they are left.
    for first in (0..rooms).step_by(1000) {
        let joins = (first..first + 1000).map(|room| {
            WebSocket::frame(
                0x81,
                format!("42/chat,[\"join\",\"{room:024}\"]").as_bytes(),
            )
        });
        guest.raw.send(joins.collect::<Vec<_>>().concat());
        assert_eq!(worker_of(&mut guest), home, "it has joined them");
    }
    let mut neighbour = std::iter::repeat_with(|| client(&server))
        .find_map(|mut socket| (worker_of(&mut socket) == home).then_some(socket))
        .unwrap();
    let over = Arc::<AtomicBool>::default();
    let senders: Vec<_> = (0..4).map(|_| floods(&server, &over)).collect();
    thread::sleep(Duration::from_millis(500));
    let left = Instant::now();
    drop(guest);
    let mut longest = Duration::ZERO;
    while left.elapsed() < Duration::from_secs(3) {
        let began = Instant::now();
        worker_of(&mut neighbour);
        longest = longest.max(began.elapsed());
    }
    over.store(true, Relaxed);
    for sender in senders {
        sender.join().expect("a sender was ended");
    }
    saw(
        &format!("{rooms} rooms left, a neighbour waited at most"),
        format!("{longest:?}"),
    );
    assert_eq!(server.workers(), workers, "{:?}", server.log());
}

#[test]
fn who_joins_rooms_without_end_and_leaves_while_others_flood_has_nobody_killed() {
    leaves_while_others_flood("", 50_000);
}

#[test]
fn without_a_limit_of_rooms_who_leaves_a_great_many_has_nobody_killed_either() {
    leaves_while_others_flood("[limits]\nrooms_per_socket = 0", 100_000);
}

#[test]
fn a_worker_that_is_busy_for_two_seconds_is_waited_for_and_loses_nothing() {
    let server = Setup::new().workers(2).start();
    let workers = server.workers();
    let over = Arc::<AtomicBool>::default();
    let mut sockets: Vec<_> = (0..2).map(|_| client(&server)).collect();
    let busy = worker_of(&mut sockets[0]);
    assert_ne!(busy, worker_of(&mut sockets[1]));
    let senders: Vec<_> = (0..4).map(|_| floods(&server, &over)).collect();
    thread::sleep(Duration::from_millis(500));
    signal_process(busy, "STOP");
    thread::sleep(Duration::from_secs(2));
    signal_process(busy, "CONT");
    thread::sleep(Duration::from_secs(1));
    over.store(true, Relaxed);
    for sender in senders {
        sender.join().expect("a sender was ended");
    }
    assert_eq!(server.workers(), workers, "{:?}", server.log());
    for socket in &mut sockets {
        worker_of(socket);
    }
}

/// By how much, in MiB, do the workers grow together while 200 clients that read nothing are asked?
#[track_caller]
fn asked_grow_by(server: &Server, mut open: impl FnMut() -> WebSocket, question: &[u8]) -> u64 {
    let mut asked: Vec<_> = (0..200).map(|_| open()).collect();
    let mut asker = open();
    let sum = || -> u64 { server.workers().iter().map(|pid| memory(*pid).pss).sum() };
    let calm = sum();
    let mut most = 0;
    asker.raw.send(question);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        most = most.max(sum().saturating_sub(calm));
        thread::sleep(Duration::from_millis(50));
    }
    // Each has it whole, by the way that all have it.
    let (_, first) = asked[0].read().unwrap();
    let (_, last) = asked[199].read().unwrap();
    assert!(
        first == last && first.len() > MEGABYTE / 2 || first.len() < 200,
        "{}",
        first.len()
    );
    saw("the workers grew by, MiB", most / 1024);
    most / 1024
}

#[test]
fn a_question_to_many_clients_is_in_memory_once() {
    let server = Setup::new().workers(2).start();
    let text = format!("42/chat,1[\"collect\",\"{}\"]", "x".repeat(MEGABYTE));
    let question = WebSocket::frame(0x81, text.as_bytes());
    let grown = asked_grow_by(&server, || client(&server), &question);
    assert!(grown < 32, "{grown} MiB");
}

#[test]
fn a_question_with_an_attachment_is_in_memory_once() {
    let server = Setup::new().workers(2).start();
    let text = "451-/chat,1[\"collect\",{\"_placeholder\":true,\"num\":0}]";
    let mut question = WebSocket::frame(0x81, text.as_bytes());
    question.extend(WebSocket::frame(0x82, &vec![0xff; MEGABYTE]));
    let grown = asked_grow_by(&server, || client(&server), &question);
    assert!(grown < 32, "{grown} MiB");
}

#[test]
fn a_question_in_msgpack_is_in_memory_once_and_has_each_sockets_number() {
    let server = Setup::new()
        .workers(2)
        .config("[engine]\nparser = \"msgpack\"")
        .start();
    let open = || {
        let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
        socket.binary(b"\x82\xa4type\x00\xa3nsp\xa5/chat");
        assert_eq!(socket.read().unwrap().0, 2);
        socket
    };
    let mut question = b"\x84\xa4type\x02\xa3nsp\xa5/chat\xa4data\x92\xa7collect\xdb".to_vec();
    question.extend(u32::try_from(MEGABYTE).unwrap().to_be_bytes());
    question.extend(vec![b'x'; MEGABYTE]);
    question.extend(b"\xa2id\x01");
    let grown = asked_grow_by(&server, open, &WebSocket::frame(0x82, &question));
    assert!(grown < 32, "{grown} MiB");
    let mut socket = open();
    socket.binary(&question);
    let (_, asked) = socket.read().unwrap();
    assert!(asked == question, "its first number, and all the rest");
}

/// Clients that answer a question once: with this packet before the number, this argument, and an attachment.
fn answering(server: &Server, count: usize, head: &'static str, argument: &str) {
    for _ in 0..count {
        let mut socket = WebSocket::open(Raw::patient(server.addr));
        let argument = argument.to_owned();
        thread::spawn(move || {
            let number = loop {
                let text = socket.read_text();
                if let Some((asked, _)) = text.split_once("[\"question\"") {
                    break asked.strip_prefix("42").unwrap().to_owned();
                }
            };
            socket.text(&format!("{head}{number}[{argument}]"));
            if head.starts_with("46") {
                socket.binary(b"x");
            }
            while socket.read().is_ok() {}
        });
    }
}

/// Asks them, and gives the answer's text and by how much, in MiB, a worker grew at most.
fn asks(server: &Server) -> (String, u64) {
    let mut asker = WebSocket::open(Raw::patient(server.addr));
    let calm: Vec<_> = server
        .workers()
        .iter()
        .map(|pid| memory(*pid).pss)
        .collect();
    let over = Arc::<AtomicBool>::default();
    let watch = thread::spawn({
        let (over, pids) = (Arc::clone(&over), server.workers());
        move || {
            let mut most = 0;
            while !over.load(Relaxed) {
                let grown = pids.iter().zip(&calm);
                let grown = grown.map(|(pid, calm)| memory(*pid).pss.saturating_sub(*calm));
                most = most.max(grown.max().unwrap_or(0));
                thread::sleep(Duration::from_millis(20));
            }
            most / 1024
        }
    });
    let others = json!({ "as": "socket", "broadcast": true, "timeout": 60_000 });
    asker.text(&format!("427{}", json!(["ask", others, "question", "?"])));
    let answer = asker.read_text();
    over.store(true, Relaxed);
    let most = watch.join().unwrap();
    saw("answers of all clients, bytes", answer.len());
    saw("a worker grew by, MiB", most);
    (answer, most)
}

fn operators() -> Server {
    Setup::new().workers(2).example("operators").start()
}

#[test]
fn large_answers_are_kept_as_they_came() {
    let server = operators();
    let numbers = format!("[{}1]", "1,".repeat(MEGABYTE / 2));
    answering(&server, 10, "43", &numbers);
    let (answer, most) = asks(&server);
    assert!(answer.len() > 9 * MEGABYTE, "{}", answer.len());
    assert!(most < 80, "{most} MiB");
}

#[test]
fn large_answers_with_an_attachment_are_kept_as_they_came() {
    let server = operators();
    let numbers = "1,".repeat(MEGABYTE / 4);
    let argument = format!("[{{\"_placeholder\":true,\"num\":0}},{numbers}1]");
    answering(&server, 10, "461-", &argument);
    let (answer, most) = asks(&server);
    assert!(answer.starts_with("4610-7["), "{}", &answer[..20]);
    assert!(answer.len() > 10 * numbers.len(), "{}", answer.len());
    // As trees they took 200.
    assert!(most < 60, "{most} MiB");
}

#[test]
fn who_asks_for_more_than_may_be_kept_is_told_so() {
    let server = operators();
    // 67 of them are 64 MiB.
    let large = format!("\"{}\"", "x".repeat(MEGABYTE));
    answering(&server, 70, "43", &large);
    let (answer, most) = asks(&server);
    assert_eq!(answer.matches("xx\"").count(), 67);
    let errors = answer.split_once("\"errors\":").unwrap().1;
    assert_eq!(errors.matches("InternalChannelFull").count(), 3, "{errors}");
    assert!(most < 300, "{most} MiB");
}
