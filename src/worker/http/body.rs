//! A request's body that must arrive within a session's lifetime, in pieces of a sensible size.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body did not arrive in time")]
    Late,
    #[error(transparent)]
    Body(#[from] axum::Error),
}

/// Smaller pieces are joined up to this size, in bytes. The engine's decoder for revision 3 looks at
/// the whole packet again for each piece, so that a body of one-byte chunks would cost it quadratic
/// time. (It also copies what is left of a piece for each packet: joined whole is no better.)
const PIECE: usize = 8 * 1024;

struct Timed {
    incoming: Body,
    joined: BytesMut,
    deadline: Pin<Box<Sleep>>,
}

/// The body, with an error in it if it is not whole at `deadline`.
pub(super) fn timed(incoming: Body, deadline: Instant) -> Body {
    if incoming.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timed {
        incoming,
        joined: BytesMut::new(),
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
        loop {
            if this.deadline.is_elapsed() {
                return Poll::Ready(Some(Err(BodyError::Late)));
            }
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose()?,
                Poll::Pending => {
                    return this
                        .deadline
                        .as_mut()
                        .poll(cx)
                        .map(|()| Some(Err(BodyError::Late)));
                }
            };
            match frame.map(Frame::into_data) {
                Some(Ok(data)) if this.joined.is_empty() && data.len() >= PIECE => {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Ok(data)) => this.joined.extend_from_slice(&data),
                // Trailers say nothing to the engine.
                Some(Err(_)) => {}
                None if this.joined.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Ok(Frame::data(this.joined.split().freeze())))),
            }
            if this.joined.len() >= PIECE {
                return Poll::Ready(Some(Ok(Frame::data(this.joined.split().freeze()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.joined.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (incoming, joined) = (self.incoming.size_hint(), self.joined.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = incoming.upper() {
            hint.set_upper(upper.saturating_add(joined));
        }
        hint.set_lower(incoming.lower().saturating_add(joined));
        hint
    }
}
