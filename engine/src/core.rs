//! What stands behind the handle: the sessions of a worker, and how one is opened.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engineioxide_core::{ProtocolVersion, Sid, Str, TransportType};
use tokio::time::Instant;

use crate::assembly::Assembly;
use crate::config::{EngineIoConfig, Settings};
use crate::conn::Conn;
use crate::engine::{Handshake, Opened, Port, Refused, Weight};
use crate::handler::EngineIoHandler;
use crate::hooks::{EndReason, Hooks, NoHooks};
use crate::line::{Line, Out, Transport, WebSocket};
use crate::live::Live;
use crate::packet::Packet;
use crate::polling::{self, Polling};
use crate::polls::{PollAnswer, Posting};
use crate::pump::Pump;
use crate::sessions::Table;
use crate::socket::Socket;
use crate::upgrade::Upgrading;
use crate::wheel::{Millis, Wheel, millis};
use crate::work::{Key, Work};

/// What stands behind the handle.
pub(crate) struct Core<H: EngineIoHandler> {
    pub(crate) handler: Arc<H>,
    pub(crate) config: EngineIoConfig,
    pub(crate) table: Mutex<Table<H::Data>>,
    pub(crate) wheel: Mutex<Wheel>,
    pub(crate) work: Arc<Work>,
    set_up: OnceLock<(Settings, Arc<dyn Hooks>)>,
}

impl<H: EngineIoHandler> fmt::Debug for Core<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

/// What a session is opened with.
enum Begin<'a> {
    WebSocket {
        conn: Conn,
        unread: &'a [u8],
        preface: Vec<u8>,
    },
    Polling,
}

impl<H: EngineIoHandler> Core<H> {
    pub(crate) fn new(handler: Arc<H>, config: EngineIoConfig) -> Self {
        Self {
            handler,
            config,
            table: Mutex::default(),
            wheel: Mutex::new(Wheel::new(Instant::now())),
            work: Arc::default(),
            set_up: OnceLock::new(),
        }
    }

    pub(crate) fn hooks(&self) -> &dyn Hooks {
        self.set_up.get().map_or(&NoHooks, |(_, hooks)| &**hooks)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.set_up
            .get()
            .map_or_else(Settings::default, |(settings, _)| *settings)
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table<H::Data>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wheel(&self) -> MutexGuard<'_, Wheel> {
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Millis {
        self.wheel().now()
    }

    pub(crate) fn find(&self, sid: Sid) -> Result<Arc<Socket<H::Data>>, Refused> {
        self.table().by_sid(sid).ok_or(Refused::UnknownSession)
    }

    /// Puts the next look at a session into the wheel.
    pub(crate) fn arm(&self, key: Key, line: &mut Line) {
        // Never in the past: the turn that looks would not end.
        let due = line.due().max(self.now() + 1);
        if due < line.armed {
            line.armed = due;
            let mut wheel = self.wheel();
            let next = wheel.next();
            wheel.insert(due, key);
            if wheel.next() != next {
                drop(wheel);
                self.work.wake_pump();
            }
        }
    }

    fn open(&self, handshake: Handshake, begin: Begin<'_>) -> (Arc<Socket<H::Data>>, Packet) {
        let Handshake {
            protocol,
            base64,
            deflate,
            left,
            head,
        } = handshake;
        let revision3 = protocol == ProtocolVersion::V3;
        let sid = Sid::new();
        let polling = matches!(begin, Begin::Polling);
        let open = self.open_packet(sid, protocol, polling);
        let now = self.now();
        let socket = {
            let mut table = self.table();
            let key = table.vacant();
            let transport = match begin {
                Begin::WebSocket {
                    conn,
                    unread,
                    preface,
                } => {
                    let mut assembly = Assembly::default();
                    assembly.set_unread(unread);
                    let socket = WebSocket::new(conn, assembly, deflate);
                    (Transport::WebSocket(socket), Some(preface))
                }
                Begin::Polling => {
                    let polling = Polling::new(self.config.max_payload());
                    (Transport::Polling(Box::new(polling)), None)
                }
            };
            let (transport, preface) = transport;
            let mut line = Line::new(transport, revision3);
            line.base64 = base64;
            line.opened = now;
            line.until = left.map_or(0, |left| now + millis(left).max(1));
            if let Some(preface) = preface {
                line.queue_out(&self.work, Out::Raw(preface.into()));
                line.queue_out(&self.work, Out::Packet(open.clone()));
                line.dirty = true;
            }
            if revision3 {
                line.awaits_pong = true;
                line.beat = now + self.lifetime();
            } else {
                line.beat = now + millis(self.config.ping_interval);
                line.join_by = now + millis(self.settings().connect_timeout);
            }
            let socket = Arc::new(Socket::new(
                sid,
                protocol,
                head,
                key,
                line,
                Arc::clone(&self.work),
            ));
            table.insert(&socket);
            socket
        };
        self.work.sessions.fetch_add(1, Relaxed);
        if !polling {
            self.work.counts.websockets.one_more();
        }
        self.arm(socket.key, &mut socket.line());
        let transport = if polling {
            TransportType::Polling
        } else {
            TransportType::Websocket
        };
        let client = socket.req_parts.address();
        self.hooks().opened(sid, client, transport);
        if revision3 {
            self.connect(&socket);
        }
        (socket, open)
    }

    /// How long a session of revision 3 may be silent, in milliseconds.
    pub(crate) fn lifetime(&self) -> Millis {
        millis(self.config.ping_interval) + millis(self.config.ping_timeout)
    }

    fn open_packet(&self, sid: Sid, protocol: ProtocolVersion, polling: bool) -> Packet {
        let upgrades = polling && self.config.upgrades();
        // In the order in which Node has them.
        let open = format!(
            r#"{{"sid":"{}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.hooks().name(sid, protocol),
            if upgrades { r#""websocket""# } else { "" },
            millis(self.config.ping_interval),
            millis(self.config.ping_timeout),
            self.config.max_payload,
        );
        Packet::Open(Str::from(open))
    }
}

impl<H: EngineIoHandler> Port for Core<H> {
    fn set_up(&self, settings: Settings, hooks: Arc<dyn Hooks>) {
        // The first one counts.
        let _ = self.work.hooks.set(Arc::clone(&hooks));
        let _ = self.set_up.set((settings, hooks));
    }

    fn turn(&self, pump: &mut Pump) -> bool {
        self.pump_turn(pump)
    }

    fn next_due(&self) -> Option<Instant> {
        self.wheel().next()
    }

    fn open_websocket(
        &self,
        conn: Conn,
        unread: &[u8],
        preface: Vec<u8>,
        handshake: Handshake,
    ) -> Sid {
        let begin = Begin::WebSocket {
            conn,
            unread,
            preface,
        };
        let (socket, _) = self.open(handshake, begin);
        self.work.push_dirty(socket.key);
        // Its first bytes are looked for.
        socket.set_ready();
        socket.id
    }

    fn open_polling(&self, handshake: Handshake) -> Opened {
        let base64 = handshake.base64;
        let (socket, open) = self.open(handshake, Begin::Polling);
        let packets = std::iter::once(&open);
        let (body, binary) = polling::encode(packets, socket.revision3(), base64);
        Opened {
            sid: socket.id,
            body,
            binary,
        }
    }

    fn poll(&self, sid: Sid) -> Result<PollAnswer, Refused> {
        self.find(sid)?.begin_poll()
    }

    fn post(&self, sid: Sid) -> Result<Posting, Refused> {
        self.find(sid)?.begin_post()
    }

    fn upgrade(&self, sid: Sid) -> Result<Upgrading, Refused> {
        let socket = self.find(sid)?;
        let until = self.now() + millis(self.config.upgrade_timeout);
        let upgrading = Arc::clone(&socket).begin_upgrade(until)?;
        self.arm(socket.key, &mut socket.line());
        Ok(upgrading)
    }

    fn end(&self, sid: Sid, reason: EndReason) {
        if let Ok(socket) = self.find(sid) {
            socket.close_with(reason);
        }
    }

    fn disconnect(&self, sid: Sid) -> bool {
        self.disconnect_session(sid)
    }

    fn live(&self, sid: Sid) -> Option<Live> {
        self.find(sid).ok()?.live(self.now())
    }

    fn live_of(&self, client: IpAddr, most: usize) -> Vec<Live> {
        self.sessions_of(client, most)
    }

    fn ends_in(&self, sid: Sid, left: Duration) {
        if let Ok(socket) = self.find(sid) {
            let mut line = socket.line();
            let until = self.now() + millis(left).max(1);
            if line.until == 0 || until < line.until {
                line.until = until;
                self.arm(socket.key, &mut line);
            }
        }
    }

    fn sids(&self) -> Vec<Sid> {
        self.table().sids()
    }

    fn by_age(&self) -> Vec<(Sid, Duration)> {
        self.oldest_first()
    }

    fn owed_polls(&self) -> usize {
        let sockets = self.table().all();
        let owed = sockets.iter().filter(|socket| socket.line().is_owed());
        owed.count()
    }

    fn weights(&self) -> Vec<Weight> {
        let sockets = self.table().all();
        let weights = sockets.into_iter().map(|socket| {
            let line = socket.line();
            Weight {
                sid: socket.id,
                bytes: line.weight(),
                joined: line.connected && line.join_by == 0,
            }
        });
        weights.collect()
    }

    fn work(&self) -> &Work {
        &self.work
    }
}
