use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::wire::link::Origin;
use crate::worker::sessions::Sessions;

const STALL: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(5);

fn of(conn: Conn, unread: &'static [u8], origin: Origin) -> Stream {
    let counted = Arc::<Sessions>::default().connection(origin, None);
    Stream::new(conn, Bytes::from_static(unread), counted, STALL)
}

/// A stream, and its client's end.
fn stream(unread: &'static [u8]) -> (Stream, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    (of(Conn::Unix(ours), unread, Origin::Unix), client)
}

async fn tcp() -> (Stream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (ours, peer) = accepted.unwrap();
    (of(Conn::Tcp(ours), b"", Origin::Tcp(peer)), client.unwrap())
}

/// What became of an answer.
#[derive(Clone, Default)]
struct Fate(Arc<[AtomicUsize; 2]>);

impl Fate {
    /// An answer that has left.
    async fn of_answer(stream: &mut Stream) -> Self {
        let fate = Self::default();
        let (told, dropped) = (fate.clone(), Dropped(fate.clone()));
        let receipt = Receipt::Detour(Box::new(move || {
            let _dropped = &dropped;
            told.0[0].fetch_add(1, Relaxed);
        }));
        stream.write_all(b"answ").await.unwrap();
        stream.control().answer_leaves(receipt);
        stream.write_all(b"er").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(fate.counts(), [0, 0], "nobody knows yet");
        fate
    }

    /// How often it was delivered, and how often that was decided.
    fn counts(&self) -> [usize; 2] {
        [self.0[0].load(Relaxed), self.0[1].load(Relaxed)]
    }

    async fn decided(&self) -> bool {
        let decided = async {
            while self.counts()[1] == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, decided).await.unwrap();
        self.counts()[0] == 1
    }
}

/// Dropped with a receipt, whatever became of it.
struct Dropped(Fate);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0[1].fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn what_was_read_ahead_comes_first_and_targets_are_escaped() {
    let (mut stream, mut client) = stream(b"GET /?\"a\" HT");
    client
        .write_all(b"TP/1.1\r\n\r\nGET /?<b> HTTP/1.1\r\n")
        .await
        .unwrap();
    drop(client);
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert_eq!(
        read,
        "GET /?%22a%22 HTTP/1.1\r\n\r\nGET /?%3Cb%3E HTTP/1.1\r\n"
    );
}

#[tokio::test]
async fn who_takes_nothing_for_too_long_is_cut_off() {
    let (mut stream, _client) = stream(b"");
    let write = async { while stream.write_all(&[7; 4096]).await.is_ok() {} };
    timeout(SOON, write).await.unwrap();
    assert!(stream.read(&mut [0]).await.is_err());
}

#[tokio::test]
async fn the_next_request_says_that_an_answer_was_delivered() {
    let (mut stream, mut client) = tcp().await;
    let fate = Fate::of_answer(&mut stream).await;
    client.write_all(b"G").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    assert!(fate.decided().await);
}

#[tokio::test]
async fn an_end_says_so_too_and_a_reset_that_it_was_not() {
    for reset in [false, true] {
        let (mut stream, mut client) = tcp().await;
        let fate = Fate::of_answer(&mut stream).await;
        if reset {
            client.set_zero_linger().unwrap();
        } else {
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        drop(client);
        let _ = stream.read(&mut [0]).await;
        drop(stream);
        assert_eq!(fate.decided().await, !reset);
    }
}

#[tokio::test]
async fn an_answer_that_has_not_left_whole_is_not_delivered() {
    let (mut stream, mut client) = stream(b"");
    let fate = Fate::default();
    let (told, dropped) = (fate.clone(), Dropped(fate.clone()));
    let receipt = Receipt::Detour(Box::new(move || {
        let _dropped = &dropped;
        told.0[0].fetch_add(1, Relaxed);
    }));
    stream.control().answer_leaves(receipt);
    client.write_all(b"G").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    drop(client);
    drop(stream);
    assert!(!fate.decided().await);
}

#[tokio::test]
async fn another_worker_that_ends_its_connection_has_not_delivered() {
    let (ours, mut worker) = UnixStream::pair().unwrap();
    let mut stream = of(Conn::Unix(ours), b"", Origin::Worker);
    let fate = Fate::of_answer(&mut stream).await;
    worker.read_exact(&mut [0; 6]).await.unwrap();
    drop(worker);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert!(!fate.decided().await);
}

#[tokio::test]
async fn the_client_reads_its_answer_although_it_sent_more() {
    let (mut stream, mut client) = tcp().await;
    client.write_all(&vec![7; 100_000]).await.unwrap();
    stream.write_all(b"refused").await.unwrap();
    drop(stream);
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, "refused");
}
