//! What Redis says unasked: the messages of what is subscribed to.

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};

use crate::bridge::transport::inbox::Inbox;

/// Something came that is no answer.
pub(super) fn take(inbox: &Inbox, push: PushInfo) {
    let mut data = push.data.into_iter();
    let mut next = || match data.next() {
        Some(Value::BulkString(bytes)) => Some(bytes),
        _ => None,
    };
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    let pattern = match push.kind {
        PushKind::Message => None,
        PushKind::PMessage => match next() {
            Some(pattern) => Some(text(pattern)),
            None => return,
        },
        _ => return,
    };
    if let (Some(channel), Some(payload)) = (next(), next()) {
        inbox.push(text(channel), pattern, Bytes::from(payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::transport::{Event, TransportError};

    fn push(kind: PushKind, data: &[&[u8]]) -> PushInfo {
        let data = data.iter().map(|bytes| Value::BulkString(bytes.to_vec()));
        PushInfo {
            kind,
            data: data.collect(),
        }
    }

    #[tokio::test]
    async fn messages_come_with_their_channel_and_pattern_and_nothing_else_comes() {
        let inbox = Inbox::default();
        take(&inbox, push(PushKind::Subscribe, &[b"a", b"1"]));
        take(&inbox, push(PushKind::PMessage, &[b"a*"]));
        take(&inbox, push(PushKind::Message, &[b"a", b"x"]));
        take(&inbox, push(PushKind::PMessage, &[b"a*", b"ab", b"\xc1y"]));
        inbox.end(TransportError::Closed);
        for (expected, of, bytes) in [("a", None, &b"x"[..]), ("ab", Some("a*"), b"\xc1y")] {
            let event = inbox.next().await;
            let Event::Message {
                channel,
                pattern,
                payload,
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!((&*channel, pattern.as_deref()), (expected, of));
            assert_eq!(payload, bytes);
        }
        assert!(matches!(inbox.next().await, Event::Ended(_)));
    }
}
