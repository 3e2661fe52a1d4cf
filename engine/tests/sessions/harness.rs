//! The words that the tests are written in: an engine with a handler that echoes, and clients on socket pairs.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::{EngineIoService, NotFoundService};
use engineioxide::socket::Sid;
pub use engineioxide::{Conn, ProtocolVersion};
use engineioxide::{
    Deflate, DisconnectReason, EndReason, Ended, Engine, Handshake, Head, Hooks, Opened, Settings,
    Socket, Str, Upgraded,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

// The path is for whoever takes this file into another binary.
#[path = "harness/websocket.rs"]
mod websocket;

pub use websocket::{Frame, WebSocket, client_frame, deflate, inflate, noise, text};

/// Whatever is awaited comes within this time, or the test fails.
pub const SOON: Duration = Duration::from_secs(5);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it takes too long")
}

/// What the handler was told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Connect,
    Text(String),
    Binary(Vec<u8>),
    Disconnect(DisconnectReason),
}

/// Echoes; `panic` panics, `close` closes, `quiet…` is answered with nothing, `much:N` with N bytes.
#[derive(Debug, Default)]
pub struct Echo {
    told: Mutex<Vec<Told>>,
    sockets: Mutex<Vec<Arc<Socket<()>>>>,
}

impl Echo {
    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }
}

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<()>>) {
        self.tell(Told::Connect);
        self.sockets.lock().unwrap().push(socket);
    }

    fn on_disconnect(&self, _: Arc<Socket<()>>, reason: DisconnectReason) {
        self.tell(Told::Disconnect(reason));
    }

    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<()>>) {
        self.tell(Told::Text(text.to_string()));
        match text.as_str() {
            "panic" => panic!("asked for"),
            "close" => socket.close(DisconnectReason::ClosingServer),
            quiet if quiet.starts_with("quiet") => {}
            much if much.starts_with("much:") => {
                let bytes = much.trim_start_matches("much:").parse().unwrap();
                let _ = socket.emit("m".repeat(bytes));
            }
            _ => drop(socket.emit(text)),
        }
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        self.tell(Told::Binary(data.to_vec()));
        let _ = socket.emit_binary(data);
    }
}

/// How sessions ended.
#[derive(Default)]
pub struct Ends(Mutex<Vec<Ended>>);

impl Hooks for Ends {
    fn name(&self, sid: Sid, _: ProtocolVersion) -> String {
        format!("{sid}-named")
    }

    fn ended(&self, ended: &Ended) {
        self.0.lock().unwrap().push(*ended);
    }
}

pub struct Server {
    pub engine: Engine,
    handler: Arc<Echo>,
    ends: Arc<Ends>,
    /// What is agreed on with those who connect from now on.
    pub deflate: Option<Deflate>,
}

/// Intervals that make a test quick, and are long enough not to get in the way.
pub fn quick() -> EngineIoConfig {
    EngineIoConfig {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        upgrade_timeout: Duration::from_millis(300),
        max_payload: 100_000,
        ..EngineIoConfig::default()
    }
}

pub fn settings() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(45),
        write_stall_timeout: Duration::from_secs(10),
        compression_threshold: 1024,
        common_parser: false,
    }
}

impl Server {
    pub fn start() -> Self {
        let config = EngineIoConfig {
            max_payload: 100_000,
            ..EngineIoConfig::default()
        };
        Self::with(config, settings())
    }

    pub fn with(config: EngineIoConfig, settings: Settings) -> Self {
        let engine = config.engine.clone();
        let handler = Arc::new(Echo::default());
        let ends = Arc::new(Ends::default());
        drop(EngineIoService::with_config_inner(
            NotFoundService,
            Arc::clone(&handler),
            config,
        ));
        engine.set_up(settings, Arc::clone(&ends) as _);
        let running = engine.clone();
        tokio::spawn(async move { running.run().await });
        Self {
            engine,
            handler,
            ends,
            deflate: None,
        }
    }

    /// One that agrees on this with whoever connects.
    pub fn agreeing(mut self, offers: &str) -> Self {
        let agreed = engineioxide::negotiate(offers).unwrap().unwrap();
        self.deflate = Some(agreed.deflate);
        self
    }

    pub fn told(&self) -> Vec<Told> {
        self.handler.told.lock().unwrap().clone()
    }

    /// The texts that the handler was told.
    pub fn texts(&self) -> Vec<String> {
        let told = self.told().into_iter();
        told.filter_map(|told| match told {
            Told::Text(text) => Some(text),
            _ => None,
        })
        .collect()
    }

    /// The handler's sockets, in the order of their sessions.
    pub fn socket(&self, nth: usize) -> Arc<Socket<()>> {
        Arc::clone(&self.handler.sockets.lock().unwrap()[nth])
    }

    /// Lets go of the handler's sockets.
    pub fn forget(&self) -> Vec<Weak<Socket<()>>> {
        let sockets = std::mem::take(&mut *self.handler.sockets.lock().unwrap());
        sockets.iter().map(Arc::downgrade).collect()
    }

    pub fn ends(&self) -> Vec<EndReason> {
        let ends = self.ends.0.lock().unwrap();
        ends.iter().map(|ended| ended.reason).collect()
    }

    /// Waits until this holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(
            timeout(SOON, wait).await.is_ok(),
            "{what}: {:?}",
            self.told()
        );
    }

    /// All that is told of the last end.
    pub async fn last_end(&self) -> Ended {
        self.ended().await;
        *self.ends.0.lock().unwrap().last().unwrap()
    }

    pub async fn ended(&self) -> EndReason {
        self.until("it ends", |server| !server.ends().is_empty())
            .await;
        self.ends()[0]
    }

    pub fn websocket(&self) -> WebSocket {
        self.websocket_of(ProtocolVersion::V4)
    }

    pub fn websocket_of(&self, protocol: ProtocolVersion) -> WebSocket {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.websocket_over(ours, Conn::Unix(theirs), &[], protocol)
    }

    /// A WebSocket over TCP, where a reset shows; the client has so much room for what it did not read yet, and the server four times as much.
    pub async fn websocket_over_tcp(&self, room: u32) -> WebSocket<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpSocket::new_v4().unwrap();
        ours.set_recv_buffer_size(room).unwrap();
        let (ours, theirs) = tokio::join!(
            ours.connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let theirs = theirs.unwrap().0;
        set_socket_send_buffer_size(&theirs, 4 * room as usize).unwrap();
        let theirs = Conn::Tcp(theirs);
        self.websocket_over(ours.unwrap(), theirs, &[], ProtocolVersion::V4)
    }

    /// A WebSocket on this connection, of which `unread` was read before the engine got it.
    pub fn websocket_over<S>(
        &self,
        ours: S,
        theirs: Conn,
        unread: &[u8],
        protocol: ProtocolVersion,
    ) -> WebSocket<S> {
        let sid =
            self.engine
                .open_websocket(theirs, unread, b"101!".to_vec(), self.handshake(protocol));
        WebSocket::new(ours, sid)
    }

    pub fn polling(&self) -> Polling<'_> {
        let opened = self
            .engine
            .open_polling(self.handshake(ProtocolVersion::V4))
            .unwrap();
        Polling {
            server: self,
            opened,
        }
    }

    fn handshake(&self, protocol: ProtocolVersion) -> Handshake {
        Handshake {
            protocol,
            base64: false,
            deflate: self.deflate,
            left: None,
            head: Head::default(),
        }
    }
}

/// A client that polls.
pub struct Polling<'a> {
    server: &'a Server,
    pub opened: Opened,
}

impl Polling<'_> {
    /// Polls, and has the answer.
    pub async fn poll(&self) -> String {
        let answer = soon(self.server.engine.poll(self.opened.sid).unwrap()).await;
        answer.receipt.delivered();
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Polls, and loses the answer.
    pub async fn poll_in_vain(&self) -> String {
        let answer = soon(self.server.engine.poll(self.opened.sid).unwrap()).await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    pub async fn post(&self, body: &str) {
        let posting = self.server.engine.post(self.opened.sid).unwrap();
        soon(posting.deliver(Bytes::copy_from_slice(body.as_bytes()), false)).await;
    }

    /// Begins an upgrade.
    pub fn upgrade(&self) -> WebSocket {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let upgrading = self.server.engine.upgrade(self.opened.sid).unwrap();
        let upgraded = Upgraded {
            conn: Conn::Unix(theirs),
            preface: Vec::new(),
            deflate: self.server.deflate,
        };
        upgrading.start(upgraded, &[]);
        WebSocket::new(ours, None)
    }
}
