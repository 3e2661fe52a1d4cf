//! Published advisories, see [`super::advisories`]. Here: WebSocket's handshake and frames.

use std::time::Duration;

use super::advisories::{beside_others, handshake_with};
use super::harness::*;
use super::hostile::Outcome::{Answer, Closed};
use super::hostile::Victim;
use super::hostile::outcome;
use super::hostile_packets::assert_ended;

/// The CPU time of the workers and the master while `act` runs.
fn cost(victim: &Victim, act: impl FnOnce()) -> Duration {
    let mut all = victim.server.workers();
    all.push(victim.server.pid);
    let cpu = || -> Duration { all.iter().copied().map(cpu_time).sum() };
    let before = cpu();
    act();
    cpu().saturating_sub(before)
}

#[test]
fn a_protocol_header_full_of_spaces_costs_nothing_cve_2021_32640() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for length in [1_000, 4_000, 15_000] {
            let header = format!("Sec-WebSocket-Protocol: b{}x\r\n", " ".repeat(length));
            let used = cost(&victim, || {
                for _ in 0..10 {
                    let mut raw = victim.tcp();
                    raw.send(handshake_with(&header));
                    let seen = outcome(&mut raw);
                    assert!(
                        [Answer(101), Answer(400), Answer(431)].contains(&seen),
                        "{seen:?}"
                    );
                }
            });
            saw("CPU of ten such handshakes", format!("{used:?}"));
            // The bystanders' echoes are in it.
            assert!(used < Duration::from_millis(500), "{used:?} for {length}");
        }
    });
}

#[test]
fn an_extension_that_is_a_property_of_every_object_is_none_ghsa_5v72_xg48_5rpm() {
    for offered in ["", "per_message_deflate = true"] {
        let victim = Victim::with(offered);
        beside_others(&victim, || {
            for value in [
                "constructor",
                ",;constructor",
                "__proto__",
                "permessage-deflate; constructor",
                "permessage-deflate; __proto__=1; hasOwnProperty",
                "permessage-deflate, constructor; toString=\"x\"",
            ] {
                let header = format!("Sec-WebSocket-Extensions: {value}\r\n");
                let mut raw = victim.tcp();
                raw.send(handshake_with(&header));
                let seen = outcome(&mut raw);
                assert!(
                    [Answer(101), Answer(400)].contains(&seen),
                    "{seen:?} to {value}"
                );
            }
        });
    }
}

#[test]
fn a_pong_has_the_bytes_of_its_ping_and_no_others_cve_2016_10518() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let mut socket = victim.websocket();
        for payload in [&b"100"[..], b"", b"\x00\x00\xff\xff", &[0x31; 125]] {
            socket.raw.send(WebSocket::frame(0x89, payload));
            loop {
                let (opcode, answer) = socket.read().expect("a pong");
                if opcode == 10 {
                    assert_eq!(answer, payload);
                    break;
                }
                assert_eq!(answer, b"2", "the engine's own ping");
                socket.text("3");
            }
        }
    });
}

/// 1000, and a reason as long as there may be.
const GOODBYE: [u8; 125] = {
    let mut goodbye = [b'r'; 125];
    goodbye[0] = 0x03;
    goodbye[1] = 0xe8;
    goodbye
};

#[test]
fn a_close_frame_has_its_code_and_nothing_else_cve_2026_45736() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for wrong in [
            WebSocket::frame(0x81, b"42[\"\xff\"]"),
            WebSocket::frame(0x83, b"x"),
            WebSocket::frame(0x81, &vec![b'x'; 1_000_001]),
            WebSocket::frame(0x88, b"\x03\xe8"),
            WebSocket::frame(0x88, &GOODBYE),
        ] {
            let mut socket = victim.websocket();
            let _ = socket.raw.try_send(&wrong);
            loop {
                let (opcode, payload) = socket.read().expect("a close frame");
                if opcode == 8 {
                    // A client's own words come back to it.
                    let known = payload.len() <= 2 || payload == GOODBYE;
                    assert!(known, "{payload:?}");
                    break;
                }
                assert_eq!(payload, b"2", "the engine's own ping");
            }
        }
    });
}

#[test]
fn a_message_of_very_many_tiny_fragments_costs_what_its_bytes_cost_cve_2026_48779_cve_2026_62389() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let held = || -> u64 {
            let workers = victim.server.workers().into_iter();
            workers.map(|pid| memory(pid).dirty).sum()
        };
        let before = held();
        // A message that does not end, in fragments of a byte and of none.
        let tiny = [WebSocket::frame(0x00, b"x"), WebSocket::frame(0x00, b"")];
        let many = tiny.concat().repeat(10_000);
        let mut endless: Vec<_> = (0..8).map(|_| victim.websocket()).collect();
        for socket in &mut endless {
            socket.raw.send(WebSocket::frame(0x01, b"42[\""));
        }
        for _ in 0..10 {
            for socket in &mut endless {
                socket.raw.send(&many);
            }
        }
        let after = held();
        saw(
            "KiB more for 800,000 bytes in 1,600,000 fragments",
            after.saturating_sub(before),
        );
        assert!(after < before + 8 * 1024, "{before} KiB, then {after}");
        // All of it was read.
        for socket in &mut endless {
            socket.raw.send(WebSocket::frame(0x80, b"\"]"));
            assert_eq!(socket.read_text().len(), 100_000 + 6);
        }
        // More than a message may have ends it.
        let mut socket = victim.websocket();
        socket.raw.send(WebSocket::frame(0x01, b"4"));
        let piece = WebSocket::frame(0x00, &[b'x'; 100]).repeat(1_000);
        for _ in 0..11 {
            let _ = socket.raw.try_send(&piece);
        }
        assert_ended(&mut socket, "1.1 MB in fragments");
        drop(endless);
    });
}

/// `tungstenite` read a head again from its beginning whenever more of it came.
#[test]
fn a_long_head_that_comes_in_small_pieces_costs_little_cve_2023_43669() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let used = cost(&victim, || {
            let mut raw = victim.tcp();
            raw.send("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n");
            let line = format!("X-Long: {}\r\n", "a".repeat(90));
            for _ in 0..600 {
                if raw.try_send(&line).is_err() {
                    break;
                }
                // Each is a segment of its own for the server.
                std::thread::sleep(Duration::from_millis(1));
            }
            let seen = outcome(&mut raw);
            assert!([Answer(431), Closed].contains(&seen), "{seen:?}");
        });
        saw(
            "CPU of a head of 60,000 bytes in 600 pieces",
            format!("{used:?}"),
        );
        assert!(used < Duration::from_secs(1), "{used:?}");
    });
}
