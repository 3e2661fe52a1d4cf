//! A request's body that must arrive within a session's lifetime.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body did not arrive in time")]
    Late,
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
}

struct Timed {
    incoming: Incoming,
    deadline: Pin<Box<Sleep>>,
}

/// The body, with an error in it if it is not whole at `deadline`.
pub(super) fn timed(incoming: Incoming, deadline: Instant) -> Body {
    if incoming.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timed {
        incoming,
        deadline: Box::pin(sleep_until(deadline)),
    })
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| Ok(frame?))),
            Poll::Pending => this
                .deadline
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(BodyError::Late))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
