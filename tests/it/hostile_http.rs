//! Hostile clients: requests that are not as HTTP would have them.

use std::collections::HashMap;

use super::harness::*;
use super::hostile::Outcome::{Answer, Closed};
use super::hostile::{Outcome, Victim, outcome, provoke};

const HANDSHAKE: &str =
    "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Bytes that look like nothing, the same ones each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    })
    .take(count)
    .collect()
}

/// An answer in the engine's words.
#[track_caller]
fn assert_refused(response: &Response, code: u64) {
    assert_eq!(response.status, 400, "{response:?}");
    let said: serde_json::Value = serde_json::from_str(&response.body).expect(&response.body);
    assert_eq!(said["code"], code, "{response:?}");
}

/// Ends a session that is still there.
fn close(victim: &Victim, session: &Polling) {
    assert_eq!(session.post(&mut victim.tcp(), "1").status, 200);
}

#[test]
fn a_head_without_end_is_refused() {
    let victim = Victim::new();
    let long = "a".repeat(1 << 20);
    let many = "X-Header: value\r\n".repeat(65_536);
    for head in [
        format!("GET /{long}"),
        format!("{long} / HTTP/1.1\r\n"),
        format!("GET / HTTP/1.1\r\nX-Long: {long}"),
        format!("GET / HTTP/1.1\r\n{many}"),
        format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{many}"),
        format!("GET / HTTP/1.1\r\n{long}"),
    ] {
        for mut raw in [victim.tcp(), victim.unix()] {
            let outcome = provoke(&mut raw, &head);
            assert!(
                [Answer(431), Answer(400), Closed].contains(&outcome),
                "{outcome:?} to {}",
                &head[..40]
            );
        }
        victim.unharmed();
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let victim = Victim::new();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for bytes in [
        tls,
        http2,
        noise(64),
        noise(20_000),
        b"\0".to_vec(),
        b"\r\n".repeat(50),
        b"\n".repeat(50),
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.7\r\n".to_vec(),
    ] {
        for mut raw in [victim.tcp(), victim.unix()] {
            let said = String::from_utf8_lossy(&bytes[..bytes.len().min(30)]).into_owned();
            assert_eq!(provoke(&mut raw, &bytes), Answer(400), "{said:?}");
        }
        victim.unharmed();
    }
}

#[test]
fn a_few_empty_lines_before_a_request_are_forgiven() {
    let victim = Victim::new();
    for lines in [1, 3] {
        let request = "\r\n".repeat(lines) + "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(provoke(&mut victim.tcp(), request), Answer(200), "{lines}");
    }
    victim.unharmed();
}

#[test]
fn a_refusal_is_read_by_its_client_however_much_that_had_sent() {
    let victim = Victim::new();
    let more = "x".repeat(100_000);
    let header = "y".repeat(40_000);
    let cases = [
        ("\0garbage".to_owned(), 400),
        (format!("\0{more}"), 400),
        (format!("GET /{more}"), 431),
        (format!("GET / HTTP/1.1\r\nX: {header}\r\n\r\n{more}"), 431),
        (format!("GET / HTTP/1.1\r\nbad header\r\n\r\n{more}"), 400),
    ];
    for (bytes, status) in &cases {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for _ in 0..50 {
            for mut raw in [victim.tcp(), victim.unix()] {
                let outcome = provoke(&mut raw, bytes);
                *seen.entry(format!("{outcome:?}")).or_default() += 1;
            }
        }
        let expected = HashMap::from([(format!("{:?}", Answer(*status)), 100)]);
        assert_eq!(seen, expected, "{:?}", &bytes[..20.min(bytes.len())]);
        victim.unharmed();
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_is_served() {
    let victim = Victim::new();
    let mut raw = victim.tcp();
    for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        raw.send([*byte]);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(outcome(&mut raw), Answer(200));
    victim.unharmed();
}

#[test]
fn requests_in_one_write_are_all_answered_in_their_order() {
    let victim = Victim::new();
    let mut raw = victim.tcp();
    raw.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
            .repeat(10),
    );
    for nth in 0..20 {
        let status = if nth % 2 == 0 { 200 } else { 404 };
        assert_eq!(raw.response().status, status, "{nth}");
    }
    raw.send(HANDSHAKE.repeat(20));
    let mut sids: Vec<_> = (0..20).map(|_| raw.response().body).collect();
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids.len(), 20);
    victim.unharmed();
}

#[test]
fn targets_in_other_spellings_find_their_session() {
    let victim = Victim::new();
    let mut raw = victim.tcp();
    let session = Polling::open(&mut raw);
    let absolute = format!("http://elsewhere.test{}", session.target());
    let encoded: Vec<_> = session.sid.bytes().map(|b| format!("%{b:02x}")).collect();
    let encoded = encoded.concat();
    let encoded = format!("/socket.io/?E%49O=4&transport=poll%69ng&s%69d={encoded}");
    for target in [absolute, encoded] {
        for mut raw in [victim.tcp(), victim.tcp(), victim.unix()] {
            let posted = raw.post(&target, "42[\"echo\"]");
            assert_eq!((posted.status, posted.body.as_str()), (200, "ok"));
            assert_eq!(session.packets(&mut raw), ["42[\"echo\"]"]);
        }
    }
    close(&victim, &session);
    victim.unharmed();
}

#[test]
fn a_sid_that_is_repeated_forged_or_unknown_is_refused() {
    let victim = Victim::new();
    let session = Polling::open(&mut victim.tcp());
    let target = session.target();
    let sid = &session.sid;
    let last = if sid.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{last}", &sid[..sid.len() - 1]);
    let bare = &sid[..16];
    let with = |sid: &str| format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    for (target, code) in [
        (format!("{target}&sid={sid}"), 1),
        (format!("{target}&%73id=x"), 1),
        (with(&forged), 1),
        (with(bare), 1),
        (with("%00"), 1),
        (with(&"a".repeat(4_000)), 1),
        (with("%ff%fe"), 1),
    ] {
        assert_refused(&victim.tcp().get(&target), code);
        assert_refused(&victim.tcp().post(&target, "42[\"x\"]"), code);
    }
    session.echo(&mut victim.tcp(), "not harmed");
    close(&victim, &session);
    victim.unharmed();
}

#[test]
fn a_sid_in_the_wrong_place_is_none() {
    let victim = Victim::new();
    let session = Polling::open(&mut victim.tcp());
    let sid = &session.sid;
    let query = "EIO=4&transport=polling";
    for request in [
        format!("GET /socket.io/{sid}/?{query} HTTP/1.1\r\n"),
        format!("GET /socket.io/?{query} HTTP/1.1\r\nsid: {sid}\r\n"),
        format!("GET /socket.io/?{query}#&sid={sid} HTTP/1.1\r\n"),
        format!("GET /socket.io/?{query}&xsid={sid} HTTP/1.1\r\n"),
    ] {
        let fresh = victim.tcp().send(format!("{request}\r\n")).response();
        assert_eq!(fresh.status, 200, "{request}");
        assert!(fresh.body.starts_with("0{"), "{request}");
        let post = request.replacen("GET", "POST", 1) + "Content-Length: 2\r\n\r\n40";
        assert_refused(&victim.tcp().send(post).response(), 2);
    }
    close(&victim, &session);
    victim.unharmed();
}

/// Sends a POST that is not as it says, once followed by silence and once by an end, and waits for
/// its answer; then the session is gone.
#[track_caller]
fn ill_post(victim: &Victim, headers: &str, body: &[u8], allowed: &[Outcome]) {
    let mut posts = [false, true].map(|half_close| {
        let mut raw = victim.tcp();
        let session = Polling::open(&mut raw);
        let target = session.target();
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
        let _ = raw.try_send([head.as_bytes(), body].concat());
        if half_close {
            raw.half_close();
        }
        (raw, session)
    });
    for (raw, session) in &mut posts {
        let outcome = outcome(raw);
        assert!(allowed.contains(&outcome), "{outcome:?} to {headers:?}");
        eventually("the session ends", SOON, || {
            session.poll(&mut victim.tcp()).status == 400
        });
    }
    victim.unharmed();
}

#[test]
fn a_body_longer_than_it_says_is_the_next_request() {
    let victim = Victim::new();
    let mut raw = victim.tcp();
    let session = Polling::open(&mut raw);
    let target = session.target();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
    raw.send(format!("{head}3garbage\r\n\r\n{}", "x".repeat(100_000)));
    assert_eq!(outcome(&mut raw), Answer(200));
    let next = outcome(&mut raw);
    assert!([Answer(400), Closed].contains(&next), "{next:?}");
    session.echo(&mut victim.tcp(), "not harmed");
    close(&victim, &session);
    victim.unharmed();
}

#[test]
fn a_body_shorter_than_it_says_ends_its_session() {
    let victim = Victim::new();
    ill_post(
        &victim,
        "Content-Length: 100",
        b"42[\"x\"]",
        &[Answer(400), Closed],
    );
}

#[test]
fn a_body_in_chunks_of_nonsense_ends_its_session() {
    let victim = Victim::new();
    for body in [
        "fffffffffffffff0\r\n42[\"x\"]",
        "ffffffffffffffff\r\n42[\"x\"]",
        "10000000000000001\r\n42[\"x\"]",
        "zz\r\n42[\"x\"]",
        "-1\r\n42[\"x\"]",
        "2\r\n42garbage",
        "7;extension=without-end",
    ] {
        let chunked = "Transfer-Encoding: chunked";
        ill_post(
            &victim,
            chunked,
            body.as_bytes(),
            &[Answer(400), Answer(413), Closed],
        );
    }
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let victim = Victim::new();
    let body = vec![b'4'; 1_000_001];
    let length = format!("Content-Length: {}", body.len());
    ill_post(&victim, &length, &body, &[Answer(413)]);
    let chunk = [
        format!("{:x}\r\n", body.len()).as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    ill_post(
        &victim,
        "Transfer-Encoding: chunked",
        &chunk,
        &[Answer(413)],
    );
}

#[test]
fn a_length_that_is_none_is_refused() {
    let victim = Victim::new();
    for headers in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: -2",
        "Content-Length: +2",
        "Content-Length: 18446744073709551615",
        "Content-Length: 99999999999999999999",
    ] {
        let request = format!(
            "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n40"
        );
        let outcome = provoke(&mut victim.tcp(), request);
        let refused = [Answer(400), Answer(431)].contains(&outcome);
        assert!(refused, "{outcome:?} to {headers}");
    }
    victim.unharmed();
}
