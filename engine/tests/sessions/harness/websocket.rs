//! A client's end of a WebSocket: frames, written and read by hand.

use std::io;

use engineioxide::socket::Sid;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
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
    /// Does it answer a close frame, as all clients do?
    pub answers_close: bool,
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// A message that was deflated, as it was before.
    Deflated(Box<Frame>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
    End,
    /// The connection was reset.
    Reset,
}

pub fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

/// What a message was before it was deflated.
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 << 20);
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut stream = Decompress::new(false);
    stream
        .decompress_vec(&whole, &mut out, FlushDecompress::Sync)
        .unwrap();
    assert_eq!(stream.total_in(), whole.len() as u64);
    out
}

/// What a client's message is when it is deflated.
pub fn deflate(message: impl AsRef<[u8]>) -> Vec<u8> {
    let message = message.as_ref();
    let mut out = Vec::with_capacity(message.len() + 1024);
    let mut stream = Compress::new(Compression::default(), false);
    stream
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

/// Bytes that cannot be deflated.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    });
    bytes.take(len).collect()
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
            answers_close: true,
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
        let first = head[0] & !0x40;
        let deflated = first != head[0];
        let payload = if deflated { inflate(&payload) } else { payload };
        let frame = match first {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x8a => Frame::Pong(payload),
            0x88 => Frame::Close(payload),
            other => panic!("a frame that begins with {other:x}"),
        };
        if deflated {
            assert!(matches!(frame, Frame::Text(_) | Frame::Binary(_)));
            return Frame::Deflated(frame.into());
        }
        if let (Frame::Close(payload), true) = (&frame, self.answers_close) {
            // The server may have closed the connection.
            let _ = soon(self.conn.write_all(&client_frame(0x88, payload))).await;
        }
        frame
    }

    /// The open packet.
    pub async fn opened(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) if text.starts_with('0') => text,
            other => panic!("{other:?} instead of an open packet"),
        }
    }
}
