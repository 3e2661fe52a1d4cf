//! Requests of one connection, as a stream: where each head ends, and what it asks for.

use std::mem;

/// No head is longer; what is, is no HTTP.
const LONGEST: usize = 64 * 1024;

/// What a head asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// `transport` in its query; empty if there is none.
    pub transport: String,
    /// Does it ask for a WebSocket?
    pub upgrade: bool,
    /// How long its body is.
    length: usize,
}

/// A piece of what a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole head.
    Head(Request, Vec<u8>),
    /// Bytes of a body, or of whatever follows an upgrade.
    Other(Vec<u8>),
}

/// Reads what a client sends.
#[derive(Default)]
pub struct Heads {
    /// A head that is not whole.
    pending: Vec<u8>,
    /// What is still to come of a body.
    body: usize,
    /// There are no more heads.
    opaque: bool,
}

impl Heads {
    /// The pieces that are whole with these bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            if self.opaque || self.body > 0 {
                let length = if self.opaque {
                    bytes.len()
                } else {
                    self.body.min(bytes.len())
                };
                self.body = self.body.saturating_sub(length);
                pieces.push(Piece::Other(bytes[..length].to_vec()));
                bytes = &bytes[length..];
                continue;
            }
            let before = self.pending.len();
            self.pending.extend_from_slice(bytes);
            let from = before.saturating_sub(3);
            let end = self.pending[from..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            let Some(end) = end else {
                self.opaque = self.pending.len() > LONGEST;
                if self.opaque {
                    pieces.push(Piece::Other(mem::take(&mut self.pending)));
                }
                break;
            };
            let end = from + end + 4;
            bytes = &bytes[end - before..];
            self.pending.truncate(end);
            let head = mem::take(&mut self.pending);
            let request = Request::read(&head);
            self.opaque = request.upgrade;
            self.body = request.length;
            pieces.push(Piece::Head(request, head));
        }
        pieces
    }

    /// What came and is no whole head.
    pub fn rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.pending)
    }
}

impl Request {
    fn read(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let target = first.next().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let transport = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("transport="));
        let mut request = Self {
            method,
            transport: transport.unwrap_or_default().to_owned(),
            upgrade: false,
            length: 0,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("upgrade") {
                request.upgrade = value.eq_ignore_ascii_case("websocket");
            } else if name.eq_ignore_ascii_case("content-length") {
                request.length = value.parse().unwrap_or(0);
            }
        }
        request
    }
}
