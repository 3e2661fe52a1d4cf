//! What the engine tells the worker around it, and asks of it.

use std::net::IpAddr;
use std::task::Waker;
use std::time::Duration;

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
    fn opened(&self, sid: Sid, client: Option<IpAddr>, transport: TransportType) {
        let _ = (sid, client, transport);
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
    /// Was it an operator who had it [disconnected](crate::Engine::disconnect)?
    pub by_operator: bool,
    /// How long it lived.
    pub lived: Duration,
    /// What went over it.
    pub traffic: Traffic,
}

/// What goes over a session: Engine.IO messages, without frames, headers and the digit of their type, as they are
/// before they are deflated. Pings and the like do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that the client sent.
    pub bytes_in: u64,
    /// Bytes for the client. They count when they are queued, whether or not it takes them.
    pub bytes_out: u64,
    /// Messages that the client sent.
    pub messages_in: u64,
    /// Messages for the client, likewise.
    pub messages_out: u64,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client closed it: by a close packet, or a close frame; or its connection ended when it had left all
    /// namespaces.
    ClientLeft,
    /// The connection ended, or a waiting poll's did.
    TransportClosed,
    /// The client did not answer a ping, or sent none, in time.
    PingTimeout,
    /// The client took nothing of what it was sent for too long.
    WriteStall,
    /// The worker's memory was full, and this client had much of it.
    Memory,
    /// A message was larger than is accepted. A polling client is told so, and its session goes on; if it then leaves,
    /// this is why.
    TooLarge,
    /// The client broke a protocol: WebSocket's, Engine.IO's or Socket.IO's.
    ProtocolError,
    /// Two polls, or two posts, at the same time.
    Overlap,
    /// It joined no namespace in time.
    ConnectTimeout,
    /// The application ended it, or had left it no namespace when its client went; or an operator did.
    Application,
    /// The time for which it was admitted ran out.
    Until,
    /// The server drains its sessions: it is taken out, or reloads.
    Drain,
    /// The server stops.
    Stopped,
}

impl EndReason {
    /// What handlers are told.
    pub(crate) fn to_handlers(self) -> DisconnectReason {
        match self {
            Self::ClientLeft | Self::ConnectTimeout | Self::Application | Self::Until => {
                DisconnectReason::TransportClose
            }
            Self::TransportClosed | Self::WriteStall | Self::Memory => {
                DisconnectReason::TransportError
            }
            Self::PingTimeout => DisconnectReason::HeartbeatTimeout,
            Self::TooLarge | Self::ProtocolError => DisconnectReason::PacketParsingError,
            Self::Overlap => DisconnectReason::MultipleHttpPollingError,
            Self::Drain | Self::Stopped => DisconnectReason::ClosingServer,
        }
    }

    /// Is what was emitted before the end sent to a client that polls?
    pub(crate) fn owes_the_rest(self) -> bool {
        matches!(
            self,
            Self::Application | Self::Until | Self::Drain | Self::Stopped
        )
    }

    /// Does it only say that nothing more comes from the client, and not why?
    pub(crate) fn is_silence(self) -> bool {
        matches!(
            self,
            Self::ClientLeft | Self::TransportClosed | Self::PingTimeout | Self::ProtocolError
        )
    }
}
