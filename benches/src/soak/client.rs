//! A client that waits: one connection, or two, and what is said over them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::address::Address;
use crate::load::{LoadError, OF_ONE_ADDRESS, frame, http};
use crate::servers::Servers;

/// An answer that takes longer is missed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a client did not get what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("its connection: {0}")]
    Connection(#[from] io::Error),
    #[error("the server closed its connection")]
    Closed,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("not {wanted}, but {came:?}")]
    Wrong { wanted: String, came: String },
}

pub(super) fn expect(holds: bool, wanted: &str, came: &[u8]) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    let came = came.get(..100).unwrap_or(came);
    Err(Failure::Wrong {
        wanted: wanted.into(),
        came: String::from_utf8_lossy(came).into_owned(),
    })
}

/// Where clients come from, and whom they ask.
pub(super) struct Source {
    to: Address,
    address: IpAddr,
    used: usize,
}

impl Source {
    pub(super) fn new(to: &Address) -> Self {
        Self {
            to: to.clone(),
            address: Servers::source(),
            used: 0,
        }
    }

    pub(super) fn connect(&mut self) -> Result<Conn, Failure> {
        self.used += 1;
        if self.used > OF_ONE_ADDRESS {
            (self.address, self.used) = (Servers::source(), 0);
        }
        self.stream()
            .map(|stream| Conn {
                stream,
                unread: Vec::new(),
            })
            .map_err(Failure::Connect)
    }

    fn stream(&self) -> io::Result<TcpStream> {
        let Address::Tcp(to) = &self.to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let fd = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        bind(&fd, &SocketAddr::new(self.address, 0))?;
        connect(&fd, to)?;
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// One connection.
pub(super) struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Conn {
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a text as a frame.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.send(&frame::client(text))
    }

    /// Reads once, up to so much; it is not kept.
    pub(super) fn taste(&mut self, most: usize) -> Result<usize, Failure> {
        let mut buffer = vec![0; most];
        match self.stream.read(&mut buffer)? {
            0 => Err(Failure::Closed),
            count => Ok(count),
        }
    }

    fn more(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(Failure::Closed);
        }
        self.unread
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(())
    }

    /// The status and the body of the next answer.
    pub(super) fn answer(&mut self) -> Result<(u16, Vec<u8>), Failure> {
        loop {
            if let Some(answer) = http::split(&self.unread)? {
                let (status, body) = (answer.status, answer.body.to_vec());
                let left = answer.rest.len();
                self.unread.drain(..self.unread.len() - left);
                return Ok((status, body));
            }
            self.more()?;
        }
    }

    /// The text of the next frame that is no ping; pings are answered.
    pub(super) fn text(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let Some((first, rest)) = frame::split(&self.unread) else {
                self.more()?;
                continue;
            };
            let text = frame::payload(first).to_vec();
            let left = rest.len();
            self.unread.drain(..self.unread.len() - left);
            if text != b"2" {
                return Ok(text);
            }
            self.say("3")?;
        }
    }

    /// Emits an event, and gets it back.
    pub(super) fn echo(&mut self, text: &str) -> Result<(), Failure> {
        let event = format!("42[\"echo\",\"{text}\"]");
        self.say(&event)?;
        let came = self.text()?;
        expect(came == event.as_bytes(), "an echo", &came)
    }

    /// Asks over HTTP, and is answered with 200.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        self.send(request)?;
        let (status, body) = self.answer()?;
        expect(status == 200, "200", &body)?;
        Ok(body)
    }

    pub(super) fn set_patience(&self, patience: Duration) -> Result<(), Failure> {
        self.stream.set_read_timeout(Some(patience))?;
        Ok(self.stream.set_write_timeout(Some(patience))?)
    }

    /// Ends the connection with a reset: what is under way is lost.
    pub(super) fn reset(self) {
        // Without it the end is an ordinary one, which a server must stand as well.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

/// Opens a session over a WebSocket, in this namespace (`""`, or `"/chat,"`).
pub(super) fn websocket(source: &mut Source, namespace: &str) -> Result<Conn, Failure> {
    let mut conn = source.connect()?;
    conn.send(&http::upgrade("&transport=websocket"))?;
    let (status, body) = conn.answer()?;
    expect(status == 101, "101", &body)?;
    let open = conn.text()?;
    expect(open.starts_with(b"0{"), "an open packet", &open)?;
    conn.say(&format!("40{namespace}"))?;
    let joined = conn.text()?;
    expect(joined.starts_with(b"40"), "a joined namespace", &joined)?;
    Ok(conn)
}

/// A session that polls over one connection.
pub(super) struct Polling {
    pub(super) conn: Conn,
    pub(super) query: String,
}

impl Polling {
    pub(super) fn open(source: &mut Source) -> Result<Self, Failure> {
        let mut conn = source.connect()?;
        let open = conn.ask(&http::get("&transport=polling"))?;
        let sid = http::sid(&open)?;
        let query = format!("&transport=polling&sid={sid}");
        let mut polling = Self { conn, query };
        polling.post("40")?;
        let joined = polling.poll()?;
        expect(joined.starts_with(b"40"), "a joined namespace", &joined)?;
        Ok(polling)
    }

    pub(super) fn post(&mut self, body: &str) -> Result<(), Failure> {
        let said = self.conn.ask(&http::post(&self.query, body))?;
        expect(said == b"ok", "ok", &said)
    }

    /// The first packet that is no ping; pings are answered.
    pub(super) fn poll(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            let body = self.conn.ask(&http::get(&self.query))?;
            let mut packets: Vec<_> = body.split(|byte| *byte == 0x1e).collect();
            let all = packets.len();
            packets.retain(|packet| *packet != b"2");
            if packets.len() < all {
                self.post("3")?;
            }
            if let Some(first) = packets.first() {
                return Ok(first.to_vec());
            }
        }
    }

    pub(super) fn echo(&mut self, text: &str) -> Result<(), Failure> {
        let event = format!("42[\"echo\",\"{text}\"]");
        self.post(&event)?;
        let came = self.poll()?;
        expect(came == event.as_bytes(), "an echo", &came)
    }

    /// Opens the WebSocket of an upgrade, whose probe is answered. A poll is under way from then on.
    pub(super) fn probe(&mut self, source: &mut Source) -> Result<Conn, Failure> {
        let mut conn = source.connect()?;
        self.conn.send(&http::get(&self.query))?;
        conn.send(&http::upgrade(&self.query.replace("polling", "websocket")))?;
        let (status, body) = conn.answer()?;
        expect(status == 101, "101", &body)?;
        conn.say("2probe")?;
        let probed = conn.text()?;
        expect(probed == b"3probe", "an answer to the probe", &probed)?;
        Ok(conn)
    }
}
