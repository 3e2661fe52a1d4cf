//! Passes requests for other workers' sessions on to them.
//!
//! Browsers and proxies reuse one connection for requests of several sessions. The connection
//! stays with the worker that has it; a request for another worker's session goes over an internal
//! connection (HTTP/1.1 on a socket pair, one end of which travelled through the handoff), and the
//! answer comes back the same way. A client that goes away ends its internal request, too. A handshake
//! for which the master has reserved a place elsewhere takes the same way.
//!
//! Whether an answer to a poll has reached its client is known here, and matters there: the internal connection
//! that brought it is used again when it has, and ended when it has not.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::context::Worker;
use super::link::AskError;
use super::opening::Opening;
use super::request::{Refused, RequestError};
use super::stream::Receipt;
use crate::api::{ClientAddr, Refusal};
use crate::metrics;
use crate::wire::link::{Handoff, LetIn, Origin};
use crate::wire::session_id::Home;

/// Tells, between our workers alone, who the client is.
const CLIENT: HeaderName = HeaderName::from_static("x-my-app-client");

/// Tells, between our workers alone, under which number the master counts the session that a handshake
/// opens. Such a handshake was let in by the worker that sends it.
const RESERVATION: HeaderName = HeaderName::from_static("x-my-app-reservation");

/// Tells beside it until when the client was let in, if that is known, in milliseconds since 1970.
const UNTIL: HeaderName = HeaderName::from_static("x-my-app-until");

/// Tells, between our workers alone, that the last answer over this connection has reached its client.
const DELIVERED: HeaderName = HeaderName::from_static("x-my-app-delivered");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long an internal connection is kept idle. The other end keeps it for ever, so that a request
/// never meets a connection that is being closed.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// Idle internal connections kept for each other worker.
const MAX_IDLE: usize = 32;

/// What the way to another worker and back may add to a poll's own time.
const DETOUR: Duration = Duration::from_secs(5);

/// How long another worker may take to open a session.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

/// Another worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no socket pair: {0}")]
    Pair(#[from] std::io::Error),
    #[error("the connection could not be handed over: {0}")]
    Pass(#[from] AskError),
    #[error("the other worker gave no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the other worker did not answer in time")]
    Late,
}

impl From<ForwardError> for Refused {
    /// A connection that ends without an answer ended with its worker, and the session with that.
    /// Anything else passes.
    fn from(error: ForwardError) -> Self {
        match error {
            // The client's own body failed.
            ForwardError::Http(error) if error.is_user() => RequestError::BadRequest.into(),
            ForwardError::Http(_) => RequestError::UnknownSession.into(),
            _ => Refusal::busy("the session's worker cannot be reached")
                .because(metrics::Refused::NoWorker)
                .into(),
        }
    }
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Idle {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < MAX_IDLE_TIME
    }
}

/// The internal connections to the other workers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    idle: Mutex<HashMap<Home, Vec<Idle>>>,
}

/// What another worker says of a request.
pub(crate) struct Said {
    pub(crate) client: ClientAddr,
    /// It says nothing but that the answer before was delivered.
    pub(crate) delivered: bool,
    pub(crate) reservation: Option<u64>,
    /// If there is one.
    pub(crate) let_in: LetIn,
}

impl Said {
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        let client = headers.remove(CLIENT);
        let client = client.as_ref().and_then(|value| value.to_str().ok());
        let mut number = |name| {
            let value = headers.remove(name)?;
            value.to_str().ok()?.parse().ok()
        };
        let reservation = number(RESERVATION);
        let until_ms = number(UNTIL);
        Self {
            delivered: headers.remove(DELIVERED).is_some(),
            client: client
                .and_then(|text| text.parse().ok())
                .unwrap_or(ClientAddr(None)),
            reservation,
            let_in: LetIn { until_ms },
        }
    }
}

/// The internal connection that an answer came over. Dropped, it is ended, and what it brought last counts as
/// not delivered.
pub(crate) struct Detour {
    worker: Arc<Worker>,
    home: Home,
    sender: SendRequest<Body>,
}

impl Detour {
    /// It is used again, which says that what it brought was delivered.
    pub(crate) fn put_back(self) {
        let Self {
            worker,
            home,
            sender,
        } = self;
        if let Some(sender) = worker.peers.put_idle(home, sender) {
            tokio::spawn(tell_delivered(sender));
        }
    }

    /// It is used again when the answer has reached its client.
    pub(crate) fn into_receipt(self) -> Receipt {
        Receipt::Detour(Box::new(move || self.put_back()))
    }
}

/// Says that the last answer over a connection was delivered, before that is ended.
async fn tell_delivered(mut sender: SendRequest<Body>) {
    let mut request = Request::new(Body::empty());
    let yes = HeaderValue::from_static("1");
    request.headers_mut().insert(DELIVERED, yes);
    // If the other worker is gone, so is the session.
    if sender.ready().await.is_ok() {
        let _ = sender.try_send_request(request).await;
    }
}

/// Lets the worker `home` answer a request.
///
/// # Errors
/// When it gives no answer.
pub(crate) async fn forward(
    worker: &Arc<Worker>,
    home: Home,
    mut request: Request<Body>,
    client: ClientAddr,
) -> Result<(Response<Bytes>, Detour), ForwardError> {
    internal(&mut request, client);
    let patience = worker.session_lifetime() + DETOUR;
    let answered = timeout(patience, send(worker, home, request)).await;
    answered.map_err(|_| ForwardError::Late)?
}

/// Lets the worker `home`, where there is a place for it, open a session for a handshake that was let
/// in. That worker tells the master what became of it; if it cannot be asked, the place is given back.
///
/// # Errors
/// When it gives no answer.
pub(crate) async fn open(
    worker: &Arc<Worker>,
    home: Home,
    handshake: &Parts,
    client: ClientAddr,
    (opening, let_in): (Opening, LetIn),
) -> Result<(Response<Bytes>, Detour), ForwardError> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = handshake.uri.clone();
    *request.headers_mut() = handshake.headers.clone();
    internal(&mut request, client);
    // A handshake has no use for a body.
    for of_the_body in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        request.headers_mut().remove(of_the_body);
    }
    if let Some(number) = opening.reservation() {
        request.headers_mut().insert(RESERVATION, number.into());
    }
    if let Some(until_ms) = let_in.until_ms {
        request.headers_mut().insert(UNTIL, until_ms.into());
    }
    let answer = timeout(OPENS_WITHIN, send(worker, home, request)).await;
    let answer = answer.map_err(|_| ForwardError::Late)??;
    opening.hand_over();
    Ok(answer)
}

async fn send(
    worker: &Arc<Worker>,
    home: Home,
    mut request: Request<Body>,
) -> Result<(Response<Bytes>, Detour), ForwardError> {
    loop {
        let (mut sender, fresh) = match worker.peers.take_idle(home) {
            Some(sender) => (sender, false),
            None => (connect(worker, home).await?, true),
        };
        // Its last answer may still be on its way to here.
        if !fresh && sender.ready().await.is_err() {
            continue;
        }
        let answer = match sender.try_send_request(request).await {
            Ok(answer) => answer,
            Err(mut error) => match error.take_message() {
                // It was idle for too long, and nothing of the request went out.
                Some(unsent) if !fresh => {
                    request = unsent;
                    continue;
                }
                _ => return Err(error.into_error().into()),
            },
        };
        let (mut parts, body) = answer.into_parts();
        // Whole, so that the connection is free again before a slow client has read it.
        let body = body.collect().await?.to_bytes();
        parts.headers.remove(CONNECTION);
        parts.headers.remove(TRANSFER_ENCODING);
        let detour = Detour {
            worker: Arc::clone(worker),
            home,
            sender,
        };
        return Ok((Response::from_parts(parts, body), detour));
    }
}

impl Peers {
    fn take_idle(&self, home: Home) -> Option<SendRequest<Body>> {
        let mut idle = self.idle();
        let senders = idle.get_mut(&home)?;
        let found = std::iter::from_fn(|| senders.pop()).find(Idle::is_usable);
        if senders.is_empty() {
            idle.remove(&home);
        }
        found.map(|idle| idle.sender)
    }

    /// Keeps a connection; gives it back if there are enough.
    fn put_idle(&self, home: Home, sender: SendRequest<Body>) -> Option<SendRequest<Body>> {
        let mut idle = self.idle();
        let senders = idle.entry(home).or_default();
        senders.retain(Idle::is_usable);
        if senders.len() >= MAX_IDLE {
            return Some(sender);
        }
        senders.push(Idle {
            sender,
            since: Instant::now(),
        });
        None
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Home, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request as it goes to another worker.
fn internal(request: &mut Request<Body>, client: ClientAddr) {
    for hop_by_hop in [CONNECTION, EXPECT, TE, TRAILER, UPGRADE, KEEP_ALIVE] {
        request.headers_mut().remove(hop_by_hop);
    }
    if let Ok(client) = HeaderValue::from_str(&client.to_string()) {
        request.headers_mut().insert(CLIENT, client);
    }
    *request.version_mut() = Version::HTTP_11;
}

async fn connect(worker: &Worker, home: Home) -> Result<SendRequest<Body>, ForwardError> {
    let (ours, theirs) = UnixStream::pair()?;
    let handoff = Handoff {
        origin: Origin::Worker,
        port_of: None,
        opens: false,
        reservation: None,
        admitted: None,
        age_ms: 0,
        head: Vec::new(),
    };
    let passed = worker.link.pass(home, handoff, None, theirs.as_fd());
    passed.await?;
    drop(theirs);
    let (sender, connection) = http1::handshake(TokioIo::new(ours)).await?;
    // It ends with the other end, or with its sender; both are noticed where a request is sent.
    tokio::spawn(connection);
    Ok(sender)
}
