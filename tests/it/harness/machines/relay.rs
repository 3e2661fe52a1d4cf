//! What stands between the machines and their bus's server if they are far from it: bytes take their time, and
//! connections break.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::NetSpace;

/// Chunks that may be under way in one direction: more than a distance needs.
const UNDER_WAY: usize = 1024;

/// It ends with the value, and with it all of its connections.
pub struct Relay {
    pub port: u16,
    server: watch::Sender<SocketAddr>,
    resets: watch::Sender<()>,
    width: watch::Sender<u32>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Beside the server, in its network. Bytes are so long under way, in each direction.
    pub fn to(server: SocketAddr, network: NetSpace, one_way: Duration) -> Self {
        let (there, came) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let resets = watch::Sender::default();
        let cuts = resets.clone();
        let (width, widths) = watch::channel(0);
        let (target, targets) = watch::channel(server);
        let thread = thread::spawn(move || {
            network.enter();
            let listener = StdListener::bind(SocketAddr::new(server.ip(), 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            there.send(listener.local_addr().unwrap().port()).unwrap();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async move {
                tokio::select! {
                    () = accept(listener, targets, (one_way, widths), cuts) => {}
                    // An error: the value is gone.
                    _ = stopped => {}
                }
            });
        });
        Self {
            port: came.recv().unwrap(),
            server: target,
            resets,
            width,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Who connects from now on comes to this server, as when a name or an address moves.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// What the server sends comes at so many bytes a second, on each connection; 0: at once.
    pub fn narrow(&self, width: u32) {
        self.width.send_replace(width);
    }

    /// Resets every connection, with all that is under way on it.
    pub fn cut_all(&self) {
        self.resets.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its panic was printed.
        let _ = self.thread.take().unwrap().join();
    }
}

async fn accept(
    listener: StdListener,
    servers: watch::Receiver<SocketAddr>,
    (one_way, widths): (Duration, watch::Receiver<u32>),
    cuts: watch::Sender<()>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut cut = cuts.subscribe();
        let server = *servers.borrow();
        let widths = widths.clone();
        let endless = watch::channel(0).1;
        tokio::spawn(async move {
            // A server that is away refuses.
            let Ok(mut server) = TcpStream::connect(server).await else {
                return reset(&client);
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let broken = {
                let (from_client, to_client) = client.split();
                let (from_server, to_server) = server.split();
                tokio::select! {
                    () = carry(from_client, to_server, one_way, endless) => false,
                    () = carry(from_server, to_client, one_way, widths) => false,
                    _ = cut.changed() => true,
                }
            };
            if broken {
                reset(&client);
                reset(&server);
            }
        });
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
    widths: watch::Receiver<u32>,
) {
    let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let item = (Instant::now() + one_way, buffer[..count].to_vec());
            if queue.send(item).await.is_err() {
                return;
            }
            let width = *widths.borrow();
            if width > 0 {
                let seconds = count as f64 / f64::from(width);
                sleep(Duration::from_secs_f64(seconds)).await;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
