//! One connection over a network.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::heads::{Heads, Piece};
use super::{Break, Conditions, Cut, Direction, Shared};

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that may be under way in one direction: many more than a distance needs.
const UNDER_WAY: usize = 1024;

/// How long the ends of a connection that was closed may take to read what they got.
const LINGER: Duration = Duration::from_secs(1);

/// So often a second a slow reader reads.
const SIPS: usize = 50;

enum Item {
    Bytes(Vec<u8>),
    /// The sender sends no more.
    End,
    Break(Break),
}

/// What is under way, and when it arrives.
type Queue = mpsc::Sender<(Instant, Item)>;

/// What both directions of a connection know.
struct Connection {
    shared: Arc<Shared>,
    conditions: Conditions,
    accepted: Instant,
    /// An upgrade was asked for on it.
    upgrading: AtomicBool,
    cut: Mutex<Option<Cut>>,
}

pub async fn accept(listener: StdListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        shared.see(|seen| seen.connections += 1);
        let connection = Connection {
            conditions: shared.conditions(),
            accepted: Instant::now(),
            upgrading: AtomicBool::new(false),
            cut: Mutex::default(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(connection.live(client));
    }
}

impl Connection {
    async fn live(self, mut client: TcpStream) {
        let mut resets = self.shared.resets.subscribe();
        let Ok(mut server) = TcpStream::connect(self.shared.server).await else {
            reset(&client);
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ended = tokio::select! {
            ended = self.carry(&mut client, &mut server) => ended,
            _ = resets.changed() => Err(Break::Reset),
        };
        match ended {
            Ok(()) => {}
            Err(Break::Reset) => {
                reset(&client);
                reset(&server);
            }
            Err(Break::Close) => {
                tokio::join!(close(client), close(server));
            }
        }
    }

    async fn carry(&self, client: &mut TcpStream, server: &mut TcpStream) -> Result<(), Break> {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (up, going_up) = mpsc::channel(UNDER_WAY);
        let (down, going_down) = mpsc::channel(UNDER_WAY);
        tokio::try_join!(
            self.read_client(from_client, up),
            write(to_server, going_up),
            self.read_server(from_server, down),
            write(to_client, going_down),
        )?;
        Ok(())
    }

    async fn read_client(&self, mut client: ReadHalf<'_>, queue: Queue) -> Result<(), Break> {
        let mut heads = Heads::default();
        let mut way = Way::new(self, Direction::ToServer, queue);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match client.read(&mut buffer).await {
                Ok(0) => {
                    way.send(heads.rest()).await?;
                    return way.end().await;
                }
                Ok(count) => count,
                Err(_) => return way.broke().await,
            };
            self.shared.see(|seen| seen.bytes_to_server += count);
            for piece in heads.feed(&buffer[..count]) {
                match piece {
                    Piece::Head(request, head) => {
                        let (method, transport) = (request.method, request.transport);
                        self.shared.see(|seen| {
                            *seen.requests.entry((method, transport)).or_default() += 1;
                        });
                        way.setup(request.upgrade);
                        if request.upgrade {
                            *self.cut.lock().unwrap() = self.shared.take_cut();
                            self.upgrading.store(true, Relaxed);
                        }
                        way.send(head).await?;
                    }
                    Piece::Other(bytes) => {
                        let swallowed = self.conditions.swallow && self.upgrading.load(Relaxed);
                        if !swallowed {
                            way.send(bytes).await?;
                        }
                    }
                }
            }
        }
    }

    async fn read_server(&self, mut server: ReadHalf<'_>, queue: Queue) -> Result<(), Break> {
        let mut way = Way::new(self, Direction::ToClient, queue);
        let mut answer = Answer::default();
        let size = self.conditions.rate.map_or(CHUNK, |rate| rate / SIPS + 1);
        let mut buffer = vec![0; size.min(CHUNK)];
        loop {
            let bytes = match server.read(&mut buffer).await {
                Ok(0) => return way.end().await,
                Ok(count) => &buffer[..count],
                Err(_) => return way.broke().await,
            };
            self.shared.see(|seen| seen.bytes_to_client += bytes.len());
            let passing = if self.conditions.swallow && self.upgrading.load(Relaxed) {
                answer.pass(bytes)
            } else {
                bytes.len()
            };
            way.send(bytes[..passing].to_vec()).await?;
            if let Some(rate) = self.conditions.rate {
                let took = u32::try_from(bytes.len()).unwrap();
                sleep(Duration::from_secs(1) * took / u32::try_from(rate).unwrap()).await;
            }
        }
    }
}

/// The answer to an upgrade, of which nothing passes but its head.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
}

impl Answer {
    /// How many of these bytes pass.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let end = |head: &[u8]| head.windows(4).position(|four| four == b"\r\n\r\n");
        if end(&self.head).is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            return end(&self.head).map_or(bytes.len(), |end| {
                if self.switches() {
                    end + 4 - before
                } else {
                    bytes.len()
                }
            });
        }
        if self.switches() { 0 } else { bytes.len() }
    }

    fn switches(&self) -> bool {
        self.head.starts_with(b"HTTP/1.1 101")
    }
}

/// One direction of a connection, at its sender's end.
struct Way<'a> {
    of: &'a Connection,
    direction: Direction,
    queue: Queue,
    /// Nothing arrives before.
    earliest: Instant,
    /// Bytes since the upgrade began.
    upgrade: usize,
    first: bool,
}

impl<'a> Way<'a> {
    fn new(of: &'a Connection, direction: Direction, queue: Queue) -> Self {
        Self {
            of,
            direction,
            queue,
            earliest: of.accepted,
            upgrade: 0,
            first: true,
        }
    }

    /// The first request tells how long the connection is set up for.
    fn setup(&mut self, websocket: bool) {
        let conditions = self.of.conditions;
        let more = if websocket {
            conditions.websocket_setup
        } else {
            0
        };
        if std::mem::take(&mut self.first) {
            self.earliest += conditions.one_way * 2 * (conditions.setup + more);
        }
    }

    async fn send(&mut self, mut bytes: Vec<u8>) -> Result<(), Break> {
        let mut ends = None;
        if self.of.upgrading.load(Relaxed) {
            let cut = *self.of.cut.lock().unwrap();
            if let Some(cut) = cut.filter(|cut| cut.direction == self.direction)
                && self.upgrade + bytes.len() >= cut.after
            {
                bytes.truncate(cut.after - self.upgrade);
                ends = Some(cut.how);
            }
            self.upgrade += bytes.len();
        }
        if !bytes.is_empty() {
            self.put(Item::Bytes(bytes)).await?;
        }
        if let Some(how) = ends {
            self.put(Item::Break(how)).await?;
            // The other end of the queue ends all.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// The sender closed.
    async fn end(&mut self) -> Result<(), Break> {
        self.put(Item::End).await
    }

    /// The sender reset the connection.
    async fn broke(&mut self) -> Result<(), Break> {
        self.put(Item::Break(Break::Reset)).await
    }

    async fn put(&mut self, item: Item) -> Result<(), Break> {
        let due = Instant::now().max(self.earliest) + self.of.conditions.one_way;
        // Whoever reads the queue ends last, or with a reason of its own.
        let sent = self.queue.send((due, item)).await;
        sent.map_err(|_| Break::Reset)
    }
}

/// One direction of a connection, at its receiver's end.
async fn write(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::Receiver<(Instant, Item)>,
) -> Result<(), Break> {
    while let Some((due, item)) = queue.recv().await {
        sleep_until(due).await;
        match item {
            // Who sends to a connection that is no longer there is answered with a reset.
            Item::Bytes(bytes) => to.write_all(&bytes).await.map_err(|_| Break::Reset)?,
            Item::Break(how) => return Err(how),
            Item::End => {
                // The receiver may be gone.
                let _ = to.shutdown().await;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The connection is reset when it is dropped.
fn reset(stream: &TcpStream) {
    // It may be gone already.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// Closes, and reads on for a moment: a close with unread bytes would be a reset.
async fn close(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let _ = timeout(LINGER, discard(&mut stream)).await;
}

async fn discard(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}
