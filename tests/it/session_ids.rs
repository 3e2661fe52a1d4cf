//! Session ids: whom they let in, and where they lead.

use super::harness::*;

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// Asks for a poll of `sid`: on a connection of its own, where the router sees it first, and on
/// one that a worker has already.
#[track_caller]
fn is_refused(server: &Server, target: &str) {
    let mut kept = Raw::tcp(server.addr);
    assert_eq!(kept.get("/").status, 200);
    for mut raw in [Raw::tcp(server.addr), kept] {
        let answer = raw.get(target);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, UNKNOWN),
            "{target}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

fn poll_of(sid: &str) -> String {
    format!("/socket.io/?EIO=4&transport=polling&sid={sid}")
}

#[test]
fn a_polling_session_lives_on_one_connection_and_on_many() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    for nth in 0..20 {
        session.echo(&mut raw, &format!("same connection {nth}"));
        session.echo(&mut Raw::tcp(server.addr), &format!("new connection {nth}"));
    }
}

#[test]
fn a_forged_a_truncated_and_a_longer_id_are_refused() {
    let server = Server::start();
    let sid = Polling::open(&mut Raw::tcp(server.addr)).sid;
    for at in 0..sid.len() {
        let mut forged = sid.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let mut raw = Raw::tcp(server.addr);
        let answer = raw.get(&poll_of(std::str::from_utf8(&forged).unwrap()));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, UNKNOWN),
            "changed at {at}"
        );
    }
    for sid in [
        &sid[..29],
        &sid[..22],
        &sid[..16],
        &format!("{sid}A"),
        "x",
        "%00",
        "%F0%9F",
    ] {
        is_refused(&server, &poll_of(sid));
    }
}

#[test]
fn the_socket_id_of_a_client_opens_nothing() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::handshake(&mut raw);
    session.post(&mut raw, "40");
    let joined = session.packets(&mut raw);
    let joined: serde_json::Value = serde_json::from_str(&joined[0][2..]).unwrap();
    let socket_id = joined["sid"].as_str().unwrap();
    assert_eq!(socket_id, &session.sid[..16], "what applications see");
    is_refused(&server, &poll_of(socket_id));
    let mut attacker = Raw::tcp(server.addr);
    attacker.send(WebSocket::request(&format!(
        "/socket.io/?EIO=4&transport=websocket&sid={socket_id}"
    )));
    assert_eq!(attacker.response().body, "Session ID unknown");
    session.echo(&mut raw, "untouched");
}

#[test]
fn the_id_of_another_start_is_refused() {
    let sid = Polling::open(&mut Raw::tcp(Server::start().addr)).sid;
    is_refused(&Server::start(), &poll_of(&sid));
}

#[test]
fn the_sessions_of_a_dead_worker_are_refused() {
    let server = Server::start();
    let sid = Polling::open(&mut Raw::tcp(server.addr)).sid;
    let before = server.workers();
    for pid in &before {
        signal_process(*pid, "KILL");
    }
    eventually("two new workers", SOON, || {
        server.workers().iter().all(|pid| !before.contains(pid)) && server.workers().len() == 2
    });
    is_refused(&server, &poll_of(&sid));
}

#[test]
fn an_id_is_read_however_the_query_spells_it() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    let sid = &session.sid;
    let encoded: String = sid.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for target in [
        format!("/socket.io/?EIO=4&transport=polling&s%69d={encoded}"),
        format!("/socket.io/?sid={sid}&t=x&EIO=4&transport=polling&token=a%20b"),
        format!("http://elsewhere.test/socket.io/?EIO=4&transport=polling&sid={sid}"),
        format!("/socket.io/any/path?EIO=4&transport=polling&sid={sid}"),
    ] {
        for mut raw in [Raw::tcp(server.addr), Raw::tcp(server.addr)] {
            assert_eq!(raw.post(&target, "42[\"e\"]").body, "ok", "{target}");
            assert_eq!(session.packets(&mut raw), ["42[\"e\"]"], "{target}");
        }
    }
    let twice = format!("{}&sid={sid}", session.target());
    let answer = raw.get(&twice);
    assert_eq!((answer.status, answer.body.as_str()), (400, UNKNOWN));
}

#[test]
fn a_revision_3_session_is_found_by_its_bare_id_and_forgotten_with_its_end() {
    let server = Setup::new().workers(4).eio3().start();
    for _ in 0..8 {
        let open = Raw::tcp(server.addr).get("/socket.io/?EIO=3&transport=polling&b64=1");
        let sid = open.body.split('"').nth(3).unwrap().to_owned();
        assert_eq!(sid.len(), 16, "{open:?}");
        let target = format!("/socket.io/?EIO=3&transport=polling&b64=1&sid={sid}");
        let mut kept = Raw::tcp(server.addr);
        assert_eq!(kept.get("/").status, 200);
        for mut raw in [Raw::tcp(server.addr), kept] {
            assert_eq!(raw.post(&target, "10:42[\"e\",22]").status, 200);
            assert!(raw.get(&target).body.contains("42[\"e\",22]"));
        }
        assert_eq!(Raw::tcp(server.addr).post(&target, "1:1").status, 200);
        eventually("the id is forgotten", SOON, || {
            Raw::tcp(server.addr).get(&target).status == 400
        });
        is_refused(&server, &target);
    }
}

#[test]
fn a_revision_4_id_is_no_revision_3_id() {
    let server = Setup::new().eio3().start();
    let sid = Polling::open(&mut Raw::tcp(server.addr)).sid;
    is_refused(
        &server,
        &format!("/socket.io/?EIO=3&transport=polling&sid={}", &sid[..16]),
    );
    is_refused(&server, &poll_of(&sid[..16]));
}
