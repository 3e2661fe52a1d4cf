//! The configuration: its keys, their defaults, and everything that can be wrong with a file.
//!
//! A file's text becomes a [`Config`] in one step ([`keys::parse`]), in which every value is
//! checked; there is no half-checked configuration. All faults of a file are told at once.
//!
//! ```text
//! load (which file) ─▶ keys (one line for each key) ─▶ value (types), validate (strings) ─▶ Config
//! ```
//!
//! The master reads the file and sends the `Config` to its workers as JSON, so that all run with
//! the same. This module never opens a socket, never looks a host up and never changes the
//! environment. Whether an address can be bound or a log file written is found out by those who do
//! it.

mod bridge;
mod choices;
mod error;
mod keys;
mod listen;
mod load;
mod validate;
mod value;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::systemd;
use crate::wire::client::ClientKey;
use crate::wire::client_file;
use crate::wire::link::Origin;
use crate::wire::target::Target;

pub(crate) use bridge::{BridgeConfig, BridgeUrl, HostPort, PostgresServer};
pub(crate) use choices::{Balance, LogFormat, LogLevel, Parser, Transport};
pub(crate) use error::ConfigError;
pub(crate) use keys::{Changes, WORKERS};
pub(crate) use listen::{ListenAddr, WorkerListen};
pub(crate) use load::{Loaded, STANDARD_FILE, runtime_directory};
pub(crate) use validate::origin;

/// Every setting of the server. [`Default`] is what holds without a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Where the server listens when systemd passes it no listeners. Never empty.
    pub listen: Vec<ListenAddr>,
    /// How many workers run, at most 4096; 0: one for each core that the process may use.
    pub workers: u16,
    /// Where each worker also has a port of its own; none: nowhere. Under systemd, which of its listeners are those.
    pub worker_listen: Option<WorkerListen>,
    /// How the router picks the worker of a new session.
    pub balance: Balance,
    /// How long the sessions may take to end when the server stops; zero ends them at once.
    pub stop_drain: Duration,
    /// How long the sessions of the workers before may take to end after a reload; zero ends them at once.
    pub drain: Duration,
    /// How long the start waits for the last of the workers when one takes connections already.
    pub start_timeout: Duration,
    /// A worker that gives no sign of life for this long is replaced. At least a second.
    pub watchdog: Duration,
    /// What Engine.IO and Socket.IO clients meet.
    pub engine: Engine,
    /// What one client, or all of them together, may take.
    pub limits: Limits,
    /// What is logged, and where.
    pub log: Log,
    /// How operators reach the running server.
    pub control: Control,
    /// What joins this machine with others.
    pub bridge: BridgeConfig,
}

/// The settings of Engine.IO and Socket.IO. The names and defaults are those of Node's server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(crate) struct Engine {
    /// The request path, from `/` to `/`, in ASCII.
    pub path: String,
    /// The time between two pings of the server.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    pub ping_timeout: Duration,
    /// How long an upgrade from polling to `WebSocket` may take.
    pub upgrade_timeout: Duration,
    /// How long a session may take to join its first namespace.
    pub connect_timeout: Duration,
    /// The largest message a client may send, over either transport, in bytes.
    pub max_payload: usize,
    /// The transports on offer, without duplicates. Never empty.
    pub transports: Vec<Transport>,
    /// Whether clients of protocol revision 3 (socket.io-client v2) are let in.
    pub allow_eio3: bool,
    /// How Socket.IO packets are written.
    pub parser: Parser,
    /// Whether messages over a `WebSocket` are deflated for clients that can inflate them.
    pub per_message_deflate: bool,
    /// Whether answers to polls are compressed for clients that accept it.
    pub http_compression: bool,
    /// How long a message or an answer is, at least, that is compressed, in bytes.
    pub compression_threshold: usize,
    /// The other origins whose pages may connect, as browsers write them; `*` alone: all of them;
    /// empty: none, only pages of the same origin.
    pub cors_origins: Vec<String>,
    /// Whether pages of those origins may send cookies. Never together with `*`.
    pub cors_credentials: bool,
    /// The request headers, in lower case, that those pages may send; empty: whatever the browser
    /// asks for.
    pub cors_headers: Vec<String>,
    /// How long a client may take nothing while data waits for it, before it is disconnected.
    pub write_stall_timeout: Duration,
    /// Whether pages may load the browser's client from below `path`.
    pub serve_client: bool,
}

/// The limits against overload. A zero number is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Connections, and sessions, at one time, over all workers; 0: no limit.
    pub max_connections: u32,
    /// The same for each client address, or IPv6 network of 64 bits; 0: no limit.
    pub max_connections_per_address: u32,
    /// How long a client may take to send the head of a request.
    pub head_timeout: Duration,
    /// New sessions in one second, over all workers; 0: no limit.
    pub new_sessions_per_second: u32,
    /// How many rooms a socket may be in; 0: no limit.
    pub rooms_per_socket: u32,
    /// How much memory a worker may have before it ends the sessions of clients that read too slowly,
    /// in bytes; 0: its share of the machine's.
    pub worker_memory: u64,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The settings of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Log {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// The file that lines are appended to, a full path; `None`: no file.
    pub file: Option<PathBuf>,
    /// The form of the lines on the terminal and in the file.
    pub format: LogFormat,
    /// The time between two lines with each worker's clients; zero: there are no such lines.
    pub stats_interval: Duration,
}

/// The settings of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Control {
    /// Where it is, a full path; `None`: there is none.
    pub socket: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp("127.0.0.1:3000".to_owned())],
            workers: 0,
            worker_listen: None,
            balance: Balance::LeastConnection,
            stop_drain: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            start_timeout: Duration::from_secs(30),
            watchdog: Duration::from_secs(10),
            engine: Engine::default(),
            limits: Limits::default(),
            log: Log::default(),
            control: Control::default(),
            bridge: BridgeConfig::default(),
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            path: "/socket.io/".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            max_payload: 1_000_000,
            transports: vec![Transport::Polling, Transport::Websocket],
            allow_eio3: false,
            parser: Parser::Common,
            per_message_deflate: false,
            http_compression: true,
            compression_threshold: 1024,
            cors_origins: Vec::new(),
            cors_credentials: false,
            cors_headers: Vec::new(),
            write_stall_timeout: Duration::from_secs(10),
            serve_client: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            max_connections_per_address: 0,
            head_timeout: Duration::from_secs(10),
            new_sessions_per_second: 0,
            rooms_per_socket: 10_000,
            worker_memory: 0,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Engine {
    /// The name of the client's file that a request is for, if pages may load it from here.
    pub(crate) fn client_file(&self, method: &str, target: &Target<'_>) -> Option<&'static str> {
        client_file::named(method, target, &self.path).filter(|_| self.serve_client)
    }
}

impl Limits {
    /// Is what this peer says of its clients believed?
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Whose connection is it? None's if it is a proxy's: that has those of many clients.
    pub(crate) fn client_of(&self, origin: Origin) -> Option<ClientKey> {
        match origin {
            Origin::Tcp(peer) if !self.trusts(peer.ip()) => origin.peer(),
            _ => None,
        }
    }

    /// Is there a limit for which it matters who opens a session?
    pub(crate) fn count_clients(&self) -> bool {
        self.new_sessions_per_second > 0 || self.max_connections_per_address > 0
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            file: Some("/var/log/my-app/app.log".into()),
            format: LogFormat::Text,
            stats_interval: Duration::from_secs(5),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: Some("/run/my-app-ctl/control.sock".into()),
        }
    }
}

impl Config {
    /// How many workers run: as many as were configured, or one for each core that this process may use; affinity and
    /// cgroup quota count.
    pub(crate) fn worker_count(&self) -> u16 {
        match self.workers {
            0 => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let most = *WORKERS.end();
                u16::try_from(cores).unwrap_or(most).clamp(1, most)
            }
            some => some,
        }
    }

    /// Reads the file at `path`, or else [`STANDARD_FILE`] if there is one, or else takes the
    /// defaults. Without a file and without systemd the program runs by hand: it logs to the
    /// terminal only, and its control socket is in the user's own runtime directory.
    ///
    /// # Errors
    /// When `path` does not exist, when a file exists but cannot be read, and when it has faults.
    pub(crate) fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
        load::load(path, Path::new(STANDARD_FILE), systemd::is_parent())
    }
}
