//! Connections that get an answer from the master, and nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use crate::ipc::conn::Conn;
use crate::metrics::{self, Refused};
use crate::wire::health::{self, HealthAnswer};
use crate::wire::link::Origin;

/// A refused client may read its answer for this long, and send this much more meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many connections, or sessions, as there may be.
    Full,
    /// Its client has as many as it may have.
    AddressFull,
    /// No worker takes it.
    NoWorker,
    /// Its head does not come.
    HeadTimeout,
    /// It begins with no request.
    Malformed,
    /// It begins with too long a line.
    TooLong,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Full | Self::NoWorker => "503 Service Unavailable",
            Self::AddressFull => "429 Too Many Requests",
            Self::HeadTimeout => "408 Request Timeout",
            Self::Malformed => "400 Bad Request",
            Self::TooLong => "431 Request Header Fields Too Large",
        }
    }

    /// How it is counted.
    fn counted(self) -> Refused {
        match self {
            Self::Full => Refused::Full,
            Self::AddressFull => Refused::AddressFull,
            Self::NoWorker => Refused::NoWorker,
            Self::HeadTimeout => Refused::HeadTimeout,
            Self::Malformed | Self::TooLong => Refused::Malformed,
        }
    }
}

/// Answers and closes, so that the client gets to read the answer: a close with unread data in the
/// socket would reset the connection (RFC 9112 section 9.6).
pub(super) async fn refuse(conn: OwnedFd, origin: Origin, why: Refusal) {
    metrics::REFUSED.count(why.counted());
    let status = why.status();
    let retry = if status.starts_with("503") || status.starts_with("429") {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    let answer =
        format!("HTTP/1.1 {status}\r\n{retry}Connection: close\r\nContent-Length: 0\r\n\r\n");
    answer_and_close(conn, origin, &answer).await;
}

/// Answers a health check and closes. To HEAD there is only the head.
pub(super) async fn answer_check(conn: OwnedFd, origin: Origin, answer: HealthAnswer, head: bool) {
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
    answer_and_close(conn, origin, &text).await;
}

async fn answer_and_close(conn: OwnedFd, origin: Origin, answer: &str) {
    let conn = match Conn::from_fd(conn, origin) {
        Ok(conn) => conn,
        Err(error) => return debug!(%error, "a connection was over before its answer"),
    };
    let answered = timeout(LINGER, say_and_close(conn, answer)).await;
    if !matches!(answered, Ok(Ok(()))) {
        debug!("a client did not read its answer");
    }
}

async fn say_and_close(mut conn: Conn, answer: &str) -> io::Result<()> {
    conn.write_all(answer.as_bytes()).await?;
    conn.shutdown().await?;
    let mut scrap = [0; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match conn.read(&mut scrap).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}
