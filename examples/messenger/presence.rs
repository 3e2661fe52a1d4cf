//! Who is there: a user is online while any of their windows is, at whatever worker.

use std::time::Duration;

use my_app::api::{EndReason, Io, Responder, Socket};
use serde_json::json;
use socketioxide::extract::Data;
use tokio::time::sleep;
use tracing::warn;

use super::User;
use super::messages::{EventError, answer};

/// A page that is loaded anew is gone for a moment, and its user is not.
const GRACE: Duration = Duration::from_secs(1);

/// A window came. Its first one brings the user online.
pub(crate) async fn came(io: &Io, socket: &Socket, user: &str) {
    if let Ok(1) = windows(io, user).await {
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
        // After an error it is not known, and nobody is told.
        if let Ok(0) = windows(&io, &user).await {
            let away = json!({ "user": user, "online": false });
            let _ = io.emit("presence", &away).await;
        }
    });
}

/// `online`(user), acknowledged with `{ok, online}`: newer than what was broadcast.
pub(crate) async fn online(io: Io, Data(user): Data<String>, ack: Responder) {
    let asked = async {
        if !User::is_name(&user) {
            return Err(EventError::Name);
        }
        let online = windows(&io, &user).await? > 0;
        Ok(json!({ "ok": true, "online": online }))
    };
    answer(ack, asked.await);
}

/// How many windows a user has, at all workers.
async fn windows(io: &Io, user: &str) -> Result<usize, EventError> {
    let found = io.within(User::room(user)).fetch_sockets().await;
    let found = found.map_err(|error| {
        warn!(%error, "who is there is not known");
        EventError::Presence
    })?;
    Ok(found.len())
}
