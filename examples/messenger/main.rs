//! A messenger: a whole application, with users, private messages, presence, and a database over TCP.
//!
//! docs/APPLICATION.md explains it. It needs the stand-in for a database beside it, and a client for each user
//! (`npm install socket.io-client` first):
//!
//! ```text
//! node examples/messenger/database.mjs 7000
//! cargo run --example messenger
//! node examples/messenger/window.mjs ann bob
//! ```

mod backend;
mod database;
mod messages;
mod presence;

use std::borrow::Cow;
use std::process::ExitCode;

use axum::Router;
use axum::routing::post;
use http::header::AUTHORIZATION;
use http::request::Parts;
use my_app::api::{Admitted, App, ClientAddr, Cluster, Io, Refusal, Socket};
use percent_encoding::percent_decode_str;
use serde_json::json;
use socketioxide::handler::ConnectHandler;
use tracing::debug;

use database::{DATABASE, Login};

fn main() -> ExitCode {
    my_app::main(APP)
}

/// What the server runs. In a fork this is `src/app/mod.rs`, where it is `pub`, and there is no `main`.
const APP: App = App {
    namespaces,
    admit: |request, client| Box::pin(admit(request, client)),
    routes,
};

fn namespaces(io: &Io, _cluster: &Cluster) {
    backend::remember(io);
    io.ns("/", connected.with(identify));
}

fn routes() -> Router {
    Router::new().route("/notify", post(backend::notify))
}

/// Who has no good token has no session: over long-polling, over WebSocket, and at an upgrade.
async fn admit(request: &Parts, client: ClientAddr) -> Result<Admitted, Refusal> {
    let login = log_in(request).await.inspect_err(|error| {
        // Anybody can be refused, as often as they like: that must not fill the log.
        debug!(client_addr = %client, %error, "not let in");
    })?;
    let until = login
        .until()
        .ok_or_else(|| Refusal::unauthorized("the token has no end"))?;
    Ok(Admitted::until(until))
}

/// Who is it? Another worker may have let it in, so this one asks for itself.
async fn identify(socket: Socket) -> Result<(), Refusal> {
    let login = log_in(socket.req_parts()).await?;
    socket.extensions.insert(User(login.user));
    Ok(())
}

/// Whose socket it is.
#[derive(Debug, Clone)]
struct User(String);

impl User {
    /// All windows of a user are in one room, whatever workers they came to.
    fn room(user: &str) -> String {
        format!("user:{user}")
    }

    /// Whether it can be the name of a user: what a client says may be anything.
    fn is_name(name: &str) -> bool {
        (1..=64).contains(&name.chars().count())
    }

    /// The one that [`identify`] found.
    fn of(socket: &Socket) -> String {
        let user = socket.extensions.get::<Self>();
        user.map(|User(user)| user).unwrap_or_default()
    }
}

async fn log_in(request: &Parts) -> Result<Login, Refusal> {
    let token = token(request).ok_or_else(|| Refusal::unauthorized("a token is needed"))?;
    match DATABASE.login(&token).await {
        Ok(Some(login)) => Ok(login),
        Ok(None) => Err(Refusal::unauthorized("the token is not known")),
        // 503: the client is to try again.
        Err(error) => Err(Refusal::busy(error.to_string())),
    }
}

/// From `Authorization: Bearer …`, which no browser sends over WebSocket, or from the query.
fn token(request: &Parts) -> Option<Cow<'_, str>> {
    let header = request.headers.get(AUTHORIZATION);
    let bearer = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let mut query = request.uri.query().unwrap_or_default().split('&');
    let in_query = query.find_map(|pair| pair.strip_prefix("token="));
    match bearer {
        Some(token) => Some(Cow::from(token)),
        None => percent_decode_str(in_query?).decode_utf8().ok(),
    }
}

async fn connected(socket: Socket, io: Io) {
    let user = User::of(&socket);
    socket.on("say", messages::say);
    socket.on("history", messages::history);
    socket.on("online", presence::online);
    socket.on_disconnect(presence::left);
    // A socket that joins nothing else is far from `rooms_per_socket`.
    if socket.join(User::room(&user)).is_ok() {
        presence::came(&io, &socket, &user).await;
        let welcome = json!({ "user": user, "worker": std::process::id() });
        // An error means that the client is gone already.
        let _ = socket.emit("welcome", &welcome);
    }
}
