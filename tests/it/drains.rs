//! Sessions end at a set pace: at a stop, and when a machine is taken out. Each client gets all that it was sent before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

const WEBSOCKETS: usize = 1_000;
const POLLING: usize = 200;
const OVER: Duration = Duration::from_secs(15);

/// How a client's session ended.
struct End {
    at: Instant,
    how: String,
    /// The numbers that it was sent.
    heard: Vec<u64>,
}

/// Events with a number go to everybody, until told to stop.
pub struct Announcer {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    pub fn start(server: &Server) -> Self {
        let control = server.control();
        let stop = Arc::<AtomicBool>::default();
        let sent = Arc::<AtomicU64>::default();
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let number = count.load(Relaxed);
                let body = json!({"namespace": "/chat", "event": "n", "args": [number]});
                // None any more: the server has stopped.
                if control.try_post("/emit", &body.to_string()).status != 200 {
                    return;
                }
                count.store(number + 1, Relaxed);
                thread::sleep(Duration::from_millis(250));
            }
        });
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// How many were sent.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        // A server that has stopped answers no more.
        let _ = self.thread.take().unwrap().join();
        self.sent.load(Relaxed)
    }
}

/// A polling client, until its session is unknown.
fn poller(addr: SocketAddr, opened: &AtomicU64) -> End {
    let mut raw = Raw::patient(addr);
    let session = Polling::open(&mut raw);
    session.post(&mut raw, "40/chat,");
    opened.fetch_add(1, Relaxed);
    let mut heard = Vec::new();
    let mut how = String::new();
    loop {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            session.target()
        );
        let polled = raw.try_send(request).and_then(|()| raw.try_response());
        let over = match &polled {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("{how}{}", answer.status)),
            Err(error) => Some(format!("{how}{:?}", error.kind())),
        };
        if let Some(how) = over {
            let at = Instant::now();
            return End { at, how, heard };
        }
        for packet in polled.unwrap().body.split('\x1e') {
            match packet {
                "2" => {
                    let pong = format!(
                        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n3",
                        session.target()
                    );
                    let _ = raw.try_send(pong).and_then(|()| raw.try_response());
                }
                "6" => {}
                packet if packet.starts_with("40/chat,") => {}
                packet => match packet.strip_prefix("42/chat,[\"n\",") {
                    Some(number) => heard.push(number.trim_end_matches(']').parse().unwrap()),
                    None => how += &format!("{packet} "),
                },
            }
        }
    }
}

/// All clients' ends, after `drain` has begun one.
fn drained(server: &Server, drain: impl FnOnce(&Server)) -> (Instant, Vec<End>, Vec<End>, u64) {
    let crowd = Crowd::light(server, "/chat", WEBSOCKETS);
    let opened = Arc::<AtomicU64>::default();
    let pollers: Vec<_> = (0..POLLING)
        .map(|_| {
            let (addr, opened) = (server.addr, Arc::clone(&opened));
            thread::spawn(move || poller(addr, &opened))
        })
        .collect();
    eventually("the polling clients", Duration::from_secs(60), || {
        opened.load(Relaxed) == POLLING as u64
    });
    saw("sessions", format!("{:?}", server.sessions()));
    let announcer = Announcer::start(server);
    thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    drain(server);
    let pollers: Vec<_> = pollers.into_iter().map(|it| it.join().unwrap()).collect();
    let websockets = crowd.iter().map(|client| {
        let (at, how) = client.goes(2 * OVER);
        let heard = client.payloads("n");
        let heard = heard.iter().filter_map(Value::as_u64).collect();
        End { at, how, heard }
    });
    let websockets = websockets.collect();
    (begun, websockets, pollers, announcer.stop())
}

/// The ends are spread evenly, are what clients take for a lost connection, and came after all that was sent before.
#[track_caller]
fn look(begun: Instant, websockets: &[End], pollers: &[End], sent: u64) {
    let all = || websockets.iter().chain(pollers);
    let mut tenths = [0; 10];
    for end in all() {
        let after = end.at - begun;
        let tenth = (after.as_millis() * 10 / OVER.as_millis()) as usize;
        tenths[tenth.min(9)] += 1;
    }
    saw("ends in each tenth", format!("{tenths:?}"));
    let last = all().map(|end| end.at - begun).max().unwrap();
    saw("the last after", format!("{last:?}"));
    let most = *tenths.iter().max().unwrap() as f64 / (WEBSOCKETS + POLLING) as f64;
    saw("the largest share, %", format!("{:.1}", most * 100.0));
    assert!(most <= 0.15, "{tenths:?}");
    assert!(last < OVER + Duration::from_secs(2));
    // 1001 is 0x03e9.
    for end in websockets {
        assert!(end.how.contains("closed: [3, 233"), "{}", end.how);
    }
    for end in pollers {
        assert!(["400", "1 400"].contains(&end.how.as_str()), "{}", end.how);
    }
    for end in all() {
        let first = end.heard.first().copied().unwrap_or_default();
        let expected: Vec<_> = (first..first + end.heard.len() as u64).collect();
        assert_eq!(end.heard, expected, "a gap");
        // One may be on its way when it ends, and one when the drain begins.
        let lived = end.at - begun + Duration::from_secs(1);
        let due = (lived.as_secs_f64() / 0.25 * 0.5) as usize;
        assert!(
            end.heard.len() + 3 >= due.min(sent as usize),
            "{} of {due}",
            end.heard.len()
        );
    }
}

#[test]
fn a_machine_that_is_taken_out_loses_its_clients_evenly_and_says_how_many_are_left() {
    let server = Setup::new().systemd().start();
    let (begun, websockets, pollers, sent) = drained(&server, |server| {
        let body = json!({"over_seconds": OVER.as_secs()});
        let answer = server.control().post("/drain", &body);
        assert_eq!(answer["sessions"], WEBSOCKETS + POLLING);
        let told = server.wait_for_notification("taken out: ");
        saw("STATUS", &told);
        assert!(
            told.contains("session(s) left, the old ones end within "),
            "{told}"
        );
        let status = server.control().get("/status");
        saw("status", &status["drains"]);
        let drain = &status["drains"][0];
        assert_eq!(drain["why"], "taken-out");
        assert!((1..=OVER.as_secs()).contains(&drain["seconds_left"].as_u64().unwrap()));
        let ready = Raw::tcp(server.addr).get("/readyz");
        assert_eq!(ready.status, 503);
    });
    look(begun, &websockets, &pollers, sent);
    // Who comes meanwhile, or later, is served and stays.
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
    server.control().post("/drain", &json!({"undo": true}));
    assert_eq!(server.control().get("/status")["drains"], json!([]));
}

#[test]
fn a_stop_loses_its_clients_evenly_and_says_how_many_are_left() {
    let over = format!("stop_drain = \"{}s\"", OVER.as_secs());
    let mut server = Setup::new().systemd().top(&over).start();
    let (begun, websockets, pollers, sent) = drained(&server, |server| {
        server.signal("TERM");
        let told = server.wait_for_notification("stopping: ");
        saw("STATUS", &told);
        assert!(
            told.contains("session(s) left, which end within "),
            "{told}"
        );
    });
    look(begun, &websockets, &pollers, sent);
    assert_eq!(server.ended(SOON).code(), Some(0));
    assert_eq!(server.count_lines(" died"), 0);
}

#[test]
fn the_youngest_session_ends_last() {
    let mut server = Setup::new().workers(1).top("stop_drain = \"2s\"").start();
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            let client = WebSocket::open(Raw::tcp(server.addr));
            thread::sleep(Duration::from_millis(5));
            client
        })
        .collect();
    // The engine's table has the newest in the oldest's place.
    clients.remove(0);
    server.wait_for_sessions(7, SOON);
    clients.push(WebSocket::open(Raw::tcp(server.addr)));
    server.signal("TERM");
    let ends: Vec<_> = clients
        .into_iter()
        .map(|mut client| thread::spawn(move || (client.read(), Instant::now())))
        .collect();
    let ends: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    assert!(ends.is_sorted_by_key(|(_, at)| *at), "{ends:?}");
    assert!(
        ends.iter().all(|(read, _)| matches!(read, Ok((8, _)))),
        "{ends:?}"
    );
    assert_eq!(server.ended(SOON).code(), Some(0));
}

/// A client in a room of the chat.
fn member(server: &Server) -> WebSocket {
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    for (text, answer) in [
        ("40/chat,", "40/chat,"),
        ("42/chat,1[\"join\",\"r\"]", "43/chat,1"),
    ] {
        socket.text(text);
        assert!(socket.read_text().starts_with(answer));
    }
    socket
}

/// Sixteen megabytes are more than the sockets of both ends take.
#[test]
fn a_slow_reader_has_what_was_queued_for_it_before_it_is_told_that_it_is_over() {
    const PAYLOAD: usize = 400_000;
    const MESSAGES: usize = 40;
    let mut server = Setup::new().workers(1).top("stop_drain = \"1s\"").start();
    let mut sender = member(&server);
    let mut slow = member(&server);
    let payload = "x".repeat(PAYLOAD);
    for _ in 0..MESSAGES {
        sender.text(&format!("42/chat,[\"message\",\"r\",\"{payload}\"]"));
    }
    // All of it is queued.
    sender.text("42/chat,2[\"whereami\"]");
    assert!(sender.read_text().starts_with("43/chat,2"));
    server.signal("TERM");
    // Its session is over by then.
    let (opcode, _) = sender.read().unwrap();
    assert_eq!(opcode, 8);
    thread::sleep(Duration::from_millis(500));
    let mut messages = 0;
    let last = loop {
        match slow.read() {
            Ok((1, text)) if text == b"2" => {}
            Ok((1, text)) => messages += usize::from(text.len() > PAYLOAD),
            other => break other,
        }
    };
    saw("of 40 messages a slow reader got", messages);
    assert!(
        matches!(&last, Ok((8, code)) if code.starts_with(&[3, 0xe9])),
        "{last:?}"
    );
    assert_eq!(messages, MESSAGES);
    assert_eq!(server.ended(SOON).code(), Some(0));
}

#[test]
fn a_session_in_an_upgrade_ends_over_both_connections() {
    let server = Setup::new().workers(1).start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    let mut probe = Raw::tcp(server.addr);
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", session.sid);
    probe.send(WebSocket::request(&target));
    let mut probe = WebSocket::switched(probe);
    probe.text("2probe");
    assert_eq!(probe.read_text(), "3probe");
    let body = json!({"over_seconds": 0});
    server.control().post("/drain", &body);
    server.wait_for_sessions(0, SOON);
    let last = probe.read();
    assert!(
        !matches!(last, Ok((1, _))),
        "no word that a client could misread: {last:?}"
    );
    let polled = session.poll(&mut raw);
    assert_eq!(polled.status, 400, "{polled:?}");
    assert!(polled.body.contains("Session ID unknown"), "{polled:?}");
}
