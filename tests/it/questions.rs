//! Clients that ask the cluster more than it can answer wait for themselves; nobody else does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

/// How long it goes on: several heartbeats.
const FLOOD: Duration = Duration::from_secs(10);

const QUICK: &str = "[engine]\nping_interval = \"1s\"\nping_timeout = \"4s\"";

/// A client in `/` and in `/chat`.
fn client(server: &Server) -> WebSocket {
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    socket.text("40/chat,");
    assert!(socket.read_text().starts_with("40/chat,"));
    socket
}

/// What a client hears until its connection ends.
fn listen(mut socket: WebSocket, mut heard: impl FnMut(&str)) {
    while let Ok((1, text)) = socket.read() {
        heard(&String::from_utf8(text).unwrap());
    }
}

/// The acknowledgement that a `collect` asks for.
fn ack_of(text: &str) -> Option<String> {
    let asked = text.strip_prefix("42/chat,")?;
    let (number, _) = asked.split_once("[\"collect\"")?;
    Some(format!("43/chat,{number}[\"here\"]"))
}

/// Sends an event as fast as it is taken, and reads all that comes.
fn flood(server: &Server, event: &str, over: &Arc<AtomicBool>, answered: &Arc<AtomicUsize>) {
    let socket = client(server);
    let mut sender = socket.raw.sender();
    let answered = Arc::clone(answered);
    // Reading does not wait for writing.
    let (reply, replies) = mpsc::channel();
    thread::spawn(move || {
        listen(socket, |text| {
            let ack = ack_of(text);
            if text.starts_with("43/chat,") {
                answered.fetch_add(1, Relaxed);
            } else if let Some(reply_with) = ack.or_else(|| (text == "2").then(|| "3".to_owned())) {
                let _ = reply.send(reply_with);
            }
        });
    });
    let batch = WebSocket::frame(0x81, event.as_bytes()).repeat(100);
    let over = Arc::clone(over);
    thread::spawn(move || {
        while !over.load(Relaxed) && sender.try_send(&batch).is_ok() {
            for reply in replies.try_iter() {
                let _ = sender.try_send(WebSocket::frame(0x81, reply.as_bytes()));
            }
        }
    });
}

/// Answers pings, and acknowledges nothing.
fn silent(server: &Server) {
    let socket = client(server);
    let mut sender = socket.raw.sender();
    thread::spawn(move || {
        listen(socket, |text| {
            if text == "2" {
                let _ = sender.try_send(WebSocket::frame(0x81, b"3"));
            }
        });
    });
}

/// Echoes every 10 ms, and acknowledges what it is asked to; how long did the echoes take?
fn innocent(server: &Server, over: &Arc<AtomicBool>) -> thread::JoinHandle<Vec<Duration>> {
    let mut socket = client(server);
    let over = Arc::clone(over);
    thread::spawn(move || {
        let mut took = Vec::new();
        while !over.load(Relaxed) {
            let began = Instant::now();
            socket.text("42[\"echo\",\"innocent\"]");
            loop {
                let text = socket.read_text();
                if text == "42[\"echo\",\"innocent\"]" {
                    break;
                }
                if let Some(ack) = ack_of(&text) {
                    socket.text(&ack);
                }
            }
            took.push(began.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
        took
    })
}

#[track_caller]
fn innocents_stay(workers: u16, event: &str) -> Server {
    let server = Setup::new().workers(workers).config(QUICK).start();
    let over = Arc::<AtomicBool>::default();
    let answered = Arc::<AtomicUsize>::default();
    silent(&server);
    let innocents: Vec<_> = (0..8).map(|_| innocent(&server, &over)).collect();
    let calm: Vec<_> = server
        .workers()
        .iter()
        .map(|pid| memory(*pid).pss)
        .collect();
    for _ in 0..4 {
        flood(&server, event, &over, &answered);
    }
    let mut most = 0;
    let jitter = Jitter::watch();
    let began = Instant::now();
    while began.elapsed() < FLOOD {
        thread::sleep(Duration::from_millis(100));
        let grown = server.workers().into_iter().zip(&calm);
        let grown = grown.map(|(pid, calm)| memory(pid).pss.saturating_sub(*calm));
        most = most.max(grown.max().unwrap_or(0));
    }
    over.store(true, Relaxed);
    // Who was ended has panicked.
    let mut took: Vec<_> = innocents
        .into_iter()
        .flat_map(|innocent| innocent.join().expect("an innocent was ended"))
        .collect();
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    saw(
        "questions of those who flood answered",
        answered.load(Relaxed),
    );
    saw("echoes of the innocents", took.len());
    saw("99 % of them within, ms", p99.as_millis());
    saw("the slowest, ms", took[took.len() - 1].as_millis());
    saw("memory that a worker grew by, MiB", most / 1024);
    assert!(answered.load(Relaxed) > 0);
    jitter.assert_within(p99, Duration::from_millis(250));
    assert!(most < 64 * 1024, "{most} KiB");
    assert_eq!(server.count_lines("panicked"), 0);
    server
}

#[test]
fn who_floods_with_collect_while_somebody_acknowledges_nothing_holds_nobody_up() {
    innocents_stay(2, "42/chat,1[\"collect\",\"x\"]");
}

#[test]
fn who_floods_with_who_holds_nobody_up() {
    innocents_stay(2, "42/chat,1[\"who\",\"nowhere\"]");
}

#[test]
fn questions_above_the_quota_are_answered_in_order() {
    let server = Setup::new().workers(2).start();
    silent(&server);
    let mut socket = client(&server);
    let count = 200;
    let frames = (0..count).map(|nth| {
        let text = format!("42/chat,{nth}[\"collect\",{nth}]");
        WebSocket::frame(0x81, text.as_bytes())
    });
    socket.raw.send(frames.collect::<Vec<_>>().concat());
    let mut order = Vec::new();
    let began = Instant::now();
    while order.len() < count {
        let text = socket.read_text();
        if let Some(ack) = ack_of(&text) {
            socket.text(&ack);
        } else if let Some(answer) = text.strip_prefix("43/chat,") {
            let (number, answer) = answer.split_at(answer.find('[').unwrap());
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer[0]["responses"], serde_json::json!(["here"]));
            order.push(number.parse::<usize>().unwrap());
        }
    }
    let took = began.elapsed();
    saw("200 questions whose answers take 2 s, in s", took.as_secs());
    // 64, 64, 64 and 8 of them, two seconds each.
    assert!((7..12).contains(&took.as_secs()), "{took:?}");
    let turns: Vec<Vec<usize>> = order.chunks(64).map(<[usize]>::to_vec).collect();
    for (nth, mut turn) in turns.into_iter().enumerate() {
        turn.sort_unstable();
        let first = nth * 64;
        assert_eq!(turn, (first..(first + 64).min(count)).collect::<Vec<_>>());
    }
}

/// In a room of 300, a client asks for its members, 4 MB of questions, and takes no answer.
#[track_caller]
fn answers_nobody_takes_are_bounded(workers: u16, attack: impl FnOnce(&Server, &str)) {
    let config = "[engine]\nwrite_stall_timeout = \"3s\"";
    let server = Setup::new().workers(workers).config(config).start();
    let mut members: Vec<_> = (0..300).map(|_| client(&server)).collect();
    for member in &mut members {
        member.text("42/chat,1[\"join\",\"crowd\"]");
        assert_eq!(
            member.read_text(),
            "43/chat,1[{\"ok\":true,\"room\":\"crowd\"}]"
        );
    }
    let over = Arc::<AtomicBool>::default();
    let innocents: Vec<_> = (0..4).map(|_| innocent(&server, &over)).collect();
    let pids = server.workers();
    let calm: Vec<_> = pids.iter().map(|pid| memory(*pid).pss).collect();
    let (most, watched) = (Arc::<AtomicUsize>::default(), Arc::clone(&over));
    let watch = thread::spawn({
        let most = Arc::clone(&most);
        move || {
            while !watched.load(Relaxed) {
                for (pid, calm) in pids.iter().zip(&calm) {
                    let grown = memory(*pid).pss.saturating_sub(*calm);
                    most.fetch_max(usize::try_from(grown).unwrap(), Relaxed);
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    attack(&server, "42/chat,1[\"who\",\"crowd\"]");
    over.store(true, Relaxed);
    watch.join().unwrap();
    for innocent in innocents {
        assert!(!innocent.join().expect("an innocent was ended").is_empty());
    }
    let most = most.load(Relaxed) / 1024;
    saw("memory that a worker grew by, MiB", most);
    assert!(most <= 64, "{most} MiB");
    for member in &mut members {
        member.echo("still here");
    }
    assert_eq!(server.count_lines("panicked"), 0);
}

/// One megabyte of it, for a body of long-polling.
fn megabyte(event: &str) -> String {
    let count = 999_000 / (event.len() + 1);
    vec![event; count].join("\x1e")
}

fn by_polling(server: &Server, event: &str) {
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    session.post(&mut raw, "40/chat,");
    let body = megabyte(event);
    for _ in 0..4 {
        let length = body.len();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n",
            session.target()
        );
        let sent = raw.try_send(head).and_then(|()| raw.try_send(&body));
        // It is held back, or over.
        if sent.is_err() || raw.try_response().is_err() {
            return;
        }
    }
}

fn by_websocket(server: &Server, event: &str) {
    let mut socket = client(server);
    let frame = WebSocket::frame(0x81, event.as_bytes());
    let batch = frame.repeat(100);
    for _ in 0..4_000_000 / batch.len() {
        if socket.raw.try_send(&batch).is_err() {
            return;
        }
    }
    thread::sleep(Duration::from_secs(1));
}

#[test]
fn answers_that_a_polling_client_does_not_take_are_bounded() {
    answers_nobody_takes_are_bounded(1, by_polling);
}

#[test]
fn answers_that_a_websocket_does_not_take_are_bounded() {
    answers_nobody_takes_are_bounded(1, by_websocket);
}

#[test]
fn answers_of_other_workers_that_nobody_takes_are_bounded() {
    answers_nobody_takes_are_bounded(2, by_polling);
    answers_nobody_takes_are_bounded(2, by_websocket);
}
