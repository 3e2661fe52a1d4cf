//! What an operator asks and commands, as it travels between the master and its workers.
//!
//! Outside, on the control socket, the same has the names of `docs/CONTROL.md`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Why a session ended, or a socket was disconnected: the same word in the log, in metrics, in `my-app why` and in handlers.
///
/// It is an extractor of disconnect handlers, finer than socketioxide's `DisconnectReason`. A socket that leaves its
/// namespace while its session goes on has [`Reason::ClientLeft`] if its client wanted it so, and
/// [`Reason::Application`] if the application did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The client closed it.
    ClientLeft,
    /// The connection ended without a word.
    TransportClosed,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// The client took nothing of what it was sent for `write_stall_timeout`.
    WriteStall,
    /// The worker's memory was full, and this client had much of it.
    Memory,
    /// The client sent a message larger than `max_payload`.
    TooLarge,
    /// The client broke a protocol.
    ProtocolError,
    /// The client joined no namespace within `connect_timeout`.
    ConnectTimeout,
    /// The application, or an operator, disconnected it.
    Application,
    /// The time for which it was admitted ran out.
    Until,
    /// This machine is taken out, or reloads.
    Drain,
    /// The server stops.
    Stopped,
    /// Its worker ended. No handler is told this one.
    WorkerGone,
}

impl Reason {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Self; 13] = [
        Self::ClientLeft,
        Self::TransportClosed,
        Self::PingTimeout,
        Self::WriteStall,
        Self::Memory,
        Self::TooLarge,
        Self::ProtocolError,
        Self::ConnectTimeout,
        Self::Application,
        Self::Until,
        Self::Drain,
        Self::Stopped,
        Self::WorkerGone,
    ];

    /// Its word: `ping-timeout`, for example.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client-left",
            Self::TransportClosed => "transport-closed",
            Self::PingTimeout => "ping-timeout",
            Self::WriteStall => "write-stall",
            Self::Memory => "memory",
            Self::TooLarge => "too-large",
            Self::ProtocolError => "protocol-error",
            Self::ConnectTimeout => "connect-timeout",
            Self::Application => "application",
            Self::Until => "until",
            Self::Drain => "drain",
            Self::Stopped => "stopped",
            Self::WorkerGone => "worker-gone",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The transport of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TransportName {
    /// HTTP long-polling.
    Polling,
    /// `WebSocket`, from the beginning or by an upgrade.
    WebSocket,
}

impl TransportName {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// What went over a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Bytes of messages that the client sent, as they are after inflation and without frames and headers.
    pub bytes_in: u64,
    /// Bytes of messages for the client, likewise.
    pub bytes_out: u64,
    /// Engine.IO messages that the client sent.
    pub messages_in: u64,
    /// Engine.IO messages for the client.
    pub messages_out: u64,
}

/// A session that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The socket id.
    pub socket_id: String,
    /// The address of its client, if that is known.
    pub address: Option<IpAddr>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it lived, in milliseconds.
    pub lived_ms: u64,
    /// The transport that it had last.
    pub transport: TransportName,
    /// What went over it.
    pub traffic: Traffic,
    /// Why.
    pub reason: Reason,
    /// Was it an operator who had it disconnected?
    pub by_operator: bool,
}

/// What an operator asks of every worker, or of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// The live sessions that this describes, so many at most.
    Search {
        /// Which.
        sought: Sought,
        /// How many.
        most: u16,
    },
    /// End the session of this socket id.
    Disconnect {
        /// The socket id.
        socket_id: String,
    },
    /// Emit an event to this worker's sockets. It comes as JSON in a memfd: namespace, rooms, event, args.
    Emit,
}

/// Which sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sought {
    /// The one of this socket id.
    Id(String),
    /// Those of this address.
    Address(IpAddr),
    /// Those that have a socket in this room.
    Room {
        /// The namespace.
        namespace: String,
        /// The room.
        room: String,
    },
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Question::Search`].
    Found {
        /// Sessions, as JSON of `docs/CONTROL.md`, as many as fit into one message.
        sessions: String,
        /// There are more.
        more: bool,
    },
    /// To [`Question::Disconnect`] and [`Question::Emit`]: was there anything to do it to?
    Done(Result<bool, String>),
}

/// What becomes of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LogCommand {
    /// From now on this level, by its word in the configuration; none: the configured one.
    Level(Option<String>),
    /// The file is opened anew before the next line.
    Reopen,
}
