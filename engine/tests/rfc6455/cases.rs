//! The words of a case, and how one is tried.

use engineioxide::EndReason;
use tokio::task::yield_now;

pub use crate::harness::{Frame, Server, text};
use crate::harness::{WebSocket, soon};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The first and the last frame of a fragmented message, and those between them.
pub const FIRST_TEXT: u8 = 0x01;
pub const FIRST_BINARY: u8 = 0x02;
pub const NEXT: u8 = 0x00;
pub const LAST: u8 = 0x80;

pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// In how many bytes a frame's length is written.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    Short,
    Two,
    Eight,
}

/// A frame of a client with its length in this form.
pub fn frame_of(first: u8, payload: &[u8], length: Length, mask: [u8; 4]) -> Vec<u8> {
    let len = payload.len();
    let mut frame = vec![first];
    match length {
        Length::Short => frame.push(0x80 | u8::try_from(len).unwrap()),
        Length::Two => {
            frame.push(0xfe);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        Length::Eight => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    let at = frame.len();
    frame.extend_from_slice(payload);
    for piece in frame[at..].chunks_mut(4) {
        for (byte, mask) in piece.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    frame
}

/// A frame of a client.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = match payload.len() {
        0..126 => Length::Short,
        126..65536 => Length::Two,
        _ => Length::Eight,
    };
    frame_of(first, payload, length, MASK)
}

/// A frame that a server might send, but no client.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
    frame.extend_from_slice(payload);
    frame
}

/// A text frame with a message.
pub fn say(message: &str) -> Vec<u8> {
    frame(TEXT, format!("4{message}"))
}

/// The echo of a message.
pub fn echo(message: &str) -> Frame {
    text(&format!("4{message}"))
}

pub fn pong(payload: impl AsRef<[u8]>) -> Frame {
    Frame::Pong(payload.as_ref().to_vec())
}

/// What a close frame carries.
pub fn close_payload(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_ref()].concat()
}

/// What is sent, and what comes of it.
#[derive(Debug)]
pub struct Case {
    name: String,
    sent: Vec<u8>,
    answers: Vec<Frame>,
    close: Option<Vec<u8>>,
    reason: Option<EndReason>,
    /// Does the client answer the server's close frame?
    answers_close: bool,
}

/// A case in which these bytes are sent, and nothing comes of it but that the session goes on.
pub fn case(name: impl Into<String>, sent: impl Into<Vec<u8>>) -> Case {
    Case {
        name: name.into(),
        sent: sent.into(),
        answers: Vec::new(),
        close: None,
        reason: None,
        answers_close: false,
    }
}

impl Case {
    /// A frame comes.
    pub fn gets(mut self, answer: Frame) -> Self {
        self.answers.push(answer);
        self
    }

    /// The session ends with this code.
    pub fn fails(self, code: u16) -> Self {
        let reason = if code == 1009 {
            EndReason::TooLarge
        } else {
            EndReason::ProtocolError
        };
        self.ends(&code.to_be_bytes(), reason)
    }

    /// The session ends with a close frame that carries this.
    pub fn ends(mut self, payload: &[u8], reason: EndReason) -> Self {
        self.close = Some(payload.to_vec());
        self.reason = Some(reason);
        self
    }

    /// The session ends with a close frame without a code, and the connection when the client has answered that.
    pub fn ends_when_answered(mut self, reason: EndReason) -> Self {
        self.answers_close = true;
        self.ends(&[], reason)
    }

    /// The client's close frame comes back.
    pub fn leaves(self, payload: &[u8]) -> Self {
        self.ends(payload, EndReason::ClientLeft)
    }

    async fn try_it(&self, server: &Server, delivery: Delivery) {
        let failing = Failing(&self.name, delivery);
        let mut client = server.websocket();
        client.answers_close = self.answers_close;
        client.opened().await;
        client.deliver(&self.sent, delivery).await;
        for answer in &self.answers {
            assert_eq!(&client.next().await, answer);
        }
        match &self.close {
            None => {
                // Nothing came beside, and the session goes on.
                client.send_raw(&frame(PING, "still there?")).await;
                assert_eq!(client.next().await, pong("still there?"));
                assert!(server.engine.sids().contains(&client.sid.unwrap()));
            }
            Some(payload) => {
                assert_eq!(client.next().await, Frame::Close(payload.clone()));
                assert_eq!(client.next().await, Frame::End);
                assert_eq!(server.ends().last(), self.reason.as_ref());
                assert!(!server.engine.sids().contains(&client.sid.unwrap()));
            }
        }
        drop(failing);
    }
}

/// How bytes are cut on their way.
#[derive(Debug, Clone, Copy)]
pub enum Delivery {
    Whole,
    /// In pieces of so many bytes.
    Pieces(usize),
    /// In two pieces.
    Cut(usize),
}

/// All ways in which so many bytes are sent.
fn deliveries(len: usize) -> Vec<Delivery> {
    let mut ways = vec![Delivery::Whole];
    match len {
        0..=60 => {
            ways.push(Delivery::Pieces(1));
            ways.extend((1..len).map(Delivery::Cut));
        }
        61..=1000 => {
            ways.push(Delivery::Pieces(1));
            ways.extend((1..20).chain((20..len).step_by(37)).map(Delivery::Cut));
        }
        _ => {
            let pieces = [997, len / 5].map(Delivery::Pieces);
            let cuts = [1, 2, 3, 5, 9, 13, len / 2, len - 1].map(Delivery::Cut);
            ways.extend(pieces.into_iter().chain(cuts));
        }
    }
    ways
}

/// Tells which case it was.
struct Failing<'a>(&'a str, Delivery);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case: {}, {:?}", self.0, self.1);
        }
    }
}

/// Tries all cases, each in all ways.
pub async fn try_all(cases: impl IntoIterator<Item = Case>) {
    try_all_with(Server::start(), cases).await;
}

/// Tries all cases with this server, each in all ways.
pub async fn try_all_with(server: Server, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        for delivery in deliveries(case.sent.len()) {
            case.try_it(&server, delivery).await;
        }
    }
    server
        .until("all is taken", |server| server.engine.waiting() == 0)
        .await;
}

/// Tries cases that are many: each whole, and byte by byte.
pub async fn try_many(cases: impl IntoIterator<Item = Case>) {
    let server = Server::start();
    for case in cases {
        case.try_it(&server, Delivery::Whole).await;
        case.try_it(&server, Delivery::Pieces(1)).await;
    }
    server
        .until("all is taken", |server| server.engine.waiting() == 0)
        .await;
}

/// Lets the engine read what was sent.
pub async fn pause() {
    for _ in 0..3 {
        yield_now().await;
    }
}

impl WebSocket {
    async fn deliver(&mut self, bytes: &[u8], delivery: Delivery) {
        match delivery {
            Delivery::Whole => self.send_raw(bytes).await,
            Delivery::Pieces(len) => {
                for piece in bytes.chunks(len) {
                    soon(self.send_raw(piece)).await;
                    pause().await;
                }
            }
            Delivery::Cut(at) => {
                let (first, second) = bytes.split_at(at);
                self.send_raw(first).await;
                pause().await;
                self.send_raw(second).await;
            }
        }
    }
}

#[tokio::test]
async fn a_piece_is_read_before_the_next_is_sent() {
    let server = Server::start();
    let mut client = server.websocket();
    client.opened().await;
    let bytes = say("message");
    for (at, kept) in [(6, 0), (7, 1), (10, 4), (13, 7)] {
        client.send_raw(&bytes[..at]).await;
        pause().await;
        assert_eq!(server.engine.weights()[0].bytes, kept);
        client.send_raw(&bytes[at..]).await;
        assert_eq!(client.next().await, echo("message"));
        assert_eq!(server.engine.weights()[0].bytes, 0);
    }
}
