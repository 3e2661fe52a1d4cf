//! A client that comes back: where it stands, and what it is told.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};

use crate::load::{frame, http};

/// `reconnectionDelay` and `reconnectionDelayMax` of socket.io-client.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Without a connection.
    Away,
    /// The kernel connects.
    Connecting,
    /// It has asked for a WebSocket.
    Asked,
    /// It has one, and waits for the open packet.
    Upgraded,
    /// It has asked to join its namespace.
    Joining,
    Joined,
}

/// Why a client has no session, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It was answered with something else than 101.
    Refused,
    /// Its connection was not made, or ended.
    Ended,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) fd: Option<OwnedFd>,
    pub(super) stage: Stage,
    /// What came of an answer or a frame that is not whole.
    unread: Vec<u8>,
    /// Attempts to come back since it had a session.
    attempts: u32,
    /// A timer that was set in an earlier turn is void.
    pub(super) turn: u32,
    /// When it lost its session.
    pub(super) lost: Option<Instant>,
    /// How long it was away the last time.
    pub(super) back: Option<Duration>,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            fd: None,
            stage: Stage::Away,
            unread: Vec::new(),
            attempts: 0,
            turn: 0,
            lost: None,
            back: None,
        }
    }

    /// How long it waits before it tries again, as socket.io-client does: 1 s, 2 s, 4 s, and 5 s at most, of which
    /// up to a half is added or taken away. `random`: from 0 to 1.
    pub(super) fn delay(&mut self, random: f64) -> Duration {
        let delay = FIRST_DELAY * 2_u32.pow(self.attempts.min(8));
        self.attempts += 1;
        delay.mul_f64(0.5 + random).min(LONGEST_DELAY)
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, to: &SocketAddr, source: IpAddr) -> io::Result<&OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        bind(&fd, &SocketAddr::new(source, 0))?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match connect(&fd, to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.stage = Stage::Connecting;
        Ok(self.fd.insert(fd))
    }

    /// The kernel has connected, or could not.
    pub(super) fn connected(&mut self) -> Result<(), Loss> {
        let fd = self.fd.as_ref().ok_or(Loss::Ended)?;
        match sockopt::socket_error(fd) {
            Ok(Ok(())) => {}
            _ => return Err(Loss::Ended),
        }
        self.stage = Stage::Asked;
        self.send(&http::upgrade("&transport=websocket"))
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Loss> {
        let fd = self.fd.as_ref().ok_or(Loss::Ended)?;
        match send(fd, bytes, SendFlags::NOSIGNAL) {
            Ok(count) if count == bytes.len() => Ok(()),
            // Fewer bytes are under way than a socket's buffer holds.
            _ => Err(Loss::Ended),
        }
    }

    /// Reads what there is; the events that came are told one by one, without the packet's type.
    pub(super) fn hear(
        &mut self,
        buffer: &mut [u8],
        namespace: &str,
        mut told: impl FnMut(&[u8]),
    ) -> Result<(), Loss> {
        let fd = self.fd.as_ref().ok_or(Loss::Ended)?;
        match recv(fd, &mut *buffer, RecvFlags::empty()) {
            Ok((count, _)) if count > 0 => {
                let came = buffer.get(..count).unwrap_or_default();
                self.unread.extend_from_slice(came);
            }
            Err(Errno::AGAIN) => return Ok(()),
            _ => return Err(Loss::Ended),
        }
        let mut unread = std::mem::take(&mut self.unread);
        if self.stage == Stage::Asked {
            let Some(answer) = http::split(&unread).map_err(|_| Loss::Refused)? else {
                self.unread = unread;
                return Ok(());
            };
            if answer.status != 101 {
                return Err(Loss::Refused);
            }
            self.stage = Stage::Upgraded;
            unread = answer.rest.to_vec();
        }
        let mut left = &*unread;
        while let Some((first, rest)) = frame::split(left) {
            left = rest;
            // Text of one frame; anything else is a close.
            if first.first() != Some(&0x81) {
                return Err(Loss::Ended);
            }
            match (frame::payload(first), self.stage) {
                (b"2", _) => self.send(&frame::client("3"))?,
                ([b'0', ..], Stage::Upgraded) => {
                    self.stage = Stage::Joining;
                    self.send(&frame::client(&format!("40{namespace}")))?;
                }
                ([b'4', b'0', ..], Stage::Joining) => {
                    self.stage = Stage::Joined;
                    self.attempts = 0;
                    self.back = self.lost.take().map(|lost| lost.elapsed());
                }
                ([b'4', b'2', event @ ..], Stage::Joined) => told(event),
                _ => return Err(Loss::Ended),
            }
        }
        // Clients that rest hold no buffer.
        self.unread = left.to_vec();
        Ok(())
    }

    /// Its connection is over; whether it had a session.
    pub(super) fn end(&mut self) -> bool {
        let had = self.stage == Stage::Joined;
        self.fd = None;
        self.unread = Vec::new();
        self.stage = Stage::Away;
        self.turn = self.turn.wrapping_add(1);
        if had {
            self.lost = Some(Instant::now());
        }
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_as_long_as_the_official_one() {
        let mut client = Client::new();
        for (random, seconds) in [
            (0.5, 1.0),
            (0.0, 1.0),
            (0.0, 2.0),
            (0.9, 5.0),
            (0.0, 5.0),
            (1.0, 5.0),
        ] {
            assert_eq!(client.delay(random), Duration::from_secs_f64(seconds));
        }
    }
}
