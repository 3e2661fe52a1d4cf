//! The application: replace it with yours.
//!
//! It is called in every worker. What it does with sockets and rooms happens on all workers; what a
//! handler keeps in a static is its own worker's.

mod chat;
mod echo;
mod page;

use std::future::ready;

use http::request::Parts;

use crate::api::{Admitted, App, ClientAddr, Cluster, Io, Refusal};

/// What the server runs.
pub const APP: App = App {
    namespaces,
    admit: |request, client| Box::pin(ready(admit(request, client))),
    routes: page::routes,
};

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", echo::connected);
    io.ns("/chat", chat::connected);
}

/// Everybody may come in. Yours might look at a cookie, a token in the query, or the address; or be `async`, and ask
/// a database.
#[expect(
    clippy::unnecessary_wraps,
    reason = "an application that refuses somebody needs it"
)]
fn admit(_request: &Parts, _client: ClientAddr) -> Result<Admitted, Refusal> {
    Ok(Admitted::for_good())
}
