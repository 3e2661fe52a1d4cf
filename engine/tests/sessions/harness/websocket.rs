//! A client's end of a WebSocket: frames, written and read by hand.

use std::io;

use engineioxide::socket::Sid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::soon;

/// A client's WebSocket.
pub struct WebSocket<S = UnixStream> {
    pub conn: S,
    pub sid: Option<Sid>,
    greeted: bool,
    /// It reads no more bytes than these at a time.
    pub sip: usize,
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
    End,
    /// The connection was reset.
    Reset,
}

pub fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0xff);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

impl<S> WebSocket<S> {
    /// One that has a session of its own, and is greeted; or one that a session may move to.
    pub fn new(conn: S, sid: Option<Sid>) -> Self {
        Self {
            conn,
            sid,
            greeted: sid.is_none(),
            sip: usize::MAX,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub async fn send(&mut self, packet: &str) {
        let frame = client_frame(0x81, packet.as_bytes());
        soon(self.conn.write_all(&frame)).await.unwrap();
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        soon(self.conn.write_all(bytes)).await.unwrap();
    }

    async fn read(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        for sip in bytes.chunks_mut(self.sip) {
            soon(self.conn.read_exact(sip)).await?;
        }
        Ok(bytes)
    }

    /// The next frame.
    pub async fn next(&mut self) -> Frame {
        if !std::mem::replace(&mut self.greeted, true) && self.sid.is_some() {
            assert_eq!(self.read(4).await.unwrap(), b"101!");
        }
        let head = match self.read(2).await {
            Ok(head) => head,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Frame::End,
            Err(_) => return Frame::Reset,
        };
        // A server's frames have no mask, and the shortest length there is.
        let len = match head[1] {
            126 => {
                let len = self.read(2).await.unwrap();
                let len = u16::from_be_bytes(len.try_into().unwrap()).into();
                assert!(len >= 126, "{len} in two bytes");
                len
            }
            127 => {
                let len = self.read(8).await.unwrap();
                let len = usize::try_from(u64::from_be_bytes(len.try_into().unwrap())).unwrap();
                assert!(len >= 65536, "{len} in eight bytes");
                len
            }
            len @ 0..126 => len.into(),
            masked => panic!("a frame of a server with a mask: {masked:x}"),
        };
        let payload = self.read(len).await.unwrap();
        match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x8a => Frame::Pong(payload),
            0x88 => Frame::Close(payload),
            other => panic!("a frame that begins with {other:x}"),
        }
    }

    /// The open packet.
    pub async fn opened(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) if text.starts_with('0') => text,
            other => panic!("{other:?} instead of an open packet"),
        }
    }
}
