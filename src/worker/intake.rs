//! Where a connection enters a worker, and which of two roads it takes.
//!
//! ```text
//!              ┌─ a WebSocket handshake that opens the connection ─▶ engine
//! handoff ─▶ head
//!              └─ everything else, upgrades included ─▶ hyper ─▶ http1
//! ```
//!
//! The raw road spares a session hyper's buffers and tasks. Only a handshake that is right in
//! every respect takes it; whatever is wrong with one is answered on the other road, so that
//! there is one place that refuses.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engineioxide::Handshake;
use http::header::ORIGIN;
use http::request::Parts;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::context::Worker;
use super::head;
use super::http1::{self, ConnInfo, First};
use super::opening::Opening;
use super::request::{self, Refused};
use super::sessions::ConnectionGuard;
use super::stream::{MAX_HEADERS, Stream};
use crate::api::ClientAddr;
use crate::ipc::conn::Conn;
use crate::metrics;
use crate::wire::link::{Handoff, LetIn, MAX_HEAD, Origin};

/// Serves a connection until it ends.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    fd: OwnedFd,
    handoff: Handoff,
    mut counted: ConnectionGuard,
) {
    // Not before it has its turn: the master paces new sessions by how soon that is.
    counted.taken();
    // Whatever becomes of it, the master learns that it is decided.
    let opening = Opening::of(&worker.sessions, &handoff);
    let Handoff {
        origin,
        port_of,
        admitted,
        age_ms,
        head,
        ..
    } = handoff;
    let mut conn = match Conn::from_fd(fd, origin) {
        Ok(conn) => conn,
        Err(error) => return debug!(%error, "a connection was over before it was taken"),
    };
    let mut read = BytesMut::from(head.as_slice());
    let begun = Instant::now().checked_sub(Duration::from_millis(age_ms.into()));
    let begun = begun.unwrap_or_else(Instant::now);
    let stall_timeout = worker.config().engine.write_stall_timeout;
    let mut first = First {
        port_of,
        opening,
        admitted,
        passed: !head.is_empty(),
        refused: None,
    };
    if origin != Origin::Worker {
        let deadline = begun + worker.config().limits.head_timeout;
        match timeout_at(deadline, read_head(&mut conn, &mut read)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                let mut stream = Stream::new(conn, Bytes::new(), counted, stall_timeout);
                return Box::pin(http1::refuse_timeout(&mut stream)).await;
            }
        }
        let mut behind = BytesMut::new();
        // Needs room, but only for a moment.
        let prepared = Box::pin(prepare(&worker, &read, origin, &mut first));
        let Some(prepared) = unless_gone(prepared, &mut conn, &mut behind).await else {
            return debug!("a client went away before it was let in");
        };
        read.extend_from_slice(&behind);
        if let Some(prepared) = prepared {
            let unread = read.get(prepared.len..).unwrap_or_default();
            worker.open_websocket(conn, unread, prepared.preface, prepared.handshake);
            // The session is counted.
            drop((first.opening.take(), counted));
            return;
        }
    }
    let stream = Stream::new(conn, read.freeze(), counted, stall_timeout);
    let info = ConnInfo {
        origin,
        since: begun,
        first,
    };
    // A WebSocket shall not pay for the room that hyper takes.
    Box::pin(http1::serve(worker, stream, info)).await;
}

/// Answers that there is no room, and waits for nothing.
pub(crate) fn turn_away(conn: &OwnedFd) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
        Connection: close\r\nContent-Length: 0\r\n\r\n";
    metrics::REFUSED.count(metrics::Refused::Descriptors);
    // What is left unread would reset the connection. A client that is gone needs no answer.
    let mut scrap = [0; 16 * 1024];
    let _ = rustix::net::recv(conn, &mut scrap[..], RecvFlags::DONTWAIT);
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = rustix::net::send(conn, ANSWER, flags);
}

/// Reads up to the end of the first head, or as much as fits; false when the client went away.
async fn read_head(conn: &mut Conn, read: &mut BytesMut) -> bool {
    let mut searched = 0;
    loop {
        let tail = read.get(searched..).unwrap_or_default();
        if tail.windows(2).any(|w| w == b"\n\n") || tail.windows(3).any(|w| w == b"\n\r\n") {
            return true;
        }
        // A longer head is for hyper to refuse.
        if read.len() >= MAX_HEAD {
            return true;
        }
        searched = read.len().saturating_sub(2);
        read.reserve(1024);
        match conn.read_buf(read).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
    }
}

/// A WebSocket session that may be opened.
struct Prepared {
    handshake: Handshake,
    /// The answer to its handshake.
    preface: Vec<u8>,
    /// The length of its head.
    len: usize,
}

/// If `read` opens a WebSocket session, and may: what it is opened with. Otherwise what is known of the request is
/// then in `first`.
async fn prepare(
    worker: &Worker,
    read: &[u8],
    origin: Origin,
    first: &mut First,
) -> Option<Prepared> {
    let mut room = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let head = head::read(&worker.config().engine, read, &mut room)?;
    let parts = &head.parts;
    let client = worker.admission.client(origin, &parts.headers);
    if let Err(refused) = let_in(worker, parts, client, first).await {
        first.refused = Some(refused);
        return None;
    }
    let headers = head.headers.iter();
    let headers = headers.map(|header| (header.name, header.value));
    let handshake = Handshake {
        protocol: head.protocol,
        base64: head.base64,
        deflate: head.agreed.map(|agreed| agreed.deflate),
        left: first.admitted.and_then(LetIn::left),
        head: http1::head(&head.target, headers, client),
    };
    let extra = worker.cors().headers(parts.headers.get(ORIGIN));
    let preface = request::switching_protocols(&parts.headers, head.agreed, extra);
    Some(Prepared {
        handshake,
        preface,
        len: head.len,
    })
}

/// May a session be opened for this handshake? Where clients are counted, the master counts it.
async fn let_in(
    worker: &Worker,
    parts: &Parts,
    client: ClientAddr,
    first: &mut First,
) -> Result<(), Refused> {
    if first.admitted.is_none() {
        worker.cors().check(&parts.headers)?;
        first.admitted = Some(worker.admission.check(parts, client).await?);
    }
    worker.admission.check_capacity()?;
    if worker.config().limits.count_clients() {
        first.count(worker, client).await?;
    }
    Ok(())
}

/// Waits for an answer to what a client wants, unless the client goes away before. What it sends meanwhile is put
/// `behind`.
async fn unless_gone<T>(
    answer: impl Future<Output = T>,
    conn: &mut Conn,
    behind: &mut BytesMut,
) -> Option<T> {
    let gone = async {
        while behind.len() < MAX_HEAD {
            behind.reserve(1024);
            if !matches!(conn.read_buf(behind).await, Ok(1..)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        () = gone => None,
    }
}
