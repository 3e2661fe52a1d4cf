//! Requests of sessions that this worker has: polls, posts and upgrades.
//!
//! The engine keeps what it has for a polling client until the client polls, without a bound. The
//! bounds are here: a client that has not polled away what its posts may have caused waits with
//! its next post, and one that does not poll at all is ended.

use std::borrow::Cow;
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use tokio::time::timeout;
use tracing::warn;

use super::answer::collect;
use super::eio3;
use crate::api::{ClientAddr, Refusal};
use crate::config::Transport;
use crate::worker::Worker;
use crate::worker::admission::Wish;
use crate::worker::drain::{self, Session};
use crate::worker::request::{self, Asked};
use crate::worker::sessions::{BareSid, Revision};
use crate::worker::stream::Control;

/// The longest body that is a packet without content, such as a pong or a close: `1`, or, of
/// revision 3, `1:1`.
const LONGEST_SIGN: u64 = 3;

/// Answers a request of the session that the engine calls `sid`.
pub(super) async fn answer(
    worker: &Worker,
    request: Request<Body>,
    sid: BareSid,
    asked: Asked,
    client: ClientAddr,
    control: &Control,
) -> Result<Response<Body>, Refusal> {
    let Asked { wanted, target } = asked;
    let (mut parts, body) = request.into_parts();
    if wanted.transport == Transport::Websocket {
        // The application sees the request as it was sent.
        worker.admission.check(Wish::Upgrade, &parts, client)?;
    }
    parts.uri = target;
    match wanted.transport {
        Transport::Websocket => upgrade(worker, parts, body, sid, control).await,
        Transport::Polling if parts.method == Method::GET => {
            poll(worker, parts, body, sid, wanted.revision).await
        }
        Transport::Polling => post(worker, parts, body, sid, wanted.revision, client).await,
    }
}

async fn upgrade(
    worker: &Worker,
    mut parts: Parts,
    body: Body,
    sid: BareSid,
    control: &Control,
) -> Result<Response<Body>, Refusal> {
    // The engine would answer 101 first, and find out then.
    match worker.sessions.is_upgraded(&sid) {
        None => return Err(request::unknown_session()),
        Some(true) => return Err(request::bad_request()),
        Some(false) => {}
    }
    // The engine keeps this request, too, and reads no more of it than the key.
    parts.headers = request::key(&parts.headers);
    let response = worker.call_engine(Request::from_parts(parts, body)).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        control.becomes_websocket();
        worker.sessions.upgraded(&sid);
    }
    Ok(response)
}

async fn poll(
    worker: &Worker,
    parts: Parts,
    body: Body,
    sid: BareSid,
    revision: Revision,
) -> Result<Response<Body>, Refusal> {
    let guard = worker.sessions.polls(sid);
    let response = {
        let mut answer = pin!(worker.call_engine(Request::from_parts(parts, body)));
        // A poll that has to wait has found nothing to take.
        match std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            Poll::Ready(response) => response,
            Poll::Pending => {
                guard.waits();
                answer.await
            }
        }
    };
    let most = worker.config.engine.max_payload as u64;
    guard.took(response.body().size_hint().lower(), most);
    if revision == Revision::Three && response.status() == StatusCode::OK {
        return Ok(mended(response).await);
    }
    Ok(response)
}

async fn post(
    worker: &Worker,
    parts: Parts,
    body: Body,
    sid: BareSid,
    revision: Revision,
    client: ClientAddr,
) -> Result<Response<Body>, Refusal> {
    // Of a chunked body nobody knows the length yet.
    let most = worker.config.engine.max_payload as u64;
    let length = body.size_hint().exact().unwrap_or(most);
    // A pong must not wait for the poll that may come after it.
    let event = length > LONGEST_SIGN;
    let allowed = worker.sessions.may_post(&sid, length, 4 * most);
    if event && timeout(worker.session_lifetime(), allowed).await.is_err() {
        warn!(%client, "a client posts and does not poll; its session was ended");
        drain::end(worker, Session::Polling(sid, revision)).await;
        return Err(request::bad_request());
    }
    if event {
        worker.sessions.may_pass_gate(&sid, length).await;
    }
    let uri = parts.uri.clone();
    let response = worker.call_engine(Request::from_parts(parts, body)).await;
    let may_close = !event && response.status() == StatusCode::OK;
    if may_close && worker.sessions.is_upgraded(&sid) == Some(false) && !is_known(worker, uri).await
    {
        worker.sessions.ended(&sid);
    }
    Ok(response)
}

/// Has the engine still a session? There is no hook for its end, and what the engine keeps of one
/// that joined no namespace outlives it by up to `connect_timeout`. A post of nothing asks.
async fn is_known(worker: &Worker, uri: Uri) -> bool {
    let mut post = Request::new(Body::empty());
    *post.method_mut() = Method::POST;
    *post.uri_mut() = uri;
    worker.call_engine(post).await.status() == StatusCode::OK
}

/// What a revision 3 client polled, as it should have been sent.
async fn mended(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE);
    let binary = kind.is_some_and(|kind| kind == "application/octet-stream");
    let payload = collect(body).await;
    let payload = match eio3::mended(&payload, binary) {
        Cow::Owned(mended) => mended.into(),
        Cow::Borrowed(_) => payload,
    };
    parts.headers.insert(CONTENT_LENGTH, payload.len().into());
    Response::from_parts(parts, payload.into())
}
