//! A request's body: for the engine whole, of a bounded size and in a bounded time; for an application as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep, timeout};

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Late,
    #[error("the body broke off")]
    Broken,
}

/// Reads a body of at most `limit` bytes; `holds` is told how much of it is in memory.
pub(super) async fn collect<B>(
    mut body: B,
    limit: usize,
    within: Duration,
    mut holds: impl FnMut(usize),
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let most = limit as u64;
    if body.size_hint().lower() > most {
        return Err(BodyError::TooLarge);
    }
    let collect = async {
        let mut whole = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // Trailers say nothing to the engine.
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            if whole.len() + joined.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() && joined.is_empty() {
                whole = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut whole));
                joined.extend_from_slice(&data);
            }
            holds(whole.len() + joined.len());
        }
        Ok(if joined.is_empty() {
            whole
        } else {
            joined.freeze()
        })
    };
    timeout(within, collect)
        .await
        .unwrap_or(Err(BodyError::Late))
}

/// A body that an application reads: an error when a piece of it does not come in time. Nobody else watches a
/// connection whose request has been given to the application.
#[derive(Debug)]
pub(super) struct Timely<B> {
    body: B,
    /// How long a piece may take.
    within: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Timely<B> {
    pub(super) fn new(body: B, within: Duration) -> Self {
        Self {
            body,
            within,
            deadline: None,
        }
    }
}

impl<B> Body for Timely<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(piece) = piece {
            self.deadline = None;
            return Poll::Ready(piece.map(|piece| piece.map_err(Into::into)));
        }
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        std::task::ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        Poll::Ready(Some(Err(BodyError::Late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};

    const SOON: Duration = Duration::from_millis(50);

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes> + Unpin {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| {
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(piece.as_bytes())))
            })
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_may_be_as_long_as_its_limit_however_it_arrives() {
        let mut held = 0;
        let pieces_of_four = pieces(&["ab", "", "c", "d"]);
        let whole = collect(pieces_of_four, 4, SOON, |bytes| held = bytes).await;
        assert_eq!(whole.as_deref(), Ok(&b"abcd"[..]));
        assert_eq!(held, 4);
        let longer = collect(pieces(&["ab", "cde"]), 4, SOON, drop).await;
        assert_eq!(longer, Err(BodyError::TooLarge));
        let announced = collect(Full::new(Bytes::from_static(b"abcde")), 4, SOON, drop).await;
        assert_eq!(announced, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_waited_for_no_longer_than_agreed() {
        let silent =
            futures_util::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
        let late = collect(StreamBody::new(silent), 4, SOON, drop).await;
        assert_eq!(late, Err(BodyError::Late));
    }

    #[tokio::test]
    async fn an_application_is_told_that_a_piece_does_not_come() {
        let begun = StreamBody::new(futures_util::stream::iter([Ok::<_, BoxError>(
            Frame::data(Bytes::from_static(b"a")),
        )]));
        let silent = StreamBody::new(futures_util::stream::pending::<Result<_, BoxError>>());
        let mut body = Timely::new(begun, SOON);
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "a"
        );
        assert!(body.frame().await.is_none());
        let mut body = Timely::new(silent, SOON);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the body did not arrive in time");
    }
}
