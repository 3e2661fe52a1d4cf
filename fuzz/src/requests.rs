//! Any bytes at all, as the requests of a connection on their way to hyper: what hyper gets is the same however
//! they arrive; only the first lines of requests are escaped, where hyper finds them, and nothing twice; frames
//! behind a handshake are not touched.
//!
//! The first byte says how long the pieces are.

#![no_main]

#[path = "../../src/worker/stream/requests.rs"]
mod requests;
#[path = "../../src/wire/mod.rs"]
mod wire;

use std::borrow::Cow;

use httparse::Status;
use libfuzzer_sys::fuzz_target;
use requests::{MAX_HEADERS, Requests};
use wire::request_line::escape;

fuzz_target!(|data: &[u8]| {
    let Some((&step, sent)) = data.split_first() else {
        return;
    };
    let got = follow(sent, sent.len().max(1));
    for step in [1, 2, usize::from(step).max(3)] {
        assert_eq!(follow(sent, step), got);
    }
    assert_eq!(follow(&got, got.len().max(1)), got);
    only_first_lines(sent, &got);
});

fn follow(sent: &[u8], step: usize) -> Vec<u8> {
    let mut requests = Requests::default();
    let mut got = Vec::new();
    for piece in sent.chunks(step) {
        got.extend_from_slice(
            &requests
                .follow(piece)
                .map_or(Cow::Borrowed(piece), Cow::Owned),
        );
    }
    got
}

/// Walks along both, as far as hyper would.
fn only_first_lines<'a>(mut sent: &'a [u8], mut got: &'a [u8]) {
    while let Some((len, body)) = request(got) {
        // Both have the same lines. Those up to the first that is not empty are escaped, if at all.
        let lines = |bytes: &'a [u8]| {
            let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
            let begin = empty.count();
            let line = bytes[begin..].iter().position(|&b| b == b'\n');
            bytes.split_at(begin + line.map_or(0, |end| end + 1))
        };
        let (first_sent, rest_sent) = lines(sent);
        let (first_got, rest_got) = lines(got);
        assert!(first_got == first_sent || first_got == &*escape(first_sent));
        let head = len - first_got.len();
        let rest = match body {
            Body::Length(body) => head.saturating_add(body).min(rest_got.len()),
            Body::Frames => rest_got.len(),
            Body::Other => return,
        };
        assert_eq!(rest_sent[..rest], rest_got[..rest]);
        sent = &rest_sent[rest..];
        got = &rest_got[rest..];
    }
}

/// What comes behind a head.
enum Body {
    /// So many bytes, then another request.
    Length(usize),
    Frames,
    /// What hyper refuses, or knows the end of.
    Other,
}

/// The length of the head at the beginning, and what comes behind it.
fn request(bytes: &[u8]) -> Option<(usize, Body)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(len)) = request.parse(bytes) else {
        return None;
    };
    let named = |name: &'static str| {
        let headers = request.headers.iter();
        headers.filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    let length = named("content-length").next().map_or(Some(0), |header| {
        let text = str::from_utf8(header.value).ok()?;
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    });
    let body = if named("transfer-encoding").count() > 0 || named("content-length").count() > 1 {
        Body::Other
    } else if named("upgrade").any(|header| header.value.eq_ignore_ascii_case(b"websocket")) {
        Body::Frames
    } else {
        length.map_or(Body::Other, Body::Length)
    };
    Some((len, body))
}
