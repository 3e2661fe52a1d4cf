//! A server whose guests may stay for a time, and that writes down why each of them left. Who shows a token must show
//! the right one, and is told how it is seen.
//!
//! ```text
//! cargo run --example guests
//! io("http://127.0.0.1:3000", { query: { token: "secret" } })
//! io("http://127.0.0.1:3000", { query: { stay_ms: 60000 } })
//! socket.emit("leave")            the application disconnects it
//! socket.emit("send", 5000000)    it is sent so many bytes
//! ```

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use my_app::api::{Admitted, App, ClientAddr, Cluster, EndReason, Io, Refusal, Socket};
use socketioxide::extract::Data;
use tokio::time::sleep;
use tracing::info;

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        admit: |request, client| Box::pin(admit(request, client)),
        ..my_app::app::APP
    })
}

/// Until when may it stay? Another service would know: here it takes as long as the guest says.
async fn admit(request: &Parts, _client: ClientAddr) -> Result<Admitted, Refusal> {
    if parameter(request, "token").is_some_and(|token| token != "secret") {
        return Err(Refusal::forbidden("the token is wrong"));
    }
    let millis = |name| {
        let value = parameter(request, name)?;
        Some(Duration::from_millis(value.parse().ok()?))
    };
    if let Some(thinks) = millis("think_ms") {
        let asked = Asked;
        sleep(thinks).await;
        std::mem::forget(asked);
    }
    Ok(millis("stay_ms").map_or_else(Admitted::for_good, |stay| {
        Admitted::until(SystemTime::now() + stay)
    }))
}

/// What the query says.
fn parameter<'r>(request: &'r Parts, name: &str) -> Option<&'r str> {
    let query = request.uri.query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// A question to the other service. Its guest may go away before it is answered.
struct Asked;

impl Drop for Asked {
    fn drop(&mut self) {
        info!("a guest went away before it was known whether it may come in");
    }
}

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", connected);
    io.ns("/lounge", connected);
}

async fn connected(socket: Socket, client: ClientAddr) {
    if parameter(socket.req_parts(), "token").is_some() {
        let _ = socket.emit("welcome", &client.to_string());
    }
    socket.on("leave", async |socket: Socket| {
        // An error means that the client is gone already.
        let _ = socket.disconnect();
    });
    socket.on("send", async |socket: Socket, Data(bytes): Data<usize>| {
        let _ = socket.emit("data", &"x".repeat(bytes));
    });
    socket.on_disconnect(async |socket: Socket, reason: EndReason| match reason {
        EndReason::Drain | EndReason::Stopped => {
            info!(socket_id = %socket.id, %reason, "a guest has to go elsewhere");
        }
        _ => info!(socket_id = %socket.id, %reason, "a guest has left"),
    });
}
