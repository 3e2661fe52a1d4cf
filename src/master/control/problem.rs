//! Answers, and what is answered when there is none.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

/// What is answered.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request has no other answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("nothing is at {0}; docs/CONTROL.md lists what is")]
    NotFound(String),
    #[error("{0}")]
    Missing(String),
    #[error("this takes {allowed} only")]
    Method { allowed: &'static str },
    #[error("the body is larger than {} MiB", super::server::MAX_BODY >> 20)]
    TooLarge,
    #[error("the body did not come within {} s", super::server::BODY_PATIENCE.as_secs())]
    SlowBody,
    #[error("there was no answer within {} s", super::server::DEADLINE.as_secs())]
    Late,
    #[error("{0}")]
    NotDone(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("this is a fault of the server: {0}")]
    Internal(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::NotDone(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As `{"error": words}`.
    pub(super) fn answer(&self) -> Answer {
        let body = format!("{}\n", json!({ "error": self.to_string() }));
        let mut answer = answer(self.status(), "application/json", body.into());
        if let Self::Method { allowed } = self {
            let allowed = HeaderValue::from_static(allowed);
            answer.headers_mut().insert(ALLOW, allowed);
        }
        answer
    }
}

/// A value as JSON, one line.
pub(super) fn json(value: &impl Serialize) -> Result<Answer, Problem> {
    let mut body =
        serde_json::to_vec(value).map_err(|error| Problem::Internal(error.to_string()))?;
    body.push(b'\n');
    Ok(answer(StatusCode::OK, "application/json", body.into()))
}

/// An answer of this type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
