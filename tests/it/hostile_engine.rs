//! Hostile clients: sessions, upgrades and payloads that Engine.IO does not know.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use super::hostile::Victim;
use super::hostile_packets::assert_ended;

/// Asks for a session's upgrade, and reads the 101.
#[track_caller]
fn upgrade(victim: &Victim, session: &Polling) -> WebSocket {
    let target = session.target().replace("=polling", "=websocket");
    let mut raw = victim.tcp();
    raw.send(WebSocket::request(&target));
    WebSocket::switched(raw)
}

/// Makes a session a WebSocket's.
#[track_caller]
fn upgraded(victim: &Victim, session: &Polling) -> WebSocket {
    let mut socket = upgrade(victim, session);
    socket.text("2probe");
    assert_eq!(socket.read_text(), "3probe");
    socket.text("5");
    socket.echo("upgraded");
    socket
}

#[track_caller]
fn assert_over(victim: &Victim, session: &Polling) {
    eventually("the session ends", SOON, || {
        session.poll(&mut victim.tcp()).status == 400
    });
}

#[test]
fn an_upgrade_that_dies_before_its_probe_leaves_nothing() {
    let victim = Victim::new();
    for nth in 0..20 {
        let session = Polling::open(&mut victim.tcp());
        let socket = upgrade(&victim, &session);
        if nth % 2 == 0 {
            socket.raw.reset();
        } else {
            drop(socket);
        }
    }
    victim.unharmed();
}

#[test]
fn an_upgrade_whose_probe_is_garbage_ends_and_its_session_polls_on() {
    let victim = Victim::new();
    for garbage in [
        WebSocket::frame(0x81, b"2"),
        WebSocket::frame(0x81, b"42[\"x\"]"),
        WebSocket::frame(0x81, b""),
        WebSocket::frame(0x82, b"2probe"),
        WebSocket::frame(0x88, b""),
        b"\xff\xff\xff\xff".to_vec(),
    ] {
        let session = Polling::open(&mut victim.tcp());
        let mut socket = upgrade(&victim, &session);
        socket.raw.send(garbage);
        assert_ended(&mut socket, "garbage for a probe");
        session.echo(&mut victim.tcp(), "not harmed");
        session.post(&mut victim.tcp(), "1");
        victim.unharmed();
    }
}

#[test]
fn an_upgrade_that_never_probes_or_never_ends_is_given_up() {
    let victim = Victim::new();
    for probe in [false, true] {
        let session = Polling::open(&mut victim.tcp());
        let mut socket = upgrade(&victim, &session);
        if probe {
            socket.text("2probe");
            assert_eq!(socket.read_text(), "3probe");
        }
        let began = Instant::now();
        assert_ended(&mut socket, "no probe, or no upgrade packet");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(4), "given up after {took:?}");
        assert_over(&victim, &session);
        victim.unharmed();
    }
}

#[test]
fn two_polls_at_once_end_the_session() {
    let victim = Victim::new();
    let mut raw = victim.tcp();
    let session = Polling::open(&mut raw);
    let poll = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        session.target()
    );
    let mut polls = [victim.tcp(), victim.tcp()];
    // The engine's first ping is read before, so that both polls wait.
    eventually("a ping", SOON, || session.poll(&mut raw).body.contains('2'));
    assert_eq!(session.post(&mut raw, "3").status, 200);
    for raw in &mut polls {
        raw.send(&poll);
    }
    let mut statuses: Vec<_> = polls.iter_mut().map(|raw| raw.response().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_over(&victim, &session);
    victim.unharmed();
}

#[test]
fn an_upgraded_session_takes_no_posts_or_polls() {
    let victim = Victim::new();
    let session = Polling::open(&mut victim.tcp());
    let mut socket = upgraded(&victim, &session);
    for _ in 0..5 {
        for refused in [
            session.post(&mut victim.tcp(), "42[\"x\"]"),
            session.poll(&mut victim.tcp()),
        ] {
            assert_eq!(refused.status, 400);
            assert!(refused.body.contains("\"code\":3"), "{refused:?}");
        }
    }
    socket.echo("not harmed");
    drop(socket);
    victim.unharmed();
}

/// Asks for a second WebSocket, which is refused.
#[track_caller]
fn is_not_upgraded_again(victim: &Victim, session: &Polling) {
    let target = session.target().replace("polling", "websocket");
    let mut raw = victim.tcp();
    assert_eq!(raw.send(WebSocket::request(&target)).response().status, 400);
}

#[test]
fn a_second_upgrade_of_an_upgraded_session_is_refused_and_the_first_stays() {
    let victim = Victim::new();
    let session = Polling::open(&mut victim.tcp());
    let mut socket = upgraded(&victim, &session);
    is_not_upgraded_again(&victim, &session);
    socket.echo("not harmed");
    drop(socket);
    victim.unharmed();
}

#[test]
fn of_two_upgrades_at_once_the_first_succeeds() {
    let victim = Victim::new();
    for _ in 0..5 {
        let session = Polling::open(&mut victim.tcp());
        let mut socket = upgrade(&victim, &session);
        is_not_upgraded_again(&victim, &session);
        socket.text("2probe");
        assert_eq!(socket.read_text(), "3probe");
        socket.text("5");
        socket.echo("upgraded");
    }
    victim.unharmed();
}

/// A session's memory is free, and its worker's count lower, when it ends; not only when it would
/// have had to join a namespace.
#[test]
fn a_session_that_leaves_before_it_joins_is_gone_at_once() {
    let victim = Victim::of(Setup::new().config("[engine]\nconnect_timeout = \"60s\""));
    for _ in 0..100 {
        let mut raw = victim.tcp();
        let session = Polling::handshake(&mut raw);
        assert_eq!(session.post(&mut raw, "1").status, 200);
    }
    victim.unharmed();
}

#[test]
fn the_memory_of_sessions_that_left_before_they_joined_levels_off() {
    let mut victim = Victim::of(Setup::new().config("[engine]\nconnect_timeout = \"1s\""));
    let request = WebSocket::request("/socket.io/?EIO=4&transport=websocket");
    let come_and_go = |victim: &Victim| {
        for _ in 0..5_000 {
            let mut raw = victim.tcp();
            raw.send(&request);
            raw.reset();
        }
        // That time is over for all of them.
        thread::sleep(Duration::from_millis(1_500));
    };
    (0..2).for_each(|_| come_and_go(&victim));
    victim.grew();
    (0..2).for_each(|_| come_and_go(&victim));
    victim.unharmed();
}

#[test]
fn sessions_that_are_opened_and_left_are_ended() {
    let mut victim = Victim::new();
    for round in 0..2 {
        for _ in 0..300 {
            Polling::handshake(&mut victim.tcp());
        }
        let silent = || WebSocket::handshake(victim.tcp());
        let silent: Vec<_> = (0..100).map(|_| silent()).collect();
        match round {
            0 => victim.grew(),
            _ => victim.unharmed(),
        }
        drop(silent);
    }
}

/// A polling session of revision 3: opens one, posts to it, and tells the status.
#[track_caller]
fn post_eio3(victim: &Victim, kind: &str, body: &[u8]) -> u16 {
    let mut raw = victim.tcp();
    let open = raw.get("/socket.io/?EIO=3&transport=polling");
    assert_eq!(open.status, 200, "{open:?}");
    let sid = open.body.split("\"sid\":\"").nth(1).unwrap();
    let sid = sid.split('"').next().unwrap();
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={sid}");
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    raw.send([head.as_bytes(), body].concat());
    let status = raw.response().status;
    // Whatever it was, the session can be ended, or is over.
    raw.post(&target, "1:1");
    status
}

#[test]
fn forged_lengths_of_revision_3_harm_nobody() {
    let victim = Victim::with("allow_eio3 = true");
    for body in [
        "999999999:4x",
        "18446744073709551615:4",
        "18446744073709551616:4",
        "-1:4",
        ":",
        ":4x",
        "x:4x",
        "1:",
        "11",
        "2:4💥",
        "0:",
        "0:0:0:0:",
        "",
    ] {
        let seen = post_eio3(&victim, "text/plain;charset=UTF-8", body.as_bytes());
        // A post is answered before anybody knows what is in it.
        assert_eq!(seen, 200, "{body:?}");
        victim.unharmed();
    }
}

#[test]
fn forged_digits_of_revision_3_harm_nobody() {
    let victim = Victim::with("allow_eio3 = true");
    for body in [
        &b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4x"[..],
        b"\x00\x09\x09\x09\x09\x09\x09\x09\xff4x",
        b"\x00\x01\x08\x04\x04\x06\x07\x04\x04\x00\x07\x03\x07\xff4x",
        b"\x00\x0a\xff4x",
        b"\x00\xfe\xff4x",
        b"\x00\xff4x",
        b"\x00\x00\xff4x",
        b"\x01\x00\xff",
        b"\x01\x01\xff",
        b"\x01\x01\xff\x04",
        b"\x02\x01\xff4",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x00",
        b"\x01\x05\xff\x04ab",
    ] {
        let seen = post_eio3(&victim, "application/octet-stream", body);
        assert!([200, 400].contains(&seen), "{seen} to {body:?}");
        victim.unharmed();
    }
}

/// The CPU time that the workers use for a POST to a fresh session. `rest` is what comes after the
/// content type.
fn cpu_for_post(victim: &Victim, revision: u8, rest: &str) -> Duration {
    let mut raw = victim.tcp();
    let open = raw.get(&format!("/socket.io/?EIO={revision}&transport=polling"));
    let sid = open.body.split("\"sid\":\"").nth(1).unwrap();
    let sid = sid.split('"').next().unwrap();
    let head = format!(
        "POST /socket.io/?EIO={revision}&transport=polling&sid={sid} HTTP/1.1\r\n\
         Host: localhost\r\nContent-Type: text/plain\r\n"
    );
    let cpu = || -> Duration { victim.server.workers().into_iter().map(cpu_time).sum() };
    let before = cpu();
    let _ = raw.try_send([&head, rest].concat());
    let _ = raw.try_response();
    cpu().saturating_sub(before)
}

#[test]
fn a_body_in_a_hundred_thousand_chunks_costs_little() {
    let victim = Victim::with("allow_eio3 = true");
    for (revision, begin) in [(4, "4x"), (3, "100002:4x")] {
        let chunks = "1\r\nx\r\n".repeat(100_000);
        let begin = format!("{:x}\r\n{begin}\r\n", begin.len());
        let rest = format!("Transfer-Encoding: chunked\r\n\r\n{begin}{chunks}0\r\n\r\n");
        let used = cpu_for_post(&victim, revision, &rest);
        saw(&format!("chunks, revision {revision}"), used.as_millis());
        assert!(
            used < Duration::from_secs(1),
            "{used:?}, revision {revision}"
        );
        victim.unharmed();
    }
}

#[test]
fn a_body_of_very_many_packets_costs_little() {
    let victim = Victim::with("allow_eio3 = true");
    for (revision, packet) in [(4, "3\x1e"), (3, "1:2")] {
        let body = packet.repeat(300_000);
        let rest = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let used = cpu_for_post(&victim, revision, &rest);
        saw(&format!("packets, revision {revision}"), used.as_millis());
        assert!(
            used < Duration::from_secs(1),
            "{used:?}, revision {revision}"
        );
        victim.unharmed();
    }
}
