//! Requests of sessions that this worker has: polls, posts and upgrades.

use std::sync::Arc;

use engineioxide::{Answer, EndReason, ProtocolVersion};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use socketioxide::socket::Sid;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::answer::{self, Body};
use super::body::{self, BodyError};
use super::encoding::Encoding;
use crate::api::ClientAddr;
use crate::worker::context::Worker;
use crate::worker::request::{Refused, RequestError};
use crate::worker::stream::{Control, Receipt};

/// Waits for what the session has for its client.
pub(super) async fn poll(
    worker: &Worker,
    sid: Sid,
    parts: &Parts,
    control: &Arc<Control>,
) -> Result<Response<Body>, Refused> {
    // Dropped while it waits, it ends the session: its client is gone.
    let waiting = worker.engine.poll(sid).map_err(RequestError::from)?;
    let Answer {
        body,
        binary,
        receipt,
    } = waiting.await;
    let encoding = Encoding::of(&worker.config.engine, &parts.headers, body.len());
    let body = match encoding {
        Some(encoding) => encoding.encode(body).await,
        None => body,
    };
    let receipt = Receipt::Poll(receipt);
    let body = Body::Polled(body, Some((receipt, Arc::clone(control))));
    let mut response = answer::packets(body, binary);
    if let Some(encoding) = encoding {
        let name = HeaderValue::from_static(encoding.name());
        response.headers_mut().insert(CONTENT_ENCODING, name);
    }
    Ok(response)
}

/// Takes what the session's client sends.
pub(super) async fn post(
    worker: &Worker,
    sid: Sid,
    protocol: ProtocolVersion,
    parts: &Parts,
    body: Incoming,
    client: ClientAddr,
) -> Result<Response<Body>, Refused> {
    let posting = worker.engine.post(sid).map_err(RequestError::from)?;
    let content_type = parts.headers.get(CONTENT_TYPE);
    let binary = content_type.is_some_and(|kind| kind == "application/octet-stream");
    if binary && protocol == ProtocolVersion::V4 {
        posting.reject();
        return Ok(answer::bare(StatusCode::BAD_REQUEST));
    }
    // What takes longer to arrive than a session may be silent is of no use to it.
    let within = worker.session_lifetime();
    let limit = worker.config.engine.max_payload;
    let body = match body::collect(body, limit, within).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            posting.refuse();
            return Ok(answer::bare(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Err(error) => {
            debug!(%error, "a post was not handled; its session is over");
            return Err(RequestError::BadRequest.into());
        }
    };
    let handled = timeout(within, posting.deliver(body, binary)).await;
    if handled.is_err() {
        warn!(%client, "a client posts and does not poll; its session was ended");
        worker.engine.end(sid, EndReason::WriteStall);
        return Err(RequestError::BadRequest.into());
    }
    Ok(answer::posted())
}
