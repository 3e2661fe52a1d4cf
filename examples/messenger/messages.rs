//! Private messages: stored first, then sent to every window of both users.

use my_app::api::{Responder, Socket};
use serde::Serialize;
use serde_json::json;
use socketioxide::extract::Data;
use tracing::warn;

use super::User;
use super::database::{DATABASE, DatabaseError};

/// Why an event was not obeyed: the acknowledgement has it in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error("a user's name has at most 64 characters")]
    Name,
    #[error("a message needs a text of at most 1000 characters")]
    Text,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("it is stored, but not everybody was told")]
    Sent,
    #[error("that is not known now, try again later")]
    Presence,
}

/// `say`(to, text), acknowledged with `{ok, id}`.
pub(crate) async fn say(socket: Socket, Data((to, text)): Data<(String, String)>, ack: Responder) {
    let said = async {
        if text.is_empty() || text.chars().count() > 1000 {
            return Err(EventError::Text);
        }
        if !User::is_name(&to) {
            return Err(EventError::Name);
        }
        let from = User::of(&socket);
        let message = DATABASE.store(&from, &to, &text).await?;
        // Windows of both, at whatever worker; but not the one that said it, which has the acknowledgement.
        let windows = socket.to([User::room(&to), User::room(&from)]);
        let sent = windows.emit("message", &message).await;
        sent.map_err(|error| {
            warn!(socket_id = %socket.id, %error, "a message went not everywhere");
            EventError::Sent
        })?;
        Ok(json!({ "ok": true, "id": message.id }))
    };
    answer(ack, said.await);
}

/// `history`(with), acknowledged with `{ok, messages}`: what a window asks for when it connects, for it may have missed some.
pub(crate) async fn history(socket: Socket, Data(with): Data<String>, ack: Responder) {
    let asked = async {
        if !User::is_name(&with) {
            return Err(EventError::Name);
        }
        let messages = DATABASE.history(&User::of(&socket), &with).await?;
        Ok(json!({ "ok": true, "messages": messages }))
    };
    answer(ack, asked.await);
}

pub(crate) fn answer(ack: Responder, outcome: Result<impl Serialize, EventError>) {
    // An error means that the client is gone, and with it whoever would miss the answer.
    let _ = match outcome {
        Ok(answer) => ack.send(&answer),
        Err(error) => ack.send(&json!({ "ok": false, "error": error.to_string() })),
    };
}
