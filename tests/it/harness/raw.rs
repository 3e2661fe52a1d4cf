//! Bytes by hand: for what no well-behaved client sends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::SOON;

/// A connection, and what was read from it and not used yet.
pub struct Raw {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

trait Stream: Read + Write + AsFd + Send {
    fn half_close(&self) -> io::Result<()>;
    fn twin(&self) -> io::Result<Box<dyn Stream>>;
}

impl Stream for TcpStream {
    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn twin(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Stream for UnixStream {
    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn twin(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// A header's value; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// All values of a header; its name in lower case.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(n, _)| n == name);
        all.map(|(_, value)| value.as_str()).collect()
    }
}

impl Raw {
    #[track_caller]
    pub fn tcp(addr: SocketAddr) -> Self {
        Self::try_tcp(addr).unwrap()
    }

    /// To a server that may be gone.
    pub fn try_tcp(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: Box::new(stream),
            unread: Vec::new(),
        })
    }

    /// To a server that has much to do before it says anything.
    #[track_caller]
    pub fn patient(addr: SocketAddr) -> Self {
        Self::tcp(addr).patiently()
    }

    /// Waits for longer than a server lets anybody wait.
    #[track_caller]
    pub fn patiently(self) -> Self {
        let patience = Duration::from_secs(60);
        rustix::net::sockopt::set_socket_timeout(
            &self.stream,
            rustix::net::sockopt::Timeout::Recv,
            Some(patience),
        )
        .unwrap();
        self
    }

    /// The same connection once more, for another thread to send on.
    pub fn sender(&self) -> Self {
        Self {
            stream: self.stream.twin().unwrap(),
            unread: Vec::new(),
        }
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).unwrap();
        self
    }

    /// To a server that may have closed already.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will come.
    pub fn half_close(&mut self) -> &mut Self {
        self.stream.half_close().unwrap();
        self
    }

    /// Resets the connection (TCP), as a client does whose machine crashed and came back.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }

    /// A GET without a body, on a connection that stays open.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .response()
    }

    /// A POST on a connection that stays open.
    #[track_caller]
    pub fn post(&mut self, target: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
        .response()
    }

    /// Reads one answer.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().expect("an answer")
    }

    /// Reads one answer, if one comes.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let head = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.unread.split_off(at + 4);
                break std::mem::replace(&mut self.unread, rest);
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        while self.unread.len() < length {
            self.fill()?;
        }
        let rest = self.unread.split_off(length);
        let body = std::mem::replace(&mut self.unread, rest);
        Ok(Response {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Reads until the server closes; an error if it resets instead, or does neither.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                // A read with a deadline is not begun anew by the kernel (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads exactly so many bytes.
    pub fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.fill()?;
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }
}

/// A polling session of revision 4, spoken by hand.
pub struct Polling {
    /// Its name, a secret.
    pub sid: String,
}

impl Polling {
    /// Opens one and joins `/`, all on `raw`.
    #[track_caller]
    pub fn open(raw: &mut Raw) -> Self {
        let session = Self::handshake(raw);
        assert_eq!(session.post(raw, "40").body, "ok");
        let joined = session.packets(raw);
        assert!(joined[0].starts_with("40{\"sid\":"), "{joined:?}");
        session
    }

    /// Opens one that joins no namespace.
    #[track_caller]
    pub fn handshake(raw: &mut Raw) -> Self {
        let open = raw.get("/socket.io/?EIO=4&transport=polling");
        assert_eq!(open.status, 200, "{open:?}");
        let packet: serde_json::Value = serde_json::from_str(&open.body[1..]).unwrap();
        Self {
            sid: packet["sid"].as_str().unwrap().to_owned(),
        }
    }

    /// The slot of the worker that has it: where a tagged id tells it.
    pub fn slot(&self) -> String {
        self.sid[20..22].to_owned()
    }

    /// Where its requests go.
    pub fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    #[track_caller]
    pub fn post(&self, raw: &mut Raw, packets: &str) -> Response {
        raw.post(&self.target(), packets)
    }

    /// One poll, whatever it brings.
    #[track_caller]
    pub fn poll(&self, raw: &mut Raw) -> Response {
        raw.get(&self.target())
    }

    /// Polls until packets come, and gives them. The engine's pings are answered.
    #[track_caller]
    pub fn packets(&self, raw: &mut Raw) -> Vec<String> {
        loop {
            let polled = self.poll(raw);
            assert_eq!(polled.status, 200, "{polled:?}");
            let all: Vec<_> = polled.body.split('\x1e').map(ToOwned::to_owned).collect();
            if all.iter().any(|packet| packet == "2") {
                assert_eq!(self.post(raw, "3").body, "ok");
            }
            let packets: Vec<_> = all.into_iter().filter(|packet| packet != "2").collect();
            if !packets.is_empty() {
                return packets;
            }
        }
    }

    /// Sends an event with one string, and reads its echo.
    #[track_caller]
    pub fn echo(&self, raw: &mut Raw, text: &str) {
        let event = format!("42[\"echo\",\"{text}\"]");
        let posted = self.post(raw, &event);
        assert_eq!((posted.status, posted.body.as_str()), (200, "ok"));
        assert_eq!(self.packets(raw), [event]);
    }
}

/// A WebSocket, spoken by hand.
pub struct WebSocket {
    pub raw: Raw,
}

impl WebSocket {
    /// The head of a handshake.
    pub fn request(target: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// Opens a session of revision 4 and joins `/`.
    #[track_caller]
    pub fn open(raw: Raw) -> Self {
        let mut socket = Self::handshake(raw);
        socket.text("40");
        let joined = socket.read_text();
        assert!(joined.starts_with("40{\"sid\":"), "{joined}");
        socket
    }

    /// Opens a session that joins no namespace.
    #[track_caller]
    pub fn handshake(mut raw: Raw) -> Self {
        raw.send(Self::request("/socket.io/?EIO=4&transport=websocket"));
        let mut socket = Self::switched(raw);
        let open = socket.read_text();
        assert!(open.starts_with("0{\"sid\":"), "{open}");
        socket
    }

    /// After a request for one was sent: reads the 101.
    #[track_caller]
    pub fn switched(mut raw: Raw) -> Self {
        let answer = raw.response();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(
            answer.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Self { raw }
    }

    /// A masked frame with this first byte.
    pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=65_535 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(0xff);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    #[track_caller]
    pub fn text(&mut self, text: &str) {
        self.raw.send(Self::frame(0x81, text.as_bytes()));
    }

    #[track_caller]
    pub fn binary(&mut self, bytes: &[u8]) {
        self.raw.send(Self::frame(0x82, bytes));
    }

    /// The next frame: its opcode and payload. A close frame is answered, as every client does.
    pub fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let head = self.raw.take(2)?;
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.raw.take(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.raw.take(8)?.try_into().unwrap()),
            short => u64::from(short),
        };
        let opcode = head[0] & 0x0f;
        let payload = self.raw.take(usize::try_from(length).unwrap())?;
        if opcode == 8 {
            let _ = self.raw.try_send(Self::frame(0x88, &payload));
        }
        Ok((opcode, payload))
    }

    /// The next text that is no ping of the engine's.
    #[track_caller]
    pub fn read_text(&mut self) -> String {
        loop {
            let (opcode, payload) = self.read().expect("a frame");
            assert_eq!(opcode, 1, "{payload:?}");
            match String::from_utf8(payload).unwrap().as_str() {
                "2" => self.text("3"),
                text => return text.to_owned(),
            }
        }
    }

    /// Sends an event with one string, and reads its echo.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        let event = format!("42[\"echo\",\"{text}\"]");
        self.text(&event);
        assert_eq!(self.read_text(), event);
    }
}
