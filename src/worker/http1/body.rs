//! A request's body, whole, of a bounded size and in a bounded time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

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

/// Reads a body of at most `limit` bytes.
pub(super) async fn collect<B>(
    mut body: B,
    limit: usize,
    within: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
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
        let whole = collect(pieces(&["ab", "", "c", "d"]), 4, SOON).await;
        assert_eq!(whole.as_deref(), Ok(&b"abcd"[..]));
        let longer = collect(pieces(&["ab", "cde"]), 4, SOON).await;
        assert_eq!(longer, Err(BodyError::TooLarge));
        let announced = collect(Full::new(Bytes::from_static(b"abcde")), 4, SOON).await;
        assert_eq!(announced, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_waited_for_no_longer_than_agreed() {
        let silent =
            futures_util::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
        let late = collect(StreamBody::new(silent), 4, SOON).await;
        assert_eq!(late, Err(BodyError::Late));
    }
}
