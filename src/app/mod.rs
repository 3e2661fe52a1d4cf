//! The application: replace it with yours.
//!
//! It is called in every worker, and never needs to know that there are several.

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
