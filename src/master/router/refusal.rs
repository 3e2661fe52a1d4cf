//! Connections that get an answer from the master, and nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::time::timeout;
use tracing::debug;

use super::connections::{Entry, Stage};
use crate::ipc::watch::watch;
use crate::metrics::{self, Refused};
use crate::wire::health::{self, HealthAnswer};

/// A refused client may read its answer for this long, and send this much more meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the master answers, and how much of it the kernel has taken.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    written: usize,
}

impl Answer {
    /// Nothing of it was written.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    /// What is still to be written.
    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many connections, or sessions, as there may be.
    Full,
    /// Its client has as many as it may have.
    AddressFull,
    /// No worker takes it.
    NoWorker,
    /// More new sessions wait than the workers can take.
    Busy,
    /// Its head does not come.
    HeadTimeout,
    /// It begins with no request.
    Malformed,
    /// It begins with too long a line.
    TooLong,
    /// It is for a session that has ended with its worker.
    UnknownSession,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Full | Self::NoWorker | Self::Busy => "503 Service Unavailable",
            Self::AddressFull => "429 Too Many Requests",
            Self::HeadTimeout => "408 Request Timeout",
            Self::Malformed | Self::UnknownSession => "400 Bad Request",
            Self::TooLong => "431 Request Header Fields Too Large",
        }
    }

    /// What engine.io says.
    fn body(self) -> &'static str {
        match self {
            Self::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
            _ => "",
        }
    }

    /// How it is counted.
    fn counted(self) -> Refused {
        match self {
            Self::Full => Refused::Full,
            Self::AddressFull => Refused::AddressFull,
            Self::NoWorker => Refused::NoWorker,
            Self::Busy => Refused::Busy,
            Self::HeadTimeout => Refused::HeadTimeout,
            Self::UnknownSession => Refused::UnknownSession,
            Self::Malformed | Self::TooLong => Refused::Malformed,
        }
    }
}

/// Answers and closes, so that the client gets to read the answer: a close with unread data in the
/// socket would reset the connection (RFC 9112 section 9.6).
pub(super) async fn refuse(entry: &Entry, why: Refusal) {
    metrics::REFUSED.count(why.counted());
    let status = why.status();
    let retry = if status.starts_with("503") || status.starts_with("429") {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    let body = why.body();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{retry}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    answer_and_close(entry, answer).await;
}

/// Answers a health check and closes. To HEAD there is only the head.
pub(super) async fn answer_check(entry: &Entry, answer: HealthAnswer, head: bool) {
    let HealthAnswer {
        status,
        reason,
        body,
    } = answer;
    let mut text = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in health::HEADERS {
        text.extend([name, ": ", value, "\r\n"]);
    }
    let length = body.len();
    let length = length.to_string();
    text.extend([
        "connection: close\r\ncontent-length: ",
        &length,
        "\r\n\r\n",
        if head { "" } else { body },
    ]);
    answer_and_close(entry, text).await;
}

async fn answer_and_close(entry: &Entry, answer: String) {
    let answer = Answer::new(answer.into_bytes());
    entry.stage.replace(Stage::Answering(answer));
    say_rest(entry).await;
}

/// Writes what is left of an answer, and closes.
pub(super) async fn say_rest(entry: &Entry) {
    match timeout(LINGER, say_and_close(entry)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a client did not read its answer"),
        Err(_) => debug!("a client did not read its answer in time"),
    }
}

async fn say_and_close(entry: &Entry) -> io::Result<()> {
    let conn = watch(
        Rc::clone(&entry.conn),
        Interest::READABLE | Interest::WRITABLE,
    )?;
    while conn
        .async_io(Interest::WRITABLE, |conn| write_some(entry, conn.as_fd()))
        .await?
    {}
    rustix::net::shutdown(&*entry.conn, Shutdown::Write)?;
    let mut left = LINGER_BYTES;
    while left > 0 {
        let read = |conn: &Rc<OwnedFd>| {
            // Not kept while it waits.
            let mut scrap = [0; 4096];
            let (count, _) = rustix::net::recv(conn, &mut scrap[..], RecvFlags::DONTWAIT)?;
            Ok(count)
        };
        match conn.async_io(Interest::READABLE, read).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// Writes as much of the answer as the kernel takes. Is there something left to write?
fn write_some(entry: &Entry, conn: BorrowedFd<'_>) -> io::Result<bool> {
    let mut stage = entry.stage.borrow_mut();
    let Stage::Answering(answer) = &mut *stage else {
        return Ok(false);
    };
    let left = answer.left();
    if left.is_empty() {
        return Ok(false);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    answer.written += rustix::net::send(conn, left, flags)?;
    Ok(true)
}
