//! What a back end asks of the application: `POST /notify`.

use std::env;
use std::sync::OnceLock;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use my_app::api::Io;
use serde::Deserialize;
use serde_json::Value;

use super::User;

/// Routes are not given the [`Io`]. Each worker has its own, and all of them reach everybody.
static IO: OnceLock<Io> = OnceLock::new();

pub(crate) fn remember(io: &Io) {
    // It is called once.
    let _ = IO.set(io.clone());
}

#[derive(Deserialize)]
struct Notice {
    user: String,
    notice: Value,
}

/// `{"user": "7", "notice": …}` becomes the event `notice` for every window of the user. Anybody can send a request
/// here, so it needs the back end's secret.
pub(crate) async fn notify(headers: HeaderMap, body: String) -> (StatusCode, String) {
    let secret = env::var("BACKEND_SECRET").unwrap_or_default();
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if secret.is_empty() || !shown.is_some_and(|shown| same(shown, &format!("Bearer {secret}"))) {
        return (StatusCode::UNAUTHORIZED, "who are you?\n".to_owned());
    }
    let Notice { user, notice } = match serde_json::from_str(&body) {
        Ok(notice) => notice,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let Some(io) = IO.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    };
    match io.to(User::room(&user)).emit("notice", &notice).await {
        Ok(()) => (StatusCode::OK, "sent\n".to_owned()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Compared to the end, so that the time it takes does not tell how much was right.
fn same(shown: &[u8], expected: &str) -> bool {
    let pairs = shown.iter().zip(expected.as_bytes());
    shown.len() == expected.len() && pairs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
