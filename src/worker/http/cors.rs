//! Cross-origin requests: which pages of other origins may use this server by polling.
//!
//! With no `cors_origins` there are no such headers at all, and browsers keep every other origin
//! out. For `WebSockets`, to which browsers do not apply CORS, see the admission.

use std::convert::Infallible;
use std::sync::Weak;

use axum::body::Body;
use http::{Method, Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::answer::{Visit, answer, refused};
use crate::api::Refusal;
use crate::config::Engine;
use crate::worker::Worker;

/// What answers a request, CORS headers and all.
pub(crate) type Cors = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The service that answers requests for `worker`, if any other origin is allowed. A request comes with
/// its [`Visit`].
pub(crate) fn cors(worker: Weak<Worker>, engine: &Engine) -> Option<Cors> {
    if engine.cors_origins.is_empty() {
        return None;
    }
    let service = service_fn(move |mut request: Request<Body>| {
        let visit = request.extensions_mut().remove::<Visit>();
        let found = worker.upgrade().zip(visit);
        async move {
            Ok(match found {
                Some((worker, visit)) => answer(&worker, request, visit).await,
                None => refused(&Refusal::busy("the server is leaving")),
            })
        }
    });
    let origins = match engine.cors_origins.as_slice() {
        [any] if any == "*" => AllowOrigin::any(),
        some => AllowOrigin::list(some.iter().filter_map(|origin| origin.parse().ok())),
    };
    // As Node's `cors`: with none named, whatever the browser asks for.
    let headers = match engine.cors_headers.as_slice() {
        [] => AllowHeaders::mirror_request(),
        some => AllowHeaders::list(some.iter().filter_map(|name| name.parse().ok())),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(engine.cors_credentials)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(headers);
    Some(BoxCloneSyncService::new(cors.layer(service)))
}
