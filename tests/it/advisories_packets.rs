//! Published advisories, see [`super::advisories`]. Here: Socket.IO packets.

use serde_json::json;

use super::advisories::beside_others;
use super::harness::*;
use super::hostile::Victim;
use super::hostile_packets::assert_ended;

const PLACEHOLDER: &str = "{\"_placeholder\":true,\"num\":0}";

/// Sends them as messages of a fresh session's WebSocket; attachments follow as binary ones. It is ended.
#[track_caller]
fn ends(victim: &Victim, packet: &str, attachments: usize) {
    let mut socket = victim.websocket();
    let _ = socket
        .raw
        .try_send(WebSocket::frame(0x81, packet.as_bytes()));
    for _ in 0..attachments {
        let _ = socket.raw.try_send(WebSocket::frame(0x82, &[7; 1_000]));
    }
    assert_ended(&mut socket, &packet[..packet.len().min(60)]);
}

#[test]
fn an_event_named_error_is_an_event_like_others_cve_2024_38355() {
    let victim = Victim::new();
    beside_others(&victim, || {
        let mut socket = victim.websocket();
        let mut raw = victim.tcp();
        let session = Polling::open(&mut raw);
        for event in ["42[\"error\"]", "42[\"error\",{\"message\":\"x\"}]"] {
            socket.text(event);
            assert_eq!(socket.read_text(), event);
            session.post(&mut raw, event);
            assert_eq!(session.packets(&mut raw), [event]);
        }
        session.post(&mut raw, "1");
    });
}

#[test]
fn an_event_without_a_proper_name_ends_its_session_alone_cve_2023_32695() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for name in [
            "{\"toString\":\"foo\"}",
            "{\"toString\":null,\"valueOf\":null}",
            "{}",
            "[]",
            "[\"a\"]",
            "null",
            "true",
        ] {
            ends(&victim, &format!("42[{name}]"), 0);
            ends(&victim, &format!("42[{name},\"x\"]"), 0);
            ends(&victim, &format!("451-[{name},{PLACEHOLDER}]"), 1);
        }
        for packet in [
            "42{\"toString\":\"foo\"}",
            "42\"x\"",
            "40\"x\"",
            "40[]",
            "43{}",
        ] {
            ends(&victim, packet, 0);
        }
    });
}

#[test]
fn a_placeholder_that_names_a_function_ends_the_session_cve_2022_2421() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for num in [
            "\"splice\"",
            "\"constructor\"",
            "\"length\"",
            "\"__proto__\"",
            "{}",
            "null",
            "-1",
            "0.5",
        ] {
            let event = format!("451-[\"hello\",{{\"_placeholder\":true,\"num\":{num}}}]");
            ends(&victim, &event, 1);
        }
    });
}

#[test]
fn a_packet_whose_head_is_a_megabyte_costs_little_cve_2020_36049() {
    let victim = Victim::new();
    let long = |what: &str| what.repeat(990_000);
    let packets = [
        format!("42/{},[\"x\"]", long("a")),
        format!("42/{}", long("a")),
        format!("42{}[\"x\"]", long("1")),
        format!("45{}-[\"x\"]", long("1")),
        format!("43{}", long("1")),
        format!("40/{},", long("a")),
        format!("40/a?{},", long("b")),
        format!("42[\"{}\"", long("a")),
    ];
    beside_others(&victim, || {
        for packet in &packets {
            for _ in 0..3 {
                let mut socket = victim.websocket();
                let _ = socket
                    .raw
                    .try_send(WebSocket::frame(0x81, packet.as_bytes()));
            }
        }
    });
}

#[test]
fn more_attachments_than_an_event_may_have_are_not_waited_for_cve_2026_33151() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for count in ["1001", "100000", "4294967297", "9007199254740993", "1e9"] {
            ends(&victim, &format!("45{count}-[\"x\",{PLACEHOLDER}]"), 20);
            ends(&victim, &format!("46{count}-1[{PLACEHOLDER}]"), 20);
        }
        // As many as are allowed, and as much of them as fits, but for the last: fifty times.
        let announced = format!("451000-[\"x\",{PLACEHOLDER}]");
        let attachment = WebSocket::frame(0x82, &[7; 900]);
        let mut waiting: Vec<_> = (0..50).map(|_| victim.websocket()).collect();
        for socket in &mut waiting {
            socket.text(&announced);
            socket.raw.send(attachment.repeat(999));
        }
        // None of them has more than its limit.
        let held = victim
            .server
            .workers()
            .into_iter()
            .map(|pid| memory(pid).dirty);
        let held = held.sum::<u64>();
        saw("KiB with fifty events that lack an attachment", held);
        assert!(held < 160 * 1024, "{held} KiB");
    });
}

#[test]
fn an_event_of_no_attachments_waits_for_none_cve_2026_69185() {
    let victim = Victim::new();
    beside_others(&victim, || {
        for packet in [
            "450-[\"x\"]".to_owned(),
            format!("450-[\"x\",{PLACEHOLDER}]"),
            "460-1[]".to_owned(),
            "4500-[\"x\"]".to_owned(),
            "45-0-[\"x\"]".to_owned(),
            "45-[\"x\"]".to_owned(),
        ] {
            ends(&victim, &packet, 500);
        }
    });
}

#[test]
fn messagepack_nested_without_end_ends_its_session_alone_ghsa_c6g7_r2mf_pf5g() {
    let server = Setup::new()
        .config("[engine]\nparser = \"msgpack\"")
        .start();
    let workers = server.workers();
    // {"type":0,"nsp":"/"}, and {"type":2,"nsp":"/","data":["deep",…]}, where data goes down and down.
    let connect = b"\x82\xa4type\x00\xa3nsp\xa1/";
    let event = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa4deep";
    let open = || {
        let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
        socket.binary(connect);
        assert_eq!(socket.read().unwrap().0, 2, "joined");
        socket
    };
    let mut innocents = [open(), open()];
    let echo = |socket: &mut WebSocket| {
        let event = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa4echo\x2a";
        socket.binary(event);
        let (opcode, echoed) = socket.read().unwrap();
        assert_eq!(
            (opcode, echoed.ends_with(b"\xa4echo\x2a")),
            (2, true),
            "{echoed:?}"
        );
    };
    for down in [&b"\x91"[..], b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"] {
        for depth in [1_000, 50_000, 190_000] {
            for end in [&b"\xc0"[..], b""] {
                let mut socket = open();
                let deep = [&event[..], &down.repeat(depth), end].concat();
                let _ = socket.raw.try_send(WebSocket::frame(0x82, &deep));
                // In the place of the whole packet, too.
                let _ = open()
                    .raw
                    .try_send(WebSocket::frame(0x82, &down.repeat(depth)));
                innocents.iter_mut().for_each(echo);
            }
        }
    }
    assert_eq!(server.workers(), workers, "none was replaced");
    assert_eq!(server.count_lines("panicked"), 0);
}

/// No advisory of its own, but the cause of four.
#[test]
fn names_that_every_object_of_javascript_has_are_names_like_others() {
    let names = ["__proto__", "constructor", "hasOwnProperty", "toString"];
    let victim = Victim::new();
    beside_others(&victim, || {
        let mut socket = victim.websocket();
        for name in names {
            socket.echo(name);
            let event = format!("42[\"{name}\",{{\"{name}\":{{\"polluted\":true}}}}]");
            socket.text(&event);
            assert_eq!(socket.read_text(), event);
            socket.text(&format!("40/{name},"));
            let refused = socket.read_text();
            assert!(refused.starts_with(&format!("44/{name},")), "{refused}");
        }
        drop(socket);
        // Rooms, over both workers.
        let crowd = Crowd::light(&victim.server, "/chat", 4);
        for name in names {
            crowd.all_call("join", &json!([name]));
            crowd[0].call("message", json!([name, name]));
            for other in &crowd[1..] {
                let from = crowd[0].id();
                other.hears(
                    "message",
                    &json!({"room": name, "from": from, "payload": name}),
                );
            }
        }
    });
}
