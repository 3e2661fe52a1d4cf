//! What the parts of a worker share, and the engine's settings.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;

use engineioxide::{
    Conn as EngineConn, EndReason, Ended, Engine, Handshake, Hooks, ProtocolVersion, Settings,
    TransportType as EngineTransport,
};
use socketioxide::socket::Sid;
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::admission::Admission;
use super::details;
use super::ends::{self, Ends};
use super::http1::Cors;
use super::link::Master;
use super::peers::Peers;
use super::repeats::Repeats;
use super::sessions::Sessions;
use crate::api::{Adapter, App, ClientAddr, Cluster, Endpoint, Io};
use crate::bus::Bus;
use crate::config::{self, Config, Parser, Transport};
use crate::ipc::conn::Conn;
use crate::ipc::link::Link;
use crate::metrics;
use crate::wire::control::Reason;
use crate::wire::health::Readiness;
use crate::wire::link::Welcome;
use crate::wire::session_id::{Home, Keyring};

/// All that the parts of a worker share.
pub(crate) struct Worker {
    pub(super) home: Home,
    pub(super) keyring: Keyring,
    pub(super) sessions: Arc<Sessions>,
    pub(super) ends: Arc<Ends>,
    pub(super) admission: Admission,
    live: watch::Sender<Live>,
    pub(super) link: Master,
    pub(super) bus: Bus,
    pub(super) peers: Peers,
    pub(super) repeats: Arc<Repeats>,
    pub(super) engine: Engine,
    pub(super) io: Io,
    pub(super) routes: axum::Router,
    /// What the routes are told of the engine.
    pub(super) endpoint: Endpoint,
    /// Is the machine taken out? The master tells it with each ping.
    pub(super) taken_out: AtomicBool,
    /// Have workers of another generation taken over? Then connections are not kept: new ones go where the session is.
    pub(super) retires: AtomicBool,
}

/// What a reload may change while the worker runs; see [`Worker::reconfigure`].
pub(super) struct Live {
    config: Arc<Config>,
    cors: Arc<Cors>,
}

impl Live {
    fn new(config: Config) -> Self {
        Self {
            cors: Arc::new(Cors::new(&config.engine)),
            config: Arc::new(config),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl Worker {
    pub(super) fn new(app: App, link: Link, welcome: Welcome, config: Config) -> Arc<Self> {
        let bus = Bus::default();
        bus.limit_rooms(config.limits.rooms_per_socket as usize);
        let counts_clients = config.limits.max_connections_per_address > 0;
        let sessions = Arc::new(Sessions::new(counts_clients));
        let ends = Arc::<Ends>::default();
        let repeats = Arc::<Repeats>::default();
        let io = socket_io(&config.engine, &bus);
        bus.hello(*io.config().server_id);
        (app.namespaces)(&io, &Cluster::new(&bus));
        let engine = io.config().engine_config.engine.clone();
        let settings = Settings {
            connect_timeout: config.engine.connect_timeout,
            write_stall_timeout: config.engine.write_stall_timeout,
            compression_threshold: config.engine.compression_threshold,
            common_parser: config.engine.parser == Parser::Common,
        };
        let hooks = EngineHooks {
            home: welcome.home,
            keyring: welcome.keyring.clone(),
            sessions: Arc::clone(&sessions),
            ends: Arc::clone(&ends),
            repeats: Arc::clone(&repeats),
            bus: bus.clone(),
            stalled: AtomicU64::new(0),
        };
        engine.set_up(settings, Arc::new(hooks));
        let known = (io.clone(), engine.clone());
        bus.describe_with(move |ns, id| details::describe(&known.0, &known.1, ns, id));
        Arc::new(Self {
            home: welcome.home,
            keyring: welcome.keyring,
            sessions,
            ends,
            admission: Admission::new(app, &config.limits),
            link: Master::new(link),
            bus,
            peers: Peers::default(),
            repeats,
            engine,
            io,
            routes: (app.routes)(),
            endpoint: Endpoint {
                path: config.engine.path.as_str().into(),
                msgpack: config.engine.parser == Parser::Msgpack,
            },
            taken_out: AtomicBool::new(false),
            retires: AtomicBool::new(false),
            live: watch::Sender::new(Live::new(config)),
        })
    }

    /// The configuration of now.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.live.borrow().config)
    }

    /// Which pages may have clients connect, now.
    pub(super) fn cors(&self) -> Arc<Cors> {
        Arc::clone(&self.live.borrow().cors)
    }

    /// Tells when there is another configuration.
    pub(super) fn reconfigured(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Takes over what differs of the keys that [need no new workers](Config::changes); the others are what they were.
    pub(super) fn reconfigure(&self, config: Config) {
        self.bus
            .limit_rooms(config.limits.rooms_per_socket as usize);
        self.admission.set_limits(&config.limits);
        self.live.send_replace(Live::new(config));
    }

    /// How long a session may be silent before the engine ends it.
    pub(super) fn session_lifetime(&self) -> Duration {
        let config = self.config();
        config.engine.ping_interval + config.engine.ping_timeout
    }

    /// What `/readyz` says here. A worker that answers is one that takes connections.
    pub(super) fn readiness(&self) -> Readiness {
        if self.taken_out.load(Relaxed) {
            Readiness::TakenOut
        } else {
            Readiness::Ready
        }
    }

    /// Opens a session on a WebSocket whose handshake was checked; `preface` is its answer.
    pub(super) fn open_websocket(
        &self,
        conn: Conn,
        unread: &[u8],
        preface: Vec<u8>,
        handshake: Handshake,
    ) {
        self.sessions.has_websocket();
        let conn = EngineConn::from(conn);
        self.engine.open_websocket(conn, unread, preface, handshake);
    }
}

/// What the engine is told, and tells.
struct EngineHooks {
    home: Home,
    keyring: Keyring,
    sessions: Arc<Sessions>,
    ends: Arc<Ends>,
    repeats: Arc<Repeats>,
    bus: Bus,
    /// Sessions that were ended because their clients did not read.
    stalled: AtomicU64,
}

impl Hooks for EngineHooks {
    fn name(&self, sid: Sid, protocol: ProtocolVersion) -> String {
        match protocol {
            ProtocolVersion::V3 => sid.to_string(),
            ProtocolVersion::V4 => self.keyring.tag(sid.as_str(), self.home),
        }
    }

    fn opened(&self, sid: Sid, client: Option<IpAddr>, transport: EngineTransport) {
        debug!(
            socket_id = %sid,
            client_addr = %ClientAddr(client),
            transport = ends::transport(transport).as_str(),
            "a session began"
        );
        metrics::SESSIONS_OPENED.count(ends::transport(transport));
        self.sessions.opened(client);
    }

    fn ended(&self, ended: &Ended) {
        let traffic = ended.traffic;
        debug!(
            socket_id = %ended.sid,
            client_addr = %ClientAddr(ended.client),
            transport = ends::transport(ended.transport).as_str(),
            reason = Reason::from(ended.reason).as_str(),
            by_operator = ended.by_operator,
            lived_seconds = ended.lived.as_secs_f64(),
            bytes_in = traffic.bytes_in,
            bytes_out = traffic.bytes_out,
            messages_in = traffic.messages_in,
            messages_out = traffic.messages_out,
            "a session ended"
        );
        self.ends.ended(ended);
        self.sessions.ended(ended);
        self.repeats.ended(ended.sid);
        self.bus.session_ended(ended.sid);
        if ended.reason == EndReason::WriteStall {
            let total = self.stalled.fetch_add(1, Relaxed) + 1;
            warn!(
                total,
                socket = %ended.sid,
                "a client does not read what it is sent; its connection was closed"
            );
        }
    }

    fn released(&self, sid: Sid) {
        self.bus.session_released(sid);
    }

    fn is_held(&self, sid: Sid) -> bool {
        self.bus.holds(sid)
    }

    fn wake_when_free(&self, sid: Sid, waker: Waker) {
        self.bus.wake_when_free(sid, waker);
    }

    fn congestion(&self) -> Option<u32> {
        self.bus.gate().congestion()
    }

    fn wake_when_clear(&self, waker: Waker) {
        self.bus.gate().wake_when_open(waker);
    }
}

/// The time that socketioxide gives a session to join. The engine keeps that time itself where it looks into packets,
/// and says why it ends a session; it must be first then.
fn connect_timeout(engine: &config::Engine) -> Duration {
    const LATER: Duration = Duration::from_secs(1);
    match engine.parser {
        Parser::Common => engine.connect_timeout.saturating_add(LATER),
        Parser::Msgpack => engine.connect_timeout,
    }
}

/// socketioxide with this configuration. Its service has nothing to do: requests are read here, and the engine
/// is reached by its handle.
fn socket_io(engine: &config::Engine, bus: &Bus) -> SocketIo<Adapter> {
    let builder = SocketIo::builder()
        .with_adapter::<Adapter>(bus.clone())
        .with_state(Cluster::new(bus))
        .req_path(engine.path.clone())
        .ping_interval(engine.ping_interval)
        .ping_timeout(engine.ping_timeout)
        .upgrade_timeout(engine.upgrade_timeout)
        .connect_timeout(connect_timeout(engine))
        // One limit for whatever a client sends, as Node's maxHttpBufferSize.
        .max_payload(engine.max_payload as u64);
    let both = engine.transports.len() > 1;
    let builder = match engine.transports.first() {
        Some(Transport::Polling) if !both => builder.transports([TransportType::Polling]),
        Some(Transport::Websocket) if !both => builder.transports([TransportType::Websocket]),
        _ => builder,
    };
    let (_, io) = match engine.parser {
        Parser::Common => builder
            .with_parser(ParserConfig::common().max_incoming_binary_buf_size(engine.max_payload))
            .build_svc(),
        Parser::Msgpack => builder.with_parser(ParserConfig::msgpack()).build_svc(),
    };
    io
}
