//! What is balanced is the session, whatever connections the sessions come over. A proxy keeps few
//! connections, and sends the handshakes of all its clients over them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::harness::*;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
/// How many sessions there may be: who counts one too many finds that out.
const LIMIT: usize = 60;

/// Sessions without a client are soon over.
const SHORT_LIVES: &str =
    "[engine]\nping_interval = \"1s\"\nping_timeout = \"2s\"\nconnect_timeout = \"3s\"";

fn limited() -> Setup {
    let limits = format!("[limits]\nmax_connections = {LIMIT}");
    Setup::new().workers(4).config(&limits)
}

fn four_workers() -> Server {
    limited().start()
}

/// How many of these each slot has.
fn spread(sessions: &[Polling]) -> Vec<usize> {
    let mut slots = BTreeMap::<String, usize>::new();
    for session in sessions {
        *slots.entry(session.slot()).or_default() += 1;
    }
    slots.into_values().collect()
}

/// So many sessions, all over one connection.
#[track_caller]
fn handshakes(raw: &mut Raw, count: usize) -> Vec<Polling> {
    (0..count).map(|_| Polling::handshake(raw)).collect()
}

#[track_caller]
fn end(raw: &mut Raw, sessions: Vec<Polling>) {
    for session in sessions {
        assert_eq!(session.post(raw, "1").body, "ok");
    }
}

/// A connection that a worker has, and that no session came over yet.
#[track_caller]
fn used(server: &Server) -> Raw {
    let mut raw = Raw::tcp(server.addr);
    assert_eq!(raw.get("/nothing-here").status, 404);
    raw
}

/// Nothing is counted for anybody any more: there is room for all that there may be, on all workers alike.
#[track_caller]
fn all_loads_are_zero(server: &Server) {
    server.wait_for_sessions(0, SOON);
    let mut raw = used(server);
    let sessions = handshakes(&mut raw, LIMIT);
    assert_eq!(spread(&sessions), [LIMIT / 4; 4]);
    assert_eq!(raw.get(POLLING).status, 503);
    end(&mut raw, sessions);
    server.wait_for_sessions(0, SOON);
}

#[test]
fn polling_sessions_of_one_connection_are_spread_over_all_workers_and_work() {
    let server = four_workers();
    let mut raw = Raw::tcp(server.addr);
    for _ in 0..2 {
        let sessions: Vec<_> = (0..40).map(|_| Polling::open(&mut raw)).collect();
        assert_eq!(spread(&sessions), [10; 4]);
        assert_eq!(server.sessions(), [10; 4]);
        for (nth, session) in sessions.iter().enumerate() {
            session.echo(&mut raw, &format!("session {nth}"));
            session.echo(&mut Raw::tcp(server.addr), &format!("again {nth}"));
        }
        end(&mut raw, sessions);
        all_loads_are_zero(&server);
    }
}

#[test]
fn revision_3_sessions_of_one_connection_are_spread_too() {
    let server = Setup::new().workers(4).eio3().start();
    let mut raw = used(&server);
    for _ in 0..8 {
        let open = raw.get("/socket.io/?EIO=3&transport=polling");
        let sid = open.body.split('"').nth(3).unwrap();
        let target = format!("/socket.io/?EIO=3&transport=polling&sid={sid}");
        assert_eq!(raw.get(&target).body, "2:40");
        assert_eq!(raw.post(&target, "7:42[\"a\"]").body, "ok");
        assert_eq!(raw.get(&target).body, "7:42[\"a\"]");
    }
    assert_eq!(server.sessions(), [2; 4]);
}

#[test]
fn websockets_over_connections_in_use_are_spread_over_all_workers_and_work() {
    let server = four_workers();
    for _ in 0..2 {
        let mut sockets: Vec<_> = (0..40).map(|_| WebSocket::open(used(&server))).collect();
        assert_eq!(server.sessions(), [10; 4]);
        for (nth, socket) in sockets.iter_mut().enumerate() {
            socket.echo(&format!("socket {nth}"));
        }
        drop(sockets);
        all_loads_are_zero(&server);
    }
}

#[test]
fn sessions_of_new_and_of_used_connections_are_balanced_together() {
    let server = four_workers();
    let mut raw = used(&server);
    let mut sessions = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sessions.push(Polling::handshake(&mut raw));
        sessions.push(Polling::handshake(&mut Raw::tcp(server.addr)));
        sockets.push(WebSocket::handshake(used(&server)));
        sockets.push(WebSocket::handshake(Raw::tcp(server.addr)));
    }
    assert_eq!(server.sessions(), [10; 4]);
    end(&mut raw, sessions);
    drop(sockets);
    all_loads_are_zero(&server);
}

#[test]
fn handshakes_that_are_refused_count_for_nobody() {
    let server = four_workers();
    let mut raw = used(&server);
    for _ in 0..10 {
        assert_eq!(raw.post(POLLING, "").status, 400);
        assert_eq!(raw.get("/socket.io/?EIO=5&transport=polling").status, 400);
        let foreign = WebSocket::request(WEBSOCKET).replace(
            "Host: localhost\r\n",
            "Host: localhost\r\nOrigin: http://evil.test\r\n",
        );
        // That connection is closed, as in Node.
        assert_eq!(used(&server).send(foreign).response().status, 403);
    }
    all_loads_are_zero(&server);
}

#[test]
fn who_may_come_in_is_asked_where_the_handshake_came_and_told_wherever_it_goes() {
    let server = Setup::new().workers(4).unix().example("guests").start();
    let mut raw = Raw::unix(&server.unix);
    let mut slots = BTreeMap::<String, usize>::new();
    for nth in 0..12 {
        assert_eq!(raw.get(&format!("{POLLING}&token=no")).status, 403);
        raw.send(format!(
            "GET {POLLING}&token=secret HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.{nth}\r\n\
             X-My-App-Client: 192.0.2.1\r\n\r\n"
        ));
        let sid = raw.response().body.split('"').nth(3).unwrap().to_owned();
        let session = Polling { sid };
        *slots.entry(session.slot()).or_default() += 1;
        session.post(&mut raw, "40");
        let welcome = format!("42[\"welcome\",\"203.0.113.{nth}\"]");
        let packets = session.packets(&mut raw);
        assert!(packets.contains(&welcome), "{packets:?}");
    }
    assert_eq!(slots.into_values().collect::<Vec<_>>(), [3; 4]);
    for nth in 0..12 {
        let mut raw = Raw::unix(&server.unix);
        assert_eq!(raw.get("/nothing-here").status, 404);
        let request = WebSocket::request(&format!("{WEBSOCKET}&token=secret")).replace(
            "Host: localhost\r\n",
            &format!("Host: localhost\r\nX-Forwarded-For: 203.0.113.{nth}\r\n"),
        );
        raw.send(request);
        let mut socket = WebSocket::switched(raw);
        assert!(socket.read_text().starts_with('0'));
        socket.text("40");
        assert!(socket.read_text().starts_with("40"));
        let welcome = format!("42[\"welcome\",\"203.0.113.{nth}\"]");
        assert_eq!(socket.read_text(), welcome);
    }
}

#[test]
fn nobody_outside_can_speak_of_reservations() {
    let server = four_workers();
    let mut raw = used(&server);
    let sessions = handshakes(&mut raw, 8);
    for (number, session) in (0..).zip(&sessions).cycle().take(40) {
        let target = session.target();
        raw.send(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nX-My-App-Reservation: {number}\r\n\
             Content-Length: 1\r\n\r\n3"
        ));
        assert_eq!(raw.response().body, "ok");
    }
    let more: Vec<_> = (0..32)
        .map(|number| {
            raw.send(format!(
                "GET {POLLING} HTTP/1.1\r\nHost: x\r\nX-My-App-Reservation: {number}\r\n\r\n"
            ));
            let sid = raw.response().body.split('"').nth(3).unwrap().to_owned();
            Polling { sid }
        })
        .collect();
    let all: Vec<_> = sessions.into_iter().chain(more).collect();
    assert_eq!(spread(&all), [10; 4]);
    end(&mut raw, all);
    all_loads_are_zero(&server);
}

#[test]
fn clients_that_do_not_wait_for_their_answer_leave_nothing_behind() {
    let server = limited().config(SHORT_LIVES).start();
    for nth in 0..60 {
        let mut raw = used(&server);
        if nth % 2 == 0 {
            raw.send(format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\n\r\n"));
        } else {
            raw.send(WebSocket::request(WEBSOCKET));
        }
        if nth % 3 == 0 {
            raw.reset();
        }
    }
    all_loads_are_zero(&server);
}

#[test]
fn sessions_are_limited_as_connections_are() {
    let server = Setup::new()
        .config("[limits]\nmax_connections = 10")
        .start();
    let mut raw = used(&server);
    let mut sessions = handshakes(&mut raw, 10);
    let refusal = raw.get(POLLING);
    assert_eq!(
        (refusal.status, refusal.header("retry-after")),
        (503, Some("1"))
    );
    let mut refused = used(&server);
    let refusal = refused.send(WebSocket::request(WEBSOCKET)).response();
    assert_eq!(refusal.status, 503);
    assert_eq!(Raw::tcp(server.addr).get(POLLING).status, 503);
    // Those that there are go on, over any connection.
    let mut other = Raw::tcp(server.addr);
    sessions.iter().for_each(|session| {
        assert_eq!(session.post(&mut other, "40").body, "ok");
        assert_eq!(session.post(&mut raw, "42[\"a\"]").body, "ok");
    });
    end(&mut raw, sessions.split_off(9));
    eventually("one more session is let in", SOON, || {
        raw.get(POLLING).status == 200
    });
    assert_eq!(raw.get(POLLING).status, 503);
}

#[test]
fn no_haste_gets_past_the_limit_of_sessions() {
    let server = Setup::new()
        .workers(4)
        .config("[limits]\nmax_connections = 20")
        .start();
    let all: Vec<_> = (0..10)
        .map(|_| {
            let mut raw = used(&server);
            std::thread::spawn(move || {
                let opened = (0..20).filter(|_| raw.get(POLLING).status == 200);
                (opened.count(), raw)
            })
        })
        .collect();
    let all: Vec<_> = all.into_iter().map(|t| t.join().unwrap()).collect();
    let opened: usize = all.iter().map(|(opened, _)| opened).sum();
    assert_eq!(opened, 20);
    assert_eq!(server.sessions(), [5; 4]);
}

#[test]
fn a_session_whose_home_stands_still_is_opened_where_it_was_asked_for() {
    // Its watchdog waits for longer than this test does.
    let server = limited()
        .top("watchdog = \"1m\"")
        .config(SHORT_LIVES)
        .start();
    // Two connections on each worker, so that those of three workers ask for every worker.
    let raws: Vec<_> = (0..8).map(|_| used(&server)).collect();
    let stopped = server.workers()[3];
    signal_process(stopped, "STOP");
    let began = Instant::now();
    let asking: Vec<_> = raws
        .into_iter()
        .map(|mut raw| {
            raw.send(format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\n\r\n"));
            std::thread::spawn(move || {
                let answer = raw.response();
                assert_eq!(answer.status, 200, "{answer:?}");
                began.elapsed()
            })
        })
        .collect();
    eventually("six of eight are answered", SOON, || {
        asking.iter().filter(|asking| asking.is_finished()).count() == 6
    });
    let slowest = began.elapsed();
    saw("the slowest", format!("{slowest:?}"));
    assert!(slowest > Duration::from_secs(4), "nobody asked for it");
    signal_process(stopped, "CONT");
    for asking in asking {
        asking.join().unwrap();
    }
    assert_eq!(server.count_lines(" died"), 0);
    all_loads_are_zero(&server);
}

#[test]
fn workers_that_die_take_no_handshake_of_a_connection_elsewhere_with_them() {
    let server = Setup::new().workers(4).start();
    // One connection on each worker.
    let mut raws: Vec<_> = (0..4).map(|_| used(&server)).collect();
    let victim = server.workers()[1];
    let mut failed = 0;
    for round in 0..40 {
        if round == 5 {
            signal_process(victim, "KILL");
        }
        raws.retain_mut(|raw| {
            raw.send(format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\n\r\n"));
            match raw.try_response() {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    true
                }
                // The victim's own connection.
                Err(_) => {
                    failed += 1;
                    false
                }
            }
        });
    }
    assert_eq!((raws.len(), failed), (3, 1));
    eventually("the worker is replaced", SOON, || {
        server.count_lines(" started") == 5
    });
    // What was reserved there went with it: the new one has room.
    handshakes(&mut raws[0], 40);
    let newest = server.sessions();
    assert!(newest[1] > 30, "{newest:?}");
}
