//! Answers a request of this worker: through the engine, through the application's routes, or
//! with a refusal in the engine's words.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tracing::{debug, error};

use super::session;
use crate::api::{ClientAddr, Refusal};
use crate::config::Transport;
use crate::wire::session_id::BARE_LEN;
use crate::worker::Worker;
use crate::worker::drain::{self, Session};
use crate::worker::request::{self, Asked};
use crate::worker::sessions::{BareSid, HandshakeGuard, Revision};
use crate::worker::stream::Control;

/// What was decided of a request before it came here.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// Not the engine's: the application's routes answer.
    Route,
    /// The engine's, for no session: a handshake that was let in.
    Handshake(Asked),
    /// For the session that the engine calls this.
    Session(BareSid, Asked),
    /// Nothing but this.
    Refuse(Refusal),
}

/// A request's companion until it is answered.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) verdict: Verdict,
    pub(super) client: ClientAddr,
    pub(super) control: Arc<Control>,
}

pub(super) async fn answer(
    worker: &Worker,
    mut request: Request<Body>,
    visit: Visit,
) -> Response<Body> {
    let Visit {
        verdict,
        client,
        control,
    } = visit;
    let answered = match verdict {
        Verdict::Refuse(refusal) => return refused(&refusal),
        Verdict::Route => {
            request.extensions_mut().insert(client);
            return worker.call_engine(request).await;
        }
        Verdict::Handshake(asked) => handshake(worker, request, asked, client, &control).await,
        Verdict::Session(sid, asked) => {
            session::answer(worker, request, sid, asked, client, &control).await
        }
    };
    match answered {
        Ok(response) => mended(response).await,
        Err(refusal) => refused(&refusal),
    }
}

async fn handshake(
    worker: &Worker,
    request: Request<Body>,
    asked: Asked,
    client: ClientAddr,
    control: &Control,
) -> Result<Response<Body>, Refusal> {
    let Asked { wanted, target } = asked;
    let (mut parts, body) = request.into_parts();
    worker.admission.check_rate()?;

    let guard = Arc::new(worker.sessions.handshake());
    parts.uri = target;
    let key = request::key(&parts.headers);
    parts.headers = request::kept(&parts.headers);
    if wanted.transport == Transport::Websocket {
        parts.headers.extend(key);
    }
    parts.extensions.insert(client);
    parts.extensions.insert(Arc::clone(&guard));
    let response = worker.call_engine(Request::from_parts(parts, body)).await;
    match response.status() {
        StatusCode::OK if wanted.transport == Transport::Polling => {
            opened(worker, response, wanted.revision, &guard).await
        }
        StatusCode::SWITCHING_PROTOCOLS => {
            control.becomes_websocket();
            Ok(response)
        }
        _ => Ok(response),
    }
}

/// The answer to a polling handshake: gives the session the name by which requests find it.
async fn opened(
    worker: &Worker,
    response: Response<Body>,
    revision: Revision,
    guard: &HandshakeGuard,
) -> Result<Response<Body>, Refusal> {
    let (mut parts, body) = response.into_parts();
    let open = collect(body).await;
    let Some((at, sid)) = find_sid(&open) else {
        error!("the engine's open packet has no sid; was engineioxide changed?");
        return Err(Refusal::busy("the server cannot open sessions"));
    };
    guard.began_polling(sid, revision);
    if revision == Revision::Three {
        // Revision 3 clients show the id to applications, so theirs stays as it is, and is known
        // to the master before the client is.
        if let Err(error) = worker.master.open_eio3(sid).await {
            error!(%error, "a revision 3 session could not be registered");
            drain::end(worker, Session::Polling(sid, revision)).await;
            return Err(Refusal::busy("the server cannot open sessions"));
        }
        return Ok(Response::from_parts(parts, open.into()));
    }
    let bare = String::from_utf8_lossy(&sid);
    let tagged = worker.keyring.tag(&bare, worker.home);
    let mut named = Vec::with_capacity(open.len() + tagged.len());
    named.extend_from_slice(open.get(..at).unwrap_or_default());
    named.extend_from_slice(tagged.as_bytes());
    named.extend_from_slice(open.get(at + BARE_LEN..).unwrap_or_default());
    parts.headers.insert(CONTENT_LENGTH, named.len().into());
    Ok(Response::from_parts(parts, named.into()))
}

/// Where in an open packet the sid is, and the sid.
fn find_sid(open: &[u8]) -> Option<(usize, BareSid)> {
    const KEY: &[u8] = b"\"sid\":\"";
    let at = open.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let sid = open.get(at..at + BARE_LEN)?.try_into().ok()?;
    (open.get(at + BARE_LEN) == Some(&b'"')).then_some((at, sid))
}

/// An answer of the engine, as Node would give it: error codes are numbers there, and nothing of
/// a session is ever cached.
async fn mended(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if response.status() != StatusCode::BAD_REQUEST {
        return response;
    }
    let (parts, body) = response.into_parts();
    let said = collect(body).await;
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
    let code = said
        .get("code")
        .and_then(|code| code.as_str()?.parse().ok());
    let message = said.get("message").and_then(serde_json::Value::as_str);
    debug!(code, message, "the engine refused a request");
    match (code, message) {
        (Some(code), Some(message)) => refused(&Refusal {
            status: parts.status,
            code,
            message: message.to_owned(),
        }),
        _ => refused(&request::bad_request()),
    }
}

/// A refusal in Engine.IO's form.
pub(super) fn refused(refusal: &Refusal) -> Response<Body> {
    let json = serde_json::json!({ "code": refusal.code, "message": refusal.message });
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(super) async fn collect(body: Body) -> Bytes {
    body.collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sid_of_an_open_packet_is_found_in_either_revision() {
        let sid = *b"AAECAwQFBgcICQoL";
        let four = br#"0{"sid":"AAECAwQFBgcICQoL","upgrades":["websocket"]}"#;
        assert_eq!(find_sid(four), Some((9, sid)));
        let three = br#"52:0{"sid":"AAECAwQFBgcICQoL","upgrades":["websocket"]}"#;
        assert_eq!(find_sid(three), Some((12, sid)));
        assert_eq!(find_sid(br#"0{"sid":"short"}"#), None);
        assert_eq!(find_sid(b""), None);
    }
}
