//! All clients, in one epoll loop.
//!
//! A client says what the official one says, in the same order, and waits for what that one waits
//! for. Every answer is compared with what it should be.

pub(crate) mod frame;
pub(crate) mod http;
mod session;
mod socket;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::address::Address;
use session::{Heard, Road, Session};
use socket::Socket;

/// Sessions that are being opened at one time.
const OPENING: usize = 64;

/// Sessions from one address: the more of its ports are taken, the longer the kernel looks for a free one.
pub(crate) const OF_ONE_ADDRESS: usize = 4000;

/// When none of the sessions that are being opened gets further for so long, they are lost.
const LOST: Duration = Duration::from_secs(2);

/// A server that says nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a load ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("epoll: {0}")]
    Epoll(#[source] io::Error),
    #[error("no connection to {0}: {1}")]
    Connect(Address, #[source] io::Error),
    #[error("a client's connection: {0}")]
    Socket(#[source] io::Error),
    #[error("the server closed a connection")]
    Closed,
    #[error("{0} sessions were refused, or ended before they were open")]
    Refused(usize),
    #[error("the server does not read")]
    Stuck,
    #[error("the server said something else than what was awaited: {0}")]
    Protocol(String),
    #[error(
        "{ready} of {wanted} sessions are open, {done} operations are done, and nothing more comes"
    )]
    Silence {
        ready: usize,
        wanted: usize,
        done: u64,
    },
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a WebSocket at once, in this namespace (`""`, or `"/chat,"`).
    WebSocket(&'static str),
    /// By polling, and so it stays; each session keeps one connection alive.
    Polling,
    /// By polling, then upgraded, as the official clients do.
    Upgraded,
}

/// What open sessions do.
enum Work {
    /// They answer pings.
    Rest,
    /// Who sent this frame sends it again when this text has come back, or lets the next session send it.
    Echo {
        ask: Vec<u8>,
        answer: Vec<u8>,
        next: Option<usize>,
    },
    /// The first sends this frame again when everybody has had this text.
    Announce { ask: Vec<u8>, answer: Vec<u8> },
    /// Each posts this packet, polls until it has come back, and begins again.
    RoundTrip { packet: String },
}

/// Clients of one server.
pub(crate) struct Load {
    to: Address,
    source: IpAddr,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    sessions: Vec<Session>,
    buffer: Vec<u8>,
    ready: usize,
    /// Sessions that the server refused or ended while they were being opened; each was begun anew.
    pub(crate) refused: usize,
    work: Work,
    /// Answers since the load began.
    done: u64,
    /// Messages whose answers have not come.
    under_way: u64,
    /// No new message follows an answer.
    ending: bool,
}

impl Load {
    /// Clients of the server there; over TCP they come from `source`, and from the addresses behind it when they are
    /// many.
    pub(crate) fn new(to: &Address, source: IpAddr) -> Result<Self, LoadError> {
        Ok(Self {
            to: to.clone(),
            source,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .map_err(|error| LoadError::Epoll(error.into()))?,
            events: Vec::with_capacity(1024),
            sessions: Vec::new(),
            buffer: vec![0; 256 * 1024],
            ready: 0,
            refused: 0,
            work: Work::Rest,
            done: 0,
            under_way: 0,
            ending: false,
        })
    }

    /// Opens sessions until there are `count`, and each has joined its namespace.
    pub(crate) fn open(&mut self, kind: Kind, count: usize) -> Result<(), LoadError> {
        let mut progress = (self.ready, Instant::now());
        while self.ready < count {
            while self.sessions.len() < count && self.sessions.len() - self.ready < OPENING {
                let session = self.begin(kind, self.sessions.len())?;
                self.sessions.push(session);
            }
            self.turn(Duration::from_millis(100))?;
            if self.ready > progress.0 {
                progress = (self.ready, Instant::now());
            } else if progress.1.elapsed() > LOST {
                for index in 0..self.sessions.len() {
                    if self.sessions[index].is_opening() {
                        self.begin_anew(index)?;
                    }
                }
                progress.1 = Instant::now();
            }
        }
        Ok(())
    }

    /// Every session has `outstanding` echoes of `bytes` bytes under way from now on.
    pub(crate) fn echo(&mut self, outstanding: u64, bytes: usize) -> Result<(), LoadError> {
        let text = format!("42[\"echo\",\"{}\"]", "x".repeat(bytes));
        let ask = frame::client(&text);
        for session in &self.sessions {
            for _ in 0..outstanding {
                session.send_frame(&ask)?;
            }
        }
        self.under_way = outstanding * self.sessions.len() as u64;
        self.work = Work::Echo {
            ask,
            answer: text.into_bytes(),
            next: None,
        };
        Ok(())
    }

    /// So many echoes of `bytes` bytes are under way from now on, and every session has its turn.
    pub(crate) fn wandering_echo(
        &mut self,
        under_way: usize,
        bytes: usize,
    ) -> Result<(), LoadError> {
        let text = format!("42[\"echo\",\"{}\"]", "x".repeat(bytes));
        let ask = frame::client(&text);
        for session in self.sessions.iter().take(under_way) {
            session.send_frame(&ask)?;
        }
        self.under_way = under_way as u64;
        self.work = Work::Echo {
            ask,
            answer: text.into_bytes(),
            next: Some(under_way),
        };
        Ok(())
    }

    /// The first session announces `bytes` bytes to all, again and again.
    pub(crate) fn announce(&mut self, bytes: usize) -> Result<(), LoadError> {
        let text = format!("42/chat,[\"announce\",\"{}\"]", "x".repeat(bytes));
        let ask = frame::client(&text);
        if let Some(first) = self.sessions.first() {
            first.send_frame(&ask)?;
        }
        self.under_way = self.sessions.len() as u64;
        let answer = text.into_bytes();
        self.work = Work::Announce { ask, answer };
        Ok(())
    }

    /// Every session echoes `bytes` bytes by posting and polling.
    pub(crate) fn round_trips(&mut self, bytes: usize) -> Result<(), LoadError> {
        let packet = format!("42[\"echo\",\"{}\"]", "x".repeat(bytes));
        for index in 0..self.sessions.len() {
            self.sessions[index].post(&packet)?;
            self.reconnect(index)?;
        }
        self.under_way = self.sessions.len() as u64;
        self.work = Work::RoundTrip { packet };
        Ok(())
    }

    /// Goes on for so long; tells how many answers came.
    pub(crate) fn run(&mut self, lasts: Duration) -> Result<u64, LoadError> {
        let (began, before) = (Instant::now(), self.done);
        let mut heard = began;
        while let Some(left) = lasts.checked_sub(began.elapsed()) {
            if self.turn(left.min(Duration::from_secs(1)))? {
                heard = Instant::now();
            } else if self.under_way > 0 && heard.elapsed() > PATIENCE {
                return Err(self.silence(self.sessions.len()));
            }
        }
        Ok(self.done - before)
    }

    /// Waits for the answers that are still to come.
    pub(crate) fn finish(&mut self) -> Result<(), LoadError> {
        self.ending = true;
        let began = Instant::now();
        while self.under_way > 0 {
            self.turn(Duration::from_secs(1))?;
            if began.elapsed() > PATIENCE {
                return Err(self.silence(self.sessions.len()));
            }
        }
        self.ending = false;
        self.work = Work::Rest;
        Ok(())
    }

    fn silence(&self, wanted: usize) -> LoadError {
        LoadError::Silence {
            ready: self.ready,
            wanted,
            done: self.done,
        }
    }

    fn begin(&self, kind: Kind, index: usize) -> Result<Session, LoadError> {
        let road = if matches!(kind, Kind::WebSocket(_)) {
            Road::WebSocket
        } else {
            Road::Http
        };
        let socket = self.connect(index, road)?;
        Session::begin(kind, socket)
    }

    /// A server may lose or refuse a session now and then; official clients try again, too.
    fn begin_anew(&mut self, index: usize) -> Result<(), LoadError> {
        self.refused += 1;
        if self.refused > self.sessions.len() {
            return Err(LoadError::Refused(self.refused));
        }
        self.sessions[index] = self.begin(self.sessions[index].kind(), index)?;
        Ok(())
    }

    /// Where the session of this number comes from.
    fn source(&self, index: usize) -> IpAddr {
        let further = u32::try_from(index / OF_ONE_ADDRESS).unwrap_or_default();
        match self.source {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + further).into(),
            IpAddr::V6(first) => first.into(),
        }
    }

    fn connect(&self, index: usize, road: Road) -> Result<Socket, LoadError> {
        let socket = Socket::connect(&self.to, self.source(index))
            .map_err(|error| LoadError::Connect(self.to.clone(), error))?;
        let token = EventData::new_u64(index as u64 * 2 + road as u64);
        epoll::add(&self.epoll, &socket.fd, token, EventFlags::IN)
            .map_err(|error| LoadError::Epoll(error.into()))?;
        Ok(socket)
    }

    /// Handles what happens within `timeout`; did anything?
    fn turn(&mut self, timeout: Duration) -> Result<bool, LoadError> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut events = std::mem::take(&mut self.events);
        epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())
            .map_err(|error| LoadError::Epoll(error.into()))?;
        let any = !events.is_empty();
        for event in events.drain(..) {
            let token = event.data.u64();
            let index = usize::try_from(token / 2).unwrap_or(usize::MAX);
            let road = if token.is_multiple_of(2) {
                Road::Http
            } else {
                Road::WebSocket
            };
            self.hear(index, road)?;
        }
        self.events = events;
        Ok(any)
    }

    fn hear(&mut self, index: usize, road: Road) -> Result<(), LoadError> {
        let awaited = match &self.work {
            Work::Echo { answer, .. } | Work::Announce { answer, .. } => &**answer,
            Work::RoundTrip { packet } => packet.as_bytes(),
            Work::Rest => &[],
        };
        let session = &mut self.sessions[index];
        let heard = match session.hear(road, &mut self.buffer, awaited) {
            Err(LoadError::Closed | LoadError::Protocol(_)) if session.is_opening() => {
                self.begin_anew(index)?;
                Heard::Nothing
            }
            heard => heard?,
        };
        self.reconnect(index)?;
        match heard {
            Heard::Nothing => {}
            Heard::Ready => self.ready += 1,
            Heard::WantsWebSocket => {
                let socket = self.connect(index, Road::WebSocket)?;
                self.sessions[index].probe(socket)?;
            }
            Heard::Answers(count) => {
                self.done += count;
                self.under_way -= count;
                if !self.ending {
                    self.go_on(index, count)?;
                }
            }
        }
        Ok(())
    }

    /// After `count` answers to a session.
    fn go_on(&mut self, index: usize, count: u64) -> Result<(), LoadError> {
        match &mut self.work {
            Work::Echo { ask, next, .. } => {
                // Each with a write of its own, as a client that emits does.
                for _ in 0..count {
                    let sender = match next {
                        None => index,
                        Some(next) => {
                            *next = (*next + 1) % self.sessions.len();
                            *next
                        }
                    };
                    self.sessions[sender].send_frame(ask)?;
                }
                self.under_way += count;
            }
            Work::Announce { ask, .. } if self.under_way == 0 => {
                if let Some(first) = self.sessions.first() {
                    first.send_frame(ask)?;
                }
                self.under_way = self.sessions.len() as u64;
            }
            Work::Rest | Work::Announce { .. } => {}
            Work::RoundTrip { packet } => {
                self.sessions[index].post(packet)?;
                self.reconnect(index)?;
                self.under_way += count;
            }
        }
        Ok(())
    }

    /// Some servers close a connection after each answer: what the session says next goes over a new one.
    fn reconnect(&mut self, index: usize) -> Result<(), LoadError> {
        if self.sessions[index].wants_connection() {
            let socket = self.connect(index, Road::Http)?;
            self.sessions[index].goes_on(socket)?;
        }
        Ok(())
    }
}
