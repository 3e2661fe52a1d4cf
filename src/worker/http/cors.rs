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

use super::answer::answer;
use crate::config::Engine;
use crate::worker::Worker;

/// What answers a request, CORS headers and all.
pub(crate) type Answers = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The service that answers requests for `worker`.
pub(crate) fn answers(worker: Weak<Worker>, engine: &Engine) -> Answers {
    let service = service_fn(move |request| answer(worker.clone(), request));
    if engine.cors_origins.is_empty() {
        return BoxCloneSyncService::new(service);
    }
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
    BoxCloneSyncService::new(cors.layer(service))
}
