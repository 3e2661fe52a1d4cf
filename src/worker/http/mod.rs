//! The road over hyper: every request that does not open a connection with a WebSocket handshake.
//!
//! ```text
//! hyper ─▶ handle: whose session? ─┬─ another worker's ─▶ forward (or, an upgrade: pass on)
//!                                  └─ ours, or none ─▶ CORS ─▶ answer ─▶ engine, or routes
//! ```

mod answer;
mod body;
mod cors;
mod eio3;
mod elsewhere;
mod session;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;
use tracing::debug;

pub(crate) use cors::{Cors, cors};
pub(crate) use elsewhere::{CLIENT, RESERVATION};

use self::answer::{Verdict, Visit, answer};
use self::elsewhere::{Leaving, Said, head_of};
use super::Worker;
use super::opening::Opening;
use super::request::{self, Asked, Wanted};
use super::stream::{Activity, Control, SharedStream, Stream};
use crate::api::{ClientAddr, Refusal};
use crate::config::Transport;
use crate::wire::link::{MAX_HEAD, Origin};
use crate::wire::session_id::{self, Home};
use crate::wire::target::SidParam;

/// How long a kept-alive connection may be idle: longer than what proxies keep theirs (nginx and
/// AWS's load balancers: 60 s), so that it is they who close, and never while a request is coming.
const IDLE: Duration = Duration::from_secs(75);

/// What is known of a connection's first request before hyper reads it; of later ones nothing is.
#[derive(Debug, Default)]
pub(crate) struct First {
    /// The session that it opens is counted for this worker.
    pub(crate) opening: Option<Opening>,
    /// It was let in.
    pub(crate) admitted: bool,
    /// Its answer, if that is decided.
    pub(crate) refused: Option<Refusal>,
}

/// A connection on this road, before hyper has it.
#[derive(Debug)]
pub(crate) struct Visitor {
    origin: Origin,
    since: Instant,
    first: First,
}

impl Visitor {
    /// `since`: when its first head began.
    pub(crate) fn new(origin: Origin, since: Instant, first: First) -> Self {
        Self {
            origin,
            since,
            first,
        }
    }
}

/// A connection while hyper has it.
struct Connection {
    worker: Arc<Worker>,
    origin: Origin,
    stream: SharedStream,
    control: Arc<Control>,
    first: Mutex<Option<First>>,
    leaving: Mutex<Option<Leaving>>,
    left: Notify,
}

/// Serves the requests of a connection until it ends.
pub(crate) async fn serve(worker: Arc<Worker>, stream: Stream, visitor: Visitor) {
    let head_timeout = worker.config.limits.head_timeout;
    let control = Arc::clone(stream.control());
    control.set_activity(Activity::Head(visitor.since));
    let stream = SharedStream::new(stream);
    let connection = Arc::new(Connection {
        worker,
        origin: visitor.origin,
        stream: stream.clone(),
        control: Arc::clone(&control),
        first: Mutex::new(Some(visitor.first)),
        leaving: Mutex::new(None),
        left: Notify::new(),
    });
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.handle(request).await) }
    });
    let http = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = pin!(http);
    let internal = connection.origin == Origin::Worker;
    loop {
        let now = Instant::now();
        let expires = match control.activity() {
            Activity::Busy => None,
            // It is the other worker that closes idle ones.
            Activity::Idle(_) if internal => None,
            Activity::Idle(since) => Some(since + IDLE),
            Activity::Head(since) => Some(since + head_timeout),
        };
        // Looked at again in time for a head that begins meanwhile.
        let deadline = expires
            .unwrap_or(now + head_timeout)
            .min(now + head_timeout);
        tokio::select! {
            // What has arrived is answered before anybody looks at the clock.
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended early");
                }
                return;
            }
            () = connection.left.notified() => break,
            () = sleep_until(deadline) => match control.activity() {
                Activity::Idle(since) if !internal && since + IDLE <= deadline => return,
                Activity::Head(since) if since + head_timeout <= deadline => return,
                _ => {}
            }
        }
    }
    // Earlier answers go out before the connection does.
    let flushed = std::future::poll_fn(|cx| match http.as_mut().poll(cx) {
        Poll::Pending if control.is_stalled() => Poll::Pending,
        Poll::Pending => Poll::Ready(true),
        Poll::Ready(_) => Poll::Ready(false),
    });
    if flushed.await {
        connection.pass_on().await;
    }
}

/// Answers 408 on a connection whose head did not come.
pub(crate) async fn refuse_timeout(stream: &mut Stream) {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
        Content-Length: 0\r\n\r\n";
    // A client that is gone needs no answer.
    let _ = stream.write_all(ANSWER).await;
}

impl Connection {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        self.control.set_activity(Activity::Busy);
        let response = self.route(request).await;
        self.control.set_activity(Activity::Idle(Instant::now()));
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let worker = &self.worker;
        let mut request = request.map(Body::new);
        let mut first = take(&self.first).unwrap_or_default();
        // Not the application's, and nobody else's to send.
        let said = Said::take(request.headers_mut());
        let client = match self.origin {
            Origin::Worker => {
                if let Some(number) = said.reservation {
                    first.opening = Some(Opening::reserved(&worker.sessions, number));
                    first.admitted = true;
                }
                said.client
            }
            origin => worker.admission.client(origin, request.headers()),
        };
        let (parts, body) = request.into_parts();
        let judgement = match first.refused.take() {
            Some(refusal) => Judgement::refuse(refusal),
            None => self.judge(&parts, client, &mut first).await,
        };
        let mut request = Request::from_parts(parts, body);
        // What takes longer to arrive than a session may be silent is of no use to it.
        let deadline = Instant::now() + worker.session_lifetime();
        if !matches!(judgement, Judgement::Answer(Verdict::Route)) {
            request = request.map(|body| body::timed(body, deadline));
        }
        let verdict = match judgement {
            Judgement::Answer(verdict) => verdict,
            Judgement::Forward(home, wanted) if wanted.transport == Transport::Websocket => {
                return self.leave(home, head_of(&request), None).await;
            }
            Judgement::Forward(home, _) => {
                match worker.peers.forward(worker, home, request, client).await {
                    Ok(response) => return response,
                    Err((error, rest)) => {
                        debug!(%error, "a request for another worker's session failed");
                        request = rest;
                        Verdict::Refuse(error.into())
                    }
                }
            }
            Judgement::Open(home, asked, opening)
                if asked.wanted.transport == Transport::Websocket =>
            {
                return self.leave(home, head_of(&request), Some(opening)).await;
            }
            Judgement::Open(home, asked, opening) => {
                let (parts, body) = request.into_parts();
                let opened = worker.peers.open(worker, home, &parts, client, opening);
                match Box::pin(opened).await {
                    Ok(response) => return response,
                    Err(error) => {
                        debug!(%error, "a session is opened here, not at its home");
                        request = Request::from_parts(parts, body);
                        Verdict::Handshake(asked)
                    }
                }
            }
        };
        let visit = Visit {
            verdict,
            client,
            control: Arc::clone(&self.control),
        };
        let response = match &worker.cors {
            None => answer(worker, request, visit).await,
            Some(cors) => {
                request.extensions_mut().insert(visit);
                let Ok(response) = cors.clone().oneshot(request).await;
                response
            }
        };
        // What became of its session is known.
        drop(first);
        response
    }

    /// What is to be done with a request?
    async fn judge(&self, request: &Parts, client: ClientAddr, first: &mut First) -> Judgement {
        let worker = &self.worker;
        let target = request::target(&request.uri);
        if !target.is_engine(&worker.config.engine.path) {
            return Judgement::Answer(Verdict::Route);
        }
        let query = target.engine_query();
        let Parts {
            method,
            version,
            headers,
            ..
        } = request;
        // A preflight names no method of the engine's; its answer is all in its headers.
        if *method == Method::OPTIONS {
            return Judgement::refuse(request::bad_request());
        }
        let wanted = match request::read(&worker.config.engine, method, *version, headers, &query) {
            Ok(wanted) => wanted,
            Err(refusal) => return Judgement::refuse(refusal),
        };
        let SidParam::One(sid) = &query.sid else {
            let asked = Asked::new(wanted, target.path, &query, None);
            return match asked {
                // Few requests need the room.
                Ok(asked) => Box::pin(self.place(request, asked, client, first)).await,
                Err(refusal) => Judgement::refuse(refusal),
            };
        };
        let (bare, home) = match worker.keyring.open(sid) {
            Some((bare, home)) => (bare, Some(home)),
            None => (sid.as_ref(), self.eio3_home(sid).await),
        };
        match home {
            Some(home) if home == worker.home => {
                let asked = Asked::new(wanted, target.path, &query, Some(bare));
                let sid = bare.as_bytes().try_into();
                let sid = sid.map_err(|_| request::unknown_session());
                Judgement::answer(sid.and_then(|sid| Ok(Verdict::Session(sid, asked?))))
            }
            // Requests from another worker go no further.
            Some(home) if self.origin != Origin::Worker => Judgement::Forward(home, wanted),
            _ => Judgement::refuse(request::unknown_session()),
        }
    }

    /// The worker that has the revision 3 session of this name.
    async fn eio3_home(&self, sid: &str) -> Option<Home> {
        let worker = &self.worker;
        if !worker.config.engine.allow_eio3 || !session_id::is_bare(sid) {
            return None;
        }
        let bare = sid.as_bytes().try_into().ok()?;
        if worker.sessions.has_eio3(&bare) {
            return Some(worker.home);
        }
        worker.master.find_eio3(bare).await.unwrap_or_else(|error| {
            debug!(%error, "a revision 3 session was not found");
            None
        })
    }
}

/// What is to be done with a request.
enum Judgement {
    /// Answer it here.
    Answer(Verdict),
    /// Another worker has its session.
    Forward(Home, Wanted),
    /// Another worker is to have the session that it opens.
    Open(Home, Asked, Opening),
}

impl Judgement {
    fn refuse(refusal: Refusal) -> Self {
        Self::Answer(Verdict::Refuse(refusal))
    }

    fn answer(verdict: Result<Verdict, Refusal>) -> Self {
        Self::Answer(verdict.unwrap_or_else(Verdict::Refuse))
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}
