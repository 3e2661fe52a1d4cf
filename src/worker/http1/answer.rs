//! Answers, in the form that Node gives them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body as AppBody;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::AsyncWriteExt;

use crate::metrics;
use crate::wire::health::{self, HealthAnswer};
use crate::worker::request::{Refused, RequestError};
use crate::worker::stream::{Control, Receipt, Stream};

/// An answer's body.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// All of it, and who is to be told when it was delivered.
    Polled(Bytes, Option<(Receipt, Arc<Control>)>),
    /// The application's.
    App(AppBody),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let bytes = match self.get_mut() {
            Self::App(body) => return Pin::new(body).poll_frame(cx),
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Polled(bytes, receipt) => {
                if let Some((receipt, control)) = receipt.take() {
                    control.answer_leaves(receipt);
                }
                std::mem::take(bytes)
            }
        };
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) | Self::Polled(bytes, _) => bytes.is_empty(),
            Self::App(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) | Self::Polled(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::App(body) => body.size_hint(),
        }
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const HTML: HeaderValue = HeaderValue::from_static("text/html");

/// Packets: the answer to a handshake or a poll.
pub(super) fn packets(body: Body, binary: bool) -> Response<Body> {
    let content_type = if binary {
        "application/octet-stream"
    } else {
        "text/plain; charset=UTF-8"
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// A post was handled.
pub(super) fn posted() -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(b"ok")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// The answer to a health check.
pub(super) fn health(answer: HealthAnswer) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(answer.body.as_bytes())));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in health::HEADERS {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A status alone.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// How a refusal is counted; a request that ends its session is counted as its end.
fn counted(refused: &Refused) -> Option<metrics::Refused> {
    use metrics::Refused as Why;
    Some(match refused {
        Refused::Client(refusal) => refusal.why,
        Refused::Request(RequestError::Overlap) => return None,
        Refused::Request(RequestError::UnknownSession) => Why::UnknownSession,
        Refused::Request(RequestError::UnsupportedProtocol) => Why::UnsupportedProtocol,
        Refused::Request(_) => Why::Malformed,
    })
}

/// A refusal in Engine.IO's form; one of an upgrade in another, as in Node.
pub(super) fn refused(refused: &Refused, upgrade: bool) -> Response<Body> {
    if let Some(why) = counted(refused) {
        metrics::REFUSED.count(why);
    }
    let (status, code, message) = match refused {
        Refused::Request(RequestError::Overlap) => return bare(StatusCode::BAD_REQUEST),
        Refused::Request(error) => (StatusCode::BAD_REQUEST, error.code(), error.to_string()),
        Refused::Client(refusal) => (refusal.status, refusal.code, refusal.message.clone()),
    };
    let (content_type, body) = if upgrade {
        (HTML, message)
    } else {
        let json = serde_json::json!({ "code": code, "message": message });
        (
            HeaderValue::from_static("application/json"),
            json.to_string(),
        )
    };
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if *refused == Refused::Request(RequestError::InvalidVersion) {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
    }
    if [
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::TOO_MANY_REQUESTS,
    ]
    .contains(&status)
    {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Answers 408 on a connection whose head did not come.
pub(crate) async fn refuse_timeout(stream: &mut Stream) {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
        Content-Length: 0\r\n\r\n";
    metrics::REFUSED.count(metrics::Refused::HeadTimeout);
    // A client that is gone needs no answer.
    let _ = stream.write_all(ANSWER).await;
}
