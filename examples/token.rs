//! A server that lets in only clients that know a token, and tells each how it is seen.
//!
//! ```text
//! cargo run --example token
//! io("http://127.0.0.1:3000", { query: { token: "secret" } })
//! ```

use std::future::ready;
use std::process::ExitCode;

use http::request::Parts;
use my_app::api::{Admitted, App, ClientAddr, Cluster, Io, Refusal, Socket};

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        admit: |request, client| Box::pin(ready(admit(request, client))),
        routes: axum::Router::new,
    })
}

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", connected);
}

/// Refuses before there is a session: over long-polling, over WebSocket, and at an upgrade.
fn admit(request: &Parts, _client: ClientAddr) -> Result<Admitted, Refusal> {
    let query = request.uri.query().unwrap_or_default();
    if query.split('&').any(|pair| pair == "token=secret") {
        Ok(Admitted::for_good())
    } else {
        Err(Refusal::forbidden("the token is missing or wrong"))
    }
}

async fn connected(socket: Socket, client: ClientAddr) {
    // An error means that the client is gone already.
    let _ = socket.emit("welcome", &client.to_string());
}
