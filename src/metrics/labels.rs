//! Labels, whose values are fixed: nobody outside can make the table longer.

use crate::wire::control::{Reason, TransportName};
use crate::wire::link::Origin;

/// The values of a label; they are fixed.
pub(crate) trait Label: Copy {
    /// The label's name.
    const NAME: &'static str;
    /// All values.
    const VALUES: &'static [&'static str];
    /// Which of them is it?
    fn index(self) -> usize;
}

/// No label.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

impl Label for Plain {
    const NAME: &'static str = "";
    const VALUES: &'static [&'static str] = &[""];

    fn index(self) -> usize {
        0
    }
}

/// Makes an enum of the values of a label.
macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident: $name:literal { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $label {
            $($(#[$value_doc])* $value,)*
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($word),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

labels! {
    /// Which way something went.
    Direction: "direction" {
        /// It came.
        In = "in",
        /// It went.
        Out = "out",
    }
    /// What became of an upgrade.
    Upgrade: "outcome" {
        /// Its connection was there.
        Tried = "tried",
        /// The session moved.
        Done = "done",
        /// The session polls on, or has ended.
        Failed = "failed",
    }
    /// What a request over HTTP was for.
    Purpose: "purpose" {
        /// A new session.
        Handshake = "handshake",
        /// What a session has for its client.
        Poll = "poll",
        /// What a client sends.
        Post = "post",
        /// A WebSocket for a session.
        Upgrade = "upgrade",
        /// A session at another worker.
        Forwarded = "forwarded",
        /// Somebody looks whether the server is well; the first request of a connection the master answers.
        Health = "health",
        /// What a browser asks before (CORS).
        Preflight = "preflight",
        /// A file of the browser's client.
        ClientFile = "client-file",
        /// The application's own routes.
        Application = "application",
        /// Nothing that could be done.
        Refused = "refused",
    }
    /// Where a connection came from.
    Listener: "listener" {
        /// A port.
        Tcp = "tcp",
        /// The Unix socket.
        Unix = "unix",
    }
    /// Why somebody was refused before there was a session.
    Refused: "reason" {
        /// There are as many connections, or sessions, as there may be.
        Full = "full",
        /// Too many sessions were opened within a second.
        Rate = "rate",
        /// This client has as many as it may have.
        AddressFull = "address-full",
        /// Too many of them by this client.
        AddressRate = "address-rate",
        /// The worker's memory is full.
        Memory = "memory",
        /// There were no descriptors left.
        Descriptors = "descriptors",
        /// No worker took it.
        NoWorker = "no-worker",
        /// The workers could not take so many new sessions at once.
        Busy = "busy",
        /// No head came in time.
        HeadTimeout = "head-timeout",
        /// The page's origin may not connect.
        Origin = "origin",
        /// The application did not let it in.
        Application = "application",
        /// There is no such session, or no more.
        UnknownSession = "unknown-session",
        /// It speaks a revision that is not spoken here.
        UnsupportedProtocol = "unsupported-protocol",
        /// It was no request, or not one that can be served.
        Malformed = "malformed",
    }
}

impl Label for TransportName {
    const NAME: &'static str = "transport";
    const VALUES: &'static [&'static str] = &["polling", "websocket"];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &[
        "client-left",
        "transport-closed",
        "ping-timeout",
        "write-stall",
        "memory",
        "too-large",
        "protocol-error",
        "connect-timeout",
        "application",
        "until",
        "drain",
        "stopped",
        "worker-gone",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl From<Origin> for Listener {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Tcp(_) => Self::Tcp,
            Origin::Unix | Origin::Worker => Self::Unix,
        }
    }
}
