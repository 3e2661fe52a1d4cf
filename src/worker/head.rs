//! The head of a WebSocket handshake that opens a connection. Pure: bytes in, values out.

use std::borrow::Cow;

use engineioxide::{Agreed, ProtocolVersion};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request};

use super::request::{self, EngineRequest};
use crate::config::Engine;
use crate::wire::request_line;
use crate::wire::target::{SidParam, Target};

/// A handshake that is right in every respect.
#[derive(Debug)]
pub(crate) struct WebSocketHead<'a, 'b> {
    /// The length of the head, in bytes; what stands behind it are frames.
    pub(crate) len: usize,
    /// The target, escaped.
    pub(crate) target: Cow<'b, str>,
    /// The headers, as sent.
    pub(crate) headers: &'a [httparse::Header<'b>],
    /// The request as its reader sees it.
    pub(crate) parts: Parts,
    pub(crate) protocol: ProtocolVersion,
    /// Does the client want binary data as text?
    pub(crate) base64: bool,
    /// About deflating messages.
    pub(crate) agreed: Option<Agreed>,
}

/// Reads `bytes`, which begin with a request's head. None if that is not whole, or no such handshake: whatever is
/// wrong with it is told by who answers it.
pub(crate) fn read<'a, 'b>(
    engine: &Engine,
    bytes: &'b [u8],
    room: &'a mut [httparse::Header<'b>],
) -> Option<WebSocketHead<'a, 'b>> {
    let mut parsed = httparse::Request::new(room);
    let Ok(httparse::Status::Complete(len)) = parsed.parse(bytes) else {
        return None;
    };
    let (Some("GET"), Some(target)) = (parsed.method, parsed.path) else {
        return None;
    };
    // Most requests are none, and need no more than a look at their target.
    let target = match request_line::escape(target.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(target),
        Cow::Owned(escaped) => Cow::Owned(String::from_utf8(escaped).ok()?),
    };
    let read = Target::parse(&target);
    let query = read.engine_query();
    if !read.is_engine(&engine.path)
        || query.sid != SidParam::Absent
        || query.transport.as_deref() != Some("websocket")
    {
        return None;
    }
    let parts = parts(&target, parsed.headers)?;
    let EngineRequest {
        protocol, base64, ..
    } = request::read(engine, &Method::GET, &parts.headers, query).ok()?;
    Some(WebSocketHead {
        agreed: request::agreed(engine, &parts.headers),
        len,
        target,
        headers: parsed.headers,
        parts,
        protocol,
        base64,
    })
}

/// A request as its reader sees it; none if there is something in it that hyper would refuse.
fn parts(target: &str, headers: &[httparse::Header<'_>]) -> Option<Parts> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = target.parse().ok()?;
    parts.headers.reserve(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        parts.headers.append(name, value);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /socket.io/?EIO=4&transport=websocket&a=| HTTP/1.1\r\nHost: x\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// The length and the target of what is read.
    fn read_of(bytes: &[u8]) -> Option<(usize, String)> {
        let mut room = [httparse::EMPTY_HEADER; 16];
        let head = read(&Engine::default(), bytes, &mut room)?;
        Some((head.len, head.target.into_owned()))
    }

    #[test]
    fn a_handshake_is_read_once_it_is_whole_whatever_comes_behind_it() {
        let target = "/socket.io/?EIO=4&transport=websocket&a=%7C";
        let expected = Some((HEAD.len(), target.to_owned()));
        for cut in 0..HEAD.len() {
            assert_eq!(read_of(&HEAD.as_bytes()[..cut]), None, "{cut}");
        }
        assert_eq!(read_of(HEAD.as_bytes()), expected);
        assert_eq!(
            read_of(&[HEAD.as_bytes(), b"\x81\x80|\""].concat()),
            expected
        );
    }

    #[test]
    fn what_is_not_right_in_every_respect_is_for_others_to_answer() {
        for (right, wrong) in [
            ("GET", "POST"),
            ("/socket.io/", "/other/"),
            ("&a=", "&sid="),
            ("transport=websocket", "transport=polling"),
            ("EIO=4", "EIO=3"),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Version: 13", "Version: 12"),
            ("Host: x", "Host: \x7f"),
        ] {
            let head = HEAD.replace(right, wrong);
            assert_eq!(read_of(head.as_bytes()), None, "{wrong}");
        }
    }
}
