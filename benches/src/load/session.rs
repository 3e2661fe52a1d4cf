//! One client: what it says next, and what it waits for.

use super::socket::Socket;
use super::{Kind, LoadError, frame, http};

/// Which of a session's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    Http = 0,
    WebSocket = 1,
}

/// What came of what was heard.
pub(super) enum Heard {
    Nothing,
    /// The session has joined, and upgraded if it was to.
    Ready,
    /// The session is to be upgraded now.
    WantsWebSocket,
    /// So many messages were answered.
    Answers(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A WebSocket's 101 is awaited, or its open packet.
    Greeting,
    Joining,
    /// An open packet is awaited by polling.
    PollsOpen,
    PostsJoin,
    PollsJoin,
    /// It has joined, and answers a ping that came with that.
    PostsPong,
    /// Upgrading: is the probe answered, is the last poll?
    Probing {
        probed: bool,
        released: bool,
    },
    Ready,
    /// A round trip by polling.
    Posts,
    Polls,
}

pub(super) struct Session {
    kind: Kind,
    phase: Phase,
    http: Option<Socket>,
    websocket: Option<Socket>,
    /// Behind `EIO=4` in every query.
    query: String,
    /// A ping came by polling; the next post answers it.
    owes_pong: bool,
    /// A request that waits for a new connection.
    waiting: Option<Vec<u8>>,
}

impl Session {
    pub(super) fn begin(kind: Kind, socket: Socket) -> Result<Self, LoadError> {
        let mut session = Self {
            kind,
            phase: Phase::PollsOpen,
            http: None,
            websocket: None,
            query: "&transport=polling".into(),
            owes_pong: false,
            waiting: None,
        };
        if matches!(kind, Kind::WebSocket(_)) {
            session.phase = Phase::Greeting;
            socket.send(&http::upgrade("&transport=websocket"))?;
            session.websocket = Some(socket);
        } else {
            socket.send(&http::get(&session.query))?;
            session.http = Some(socket);
        }
        Ok(session)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Has it not joined and upgraded yet?
    pub(super) fn is_opening(&self) -> bool {
        !matches!(self.phase, Phase::Ready | Phase::Posts | Phase::Polls)
    }

    /// Upgrades over this connection.
    pub(super) fn probe(&mut self, socket: Socket) -> Result<(), LoadError> {
        let query = self.query.replace("polling", "websocket");
        socket.send(&http::upgrade(&query))?;
        self.websocket = Some(socket);
        Ok(())
    }

    /// Sends a frame over the session's WebSocket.
    pub(super) fn send_frame(&self, frame: &[u8]) -> Result<(), LoadError> {
        self.websocket
            .as_ref()
            .ok_or(LoadError::Closed)?
            .send(frame)
    }

    /// Posts a packet; its answer will be polled for.
    pub(super) fn post(&mut self, packet: &str) -> Result<(), LoadError> {
        self.phase = Phase::Posts;
        let pong = if std::mem::take(&mut self.owes_pong) {
            "3\x1e"
        } else {
            ""
        };
        self.request(http::post(&self.query, &format!("{pong}{packet}")))
    }

    pub(super) fn wants_connection(&self) -> bool {
        self.waiting.is_some()
    }

    /// Sends what waited for a connection.
    pub(super) fn goes_on(&mut self, socket: Socket) -> Result<(), LoadError> {
        if let Some(request) = self.waiting.take() {
            socket.send(&request)?;
        }
        self.http = Some(socket);
        Ok(())
    }

    fn request(&mut self, request: Vec<u8>) -> Result<(), LoadError> {
        match &self.http {
            Some(socket) => socket.send(&request)?,
            None => self.waiting = Some(request),
        }
        Ok(())
    }

    /// Reads what came on one of its connections; `awaited` is what answers a message.
    pub(super) fn hear(
        &mut self,
        road: Road,
        buffer: &mut [u8],
        awaited: &[u8],
    ) -> Result<Heard, LoadError> {
        match road {
            Road::Http => self.hear_http(buffer, awaited),
            Road::WebSocket => self.hear_websocket(buffer, awaited),
        }
    }

    fn hear_websocket(&mut self, buffer: &mut [u8], awaited: &[u8]) -> Result<Heard, LoadError> {
        let mut greeting = self.phase == Phase::Greeting
            || matches!(self.phase, Phase::Probing { probed: false, .. });
        let Some(socket) = &mut self.websocket else {
            return Ok(Heard::Nothing);
        };
        let read = socket.read(buffer, |bytes| {
            let (mut left, mut answers, mut others) = (bytes, 0, Vec::new());
            if greeting && left.starts_with(b"HTTP/") {
                let Some(answer) = http::split(left)? else {
                    return Ok((0, (answers, others)));
                };
                expect(answer.status == 101, "101", answer.body)?;
                left = answer.rest;
                others.push(Vec::new());
            }
            while let Some((frame, rest)) = frame::split(left) {
                left = rest;
                match frame::payload(frame) {
                    payload if payload == awaited && !awaited.is_empty() => answers += 1,
                    payload => others.push(payload.to_vec()),
                }
            }
            Ok((bytes.len() - left.len(), (answers, others)))
        })?;
        let Some((answers, others)) = read else {
            return Ok(Heard::Nothing);
        };
        let mut heard = Heard::Nothing;
        for other in others {
            if other.is_empty() && greeting {
                greeting = false;
                if let Phase::Probing { .. } = self.phase {
                    self.send_frame(&frame::client("2probe"))?;
                }
            } else if other == b"2" {
                self.send_frame(&frame::client("3"))?;
            } else if let Some(step) = self.step(&other)? {
                // A ping may stand behind it.
                heard = step;
            }
        }
        Ok(match answers {
            0 => heard,
            count => Heard::Answers(count),
        })
    }

    /// A frame came that answers no message.
    fn step(&mut self, text: &[u8]) -> Result<Option<Heard>, LoadError> {
        match self.phase {
            Phase::Greeting => {
                expect(text.starts_with(b"0{"), "an open packet", text)?;
                let Kind::WebSocket(namespace) = self.kind else {
                    return Ok(None);
                };
                self.phase = Phase::Joining;
                self.send_frame(&frame::client(&format!("40{namespace}")))?;
                Ok(None)
            }
            Phase::Joining => {
                expect(text.starts_with(b"40"), "a joined namespace", text)?;
                self.phase = Phase::Ready;
                Ok(Some(Heard::Ready))
            }
            Phase::Probing { released, .. } => {
                expect(text == b"3probe", "an answer to the probe", text)?;
                self.probing(true, released)
            }
            _ => expect(false, "an answer", text).map(|()| None),
        }
    }

    /// Polling is over when the probe is answered and so is the last poll.
    fn probing(&mut self, probed: bool, released: bool) -> Result<Option<Heard>, LoadError> {
        if !(probed && released) {
            self.phase = Phase::Probing { probed, released };
            return Ok(None);
        }
        self.send_frame(&frame::client("5"))?;
        self.http = None;
        self.phase = Phase::Ready;
        Ok(Some(Heard::Ready))
    }

    /// The packets that a poll brought, but for pings.
    fn packets<'a>(&mut self, body: &'a [u8]) -> Vec<&'a [u8]> {
        let (pings, packets): (Vec<_>, Vec<_>) = body
            .split(|byte| *byte == 0x1e)
            .partition(|packet| *packet == b"2");
        self.owes_pong |= !pings.is_empty();
        packets
    }

    /// By polling.
    fn joined(&mut self) -> Result<Heard, LoadError> {
        if self.kind != Kind::Upgraded {
            self.phase = Phase::Ready;
            return Ok(Heard::Ready);
        }
        self.phase = Phase::Probing {
            probed: false,
            released: false,
        };
        self.request(http::get(&self.query))?;
        Ok(Heard::WantsWebSocket)
    }

    fn hear_http(&mut self, buffer: &mut [u8], awaited: &[u8]) -> Result<Heard, LoadError> {
        let Some(socket) = &mut self.http else {
            return Ok(Heard::Nothing);
        };
        let read = socket.read(buffer, |bytes| {
            Ok(match http::split(bytes)? {
                None => (0, None),
                Some(answer) => (
                    bytes.len() - answer.rest.len(),
                    Some((answer.status, answer.closes, answer.body.to_vec())),
                ),
            })
        })?;
        let Some(Some((status, closes, body))) = read else {
            return Ok(Heard::Nothing);
        };
        if closes {
            self.http = None;
        }
        expect(status == 200, "200", &body)?;
        match self.phase {
            Phase::PollsOpen => {
                self.query = format!("{}&sid={}", self.query, http::sid(&body)?);
                self.request(http::post(&self.query, "40"))?;
                self.phase = Phase::PostsJoin;
            }
            Phase::PostsJoin => {
                self.request(http::get(&self.query))?;
                self.phase = Phase::PollsJoin;
            }
            Phase::PollsJoin => {
                for packet in self.packets(&body) {
                    expect(packet.starts_with(b"40"), "a joined namespace", packet)?;
                }
                if !self.owes_pong {
                    return self.joined();
                }
                self.phase = Phase::PostsPong;
                self.owes_pong = false;
                self.request(http::post(&self.query, "3"))?;
            }
            Phase::PostsPong => return self.joined(),
            // A ping may come between the two.
            Phase::Probing { .. } if body == b"2" => self.request(http::post(&self.query, "3"))?,
            Phase::Probing { .. } if body == b"ok" => self.request(http::get(&self.query))?,
            Phase::Probing { probed, .. } => {
                expect(body == b"6", "a released poll", &body)?;
                return Ok(self.probing(probed, true)?.unwrap_or(Heard::Nothing));
            }
            Phase::Posts => {
                self.request(http::get(&self.query))?;
                self.phase = Phase::Polls;
            }
            Phase::Polls => {
                let mut answers = 0;
                for packet in self.packets(&body) {
                    expect(packet == awaited, "an echo", packet)?;
                    answers += 1;
                }
                if answers == 0 {
                    self.request(http::get(&self.query))?;
                    return Ok(Heard::Nothing);
                }
                self.phase = Phase::Ready;
                return Ok(Heard::Answers(answers));
            }
            Phase::Greeting | Phase::Joining | Phase::Ready => {
                expect(false, "no answer at all", &body)?;
            }
        }
        Ok(Heard::Nothing)
    }
}

pub(super) fn expect(holds: bool, what: &str, came: &[u8]) -> Result<(), LoadError> {
    if holds {
        return Ok(());
    }
    let came = String::from_utf8_lossy(came.get(..100).unwrap_or(came));
    Err(LoadError::Protocol(format!("not {what}, but {came:?}")))
}
