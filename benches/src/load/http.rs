//! HTTP as a polling client speaks it (RFC 9112), as far as answers with a length go.

use super::LoadError;
use super::session::expect;

/// What a client of the engine asks for: its path with `query` behind what all queries have.
pub(crate) fn get(query: &str) -> Vec<u8> {
    request("GET", query, "", "")
}

pub(crate) fn post(query: &str, body: &str) -> Vec<u8> {
    let about = format!(
        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n",
        body.len()
    );
    request("POST", query, &about, body)
}

/// A WebSocket handshake with the headers of the official client under Node.
pub(crate) fn upgrade(query: &str) -> Vec<u8> {
    let about = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate; \
        client_max_window_bits\r\n";
    let request = request("GET", query, about, "");
    let text = String::from_utf8_lossy(&request);
    text.replace("keep-alive", "Upgrade").into_bytes()
}

fn request(method: &str, query: &str, about: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} /socket.io/?EIO=4{query} HTTP/1.1\r\nHost: localhost:3000\r\n\
         User-Agent: node-XMLHttpRequest\r\nAccept: */*\r\nConnection: keep-alive\r\n\
         {about}\r\n{body}"
    )
    .into_bytes()
}

/// An answer, and the bytes behind it.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The server closes the connection behind it.
    pub(crate) closes: bool,
    pub(crate) body: &'a [u8],
    pub(crate) rest: &'a [u8],
}

/// The first answer, if it is whole.
pub(crate) fn split(bytes: &[u8]) -> Result<Option<Answer<'_>>, LoadError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let wrong = |what: &str| LoadError::Protocol(format!("an HTTP answer {what}"));
    let httparse::Status::Complete(start) = head
        .parse(bytes)
        .map_err(|error| wrong(&error.to_string()))?
    else {
        return Ok(None);
    };
    let status = head.code.unwrap_or_default();
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = match length {
        None if status == 101 => 0,
        None => return Err(wrong("without a length")),
        Some(header) => std::str::from_utf8(header.value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong("with a length that is none"))?,
    };
    let closes = head.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("connection")
            && header.value.eq_ignore_ascii_case(b"close")
    });
    let all = bytes.get(start..).unwrap_or_default();
    Ok(all.split_at_checked(length).map(|(body, rest)| Answer {
        status,
        closes,
        body,
        rest,
    }))
}

/// The session id in an open packet.
pub(crate) fn sid(open: &[u8]) -> Result<String, LoadError> {
    let text = open.strip_prefix(b"0").unwrap_or_default();
    let open: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let sid = open.as_ref().and_then(|open| open.get("sid")?.as_str());
    expect(sid.is_some(), "an open packet", text)?;
    Ok(sid.unwrap_or_default().into())
}
