//! Any bytes at all, as the head of a WebSocket handshake: if it is one, then only when it is whole, to the router
//! too, and whatever comes behind it; its session keeps it as it was sent, and its answer is one, and one alone.
//!
//! The first byte says whether revision 3 is let in, and whether messages may be deflated.

#![no_main]

/// What the worker's modules ask of others.
mod config {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Transport {
        Polling,
        Websocket,
    }

    pub struct Engine {
        pub path: String,
        pub transports: Vec<Transport>,
        pub allow_eio3: bool,
        pub per_message_deflate: bool,
    }
}
mod api {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Refusal;
}
#[path = "../../src/worker/head.rs"]
mod head;
#[path = "../../src/worker/request.rs"]
mod request;
#[path = "../../src/wire/mod.rs"]
mod wire;

use config::{Engine, Transport};
use engineioxide::{Head, ProtocolVersion};
use head::WebSocketHead;
use http::HeaderMap;
use httparse::{EMPTY_HEADER, Status};
use libfuzzer_sys::fuzz_target;
use wire::request_line::{self, Peeked};

fuzz_target!(|data: &[u8]| {
    let Some((form, bytes)) = data.split_first() else {
        return;
    };
    let engine = Engine {
        path: "/socket.io/".into(),
        transports: vec![Transport::Polling, Transport::Websocket],
        allow_eio3: form & 1 == 1,
        per_message_deflate: form & 2 == 2,
    };
    let mut room = [EMPTY_HEADER; 100];
    let Some(read) = head::read(&engine, bytes, &mut room) else {
        return;
    };
    assert!(engine.allow_eio3 || read.protocol == ProtocolVersion::V4);
    for cut in 0..read.len {
        let mut room = [EMPTY_HEADER; 100];
        assert!(head::read(&engine, &bytes[..cut], &mut room).is_none());
    }
    let mut room = [EMPTY_HEADER; 100];
    let alone = head::read(&engine, &bytes[..read.len], &mut room);
    let alone = alone.expect("what comes behind a head does not make it one");
    assert_eq!(alone.target, read.target);
    assert_eq!(alone.parts.headers, read.parts.headers);

    let Peeked::Line(line) = request_line::read(bytes) else {
        panic!("the router lets nothing else in");
    };
    assert_eq!((line.method, &line.target), ("GET", &read.target));
    kept(&read);
    answered(&read);
});

fn kept(read: &WebSocketHead<'_, '_>) {
    let sent = read.headers.iter();
    let sent = sent.map(|header| (header.name, header.value));
    let kept = sent.filter(|(name, _)| request::is_kept(name));
    let head = Head::new(&read.target, kept, None, |_, _| {});
    let mut expected = HeaderMap::new();
    for (name, value) in &read.parts.headers {
        if request::is_kept(name.as_str()) {
            expected.append(name, value.clone());
        }
    }
    assert_eq!(head.uri, read.parts.uri);
    assert_eq!(head.headers, expected);
}

fn answered(read: &WebSocketHead<'_, '_>) {
    let headers = &read.parts.headers;
    let answer = request::switching_protocols(headers, read.agreed, std::iter::empty());
    let mut room = [EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut room);
    assert_eq!(parsed.parse(&answer), Ok(Status::Complete(answer.len())));
    assert_eq!(parsed.code, Some(101));
    let protocol = request::subprotocol(&read.parts.headers);
    let extras = usize::from(protocol.is_some()) + usize::from(read.agreed.is_some());
    assert_eq!(parsed.headers.len(), 3 + extras);
}
