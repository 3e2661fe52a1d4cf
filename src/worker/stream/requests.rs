//! Follows the requests of a connection, so that their targets can be escaped before hyper reads them.
//!
//! Browsers leave characters in a query as they are that hyper refuses. Only a request's first line is touched,
//! so it must be known where a request begins. Where that cannot be told for sure, because a body has no plain
//! length or a head is odd, nothing is touched from there on, and hyper judges by itself.

use crate::wire::link::MAX_HEAD;
use crate::wire::request_line::{escape, needs_escape};

/// As many as hyper reads.
pub(crate) const MAX_HEADERS: usize = 100;

/// Where in its requests a connection is.
#[derive(Debug)]
pub(super) enum Requests {
    /// Before a request, or in its first line, of which something has come or not.
    Line(bool),
    /// In the headers, of which this has come.
    Headers(Vec<u8>),
    /// In a body of which so much is to come.
    Body(u64),
    /// Nobody knows.
    Lost,
}

impl Default for Requests {
    fn default() -> Self {
        Self::Line(false)
    }
}

impl Requests {
    /// Follows `bytes`. If something in them must be escaped: all of them, escaped.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_line = matches!(self, Self::Line(_));
            let len = self.advance(rest);
            let (piece, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            if in_line && out.is_none() && piece.iter().copied().any(needs_escape) {
                let before = bytes.len() - rest.len();
                out = bytes.get(..before).map(<[u8]>::to_vec);
            }
            if let Some(out) = &mut out {
                if in_line {
                    out.extend_from_slice(&escape(piece));
                } else {
                    out.extend_from_slice(piece);
                }
            }
            rest = behind;
        }
        out
    }

    /// Goes on to the end of the part of a request in which `bytes` begin, or to their end; how far is that?
    fn advance(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Lost => bytes.len(),
            Self::Line(begun) => {
                if let Some(end) = memchr::memchr(b'\n', bytes) {
                    let line = bytes.get(..end).unwrap_or_default();
                    // Empty lines before a request are none of it (RFC 9112 section 2.2).
                    if *begun || !is_empty(line) {
                        *self = Self::Headers(Vec::new());
                    }
                    end + 1
                } else {
                    *begun = *begun || !is_empty(bytes);
                    bytes.len()
                }
            }
            Self::Headers(came) if came.is_empty() => {
                if let Some(end) = end_of_headers(bytes) {
                    *self = Self::behind(bytes.get(..end).unwrap_or_default());
                    end
                } else {
                    came.extend_from_slice(bytes);
                    bytes.len()
                }
            }
            Self::Headers(came) => {
                let before = came.len();
                came.extend_from_slice(bytes);
                if let Some(end) = end_of_headers(came) {
                    *self = Self::behind(came.get(..end).unwrap_or_default());
                    return end - before;
                }
                if came.len() > MAX_HEAD {
                    *self = Self::Lost;
                }
                bytes.len()
            }
            Self::Body(left) => {
                let len = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::Line(false);
                }
                len
            }
        }
    }

    /// What comes behind these headers.
    fn behind(headers: &[u8]) -> Self {
        let mut room = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let Ok(httparse::Status::Complete((_, headers))) =
            httparse::parse_headers(headers, &mut room)
        else {
            return Self::Lost;
        };
        let mut length = None;
        for header in headers {
            let name = header.name;
            // What comes behind a WebSocket's handshake, even before its answer, are frames.
            let frames = name.eq_ignore_ascii_case("upgrade")
                && header.value.eq_ignore_ascii_case(b"websocket");
            if frames || name.eq_ignore_ascii_case("transfer-encoding") {
                return Self::Lost;
            }
            if name.eq_ignore_ascii_case("content-length") {
                let value = std::str::from_utf8(header.value).ok();
                let digits = value.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                match digits.and_then(|text| text.parse().ok()) {
                    Some(value) if length.is_none() => length = Some(value),
                    _ => return Self::Lost,
                }
            }
        }
        match length {
            None | Some(0) => Self::Line(false),
            Some(length) => Self::Body(length),
        }
    }
}

/// Is this nothing but what may end a line? More than one of it hyper refuses.
fn is_empty(line: &[u8]) -> bool {
    line.iter().all(|&b| b == b'\r')
}

/// Where the empty line behind headers ends.
fn end_of_headers(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', bytes).find_map(|end| {
        let line = bytes.get(start..end).unwrap_or_default();
        start = end + 1;
        matches!(line, [] | [b'\r']).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper gets of `bytes` that arrive in pieces of `step`.
    fn pass(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut requests = Requests::default();
        bytes
            .chunks(step)
            .flat_map(|piece| requests.follow(piece).unwrap_or_else(|| piece.to_vec()))
            .collect()
    }

    #[test]
    fn targets_are_escaped_and_nothing_else_however_the_bytes_arrive() {
        let sent = "GET /?a=\"é|\" HTTP/1.1\r\nCookie: \"a|b\"\r\n\r\n\
             \r\nPOST /?<b> HTTP/1.1\r\ncontent-length: 8\r\n\r\n42[\"a\"]\n\
             GET /?c={} HTTP/1.1\nHost: \"x\"\n\nGET /?`d` HTTP/1.1\r\n\r\n";
        let expected = "GET /?a=%22%C3%A9%7C%22 HTTP/1.1\r\nCookie: \"a|b\"\r\n\r\n\
             \r\nPOST /?%3Cb%3E HTTP/1.1\r\ncontent-length: 8\r\n\r\n42[\"a\"]\n\
             GET /?c=%7B%7D HTTP/1.1\nHost: \"x\"\n\nGET /?%60d%60 HTTP/1.1\r\n\r\n";
        for step in 1..sent.len() {
            let passed = pass(sent.as_bytes(), step);
            assert_eq!(String::from_utf8(passed).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn what_needs_no_escape_is_not_copied() {
        let mut requests = Requests::default();
        let sent = b"POST /?a=b HTTP/1.1\r\nContent-Length: 3\r\n\r\n\"|\"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(requests.follow(sent), None);
        assert!(matches!(requests, Requests::Line(false)));
    }

    #[test]
    fn empty_lines_are_none_of_a_request_wherever_they_are_cut() {
        let sent = b"\r\n\r\r\nGET /?| HTTP/1.1\r\n\r\n\n\r\nGET /?| HTTP/1.1\r\n\r\n";
        let expected = "\r\n\r\r\nGET /?%7C HTTP/1.1\r\n\r\n\n\r\nGET /?%7C HTTP/1.1\r\n\r\n";
        for step in 1..sent.len() {
            let passed = String::from_utf8(pass(sent, step)).unwrap();
            assert_eq!(passed, expected, "{step}");
        }
    }

    #[test]
    fn frames_behind_a_handshake_are_not_touched() {
        let head = "GET /?a=| HTTP/1.1\r\nUPGRADE: WebSocket\r\nConnection: Upgrade\r\n\r\n";
        let frame = [0x81, 0x82, b'"', b'|', 0xff, 0xee, 0x10, 0x0c];
        let sent = [head.as_bytes(), &frame].concat();
        let expected = [head.replace('|', "%7C").as_bytes(), &frame].concat();
        for step in 1..sent.len() {
            assert_eq!(pass(&sent, step), expected, "{step}");
        }
    }

    #[test]
    fn behind_a_body_of_unknown_length_nothing_is_touched() {
        for head in [
            "Transfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: ",
            "bad header",
        ] {
            let sent = format!("POST /? HTTP/1.1\r\n{head}\r\n\r\n7\r\nGET /?\"\r\n");
            assert_eq!(pass(sent.as_bytes(), 7), sent.as_bytes(), "{head}");
        }
        let mut endless = b"GET / HTTP/1.1\r\n".to_vec();
        endless.resize(MAX_HEAD + 100, b'a');
        endless.extend_from_slice(b"\r\n\r\nGET /?\" HTTP/1.1\r\n");
        assert_eq!(pass(&endless, 999), endless);
    }
}
