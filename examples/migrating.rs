//! The Rust of docs/MIGRATING.md, as one application: what was written with Node's `socket.io`, here.
//!
//! Each block of that page stands in this file, line for line; a test compares them.

use std::future::ready;
use std::process::ExitCode;
use std::time::Duration;

use axum::routing::get;
use http::request::Parts;
use my_app::api::{Admitted, App, ClientAddr, Cluster, Io, Refusal, Responder, Socket};
use serde_json::{Value, json};
use socketioxide::extract::{Data, State};
use socketioxide::handler::ConnectHandler;
use socketioxide::socket::DisconnectReason;

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        admit: |request, client| Box::pin(ready(admit(request, client))),
        routes,
    })
}

fn namespaces(io: &Io, cluster: &Cluster) {
    io.ns("/", connected);
    io.ns("/admin", connected.with(only_admins));
    cluster.on("reload-prices", async |(currency,): (String,)| {
        tracing::info!(currency, "prices are read again");
    });
}

fn admit(request: &Parts, client: ClientAddr) -> Result<Admitted, Refusal> {
    let has_cookie = request.headers.contains_key("cookie");
    if !has_cookie && client.0.is_none_or(|ip| !ip.is_loopback()) {
        return Err(Refusal::forbidden("log in first"));
    }
    Ok(Admitted::for_good())
}

async fn only_admins(socket: Socket, Data(auth): Data<Value>) -> Result<(), Refusal> {
    if auth.get("token").and_then(Value::as_str) != Some("secret") {
        return Err(Refusal::forbidden("not an admin"));
    }
    socket.extensions.insert(Admin);
    Ok(())
}

/// What a connection's middleware found out.
#[derive(Clone)]
struct Admin;

async fn connected(socket: Socket, client: ClientAddr) {
    let is_admin = socket.extensions.get::<Admin>().is_some();
    let agent = socket.req_parts().headers.get("user-agent").cloned();
    tracing::info!(client_addr = %client, socket_id = %socket.id, is_admin, ?agent, "connected");

    socket.on("message", message);
    socket.on("price", price);
    socket.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
        tracing::info!(socket_id = %socket.id, %reason, "disconnected");
    });
}

async fn message(socket: Socket, Data((room, text)): Data<(String, String)>, ack: Responder) {
    if let Err(error) = socket.join(room.clone()) {
        let _ = ack.send(&json!({ "ok": false, "error": error.to_string() }));
        return;
    }
    let said = json!({ "from": socket.id, "text": text });
    let sent = socket.to(room).emit("message", &said).await;
    let _ = ack.send(&json!({ "ok": sent.is_ok() }));
}

async fn price(State(cluster): State<Cluster>, Data(currency): Data<String>, ack: Responder) {
    let (prices, wait) = ((currency,), Duration::from_secs(1));
    let told = cluster
        .server_side_emit_with_ack::<_, ()>("reload-prices", &prices, wait)
        .await;
    let _ = ack.send(&json!({ "ok": told.is_ok() }));
}

fn routes() -> axum::Router {
    axum::Router::new().route("/health", get(async || "ok"))
}
