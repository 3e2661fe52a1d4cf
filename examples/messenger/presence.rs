//! Who is there: a user is online while any of their windows is, at whatever worker.

use std::time::Duration;

use my_app::api::{EndReason, Io, Responder, Socket};
use serde_json::json;
use socketioxide::extract::Data;
use tokio::time::sleep;

use super::User;

/// A page that is loaded anew is gone for a moment, and its user is not.
const GRACE: Duration = Duration::from_secs(1);

/// A window came. Its first one brings the user online.
pub(crate) async fn came(io: &Io, socket: &Socket, user: &str) {
    if windows(io, user).await == 1 {
        let online = json!({ "user": user, "online": true });
        let _ = socket.broadcast().emit("presence", &online).await;
    }
}

/// A window went. With the last one the user is away.
pub(crate) async fn left(socket: Socket, io: Io, reason: EndReason) {
    // The server goes, not the user: the window comes back, here or at another worker.
    if matches!(reason, EndReason::Drain | EndReason::Stopped) {
        return;
    }
    let user = User::of(&socket);
    // While this handler runs, its socket is still in its rooms.
    tokio::spawn(async move {
        sleep(GRACE).await;
        if windows(&io, &user).await == 0 {
            let away = json!({ "user": user, "online": false });
            let _ = io.emit("presence", &away).await;
        }
    });
}

/// `online`(user), acknowledged with `{ok, online}`: always right, while what was broadcast may be old.
pub(crate) async fn online(io: Io, Data(user): Data<String>, ack: Responder) {
    let online = windows(&io, &user).await > 0;
    let _ = ack.send(&json!({ "ok": true, "online": online }));
}

/// How many windows a user has, at all workers.
async fn windows(io: &Io, user: &str) -> usize {
    let found = io.within(User::room(user)).fetch_sockets().await;
    found.map_or(0, |sockets| sockets.len())
}
