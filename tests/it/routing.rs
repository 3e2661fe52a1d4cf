//! One connection, requests of many sessions: each is answered by its own session's worker.

use super::deaths::replaced;
use super::harness::*;

/// Sessions on both workers, each opened on a connection of its own.
fn sessions_everywhere(server: &Server) -> Vec<Polling> {
    let sessions: Vec<_> = (0..6)
        .map(|_| Polling::open(&mut Raw::tcp(server.addr)))
        .collect();
    let slots: std::collections::BTreeSet<_> = sessions.iter().map(Polling::slot).collect();
    assert_eq!(slots.len(), 2, "both workers have sessions");
    sessions
}

/// A session on another worker than the one that `raw` is connected to.
fn elsewhere(raw: &mut Raw, server: &Server) -> Polling {
    let here = Polling::open(raw).slot();
    let mut all = sessions_everywhere(server).into_iter();
    all.find(|session| session.slot() != here).unwrap()
}

/// The worker, of two, that has a session.
fn worker_of(server: &Server, session: &Polling) -> u32 {
    let slot = ["AA", "AB"].iter().position(|it| session.slot() == *it);
    server.workers()[slot.unwrap()]
}

#[test]
fn one_connection_carries_the_requests_of_sessions_on_different_workers() {
    let server = Server::start();
    let sessions = sessions_everywhere(&server);
    let mut raw = Raw::tcp(server.addr);
    for round in 0..50 {
        for (nth, session) in sessions.iter().enumerate() {
            session.echo(&mut raw, &format!("round {round} of session {nth}"));
        }
    }
}

#[test]
fn a_long_poll_waits_at_its_worker_while_others_go_on() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = elsewhere(&mut raw, &server);
    for nth in 0..3 {
        raw.send(format!(
            "GET {} HTTP/1.1\r\nHost: x\r\n\r\n",
            session.target()
        ));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let event = format!("42[\"late\",{nth}]");
        assert_eq!(session.post(&mut Raw::tcp(server.addr), &event).body, "ok");
        let polled = raw.response().body;
        assert!(polled == event || polled == "2", "{polled}");
        if polled == "2" {
            session.post(&mut raw, "3");
            assert_eq!(session.packets(&mut raw), [event]);
        }
    }
}

#[test]
fn what_was_on_its_way_to_a_dead_worker_is_no_way_to_its_successor() {
    let server = Server::start();
    let sessions = sessions_everywhere(&server);
    let session = &sessions[0];
    let victim = worker_of(&server, session);
    let raws = (0..16).map(|_| Raw::patient(server.addr));
    let mut raws: Vec<_> = raws
        .filter_map(|mut raw| (Polling::open(&mut raw).slot() != session.slot()).then_some(raw))
        .collect();
    let all_post = |raws: &mut [Raw], sessions: &mut dyn Iterator<Item = &Polling>| {
        for (raw, session) in raws.iter_mut().zip(sessions) {
            let target = session.target();
            raw.send(format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n42[\"x\"]"
            ));
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    // The master learns of the death and of those who want to reach the dead one at the same time.
    signal_process(server.pid, "STOP");
    signal_process(victim, "KILL");
    all_post(&mut raws, &mut std::iter::repeat(session));
    signal_process(server.pid, "CONT");
    for raw in &mut raws {
        assert_eq!(raw.response().status, 400);
    }
    eventually("a successor", SOON, || replaced(&server, victim));
    let newcomers = (0..100).map(|_| Polling::open(&mut Raw::tcp(server.addr)));
    let its: Vec<_> = newcomers
        .filter(|it| it.slot() == session.slot())
        .take(raws.len())
        .collect();
    assert_eq!(its.len(), raws.len());
    all_post(&mut raws, &mut its.iter());
    for raw in &mut raws {
        assert_eq!(raw.response().status, 200);
    }
}

#[test]
fn a_full_size_body_reaches_another_worker_and_comes_back() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = elsewhere(&mut raw, &server);
    for length in [0, 1, 20_000, 500_000, 999_980] {
        session.echo(&mut raw, &"x".repeat(length));
    }
    let answer = session.post(&mut raw, &format!("42[\"{}\"]", "x".repeat(1_000_001)));
    assert_eq!(answer.status, 413);
}

#[test]
fn a_chunked_body_reaches_another_worker() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = elsewhere(&mut raw, &server);
    let target = session.target();
    raw.send(format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\n42[\"\r\n3\r\nab\"\r\n1\r\n]\r\n0\r\n\r\n"
    ));
    assert_eq!(raw.response().body, "ok");
    assert_eq!(session.packets(&mut raw), ["42[\"ab\"]"]);
}

#[test]
fn pipelined_requests_of_different_sessions_are_answered_in_their_order() {
    let server = Server::start();
    let sessions = sessions_everywhere(&server);
    let mut raw = Raw::tcp(server.addr);
    // The engine's first pings are out of the way.
    for session in &sessions {
        session.echo(&mut raw, "ready");
    }
    let mut all = String::new();
    for (nth, session) in sessions.iter().enumerate() {
        let body = format!("42[\"e\",{nth}]");
        let (target, length) = (session.target(), body.len());
        all += &format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}\
             GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"
        );
    }
    raw.send(all);
    for nth in 0..sessions.len() {
        assert_eq!(raw.response().body, "ok");
        let polled = raw.response().body;
        assert!(
            polled.contains(&format!("42[\"e\",{nth}]")),
            "{nth}: {polled}"
        );
    }
}

#[test]
fn an_upgrade_takes_its_connection_to_the_sessions_worker() {
    let server = Server::start();
    for _ in 0..5 {
        let mut raw = Raw::tcp(server.addr);
        let session = elsewhere(&mut raw, &server);
        session.echo(&mut raw, "before");
        let target = session.target().replace("polling", "websocket");
        raw.send(WebSocket::request(&target));
        let mut socket = WebSocket::switched(raw);
        socket.text("2probe");
        assert_eq!(socket.read_text(), "3probe");
        socket.text("5");
        for nth in 0..20 {
            socket.echo(&format!("after {nth}"));
        }
    }
}

#[test]
fn a_poll_that_its_client_gave_up_ends_the_session_at_the_other_worker() {
    let server = Server::start();
    for _ in 0..5 {
        let mut raw = Raw::tcp(server.addr);
        let session = elsewhere(&mut raw, &server);
        session.echo(&mut raw, "ready");
        raw.send(format!(
            "GET {} HTTP/1.1\r\nHost: x\r\n\r\n",
            session.target()
        ));
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(raw);
        eventually("the session ends", SOON, || {
            // An event would be an answer for the poll, if that is noticed later.
            session.post(&mut Raw::tcp(server.addr), "3").status == 400
        });
    }
}

#[test]
fn who_polls_for_a_session_of_a_dead_worker_over_another_ones_connection_is_answered() {
    let server = Server::start();
    for round in 1..=5 {
        let mut raw = Raw::tcp(server.addr);
        let session = elsewhere(&mut raw, &server);
        let home = worker_of(&server, &session);
        signal_process(home, "KILL");
        eventually("the master knows", SOON, || {
            server.count_lines(" died") == round
        });
        let answer = raw.get(&session.target());
        assert_eq!(
            (answer.status, answer.body.contains("Session ID unknown")),
            (400, true)
        );
        eventually("another worker", SOON, || {
            server.workers().len() == 2 && server.count_lines(" started") == 2 + round
        });
    }
}

#[test]
fn nobody_outside_can_speak_as_a_worker() {
    let server = Setup::new().example("guests").start();
    let mut raw = Raw::tcp(server.addr);
    raw.send(
        "GET /socket.io/?EIO=4&transport=polling&token=secret HTTP/1.1\r\nHost: x\r\n\
         X-My-App-Client: 203.0.113.9\r\n\r\n",
    );
    let open = raw.response();
    let sid = open.body.split('"').nth(3).unwrap().to_owned();
    let session = Polling { sid };
    session.post(&mut raw, "40");
    let packets = session.packets(&mut raw);
    assert!(
        packets.contains(&"42[\"welcome\",\"127.0.0.1\"]".to_owned()),
        "{packets:?}"
    );
}

#[test]
fn who_posts_and_never_polls_is_ended_before_the_answers_fill_the_memory() {
    let short = "[engine]\nping_interval = \"1s\"\nping_timeout = \"1s\"";
    let server = Setup::new().workers(1).config(short).start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    let event = format!("42[\"e\",\"{}\"]", "x".repeat(900_000));
    let posted = (0..20)
        .take_while(|_| session.post(&mut raw, &event).status == 200)
        .count();
    assert!((1..=5).contains(&posted), "{posted}");
    server.wait_for_sessions(0, SOON);
    // Who polls may post as much as it likes. (The last body was not read, so that its connection
    // ended with the refusal.)
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    for _ in 0..20 {
        session.post(&mut raw, &event);
        assert_eq!(session.packets(&mut raw), [event.as_str()]);
    }
}

#[test]
fn who_posts_faster_than_it_polls_is_slowed_down() {
    let server = Setup::new().workers(1).start();
    let session = Polling::open(&mut Raw::tcp(server.addr));
    let before = memory(server.workers()[0]).dirty;
    let event = format!("42[\"e\",\"{}\"]", "x".repeat(990_000));
    let target = session.target();
    let (addr, posts) = (server.addr, 60);
    let poster = std::thread::spawn(move || {
        let mut raw = Raw::tcp(addr);
        (0..posts)
            .filter(|_| raw.post(&target, &event).body == "ok")
            .count()
    });
    let mut most = 0;
    let mut received = 0;
    let mut raw = Raw::tcp(server.addr);
    while received < posts {
        std::thread::sleep(std::time::Duration::from_millis(20));
        received += session.packets(&mut raw).len();
        most = most.max(memory(server.workers()[0]).dirty);
    }
    assert_eq!(poster.join().unwrap(), posts, "nothing is refused");
    saw(
        "memory at most, KiB more than before",
        most.saturating_sub(before),
    );
    assert!(most < before + 32 * 1024, "{most} KiB, {before} KiB before");
}
