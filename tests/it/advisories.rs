//! What was published of Socket.IO, Engine.IO and what they are built of: each advisory's own bytes, sent to this
//! server. docs/ADVISORIES.md has the list; a test's name ends with the advisory's number. Here: requests, and who looks on meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use super::hostile::Outcome::{Answer, Closed};
use super::hostile::{Victim, outcome};
use super::hostile_packets::assert_ended;

/// How long an echo may take beside an attack, on a machine that others use, too. Without optimization an attack's
/// megabyte takes ten times as long to read.
const UNDISTURBED: Duration =
    Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 250 });

/// Attacks, and meanwhile a client on each worker has its echoes as always. Then nothing is left of the attack.
#[track_caller]
pub(crate) fn beside_others(victim: &Victim, attack: impl FnOnce()) {
    let mut innocents = [victim.websocket(), victim.websocket()];
    assert_eq!(victim.server.sessions(), [1, 1], "one on each worker");
    let jitter = Jitter::watch();
    let over = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        let echoes = innocents.each_mut().map(|innocent| {
            scope.spawn(|| {
                let mut slowest = Duration::ZERO;
                // Once more when it is over.
                for last in [false, true] {
                    while last || !over.load(Relaxed) {
                        let began = Instant::now();
                        innocent.echo("as always");
                        slowest = slowest.max(began.elapsed());
                        if last {
                            break;
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                slowest
            })
        });
        // It must be over for them when it failed, too.
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        over.store(true, Relaxed);
        let slowest = echoes.map(|echo| echo.join().expect("an innocent client was served"));
        attacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        slowest
    });
    for slowest in slowest {
        saw("slowest echo beside it", format!("{slowest:?}"));
        jitter.assert_within(slowest, UNDISTURBED);
    }
    drop(innocents);
    victim.unharmed();
}

/// A WebSocket's handshake with more headers.
pub(crate) fn handshake_with(headers: &str) -> String {
    let request = WebSocket::request("/socket.io/?EIO=4&transport=websocket");
    request.replace(
        "Host: localhost\r\n",
        &format!("Host: localhost\r\n{headers}"),
    )
}

/// Names that every object of JavaScript has.
const INHERITED: [&str; 7] = [
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "valueOf",
    "prototype",
    "__defineGetter__",
];

#[test]
fn session_ids_cannot_be_guessed_cve_2017_16031() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    let sids: Vec<_> = (0..500).map(|_| Polling::handshake(&mut raw).sid).collect();
    let beginnings: HashSet<_> = sids.iter().map(|sid| &sid[..6]).collect();
    assert_eq!(beginnings.len(), sids.len(), "no two begin alike");
    for place in 0..16 {
        let seen: HashSet<_> = sids.iter().map(|sid| sid.as_bytes()[place]).collect();
        assert!(seen.len() > 50, "{} of 64 at {place}", seen.len());
    }
}

#[test]
fn a_sid_that_is_a_property_of_every_object_is_unknown_cve_2026_59724_cve_2026_102600() {
    let victim = Victim::with("allow_eio3 = true");
    beside_others(&victim, || {
        for sid in INHERITED {
            for revision in [3, 4] {
                let query = format!("/socket.io/?EIO={revision}&sid={sid}");
                let polling = format!("{query}&transport=polling");
                assert_eq!(victim.tcp().get(&polling).status, 400, "{sid}");
                assert_eq!(victim.tcp().post(&polling, "1").status, 400, "{sid}");
                for transport in ["websocket", "webtransport"] {
                    let target = format!("{query}&transport={transport}");
                    let upgrade = WebSocket::request(&target);
                    assert_eq!(victim.tcp().send(upgrade).response().status, 400, "{sid}");
                }
            }
        }
    });
}

#[test]
fn a_transport_that_is_a_property_of_every_object_is_unknown_cve_2023_31125() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for name in INHERITED.into_iter().chain(["", "webtransport", "a,b"]) {
            let target = format!("/socket.io/?EIO=4&transport={name}");
            let answer = victim.tcp().send(WebSocket::request(&target)).response();
            assert_eq!(answer.status, 400, "{name}: {answer:?}");
            let answer = victim.tcp().get(&target);
            assert_eq!(answer.status, 400, "{name}: {answer:?}");
        }
    });
}

#[test]
fn a_post_of_a_hundred_thousand_packets_costs_little_memory_cve_2020_36048() {
    let victim = Victim::with("allow_eio3 = true");
    let open = || {
        let open = victim.tcp().get("/socket.io/?EIO=3&transport=polling");
        let sid = open.body.split("\"sid\":\"").nth(1).unwrap();
        sid.split('"').next().unwrap().to_owned()
    };
    beside_others(&victim, || {
        // A length that nothing follows, one that all follows, and many packets with a character of two bytes.
        let long = "x".repeat(900_000);
        for body in [
            format!("100000000:4{long}"),
            format!("900001:4{long}"),
            "2:4\u{bc}".repeat(180_000),
            "1".repeat(999_999),
        ] {
            for _ in 0..5 {
                let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", open());
                let answer = victim.tcp().post(&target, &body);
                assert!([200, 400].contains(&answer.status), "{answer:?}");
                victim.tcp().post(&target, "1:1");
            }
        }
    });
}

#[test]
fn a_binary_post_is_answered_and_keeps_no_connection_cve_2026_59725() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let mut kept = Vec::new();
        for body in [&b"\x00\x01\x02"[..], b"\xff\xfe", b"", b"4\xff", b"bAAAA"] {
            for _ in 0..20 {
                let mut raw = victim.tcp();
                let session = Polling::open(&mut raw);
                let head = format!(
                    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n\
                     Content-Length: {}\r\n\r\n",
                    session.target(),
                    body.len()
                );
                raw.send([head.as_bytes(), body].concat());
                let answered = outcome(&mut raw);
                assert_eq!(answered, Answer(400), "{body:?}");
                // The connection is as good as before, or closed: it is not held open in the middle of an answer.
                assert!([200, 400].contains(&raw.get(&session.target()).status));
                kept.push(raw);
            }
        }
    });
}

#[test]
fn an_upgrade_of_another_revision_is_refused_cve_2026_102599() {
    for allowed in ["", "allow_eio3 = true"] {
        let victim = Victim::with(allowed);
        beside_others(&victim, || {
            for revision in ["EIO=3&", "", "EIO=5&", "EIO=&", "EIO=4&EIO=3&"] {
                let mut raw = victim.tcp();
                let session = Polling::open(&mut raw);
                let target = session.target().replace("=polling", "=websocket");
                let upgrade = WebSocket::request(&target.replace("EIO=4&", revision));
                let mut other = victim.tcp();
                // The heartbeats follow at once, as one who knows the fault would send them.
                let beats = [&b"2probe"[..], b"5", b"2", b"3", b"2\xc3\xa9", b"3probe"];
                let beats = beats.map(|beat| WebSocket::frame(0x81, beat)).concat();
                let _ = other.try_send([upgrade.into_bytes(), beats].concat());
                let seen = outcome(&mut other);
                assert_eq!(seen, Answer(400), "{revision}");
                session.echo(&mut raw, "of its own revision still");
                session.post(&mut raw, "1");
            }
        });
    }
}

#[test]
fn a_bad_upgrade_that_is_reset_at_once_harms_nobody_cve_2022_41940() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for nth in 0..200 {
            let target = [
                "?EIO=4&transport=websocket&sid=x",
                "?EIO=9",
                "?transport=websocket",
                "x",
            ][nth % 4];
            let mut raw = victim.tcp();
            raw.send(WebSocket::request(&format!("/socket.io/{target}")));
            raw.reset();
        }
    });
}

#[test]
fn a_bad_upgrade_with_a_bad_frame_behind_it_harms_nobody_cve_2022_21676() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let session = Polling::open(&mut victim.tcp());
        for first in [0xb1, 0xf1, 0xff] {
            let frame = WebSocket::frame(first, b"2probe");
            for (target, refused) in [
                (
                    "/socket.io/?EIO=4&transport=websocket&sid=unknown".to_owned(),
                    true,
                ),
                ("/socket.io/?EIO=4&transport=websocket".to_owned(), false),
                (session.target().replace("=polling", "=websocket"), false),
            ] {
                let mut raw = victim.tcp();
                raw.send([WebSocket::request(&target).into_bytes(), frame.clone()].concat());
                if refused {
                    assert_eq!(outcome(&mut raw), Answer(400), "{target}");
                } else {
                    assert_ended(&mut WebSocket::switched(raw), &target);
                }
            }
        }
        session.echo(&mut victim.tcp(), "polls on");
        session.post(&mut victim.tcp(), "1");
    });
}

#[test]
fn no_cookie_is_set_whatever_the_request_has_cve_2024_47764() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let cookie = "Cookie: userName=<script>alert('XSS3')</script>; Max-Age=2592000; a=test; __proto__=x\r\n";
        for request in [
            handshake_with(cookie),
            format!(
                "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n"
            ),
        ] {
            let answer = victim.tcp().send(request).response();
            assert!([101, 200].contains(&answer.status), "{answer:?}");
            assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
        }
    });
}

#[test]
fn two_thousand_headers_before_an_upgrade_harm_nobody_cve_2024_37890() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for count in [100, 500, 2_000, 2_100] {
            let many = "a:b\r\n".repeat(count);
            for request in [
                handshake_with(&many),
                format!("GET / HTTP/1.1\r\n{many}\r\n"),
            ] {
                let mut raw = victim.tcp();
                let _ = raw.try_send(request);
                let seen = outcome(&mut raw);
                let known = [Answer(101), Answer(200), Answer(400), Answer(431), Closed];
                assert!(known.contains(&seen), "{seen:?} to {count}");
            }
        }
    });
}
