//! Where a connection enters a worker, and which of two roads it takes.
//!
//! ```text
//!              ┌─ a WebSocket handshake that opens the connection ─▶ raw stream ─▶ engine
//! handoff ─▶ head
//!              └─ everything else, upgrades included ─▶ hyper ─▶ http
//! ```
//!
//! The raw road spares a session hyper's buffers and tasks. Only a handshake that is right in
//! every respect takes it; whatever is wrong with one is answered on the other road, so that
//! there is one place that refuses.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error};
use tungstenite::handshake::derive_accept_key;

use super::Worker;
use super::admission::Wish;
use super::http::{self as road, First, Visitor};
use super::opening::Opening;
use super::request::{self, Asked};
use super::sessions::ConnectionGuard;
use super::stream::{Control, Stream};
use crate::api::Refusal;
use crate::ipc::conn::Conn;
use crate::wire::link::{Handoff, MAX_HEAD, Origin};
use crate::wire::target::SidParam;

/// As many as hyper reads.
const MAX_HEADERS: usize = 100;

/// Serves a connection until it ends.
pub(crate) async fn take(
    worker: Arc<Worker>,
    fd: OwnedFd,
    handoff: Handoff,
    counted: (ConnectionGuard, Arc<Control>),
) {
    let Handoff {
        origin,
        opens,
        admitted,
        age_ms,
        head,
    } = handoff;
    // Whatever becomes of it, the master learns that it is decided.
    let opening = opens.then(|| Opening::dispatched(&worker.sessions));
    let mut conn = match Conn::from_fd(fd, origin) {
        Ok(conn) => conn,
        Err(error) => return debug!(%error, "a connection was over before it was taken"),
    };
    let mut read = BytesMut::from(head.as_slice());
    let begun = Instant::now().checked_sub(Duration::from_millis(age_ms.into()));
    let begun = begun.unwrap_or_else(Instant::now);
    if origin != Origin::Worker {
        let deadline = begun + worker.config.limits.head_timeout;
        match timeout_at(deadline, read_head(&mut conn, &mut read)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                let mut stream = Stream::new(conn, Bytes::new(), counted);
                return Box::pin(road::refuse_timeout(&mut stream)).await;
            }
        }
    }
    let read = read.freeze();
    let websocket = if origin == Origin::Worker {
        None
    } else {
        websocket_handshake(&worker, &read)
    };
    let Some((head_len, mut request, asked)) = websocket else {
        let stream = Stream::new(conn, read, counted);
        let first = First {
            opening,
            admitted,
            refused: None,
        };
        let visitor = Visitor::new(origin, begun, first);
        // A WebSocket shall not pay for the room that hyper takes.
        return Box::pin(road::serve(worker, stream, visitor)).await;
    };

    let client = worker.admission.client(origin, request.headers());
    let (parts, ()) = request.into_parts();
    let admitted = if admitted {
        Ok(())
    } else {
        worker.admission.check(Wish::WebSocket, &parts, client)
    };
    let allowed = admitted.and_then(|()| worker.admission.check_rate());
    let asked = match allowed.and(asked) {
        Ok(asked) => asked,
        Err(refusal) => {
            let stream = Stream::new(conn, read, counted);
            let first = First {
                opening,
                admitted: true,
                refused: Some(refusal),
            };
            let visitor = Visitor::new(origin, begun, first);
            return Box::pin(road::serve(worker, stream, visitor)).await;
        }
    };
    request = Request::from_parts(parts, ());
    *request.uri_mut() = asked.target;
    request.extensions_mut().insert(client);
    let greeting = switching_protocols(request.headers());
    *request.headers_mut() = request::kept(request.headers());
    let mut stream = Stream::new(conn, read.slice(head_len..), counted);
    stream.control().becomes_websocket();
    stream.greet(greeting);
    stream.holds(worker.sessions.session());
    drop(opening);
    if let Err(error) = worker.open_websocket(stream, request) {
        error!(%error, "the engine refused a handshake that the intake had checked");
    }
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

/// If these bytes open a WebSocket session: the length of the head, the request, what it asks for.
fn websocket_handshake(
    worker: &Worker,
    bytes: &Bytes,
) -> Option<(usize, Request<()>, Result<Asked, Refusal>)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = parsed.parse(bytes) else {
        return None;
    };
    if parsed.method != Some("GET") || parsed.version != Some(1) {
        return None;
    }
    // Most requests are none, and need no more than a look at their target.
    let uri: Uri = parsed.path?.parse().ok()?;
    let target = request::target(&uri);
    let query = target.engine_query();
    if !target.is_engine(&worker.config.engine.path)
        || query.sid != SidParam::Absent
        || query.transport.as_deref() != Some("websocket")
    {
        return None;
    }
    let mut map = HeaderMap::with_capacity(parsed.headers.len());
    for header in &*parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)).ok()?;
        map.append(name, value);
    }
    let engine = &worker.config.engine;
    let wanted = request::read(engine, &Method::GET, Version::HTTP_11, &map, &query).ok()?;
    let asked = Asked::new(wanted, target.path, &query, None);
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.headers_mut() = map;
    Some((head_len, request, asked))
}

fn switching_protocols(headers: &HeaderMap) -> Bytes {
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&[][..], HeaderValue::as_bytes);
    let accept = derive_accept_key(key);
    Bytes::from(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}
