//! A network between clients and a server: a distance, a proxy's faults, connections that break.
//!
//! It is a TCP proxy on loopback. It reads just enough of each request's head to tell an upgrade
//! to WebSocket from polling, and carries the bytes as they are; a head once it is whole. What is
//! delayed waits in a queue with its due time, so a distance costs no throughput.

mod connection;
mod heads;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

pub use heads::Request;

/// A running network. It ends with the value, and with it all of its connections.
pub struct Network {
    /// Where clients find the server.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Both ends are reset.
    Reset,
    /// Both ends are closed.
    Close,
}

/// A connection breaks behind the nth byte of this direction, counted from the first byte of its
/// upgrade request.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub after: usize,
    pub direction: Direction,
    pub how: Break,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    one_way: Duration,
    /// Round trips before a connection's first byte, and more of them before a WebSocket's.
    setup: u32,
    websocket_setup: u32,
    swallow: bool,
    cut: Option<Cut>,
    /// What a client reads, in bytes a second.
    rate: Option<usize>,
}

/// What a network has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub connections: usize,
    pub bytes_to_server: usize,
    pub bytes_to_client: usize,
    /// By method and transport.
    requests: BTreeMap<(String, String), usize>,
}

impl Seen {
    /// Requests with this method and `transport` in their query.
    pub fn requests(&self, method: &str, transport: &str) -> usize {
        let key = (method.to_owned(), transport.to_owned());
        self.requests.get(&key).copied().unwrap_or(0)
    }

    /// Polls: the GETs of the polling transport, handshakes too.
    pub fn polls(&self) -> usize {
        self.requests("GET", "polling")
    }

    /// WebSockets that were asked for.
    pub fn websockets(&self) -> usize {
        self.requests("GET", "websocket")
    }
}

struct Shared {
    server: SocketAddr,
    conditions: Mutex<Conditions>,
    /// For the next upgrade alone.
    next_cut: Mutex<Option<Cut>>,
    seen: Mutex<Seen>,
    /// Changes when all connections are to be reset.
    resets: watch::Sender<()>,
}

impl Shared {
    fn see(&self, saw: impl FnOnce(&mut Seen)) {
        saw(&mut self.seen.lock().unwrap());
    }

    fn conditions(&self) -> Conditions {
        *self.conditions.lock().unwrap()
    }

    /// The cut that an upgrade which begins now gets.
    fn take_cut(&self) -> Option<Cut> {
        let next = self.next_cut.lock().unwrap().take();
        next.or(self.conditions().cut)
    }
}

impl Network {
    /// A network to this address that does nothing yet.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            conditions: Mutex::default(),
            next_cut: Mutex::default(),
            seen: Mutex::default(),
            resets: watch::Sender::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let carrier = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async move {
                tokio::select! {
                    () = connection::accept(listener, carrier) => {}
                    // An error: the value is gone.
                    _ = stopped => {}
                }
            });
        });
        Self {
            addr,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.shared.conditions.lock().unwrap()
    }

    /// Every byte is under way for so long, in each direction.
    pub fn delay(self, one_way: Duration) -> Self {
        self.conditions().one_way = one_way;
        self
    }

    /// Every byte is under way for half of this, in each direction.
    pub fn round_trip(self, there_and_back: Duration) -> Self {
        self.delay(there_and_back / 2)
    }

    /// A connection carries nothing in its first `count` round trips, as one over TLS does.
    pub fn setup_round_trips(self, count: u32) -> Self {
        self.conditions().setup = count;
        self
    }

    /// The same for connections that begin with the request for a WebSocket, for these alone.
    pub fn websocket_setup_round_trips(self, count: u32) -> Self {
        self.conditions().websocket_setup = count;
        self
    }

    /// Behind the 101 that answers an upgrade nothing passes, in either direction, and the
    /// connection stays open until one of its ends closes it.
    pub fn swallow_frames_after_101(self) -> Self {
        self.conditions().swallow = true;
        self
    }

    /// Each upgrade breaks behind so many of its bytes.
    pub fn cut_after(self, bytes: usize, direction: Direction, how: Break) -> Self {
        self.conditions().cut = Some(Cut {
            after: bytes,
            direction,
            how,
        });
        self
    }

    /// Clients read no more than this.
    pub fn slow_reader(self, bytes_per_second: usize) -> Self {
        self.conditions().rate = Some(bytes_per_second);
        self
    }

    /// The next upgrade breaks like this, and no other.
    pub fn cut_next(&self, cut: Cut) {
        *self.shared.next_cut.lock().unwrap() = Some(cut);
    }

    /// Resets every connection that there is, at both ends.
    pub fn abort_all(&self) {
        self.shared.resets.send_replace(());
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its panic was printed.
        let _ = self.thread.take().unwrap().join();
    }
}
