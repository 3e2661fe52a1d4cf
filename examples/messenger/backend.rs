//! What a back end asks of the application: `POST /notify`.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use my_app::api::Io;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::User;

/// Routes are not given the [`Io`]. Each worker has its own, and all of them reach everybody.
static IO: OnceLock<Io> = OnceLock::new();

pub(crate) fn remember(io: &Io) {
    // It is called once.
    let _ = IO.set(io.clone());
}

/// More than any notice needs.
const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Notice {
    user: String,
    notice: Value,
}

/// `{"user": "7", "notice": …}` becomes the event `notice` for every window of the user. Anybody can send a request
/// here, so it needs the back end's secret, and without it nothing of the body is read.
pub(crate) async fn notify(request: Request) -> (StatusCode, String) {
    let secret = env::var("BACKEND_SECRET").unwrap_or_default();
    let shown = request.headers().get(AUTHORIZATION);
    let shown = shown.map(HeaderValue::as_bytes);
    if secret.is_empty() || !shown.is_some_and(|shown| same(shown, &format!("Bearer {secret}"))) {
        return (StatusCode::UNAUTHORIZED, "who are you?\n".to_owned());
    }
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err((status, why)) => return (status, why.to_owned()),
    };
    let Notice { user, notice } = match serde_json::from_slice(&body) {
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

/// The server waits `limits.head_timeout` for each piece of a body, and for any number of pieces: axum's `String` or
/// `Json` alone would let a client send a byte now and then.
async fn read(body: Body) -> Result<Bytes, (StatusCode, &'static str)> {
    match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        // Or its client is gone, and does not read this.
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "at most 64 KiB\n")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body took too long\n")),
    }
}

/// Compared to the end, so that the time it takes does not tell how much was right.
fn same(shown: &[u8], expected: &str) -> bool {
    let pairs = shown.iter().zip(expected.as_bytes());
    shown.len() == expected.len() && pairs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
