//! Publishes to Postgres what is in the outbox, and knows how a notification is written.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::bridge::transport::channels::short;
use crate::bridge::transport::inbox::Inbox;
use crate::bridge::transport::outbox::{Outbox, Outgoing};
use crate::bridge::transport::{PATIENCE, TransportError};

/// What a notification carries, in bytes: 7,976 characters of base64. With what tells it from its equals it is below
/// 8,000.
pub(super) const PIECE: usize = 5_980;
/// What one statement publishes, in bytes.
const BATCH: usize = 1024 * 1024;

/// Publishes in the order of the arrays: an aggregate reads its rows in the order in which they come.
const NOTIFY: &str =
    "SELECT count(pg_notify(t.channel, t.payload)) FROM unnest($1, $2) AS t(channel, payload)";

/// As a notification has it: equal ones of one transaction are delivered once (NOTIFY, "Notes"), so each has a number.
fn write(number: u32, payload: &[u8]) -> String {
    let mut text = format!("{number:x}.");
    BASE64_STANDARD.encode_string(payload, &mut text);
    text
}

/// What [`write`] has written.
pub(super) fn read(text: &str) -> Option<Bytes> {
    let (_, payload) = text.split_once('.')?;
    BASE64_STANDARD.decode(payload).ok().map(Bytes::from)
}

/// Publishes what is in the outbox, one commit at a time.
pub(super) async fn publish(outbox: Arc<Outbox>, inbox: Arc<Inbox>, publisher: Client) {
    let mut number: u32 = 0;
    let error = loop {
        let batch = outbox.batch(BATCH).await;
        let channels: Vec<_> = batch
            .iter()
            .map(|outgoing| short(&outgoing.channel))
            .collect();
        let mut next = |outgoing: &Outgoing| {
            number = number.wrapping_add(1);
            if outgoing.piece.head.is_empty() {
                write(number, &outgoing.piece.body)
            } else {
                write(number, &outgoing.piece.bytes())
            }
        };
        let payloads: Vec<_> = batch.iter().map(&mut next).collect();
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&channels, Type::TEXT_ARRAY), (&payloads, Type::TEXT_ARRAY)];
        let answer = publisher.query_typed(NOTIFY, &values);
        let error = match timeout(PATIENCE, answer).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(inbox.reason(TransportError::postgres("NOTIFY", &error))),
            Err(_) => Some(TransportError::late("NOTIFY")),
        };
        for outgoing in batch {
            outbox.answer(outgoing, error.clone().map_or(Ok(0), Err));
        }
        if let Some(error) = error {
            break error;
        }
    };
    inbox.end(error.clone());
    outbox.end(&error);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::transport::pieces::Cutter;

    #[test]
    fn no_notification_is_longer_than_postgres_takes_and_no_two_are_equal() {
        let message = Bytes::from(vec![0xFF; 100_000]);
        for piece in Cutter::new(1, PIECE).cut(message) {
            let text = write(u32::MAX, &piece.bytes());
            assert!(text.len() < 8_000, "{}", text.len());
            assert_eq!(read(&text), Some(piece.bytes()));
        }
        assert_ne!(write(1, b"same"), write(2, b"same"));
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for text in ["", "x", "1.", "hello.world!", "1.====", "\u{e9}.AA=="] {
            let bytes = read(text);
            assert!(bytes.is_none_or(|bytes| bytes.len() < 2), "{text}");
        }
    }
}
