//! A post that nginx sends twice, because the worker that passed it on has died, is handled once.

use std::thread;
use std::time::Duration;

use super::harness::*;

/// The slot of its worker, of which there are few.
fn slot(session: &Polling) -> usize {
    usize::from(session.slot().as_bytes()[1] - b'A')
}

/// How often a session has echoed this since it was looked at last.
fn echoes(session: &Polling, raw: &mut Raw, text: &str) -> usize {
    // The last of what was posted is there when this is.
    session.post(raw, "42[\"end\"]");
    let mut seen = 0;
    loop {
        let packets = session.packets(raw);
        seen += packets.iter().filter(|p| p.contains(text)).count();
        if packets.iter().any(|packet| packet.contains("\"end\"")) {
            return seen;
        }
    }
}

/// A post, as a proxy sends it.
fn post(raw: &mut Raw, session: &Polling, id: &str, body: &str) -> Response {
    raw.send(format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
        session.target(),
        body.len()
    ));
    raw.response()
}

#[test]
fn a_post_whose_worker_dies_is_handled_once_behind_nginx() {
    let server = Setup::new().workers(3).unix().start();
    let nginx = Nginx::shipped(&server.unix, 1);
    let large = |event: &str| format!("42[\"{event}\",\"{}\"]", "x".repeat(900_000));
    let mut again = 0;
    let mut rounds = 0;
    while again < 3 {
        rounds += 1;
        assert!(rounds <= 20, "no post went through another worker");
        let session = Polling::open(&mut Raw::tcp(nginx.addr));
        let home = server.workers()[slot(&session)];
        // A client that has so much to take is not answered before it polls.
        for _ in 0..2 {
            let answer = session.post(&mut Raw::tcp(nginx.addr), &large("before"));
            assert_eq!(answer.body, "ok");
        }
        let mut client = Raw::tcp(nginx.addr);
        let body = large("once");
        client.send(format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            session.target(),
            body.len()
        ));
        thread::sleep(Duration::from_millis(500));
        let complaints = || nginx.complaints().matches("prematurely").count();
        let before = complaints();
        // Its home has the post; whoever has passed it on dies.
        for worker in server.workers() {
            if worker != home {
                signal_process(worker, "KILL");
            }
        }
        eventually("the workers are replaced", SOON, || {
            server.workers().len() == 3
        });
        // nginx has noticed, and sends it once more.
        thread::sleep(Duration::from_millis(200));
        let repeated = complaints() > before;
        let mut raw = Raw::tcp(nginx.addr);
        let first = session.packets(&mut raw);
        let answer = client.response();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let first = first.iter().filter(|packet| packet.contains("once"));
        let seen = first.count() + echoes(&session, &mut raw, "once");
        assert_eq!(seen, 1, "sent again by nginx: {repeated}");
        again += usize::from(repeated);
    }
    saw("posts, of which 3 were sent twice", rounds);
}

#[test]
fn a_proxys_post_is_known_again_by_its_id_and_its_body() {
    let server = Setup::new().unix().start();
    let session = Polling::open(&mut Raw::unix(&server.unix));
    let (once, other) = ("42[\"once\",1]", "42[\"other\",1]");
    // Over whatever worker they come.
    let mut raws: Vec<_> = (0..4).map(|_| Raw::unix(&server.unix)).collect();
    for raw in &mut raws {
        assert_eq!(raw.get("/").status, 200);
        let answer = post(raw, &session, "a", once);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    // A proxy that calls several posts the same loses none.
    assert_eq!(post(&mut raws[0], &session, "a", other).body, "ok");
    assert_eq!(post(&mut raws[1], &session, "b", other).body, "ok");
    let mut raw = Raw::unix(&server.unix);
    assert_eq!(echoes(&session, &mut raw, "\"once\""), 1);
    for id in ["c", "d"] {
        post(&mut raws[2], &session, id, other);
        post(&mut raws[3], &session, id, other);
    }
    assert_eq!(echoes(&session, &mut raw, "\"other\""), 2);
}

#[test]
fn what_a_client_calls_its_posts_itself_changes_nothing() {
    for (trusted, expected) in [("", 3), ("[limits]\ntrusted_proxies = [\"127.0.0.1\"]", 1)] {
        let server = Setup::new().config(trusted).start();
        let session = Polling::open(&mut Raw::tcp(server.addr));
        for _ in 0..3 {
            // By either worker.
            let mut raw = Raw::tcp(server.addr);
            assert_eq!(raw.get("/").status, 200);
            assert_eq!(post(&mut raw, &session, "a", "42[\"x\"]").body, "ok");
        }
        let seen = echoes(&session, &mut Raw::tcp(server.addr), "[\"x\"]");
        assert_eq!(seen, expected, "{trusted}");
    }
}

#[test]
fn a_post_that_breaks_off_with_a_worker_leaves_its_session() {
    let server = Setup::new().workers(3).unix().start();
    for _ in 0..6 {
        let session = Polling::open(&mut Raw::unix(&server.unix));
        let slot = slot(&session);
        let mut raw = Raw::unix(&server.unix);
        assert_eq!(raw.get("/").status, 200);
        raw.send(format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\nContent-Length: 12\r\n\r\n42[\"on",
            session.target()
        ));
        thread::sleep(Duration::from_millis(50));
        let workers = server.workers();
        for (nth, &worker) in workers.iter().enumerate() {
            if nth != slot {
                signal_process(worker, "KILL");
            }
        }
        eventually("the workers are replaced", SOON, || {
            let now = server.workers();
            now.len() == 3 && now.iter().filter(|pid| workers.contains(pid)).count() == 1
        });
        // It went through the session's own worker, which is still waiting for the rest, or through another.
        let direct = raw.try_send("ce\",1]").is_ok() && raw.try_response().is_ok();
        if !direct {
            let mut raw = Raw::unix(&server.unix);
            assert_eq!(post(&mut raw, &session, "a", "42[\"once\",1]").body, "ok");
        }
        assert_eq!(echoes(&session, &mut Raw::unix(&server.unix), "once"), 1);
    }
}
