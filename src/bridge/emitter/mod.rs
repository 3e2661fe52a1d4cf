//! Messages of Socket.IO's Redis emitters (`@socket.io/redis-emitter` 4 and 5, and what speaks as they do), made into
//! frames for the own machine's workers. The bridge of each machine has the same messages from Redis itself, so what
//! comes from an emitter goes to no other bridge.
//!
//! | channel | message |
//! |---|---|
//! | `K#/ns#`, `K#/ns#room#` | msgpack: `[uid, {type: 2, data: [event, …], nsp}, {rooms, except, flags}]` |
//! | `K-request#/ns#` | JSON: `{type: 2, opts, rooms}` join · `{type: 3, …}` leave · `{type: 4, opts, close}` disconnect · `{type: 6, data}` |
//!
//! K is the emitters' `key`. Node's servers publish on the same channels, and their adapters tell themselves by a uid of
//! six letters; an emitter's is `emitter`, or none. What servers say is not taken here: half of a conversation would be worse
//! than none. It is told in the log once in a while, for it needs `[bridge] node = true`.

mod broadcast;
mod request;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Sid;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};
use tracing::{info, warn};

use super::notepack::{NotepackError, Parser};
use super::transport::Channel;
use crate::logging::RateLimit;
use crate::wire::frame::{Body, Frame, FrameError, MAX_FRAME};

/// The same trouble is logged once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// That there are Node's servers is logged once in this time.
const SERVERS_INTERVAL: Duration = Duration::from_mins(10);
/// As much of a channel's name is logged, in characters: it may be anything.
const LOGGED: usize = 100;
/// How many rooms a message may name: workers take a microsecond for each, and nothing else meanwhile.
const MAX_ROOMS: usize = 1 << 18;
/// How long the uid of a server's adapter is.
const SERVER_UID: usize = 6;

/// A message that is none of an emitter's, or cannot be done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EmitterError {
    /// A channel that an emitter does not publish on.
    #[error("a channel that no emitter has")]
    Channel,
    /// The message is for another namespace than its channel, and Node would ignore it.
    #[error("a message for another namespace than its channel's")]
    Namespace,
    /// Not to be read as msgpack, or no event.
    #[error(transparent)]
    Msgpack(#[from] NotepackError),
    /// Not to be read as JSON.
    #[error("a request with JSON that cannot be read from byte {0} on")]
    Json(usize),
    /// A request without what it needs.
    #[error("a request without {0:?}")]
    Lacks(&'static str),
    /// No `[uid, packet, options]`.
    #[error("a message that is no list of uid, packet and options")]
    Shape,
    /// A packet that is no event.
    #[error("a packet of type {0}; emitters send events, type 2")]
    Packet(u64),
    /// A request that no emitter makes.
    #[error("a request of type {0}; emitters make those of types 2, 3, 4 and 6")]
    Request(u64),
    /// Rooms that are neither text nor number.
    #[error("a room that is neither text nor number")]
    Room,
    /// More than [`MAX_ROOMS`].
    #[error("more than {MAX_ROOMS} rooms")]
    Rooms,
    /// Larger than the bus takes.
    #[error("too large for the workers: {0}")]
    Frame(#[from] FrameError),
}

/// What a message was.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// An emitter's: for the workers.
    Emitted(Box<Body>),
    /// Of a server with the Redis adapter.
    OfServer,
}

/// Reads what emitters publish.
#[derive(Debug)]
pub(super) struct Emitter {
    /// Their `key`.
    prefix: String,
    /// What the workers' clients speak.
    parser: Parser,
    taken: AtomicU64,
    refused: AtomicU64,
    warnings: RateLimit,
    servers: RateLimit,
}

impl Emitter {
    pub(super) fn new(prefix: &str, parser: Parser) -> Self {
        Self {
            prefix: prefix.to_owned(),
            parser,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            warnings: RateLimit::default(),
            servers: RateLimit::default(),
        }
    }

    /// What has to be subscribed to: all namespaces, for a worker may have any.
    pub(super) fn channels(&self) -> [Channel; 2] {
        let mut literal = String::new();
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                literal.push('\\');
            }
            literal.push(c);
        }
        [
            Channel::Pattern(format!("{literal}#/*")),
            Channel::Pattern(format!("{literal}-request#/*")),
        ]
    }

    /// How many messages were passed to the workers.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// How many messages made no sense.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The frame that a message is for the workers, as sent by `from`. What is none is counted and told.
    pub(super) fn frame(&self, from: Sid, channel: &str, payload: &Bytes) -> Option<Bytes> {
        let frame = |body| {
            let to = None;
            Frame { to, from, body }.encode()
        };
        let read = self.decode(channel, payload);
        let frame = match read {
            Ok(Message::OfServer) => {
                if self.servers.allows(SERVERS_INTERVAL) {
                    info!(
                        "Node servers use this Redis with the emitters' prefix; they are not heard, for [bridge] node is false"
                    );
                }
                return None;
            }
            Ok(Message::Emitted(body)) => frame(*body).map_err(EmitterError::from),
            Err(error) => Err(error),
        };
        let refused = |error| {
            let total = self.refused.fetch_add(1, Relaxed) + 1;
            if self.warnings.allows(WARNING_INTERVAL) {
                let channel: String = channel.chars().take(LOGGED).collect();
                warn!(
                    channel,
                    bytes = payload.len(),
                    total,
                    "a message of an emitter was dropped: {error}"
                );
            }
        };
        let frame = frame.map_err(refused).ok()?;
        self.taken.fetch_add(1, Relaxed);
        Some(frame)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is no emitter's, or cannot be done.
    pub(super) fn decode(&self, channel: &str, payload: &Bytes) -> Result<Message, EmitterError> {
        if payload.len() > MAX_FRAME {
            return Err(FrameError::Long(payload.len()).into());
        }
        let rest = channel.strip_prefix(self.prefix.as_str());
        let rest = rest.ok_or(EmitterError::Channel)?;
        if let Some(address) = rest.strip_prefix('#') {
            return broadcast::decode(address, payload, self.parser);
        }
        let address = rest.strip_prefix("-request#");
        request::decode(address.ok_or(EmitterError::Channel)?, payload)
    }
}

/// Whether a uid is that of a server's adapter. Ours begin with a mark of our own.
fn is_server(uid: &[u8]) -> bool {
    uid.len() == SERVER_UID
        && uid
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~'))
}

/// Which sockets: all of the namespace, or those in one of the rooms, less those in `except`.
fn scope(rooms: Vec<Room>, except: Vec<Room>, volatile: bool) -> BroadcastOptions {
    let mut opts = BroadcastOptions::default();
    opts.add_flag(BroadcastFlags::Broadcast);
    if volatile {
        opts.add_flag(BroadcastFlags::Volatile);
    }
    opts.rooms = rooms.into();
    opts.except = except.into();
    opts
}
