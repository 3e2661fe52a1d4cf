//! The road over hyper: every request that does not open a connection with a WebSocket handshake.
//!
//! ```text
//! hyper ─▶ judge: Route ─┬─ Health ──────────▶ what the master says, too
//!                        ├─ App ─────────────▶ the application's routes
//!                        ├─ ClientFile ──────▶ bundle: the browser's client
//!                        ├─ Handshake ───────▶ handshake ─▶ engine
//!                        ├─ Session ─────────▶ session ───▶ engine
//!                        └─ Forward, Open ───▶ peers: another worker answers
//! ```
//!
//! A WebSocket, whatever it is for, leaves hyper with its connection; see [`departure`].

mod answer;
mod body;
mod bundle;
mod cors;
mod departure;
mod encoding;
mod handshake;
mod judge;
mod session;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body as AppBody;
use engineioxide::{Deflate, ProtocolVersion};
use http::header::{CONNECTION, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socketioxide::socket::Sid;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;
use tracing::debug;

pub(crate) use answer::refuse_timeout;
pub(crate) use cors::Cors;
pub(crate) use handshake::head;

use self::answer::Body;
use self::body::Timely;
use self::departure::{Departure, head_of};
use self::judge::{Route, Wish};
use self::session::Post;
use super::context::Worker;
use super::opening::Opening;
use super::peers::{self, Detour, Said};
use super::repeats;
use super::request::{self, Action, Refused, RequestError};
use super::stream::{Activity, Control, Stream};
use crate::api::ClientAddr;
use crate::config::Transport;
use crate::wire::link::{LetIn, MAX_HEAD, Origin};
use crate::wire::session_id::Home;

/// How long a kept-alive connection may be idle: longer than what proxies keep theirs (nginx and
/// AWS's load balancers: 60 s), so that it is they who close, and never while a request is coming.
const IDLE: Duration = Duration::from_secs(75);

/// Who asks with this header gets it back: so `nginx-site` sees whether a request that it sent to nginx came here.
const MARK: HeaderName = HeaderName::from_static("x-my-app-mark");

/// What is known of a connection's first request before hyper reads it; of later ones only where they came.
#[derive(Debug, Default)]
pub(crate) struct First {
    /// The slot to whose own port the connection came.
    pub(crate) port_of: Option<u16>,
    /// The session that it opens is counted for this worker.
    pub(crate) opening: Option<Opening>,
    /// It was let in.
    pub(crate) admitted: Option<LetIn>,
    /// Another worker has passed it on: it goes no further.
    pub(crate) passed: bool,
    /// Its answer, if that is decided.
    pub(crate) refused: Option<Refused>,
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct ConnInfo {
    pub(crate) origin: Origin,
    /// When its first head began.
    pub(crate) since: Instant,
    pub(crate) first: First,
}

/// A connection while hyper has it.
struct Connection {
    worker: Arc<Worker>,
    origin: Origin,
    port_of: Option<u16>,
    control: Arc<Control>,
    first: Mutex<Option<First>>,
    departure: Mutex<Option<Departure>>,
    leaving: Notify,
}

/// Serves the requests of a connection until it ends.
pub(crate) async fn serve(worker: Arc<Worker>, stream: Stream, info: ConnInfo) {
    let head_timeout = worker.config().limits.head_timeout;
    let control = Arc::clone(stream.control());
    control.set_activity(Activity::Head(info.since));
    let connection = Arc::new(Connection {
        worker,
        origin: info.origin,
        port_of: info.first.port_of,
        control: Arc::clone(&control),
        first: Mutex::new(Some(info.first)),
        departure: Mutex::new(None),
        leaving: Notify::new(),
    });
    let service = service_fn(|request| Arc::clone(&connection).handle(request));
    let mut http = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
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
            ended = &mut http => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended early");
                }
                return;
            }
            () = connection.leaving.notified() => break,
            () = sleep_until(deadline) => match control.activity() {
                Activity::Idle(since) if !internal && since + IDLE <= deadline => return,
                Activity::Head(since) if since + head_timeout <= deadline => return,
                _ => {}
            }
        }
    }
    // Earlier answers go out before the connection does.
    let flushed = std::future::poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
        Poll::Pending if control.is_stalled() => Poll::Pending,
        Poll::Pending => Poll::Ready(true),
        Poll::Ready(_) => Poll::Ready(false),
    });
    if flushed.await {
        let parts = http.into_parts();
        let stream = parts.io.into_inner();
        Box::pin(connection.depart(stream, parts.read_buf)).await;
    }
}

impl Connection {
    /// An answer to a request, as hyper wants it: an `async` block around this, or an `async fn`, would have room for all
    /// of it twice, for as long as it is answered, and would copy it.
    fn handle(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> {
        self.control.goes_on();
        self.control.set_activity(Activity::Busy);
        let mark = request.headers().get(MARK).cloned();
        // Not the application's, and nobody else's to send.
        let word = Said::take(request.headers_mut());
        let (parts, body) = request.into_parts();
        async move {
            let mut response = self.serve(word, parts, body).await;
            if let Some(mark) = mark {
                response.headers_mut().insert(MARK, mark);
            }
            // A proxy's connection that is kept would be closed in the end, perhaps while a request is coming.
            if self.worker.retires.load(Relaxed)
                && self.origin != Origin::Worker
                && response.status() != StatusCode::SWITCHING_PROTOCOLS
            {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            self.control.set_activity(Activity::Idle(Instant::now()));
            Ok(response)
        }
    }

    /// What few requests need is boxed: every connection has room for the rest.
    async fn serve(&self, word: Said, parts: Parts, body: Incoming) -> Response<Body> {
        let worker = &self.worker;
        let mut first = take(&self.first).unwrap_or_default();
        first.port_of = self.port_of;
        let client = match self.origin {
            Origin::Worker if word.delivered => return answer::bare(StatusCode::NO_CONTENT),
            Origin::Worker => {
                if let Some(number) = word.reservation {
                    first.opening = Some(Opening::reserved(&worker.sessions, number));
                    first.admitted = Some(word.let_in);
                }
                word.client
            }
            origin => worker.admission.client(origin, &parts.headers),
        };
        let origin = parts.headers.get(ORIGIN).cloned();
        let upgrade = request::is_upgrade(&parts.headers);
        let judged = self.judge(&parts, client, &mut first).await;
        judge::count(&judged);
        // It came to a worker that stands in for one that is gone. Whoever sent it is not to send more this way: what is for
        // the next worker in that place would end here, too.
        let strayed = self.origin == Origin::Worker && judged.is_err();
        let answered = match judged {
            Ok(Route::Health(check)) => return answer::health(check.answer(worker.readiness())),
            Ok(Route::App) => return Box::pin(self.app(parts, body, client)).await,
            Ok(Route::Forward(home, action)) => {
                match Box::pin(self.forward(home, action, parts, body, client)).await {
                    // It has the headers that browsers need.
                    Ok(response) => return response,
                    Err(refused) => Err(refused),
                }
            }
            Ok(Route::Open(home, wish, opening)) => {
                let opened = self.open(home, wish, &parts, client, (opening, &first));
                match Box::pin(opened).await {
                    Some(response) => return response,
                    None => self.handshake(wish, &parts, client, &mut first).await,
                }
            }
            Ok(Route::ClientFile(name)) => Ok(bundle::answer(name, &parts)),
            Ok(Route::Handshake(wish)) => self.handshake(wish, &parts, client, &mut first).await,
            Ok(Route::Session(sid, action, protocol)) => {
                self.session(sid, action, protocol, &parts, body, client)
                    .await
            }
            Ok(Route::Preflight) => {
                let mut response = answer::bare(StatusCode::NO_CONTENT);
                *response.headers_mut() = worker.cors().preflight(&parts.headers);
                Ok(response)
            }
            Err(refused) => Err(refused),
        };
        let mut response = answered.unwrap_or_else(|refused| answer::refused(&refused, upgrade));
        for (name, value) in worker.cors().headers(origin.as_ref()) {
            response.headers_mut().append(name, value);
        }
        if strayed {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        // What became of its session is known.
        drop(first);
        response
    }

    async fn app(&self, parts: Parts, body: Incoming, client: ClientAddr) -> Response<Body> {
        let body = Timely::new(body, self.worker.config().limits.head_timeout);
        let mut request = Request::from_parts(parts, AppBody::new(body));
        request.extensions_mut().insert(client);
        let endpoint = self.worker.endpoint.clone();
        request.extensions_mut().insert(endpoint);
        let Ok(response) = self.worker.routes.clone().oneshot(request).await;
        response.map(Body::App)
    }

    async fn handshake(
        &self,
        wish: Wish,
        parts: &Parts,
        client: ClientAddr,
        first: &mut First,
    ) -> Result<Response<Body>, Refused> {
        let worker = &self.worker;
        let mut handshake = handshake::of(parts, wish.protocol, wish.base64, client);
        handshake.left = first.admitted.and_then(LetIn::left);
        if wish.transport == Transport::Polling {
            return handshake::polling(worker, handshake).await;
        }
        worker.admission.check_capacity()?;
        let (preface, deflate) = self.preface(parts);
        handshake.deflate = deflate;
        let departure = Departure::Open {
            handshake,
            preface,
            opening: first.opening.take(),
        };
        Ok(self.leave(departure).await)
    }

    async fn session(
        &self,
        sid: Sid,
        action: Action,
        protocol: ProtocolVersion,
        parts: &Parts,
        body: Incoming,
        client: ClientAddr,
    ) -> Result<Response<Body>, Refused> {
        let worker = &self.worker;
        match action {
            Action::Poll => session::poll(worker, sid, parts, &self.control).await,
            Action::Post => {
                let trusted = worker.admission.trusts(self.origin);
                let post = Post {
                    sid,
                    protocol,
                    id: worker.repeats.id_of(&parts.headers).filter(|_| trusted),
                    client,
                };
                session::post(worker, post, parts, body, &self.control).await
            }
            Action::Upgrade => {
                worker.cors().check(&parts.headers)?;
                let let_in = worker.admission.check(parts, client).await?;
                let upgrading = worker.engine.upgrade(sid).map_err(RequestError::from)?;
                if let Some(left) = let_in.left() {
                    worker.engine.ends_in(sid, left);
                }
                let (preface, deflate) = self.preface(parts);
                let departure = Departure::Upgrade {
                    sid,
                    upgrading,
                    preface,
                    deflate,
                };
                Ok(self.leave(departure).await)
            }
            Action::Nothing => Err(RequestError::BadRequest.into()),
        }
    }

    /// The answer to a WebSocket's handshake, and what it says of deflated messages.
    fn preface(&self, parts: &Parts) -> (Vec<u8>, Option<Deflate>) {
        let extra = self.worker.cors().headers(parts.headers.get(ORIGIN));
        let agreed = request::agreed(&self.worker.config().engine, &parts.headers);
        let preface = request::switching_protocols(&parts.headers, agreed, extra);
        (preface, agreed.map(|agreed| agreed.deflate))
    }

    /// Has the worker answer that has the session.
    async fn forward(
        &self,
        home: Home,
        action: Action,
        parts: Parts,
        body: Incoming,
        client: ClientAddr,
    ) -> Result<Response<Body>, Refused> {
        // A client's own connection goes along with its poll: then the session's worker knows what becomes of the
        // answer, and what comes next needs no detour. One of a proxy's has requests of many sessions.
        let own =
            matches!(self.origin, Origin::Tcp(peer) if client.0 == Some(peer.ip().to_canonical()));
        if action == Action::Upgrade || action == Action::Poll && own {
            let head = head_of(&parts);
            let opening = None;
            return Ok(self
                .leave(Departure::Pass {
                    home,
                    head,
                    opening,
                })
                .await);
        }
        let mut request = Request::from_parts(parts, AppBody::new(body));
        if !self.worker.admission.trusts(self.origin) {
            // The other worker believes whatever comes from here.
            request.headers_mut().remove(&repeats::REQUEST_ID);
        }
        match peers::forward(&self.worker, home, request, client).await {
            Ok((response, detour)) => Ok(self.came_back(response, detour, action)),
            Err(error) => {
                debug!(%error, "a request for another worker's session failed");
                Err(error.into())
            }
        }
    }

    /// An answer of another worker.
    fn came_back(
        &self,
        response: Response<bytes::Bytes>,
        detour: Detour,
        action: Action,
    ) -> Response<Body> {
        if action != Action::Poll {
            detour.put_back();
            return response.map(Body::Whole);
        }
        // The session's worker learns from the internal connection what became of the answer.
        let receipt = detour.into_receipt();
        response.map(|body| {
            let body = self.control.hold_answer(None, body);
            Body::Polled(body, Some((receipt, Arc::clone(&self.control))))
        })
    }

    /// Has another worker open a session; none if it cannot be asked.
    async fn open(
        &self,
        home: Home,
        wish: Wish,
        parts: &Parts,
        client: ClientAddr,
        (opening, first): (Opening, &First),
    ) -> Option<Response<Body>> {
        let let_in = first.admitted.unwrap_or_default();
        if wish.transport == Transport::Websocket {
            let departure = Departure::Pass {
                home,
                head: head_of(parts),
                opening: Some((opening, let_in)),
            };
            return Some(self.leave(departure).await);
        }
        let opened = peers::open(&self.worker, home, parts, client, (opening, let_in));
        match opened.await {
            Ok((response, detour)) => Some(self.came_back(response, detour, Action::Nothing)),
            Err(error) => {
                debug!(%error, "a session is opened here, not at its home");
                None
            }
        }
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}
