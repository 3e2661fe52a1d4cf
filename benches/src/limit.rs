//! The limit: what the kernel alone takes for the same reads and writes.
//!
//! A bare epoll loop. It reads what a client sent with one call, finds where messages end, and answers each
//! with one write of bytes that were ready before: the handshake with the open packet, the join with
//! the acknowledgement, an event with the same text back, and an announce with a write to everybody.
//! It understands nothing else, checks nothing, and has no timers: it is a floor, not a server.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with, sockopt,
};

use crate::address::Address;
use crate::load::frame;

const LISTENER: u64 = 0;

/// The answer to any handshake: nobody checks the accept key, for nobody on this road is a browser.
const GREETING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const OPEN: &[u8] = br#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const JOINED: &[u8] = br#"40{"sid":"AAAAAAAAAAAAAAAA"}"#;
const JOINED_CHAT: &[u8] = br#"40/chat,{"sid":"AAAAAAAAAAAAAAAA"}"#;

struct Client {
    fd: OwnedFd,
    upgraded: bool,
    /// What came of a message that is not whole.
    partial: Vec<u8>,
}

/// The message that was answered last, and its answer: all clients of a load say the same.
#[derive(Default)]
struct Answer {
    asked: Vec<u8>,
    bytes: Vec<u8>,
    to_all: bool,
}

impl Answer {
    fn prepare(&mut self, asked: &[u8]) {
        if self.asked == asked {
            return;
        }
        self.asked = asked.to_vec();
        let text = frame::unmasked(asked);
        self.to_all = text.starts_with(b"42/");
        self.bytes = frame::server(match &*text {
            [b'4', b'0', b'/', ..] => JOINED_CHAT,
            [b'4', b'0', ..] => JOINED,
            text => text,
        });
    }
}

/// Serves until it is killed.
pub(crate) fn serve(address: &Address) -> io::Result<()> {
    let listener = listener(address)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), readable)?;
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let greeting = [GREETING, &frame::server(OPEN)].concat();
    let mut answer = Answer::default();
    loop {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                let fd = accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
                if matches!(address, Address::Tcp(_)) {
                    sockopt::set_tcp_nodelay(&fd, true)?;
                }
                let token = u64::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
                epoll::add(&epoll, &fd, EventData::new_u64(token), readable)?;
                let client = Client {
                    fd,
                    upgraded: false,
                    partial: Vec::new(),
                };
                clients.insert(token, client);
                continue;
            }
            let Some(client) = clients.get_mut(&token) else {
                continue;
            };
            let count = match recv(&client.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) if count > 0 => count,
                _ => {
                    clients.remove(&token);
                    continue;
                }
            };
            if !client.upgraded {
                client.upgraded = true;
                client.say(&greeting)?;
                continue;
            }
            for _ in 0..client.hear(&buffer[..count], &mut answer)? {
                for client in clients.values() {
                    client.say(&answer.bytes)?;
                }
            }
        }
    }
}

impl Client {
    /// Answers what came; tells how often everybody is to get the answer.
    fn hear(&mut self, bytes: &[u8], answer: &mut Answer) -> io::Result<usize> {
        let whole;
        let mut left = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            whole = std::mem::take(&mut self.partial);
            left = &whole;
        }
        let mut announces = 0;
        while let Some((message, rest)) = frame::split(left) {
            left = rest;
            answer.prepare(message);
            if answer.to_all {
                announces += 1;
            } else {
                self.say(&answer.bytes)?;
            }
        }
        self.partial.extend_from_slice(left);
        Ok(announces)
    }

    fn say(&self, bytes: &[u8]) -> io::Result<()> {
        match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
            Ok(count) if count == bytes.len() => Ok(()),
            // The load keeps fewer bytes under way than a socket's buffer holds.
            Ok(_) => Err(io::Error::other("a client does not read")),
            // It has just left.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn listener(address: &Address) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = match address {
        Address::Tcp(address) => {
            let family = if address.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let fd = socket_with(family, SocketType::STREAM, flags, None)?;
            sockopt::set_socket_reuseaddr(&fd, true)?;
            bind(&fd, address)?;
            fd
        }
        Address::Unix(path) => {
            let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            bind(&fd, &SocketAddrUnix::new(path.as_path())?)?;
            fd
        }
    };
    listen(&fd, 4096)?;
    Ok(fd)
}
