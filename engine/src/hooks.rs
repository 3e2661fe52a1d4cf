//! What the engine tells the worker around it, and asks of it.

use std::net::IpAddr;
use std::task::Waker;

use engineioxide_core::{ProtocolVersion, Sid, TransportType};

use crate::socket::DisconnectReason;

/// Set once, before the first session, by [`Engine::set_up`](crate::Engine::set_up). Called with no lock
/// held, unless it says otherwise; must return at once.
pub trait Hooks: Send + Sync + 'static {
    /// The name by which a client's requests find its session. The socket id that applications see stays `sid`.
    fn name(&self, sid: Sid, protocol: ProtocolVersion) -> String {
        let _ = protocol;
        sid.to_string()
    }

    /// A session was opened, for a client of this address.
    fn opened(&self, sid: Sid, client: Option<IpAddr>) {
        let _ = (sid, client);
    }

    /// A session has ended.
    fn ended(&self, ended: &Ended) {
        let _ = ended;
    }

    /// Nothing refers to a session any more: no handler can do anything with it. It has ended before, if it was
    /// opened. Called from anywhere, perhaps with locks held.
    fn released(&self, sid: Sid) {
        let _ = sid;
    }

    /// Do events of this session wait, since what handlers do for it has reached its quota? Called under a
    /// session's lock.
    fn is_held(&self, sid: Sid) -> bool {
        let _ = sid;
        false
    }

    /// Wakes somebody when this session is no longer held. Called under a session's lock.
    fn wake_when_free(&self, sid: Sid, waker: Waker) {
        let _ = sid;
        waker.wake();
    }

    /// While senders wait for the bus: the number of the present period, in each of which a session may send a
    /// little; none while nobody waits. Called under a session's lock.
    fn congestion(&self) -> Option<u32> {
        None
    }

    /// Wakes somebody at the end of the period. Called under a session's lock.
    fn wake_when_clear(&self, waker: Waker) {
        waker.wake();
    }
}

/// Without a worker around the engine.
#[derive(Debug)]
pub(crate) struct NoHooks;

impl Hooks for NoHooks {}

/// A session that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The socket id.
    pub sid: Sid,
    /// The address of its client.
    pub client: Option<IpAddr>,
    /// Its revision.
    pub protocol: ProtocolVersion,
    /// The transport that it had last.
    pub transport: TransportType,
    /// Was it opened by long-polling, so that requests name it?
    pub began_polling: bool,
    /// Why.
    pub reason: EndReason,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client closed it: by a close packet, or a close frame.
    ClientLeft,
    /// The connection ended, or a waiting poll's did.
    TransportClosed,
    /// The client did not answer a ping, or sent none, in time.
    PingTimeout,
    /// The client took nothing of what it was sent for too long.
    WriteStall,
    /// The worker's memory was full, and much was waiting for this client.
    Memory,
    /// A message was larger than is accepted.
    TooLarge,
    /// The client broke a protocol: WebSocket's, Engine.IO's or Socket.IO's.
    ProtocolError,
    /// Two polls, or two posts, at the same time.
    Overlap,
    /// It joined no namespace in time.
    ConnectTimeout,
    /// The application ended it.
    Application,
    /// The server drains its sessions: a reload, or a stop.
    Drain,
}

impl EndReason {
    /// What handlers are told.
    pub(crate) fn to_handlers(self) -> DisconnectReason {
        match self {
            Self::ClientLeft | Self::ConnectTimeout | Self::Application => {
                DisconnectReason::TransportClose
            }
            Self::TransportClosed | Self::WriteStall | Self::Memory => {
                DisconnectReason::TransportError
            }
            Self::PingTimeout => DisconnectReason::HeartbeatTimeout,
            Self::TooLarge | Self::ProtocolError => DisconnectReason::PacketParsingError,
            Self::Overlap => DisconnectReason::MultipleHttpPollingError,
            Self::Drain => DisconnectReason::ClosingServer,
        }
    }
}
