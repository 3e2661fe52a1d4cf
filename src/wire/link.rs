//! What the master and one worker say to each other over their [link](crate::ipc::link).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::client::ClientKey;
use super::control::{Answer, Ended, LogCommand, Question};
use super::session_id::{BARE_LEN, Home, Keyring};

/// The largest head of a request that a [`Handoff`] may carry, in bytes; no worker reads a larger
/// one.
pub(crate) const MAX_HEAD: usize = 32 * 1024;

/// Which messages a program knows. More are only ever appended, so that the two ends may be of different versions; it
/// changes when the new end could not go on with an old one.
pub(crate) const LINK_VERSION: u32 = 1;

/// What the master says to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message. Beside it comes a memfd with the configuration as JSON.
    Welcome(Welcome),
    /// The second message. Beside it comes the worker's end of the [bus](crate::ipc::bus).
    Bus,
    /// A connection, beside the message, is the worker's from now on.
    Take(Handoff),
    /// The answer to [`ToMaster::Eio3Open`] and [`ToMaster::Eio3Find`].
    Eio3 {
        /// The question's number.
        ticket: u64,
        /// Who has the session, if anybody.
        home: Option<Home>,
    },
    /// The answer to [`ToMaster::Reserve`].
    Home {
        /// The question's number.
        ticket: u64,
        /// Where the session is to be opened, or why nowhere.
        place: Result<Place, NoPlace>,
    },
    /// Are you alive? Answered by [`ToMaster::Pong`].
    Ping {
        /// Is the machine taken out, so that health checks are to be told that it is not ready?
        taken_out: bool,
    },
    /// End all sessions, spread over this many milliseconds, and leave.
    Stop {
        /// Milliseconds.
        within_ms: u32,
    },
    /// End the sessions that there are, spread over this many milliseconds; none: end no more of them.
    Drain {
        /// Milliseconds.
        over_ms: Option<u32>,
    },
    /// An operator asks, or commands. Beside [`Question::Emit`] comes a memfd.
    Ask {
        /// Repeated in the answer.
        ticket: u64,
        /// What.
        question: Question,
    },
    /// What becomes of the log.
    Log(LogCommand),
    /// Workers of another generation take the new sessions: as [`ToWorker::Stop`], which may follow with a shorter
    /// time, but the reason is another one.
    Retire {
        /// Milliseconds.
        over_ms: u32,
    },
    /// Another configuration holds, which needs no new workers. Beside it comes a memfd with it, as JSON.
    Config,
}

/// What a worker says to the master.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMaster {
    /// The worker accepts connections.
    Ready,
    /// The answer to [`ToWorker::Ping`].
    Pong,
    /// The worker's counts, sent soon after they changed.
    Report {
        /// The counts.
        counts: Report,
        /// The [reservations](Place::reservation) of which it is known what became: either the session is
        /// among the counts, or there is none. It may be told more than once, by either worker.
        released: Vec<u64>,
        /// By how much the counts of clients have changed since the last report, if there is a limit for each.
        clients: Vec<(ClientKey, Change)>,
    },
    /// Which worker is to have a session that a client asks for over a connection that is in use already? And,
    /// where clients are counted: may it be opened?
    Reserve {
        /// Repeated in the answer.
        ticket: u64,
        /// Who the client is, if that is known.
        client: Option<IpAddr>,
        /// Was the connection dispatched to this worker for the session? Then that is its home.
        dispatched: bool,
        /// The slot [to whose own port](Handoff::port_of) the connection came.
        port_of: Option<u16>,
    },
    /// What the worker has counted: the values of the table of `src/metrics.rs`, in its order. Sent when they
    /// have changed, four times a second at most.
    Metrics(Vec<u64>),
    /// Sessions that have ended, a few at a time.
    Ended(Vec<Ended>),
    /// The answer to [`ToWorker::Ask`].
    Answer {
        /// The question's number.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
    /// A revision 3 session was opened by polling: requests for it will name it by this bare id.
    Eio3Open {
        /// Repeated in the answer.
        ticket: u64,
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// That session is gone.
    Eio3Close {
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// Who has this revision 3 session?
    Eio3Find {
        /// Repeated in the answer.
        ticket: u64,
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// The connection beside the message belongs to another worker.
    Pass {
        /// Whose it is. If that worker is gone, the connection is closed.
        to: Home,
        /// What it is.
        handoff: Handoff,
        /// The [reservation](Place::reservation) for the session that it opens.
        reservation: Option<u64>,
    },
    /// A [`ToWorker::Config`] did not arrive; it is to be told again.
    Unconfigured,
}

/// Where a session is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The worker that is to have it.
    pub home: Home,
    /// The number under which the master counts the session until it is told what became of it.
    pub reservation: u64,
}

/// Why a session may not be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NoPlace {
    /// There are as many as there may be.
    Full,
    /// Too many were opened within a second.
    Rate,
    /// Too many of them by this client.
    ClientRate,
    /// This client has as many as it may have.
    ClientFull,
}

/// What has changed for one client since it was told last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Its live sessions.
    pub sessions: i32,
    /// Its own connections that are no session's WebSocket.
    pub connections: i32,
}

/// How a worker begins.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The worker's generation and slot.
    pub home: Home,
    /// How many workers there are.
    pub workers: u16,
    /// The key of all session ids.
    pub keyring: Keyring,
}

/// A connection that changes hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handoff {
    /// Who is at the other end.
    pub origin: Origin,
    /// The slot to whose own port (`worker_listen`) it came: whoever chose the port chose the worker of the sessions
    /// that are opened over it.
    pub port_of: Option<u16>,
    /// Was it dispatched as a new session, so that a session is counted for it until the worker
    /// says what became of it?
    pub opens: bool,
    /// The [reservation](Place::reservation) for the session that it opens, if that is counted so.
    pub reservation: Option<u64>,
    /// Has another worker let its first request in? Then nobody is asked again.
    pub admitted: Option<LetIn>,
    /// How long ago it was accepted, in milliseconds: its head has that much less time to arrive.
    pub age_ms: u32,
    /// A request head that was already read from it; mostly empty.
    pub head: Vec<u8>,
}

#[cfg(test)]
impl Handoff {
    /// A connection that has just come to a Unix socket, and opens a session.
    pub(crate) fn of_a_new_session() -> Self {
        Self {
            origin: Origin::Unix,
            port_of: None,
            opens: true,
            reservation: None,
            admitted: None,
            age_ms: 0,
            head: Vec::new(),
        }
    }
}

/// A client that the application has let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LetIn {
    /// Until when, in milliseconds since 1970; none: for as long as it likes.
    pub until_ms: Option<u64>,
}

impl LetIn {
    /// For how long, from now on.
    pub(crate) fn left(self) -> Option<Duration> {
        let until = UNIX_EPOCH.checked_add(Duration::from_millis(self.until_ms?))?;
        let left = until.duration_since(SystemTime::now());
        Some(left.unwrap_or_default())
    }
}

impl Handoff {
    /// Is it a client's or a proxy's connection that no worker had before?
    pub(crate) fn is_new(&self) -> bool {
        self.origin != Origin::Worker && self.head.is_empty()
    }

    /// Is it one of those that were [given their turn](Self::opens)? What one worker passes on to another was, before.
    pub(crate) fn is_paced(&self) -> bool {
        self.opens && self.is_new()
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// A client or a proxy, over TCP.
    Tcp(SocketAddr),
    /// A proxy on this machine, over the Unix socket.
    Unix,
    /// Another worker of ours, with requests for sessions of this one.
    Worker,
}

impl Origin {
    /// Who is at the other end of a TCP connection.
    pub(crate) fn peer(self) -> Option<ClientKey> {
        match self {
            Self::Tcp(peer) => Some(peer.ip().into()),
            Self::Unix | Self::Worker => None,
        }
    }
}

/// A worker's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Handoffs that it has begun with since the start.
    pub taken: u64,
    /// Of those that were dispatched as a new session: how many became one, or did not.
    pub resolved: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Open connections of clients.
    pub connections: u64,
}
