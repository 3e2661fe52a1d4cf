//! What servers of other kinds see of a socket.

use serde_json::Value;

/// What Node servers on the same Redis see as a socket's `data` in `fetchSockets()`, with `[bridge] node = true`:
/// an extension of the socket. Without it they see `{}`.
///
/// ```no_run
/// # use my_app::api::{PublicData, Socket};
/// # use serde_json::json;
/// async fn connected(socket: Socket) {
///     socket.extensions.insert(PublicData(json!({"user": 42})));
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PublicData(pub Value);
