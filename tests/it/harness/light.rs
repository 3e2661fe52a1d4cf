//! Light Socket.IO clients, thousands on one thread: WebSocket and text packets, nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::WebSocket;
use super::machines::NetSpace;
use super::socket::{Answer, Client, News, Shared, Strings};

/// So many connect at the same time if there are thousands; few take turns, and so do their
/// workers: of a crowd at once, who has a processor gets more (`src/master/pace.rs`).
const NEWCOMERS: usize = 32;
pub const FEW: usize = 200;

/// Ends its clients with the value.
pub struct Light {
    clients: Vec<Client>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is written next; the end of the connection if nothing.
type Frame = Option<Vec<u8>>;

struct Strand {
    /// What packets of the namespace begin with, behind their type: `/chat,`.
    prefix: String,
    frames: mpsc::UnboundedSender<Frame>,
    answer: Mutex<Answer>,
}

impl Strand {
    fn text(&self, text: &str) {
        // A connection that is over takes nothing.
        let _ = self
            .frames
            .send(Some(WebSocket::frame(0x81, text.as_bytes())));
    }
}

impl Strings for Strand {
    fn emit(&self, event: &str, arguments: &Value, number: u64) {
        let name = Value::from(event);
        let rest = arguments.to_string();
        let rest = rest.trim_start_matches('[');
        let comma = if rest == "]" { "" } else { "," };
        self.text(&format!("42{}{number}[{name}{comma}{rest}", self.prefix));
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn close(&self) {
        self.text(&format!("41{}", self.prefix));
        let _ = self.frames.send(None);
    }
}

impl Light {
    /// Clients of this address, which is in another network if one is given.
    pub fn start(
        addr: SocketAddr,
        network: Option<NetSpace>,
        namespace: &str,
        count: usize,
    ) -> Self {
        let prefix = match namespace {
            "/" => String::new(),
            other => format!("{other},"),
        };
        let mut clients = Vec::new();
        let mut lives = Vec::new();
        for _ in 0..count {
            let (frames, unwritten) = mpsc::unbounded_channel();
            let strand = Arc::new(Strand {
                prefix: prefix.clone(),
                frames,
                answer: Mutex::new(Answer::Id),
            });
            let shared = Arc::<Shared>::default();
            clients.push(Client::new(
                &shared,
                Arc::clone(&strand) as Arc<dyn Strings>,
            ));
            lives.push((strand, unwritten, shared));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            if let Some(network) = network {
                network.enter();
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let places = Arc::new(Semaphore::new(if count > FEW { NEWCOMERS } else { 1 }));
                for (strand, unwritten, shared) in lives {
                    let place = Arc::clone(&places).acquire_owned().await.unwrap();
                    tokio::spawn(async move {
                        match connect(addr, &strand).await {
                            Ok((id, reader, writer)) => {
                                shared.tell(News::Connected(id.clone()));
                                drop(place);
                                tokio::spawn(write(writer, unwritten));
                                let end = read(reader, &strand, &shared, &id).await;
                                shared.tell(News::Gone(format!("{end:?}")));
                                let _ = strand.frames.send(None);
                            }
                            Err(error) => shared.tell(News::Gone(error.to_string())),
                        }
                    });
                }
                // An error: the crowd is gone already.
                let _ = stopped.await;
            });
        });
        Self {
            clients,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn clients(&self) -> Vec<Client> {
        self.clients.clone()
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its panic was printed.
        let _ = self.thread.take().unwrap().join();
    }
}

struct Reader {
    half: OwnedReadHalf,
    unread: Vec<u8>,
    /// What of it was used.
    used: usize,
}

impl Reader {
    async fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.used > 0 && self.unread.len() - self.used < count {
            self.unread.drain(..self.used);
            self.used = 0;
        }
        while self.unread.len() - self.used < count {
            self.unread.reserve(count.max(4096));
            if self.half.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        self.fill(count).await?;
        self.used += count;
        Ok(&self.unread[self.used - count..self.used])
    }

    async fn head(&mut self) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.take(1).await?[0]);
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// The next message, pings and pongs of WebSocket's excepted.
    async fn message(&mut self) -> io::Result<String> {
        let head = self.take(2).await?;
        let (opcode, short) = (head[0], head[1]);
        let length = match short {
            126 => u64::from(u16::from_be_bytes(self.take(2).await?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.take(8).await?.try_into().unwrap()),
            short => u64::from(short),
        };
        let payload = self.take(usize::try_from(length).unwrap()).await?;
        match opcode {
            0x81 => Ok(String::from_utf8(payload.to_vec()).unwrap()),
            0x88 => Err(io::Error::other(format!("closed: {payload:?}"))),
            other => Err(io::Error::other(format!("a frame of type {other:x}"))),
        }
    }
}

async fn connect(
    addr: SocketAddr,
    strand: &Strand,
) -> io::Result<(String, Reader, OwnedWriteHalf)> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (half, mut writer) = stream.into_split();
    let mut reader = Reader {
        half,
        unread: Vec::new(),
        used: 0,
    };
    let request = WebSocket::request("/socket.io/?EIO=4&transport=websocket");
    writer.write_all(request.as_bytes()).await?;
    let answer = reader.head().await?;
    if !answer.starts_with("HTTP/1.1 101 ") {
        return Err(io::Error::other(answer));
    }
    let open = reader.message().await?;
    if !open.starts_with("0{") {
        return Err(io::Error::other(open));
    }
    let join = format!("40{}", strand.prefix);
    let frame = WebSocket::frame(0x81, join.as_bytes());
    writer.write_all(&frame).await?;
    loop {
        let text = reader.message().await?;
        if text == "2" {
            writer.write_all(&WebSocket::frame(0x81, b"3")).await?;
            continue;
        }
        let packet = text.strip_prefix(&join);
        let packet = packet.ok_or_else(|| io::Error::other(text.clone()))?;
        let packet: Value = serde_json::from_str(packet)?;
        let id = packet["sid"].as_str().unwrap().to_owned();
        return Ok((id, reader, writer));
    }
}

async fn write(mut half: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Frame>) {
    let mut next = Vec::new();
    while frames.recv_many(&mut next, 64).await > 0 {
        let over = next.contains(&None);
        let bytes: Vec<u8> = next.drain(..).map_while(|frame| frame).flatten().collect();
        // The reader tells of its end.
        if half.write_all(&bytes).await.is_err() || over {
            return;
        }
    }
}

/// Reads until the connection is over, and gives why.
async fn read(
    mut reader: Reader,
    strand: &Arc<Strand>,
    shared: &Shared,
    id: &str,
) -> io::Result<()> {
    loop {
        let text = reader.message().await?;
        if text == "2" {
            strand.text("3");
            continue;
        }
        let rest = text.get(2..).unwrap_or_default();
        let Some(rest) = rest.strip_prefix(&strand.prefix) else {
            return Err(io::Error::other(format!("not of this namespace: {text}")));
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, data) = rest.split_at(digits.unwrap_or(rest.len()));
        match &text[..2] {
            "41" => return Ok(()),
            "42" => {
                if !number.is_empty() {
                    acknowledge(strand, number, id);
                }
                let (event, payload) = first_two(data)?;
                shared.tell(News::Event(event, payload));
            }
            "43" => {
                let mut arguments: Vec<Value> = serde_json::from_str(data)?;
                let first = arguments.drain(..).next().unwrap_or_default();
                shared.tell(News::Acknowledged(number.parse().unwrap(), first));
            }
            other => return Err(io::Error::other(format!("a packet of type {other}"))),
        }
    }
}

fn first_two(data: &str) -> io::Result<(String, Value)> {
    let mut arguments: Vec<Value> = serde_json::from_str(data)?;
    arguments.truncate(2);
    let payload = if arguments.len() == 2 {
        arguments.pop().unwrap()
    } else {
        Value::Null
    };
    let name = arguments.first().and_then(Value::as_str);
    Ok((name.unwrap_or_default().to_owned(), payload))
}

fn acknowledge(strand: &Arc<Strand>, number: &str, id: &str) {
    let packet = format!("43{}{number}[\"{id}\"]", strand.prefix);
    let answer = *strand.answer.lock().unwrap();
    match answer {
        Answer::Id => strand.text(&packet),
        Answer::Late(millis) => {
            let strand = Arc::clone(strand);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                strand.text(&packet);
            });
        }
        Answer::Never => {}
    }
}
