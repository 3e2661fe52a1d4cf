//! The application: replace it with yours.
//!
//! It is called in every worker. What a handler sends to a room, or keeps in a static, is its own
//! worker's so far; a broadcast does not reach the clients of the other workers yet.

mod echo;

use axum::Router;
use axum::routing::get;
use http::request::Parts;

use crate::api::{App, ClientAddr, Io, Refusal};

/// What the server runs.
pub const APP: App = App {
    namespaces,
    admit,
    routes,
};

fn namespaces(io: &Io) {
    io.ns("/", echo::connected);
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
