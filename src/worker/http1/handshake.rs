//! New sessions, of either transport.

use engineioxide::{EndReason, Handshake, Head, ProtocolVersion};
use http::Response;
use http::request::Parts;
use tracing::error;

use super::answer::{self, Body};
use crate::api::{ClientAddr, Refusal};
use crate::metrics;
use crate::worker::context::Worker;
use crate::worker::request::{self, Refused};
use crate::worker::sessions;

/// What a session keeps of its handshake.
pub(crate) fn head<'a>(
    target: &str,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ClientAddr(client): ClientAddr,
) -> Head {
    let kept = headers.filter(|(name, _)| request::is_kept(name));
    Head::new(target, kept, client, |parts, client| {
        parts.extensions.insert(ClientAddr(client));
    })
}

/// A handshake that hyper has read.
pub(super) fn of(
    parts: &Parts,
    protocol: ProtocolVersion,
    base64: bool,
    client: ClientAddr,
) -> Handshake {
    let target = parts.uri.path_and_query();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    Handshake {
        protocol,
        base64,
        deflate: None,
        left: None,
        head: head(
            target.map_or("/", |target| target.as_str()),
            headers,
            client,
        ),
    }
}

/// Opens a session by polling.
pub(super) async fn polling(
    worker: &Worker,
    handshake: Handshake,
) -> Result<Response<Body>, Refused> {
    worker.admission.check_capacity()?;
    let protocol = handshake.protocol;
    let failed =
        || Refusal::busy("the server cannot open sessions").because(metrics::Refused::NoWorker);
    let opened = worker.engine.open_polling(handshake).ok_or_else(failed)?;
    if protocol == ProtocolVersion::V3
        && let Some(sid) = sessions::bare(opened.sid)
    {
        // Revision 3 clients show the id to applications, so theirs stays as it is, and is known
        // to the master before the client is.
        worker.sessions.opened_eio3(sid);
        if let Err(error) = Box::pin(worker.link.open_eio3(sid)).await {
            error!(%error, "a revision 3 session could not be registered");
            worker.engine.end(opened.sid, EndReason::TransportClosed);
            return Err(failed().into());
        }
        worker.sessions.registered_eio3(sid);
    }
    let body = Body::Whole(opened.body.into());
    Ok(answer::packets(body, opened.binary))
}
