//! The application: replace it with yours.
//!
//! It is called in every worker. What it does with sockets and rooms happens on all workers; what a
//! handler keeps in a static is its own worker's.

mod chat;
mod echo;

use axum::Router;
use axum::routing::get;
use http::request::Parts;

use crate::api::{App, ClientAddr, Cluster, Io, Refusal};

/// What the server runs.
pub const APP: App = App {
    namespaces,
    admit,
    routes,
};

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", echo::connected);
    io.ns("/chat", chat::connected);
}

/// Everybody may come in. Yours might look at a cookie, a token in the query, or the address.
#[expect(
    clippy::unnecessary_wraps,
    reason = "an application that refuses somebody needs it"
)]
fn admit(_request: &Parts, _client: ClientAddr) -> Result<(), Refusal> {
    Ok(())
}

fn routes() -> Router {
    Router::new().route(
        "/",
        get(async || "A Socket.IO server. Connect with a Socket.IO client.\n"),
    )
}
