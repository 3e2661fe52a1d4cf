//! Requests of sessions that this worker has: polls, posts and upgrades.

use std::sync::Arc;

use engineioxide::{Answer, EndReason, Posting, ProtocolVersion};
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
use crate::worker::repeats::Digest;
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
    let encoding = Encoding::of(&worker.config().engine, &parts.headers, body.len());
    let receipt = Receipt::Poll(receipt);
    let body = match encoding {
        Some(encoding) => {
            let mut holding = control.hold(Some(sid));
            holding.set(body.len() + receipt.bytes());
            encoding.encode(body).await
        }
        None => body,
    };
    let body = control.hold_answer(Some(sid), body);
    let body = Body::Polled(body, Some((receipt, Arc::clone(control))));
    let mut response = answer::packets(body, binary);
    if let Some(encoding) = encoding {
        let name = HeaderValue::from_static(encoding.name());
        response.headers_mut().insert(CONTENT_ENCODING, name);
    }
    Ok(response)
}

/// A post, but for its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    pub(super) sid: Sid,
    pub(super) protocol: ProtocolVersion,
    /// By which it is known again.
    pub(super) id: Option<Digest>,
    pub(super) client: ClientAddr,
}

/// A post whose body is not there yet.
struct Begun {
    posting: Option<Posting>,
    /// If it breaks off, it is not the client that has gone, for its proxy has all of a post before it begins to send
    /// it: the proxy sends it again, to a session that must be there.
    comes_again: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(posting) = self.posting.take().filter(|_| self.comes_again) {
            posting.refuse();
        }
    }
}

/// Takes what the session's client sends; once, if its proxy sends it twice.
pub(super) async fn post(
    worker: &Worker,
    post: Post,
    parts: &Parts,
    body: Incoming,
    control: &Arc<Control>,
) -> Result<Response<Body>, Refused> {
    let Post {
        sid,
        protocol,
        id,
        client,
    } = post;
    // What takes longer to arrive than a session may be silent is of no use to it.
    let within = worker.session_lifetime();
    let limit = worker.config().engine.max_payload;
    let mut body = Some(body);
    let mut read = None;
    let mut holding = control.hold(Some(sid));
    if let Some(id) = id
        && let Some(handled) = worker.repeats.handled(sid, id).await
        && let Some(body) = body.take()
    {
        let again = body::collect(body, limit, within, |bytes| holding.set(bytes)).await;
        if matches!(&again, Ok(body) if worker.repeats.digest(body) == handled) {
            debug!(%client, "a post that came twice was handled once");
            return Ok(answer::posted());
        }
        read = Some(again);
    }
    let posting = worker.engine.post(sid).map_err(RequestError::from)?;
    let mut begun = Begun {
        posting: Some(posting),
        comes_again: id.is_some(),
    };
    let attempt = id.map(|id| worker.repeats.begin(sid, id));
    let content_type = parts.headers.get(CONTENT_TYPE);
    let binary = content_type.is_some_and(|kind| kind == "application/octet-stream");
    if binary && protocol == ProtocolVersion::V4 {
        if let Some(posting) = begun.posting.take() {
            posting.reject();
        }
        return Ok(answer::bare(StatusCode::BAD_REQUEST));
    }
    if let Some(body) = body {
        read = Some(body::collect(body, limit, within, |bytes| holding.set(bytes)).await);
    }
    let body = match read.unwrap_or(Err(BodyError::Broken)) {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            if let Some(posting) = begun.posting.take() {
                posting.refuse_too_large();
            }
            return Ok(answer::bare(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Err(error) => {
            debug!(%error, "a post was not handled; its session is over");
            return Err(RequestError::BadRequest.into());
        }
    };
    if let Some(attempt) = attempt {
        attempt.handled(worker.repeats.digest(&body));
    }
    let Some(posting) = begun.posting.take() else {
        return Err(RequestError::BadRequest.into());
    };
    // From here on the session has it.
    drop(holding);
    let handled = timeout(within, posting.deliver(body, binary)).await;
    if handled.is_err() {
        warn!(%client, "a client posts and does not poll; its session was ended");
        worker.engine.end(sid, EndReason::WriteStall);
        return Err(RequestError::BadRequest.into());
    }
    Ok(answer::posted())
}
