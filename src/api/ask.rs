//! What clients answer when they are asked, as they wrote it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use socketioxide::ack::AckStream;
use socketioxide::operators::BroadcastOperators;
use socketioxide::{AckError, EmitWithAckError};
use socketioxide_core::Sid;
use socketioxide_core::parser::ParserError;

use super::{Adapter, Args};
use crate::bus::unread;

/// Emits an event to these sockets, to be acknowledged, and gives what each client answers.
///
/// It is `emit_with_ack::<_, Args>`, with all that a text can have: what is read through serde comes without the
/// spelling of numbers, not at all where an object's first key has a quote, a backslash or a control character in
/// it, and with attachments in the order of the text.
///
/// What clients answer to the open questions of one client may have 64 MiB together, and 256 MiB of all that a worker
/// asks. What is beyond is not kept: its socket has the error
/// [`SocketError::InternalChannelFull`](socketioxide::SocketError::InternalChannelFull).
///
/// # Errors
/// If the event cannot be written, or not handed to the other workers.
pub async fn ask<T: Serialize + ?Sized>(
    sockets: BroadcastOperators<Adapter>,
    event: impl AsRef<str>,
    data: &T,
) -> Result<Responses, EmitWithAckError> {
    let stream = sockets.emit_with_ack::<_, Unread>(event, data).await?;
    Ok(Responses(stream))
}

/// Every socket's id, and what its client answered, or why there is nothing: see [`ask`].
#[must_use = "streams do nothing unless polled"]
pub struct Responses(AckStream<Unread, Adapter>);

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responses").finish_non_exhaustive()
    }
}

impl Stream for Responses {
    type Item = (Sid, Result<Args, AckError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (item, answer) = unread::keep(|| self.0.poll_next_unpin(cx));
        item.map(|item| {
            let (id, outcome) = item?;
            let args = match (answer, outcome) {
                (Some(answer), _) => {
                    Args::of_ack(&answer).map_err(|error| AckError::Decode(ParserError::new(error)))
                }
                (None, Err(error)) => Err(error),
                (None, Ok(Unread)) => Err(AckError::Timeout),
            };
            Some((id, args))
        })
    }
}

/// Any answer, of which nothing is kept.
struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}
