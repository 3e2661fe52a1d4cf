//! Messages of many sessions that differ in a few bytes only, and share the rest.
//!
//! socketioxide writes an event that is to be acknowledged once for each socket, since each has a number of its own
//! in it. So whoever emits one to many gives socketioxide an event without a payload, and the payload to
//! [`sharing`]: it is put into each message where it belongs, as the same bytes.

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::Bytes;

use crate::packet::Packet;

thread_local! {
    static SHARED: RefCell<Option<(Bytes, usize)>> = const { RefCell::new(None) };
}

/// A message with a payload that other messages have, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    own: Bytes,
    /// Where in `own` the payload belongs.
    at: usize,
    payload: Bytes,
    is_binary: bool,
}

/// Has each message that is emitted meanwhile the payload at the place `at`, or at its end if it is shorter. It must
/// be text if the messages are.
pub fn sharing<R>(payload: Bytes, at: usize, emit: impl FnOnce() -> R) -> R {
    let outer = SHARED.replace(Some((payload, at)));
    let emitted = emit();
    SHARED.replace(outer);
    emitted
}

/// A message as it is to be queued: with the payload that is being shared, if there is one.
pub(crate) fn complete(packet: Packet, revision3: bool) -> Packet {
    let Some((payload, at)) = SHARED.with_borrow(Clone::clone) else {
        return packet;
    };
    let (own, is_binary): (Bytes, bool) = match packet {
        Packet::Message(text) => (text.into(), false),
        Packet::Binary(data) => (data, true),
        other => return other,
    };
    let spliced = Spliced {
        at: at.min(own.len()),
        own,
        payload,
        is_binary,
    };
    if !revision3 {
        return Packet::Spliced(Box::new(spliced));
    }
    // Few clients are so old, and their forms are many.
    match String::from_utf8(spliced.joined()) {
        Ok(text) if !is_binary => Packet::Message(text.into()),
        Ok(text) => Packet::Binary(text.into_bytes().into()),
        Err(error) => Packet::Binary(error.into_bytes().into()),
    }
}

impl Spliced {
    /// Is it a binary message?
    pub(crate) fn is_binary(&self) -> bool {
        self.is_binary
    }

    /// What stands before the payload.
    pub(crate) fn before(&self) -> &[u8] {
        self.own.get(..self.at).unwrap_or_default()
    }

    /// What all share.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What stands behind the payload.
    pub(crate) fn behind(&self) -> &[u8] {
        self.own.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.payload.len()
    }

    fn joined(&self) -> Vec<u8> {
        [self.before(), &self.payload, self.behind()].concat()
    }

    /// All of it in one piece.
    pub(crate) fn data(&self) -> Cow<'_, [u8]> {
        self.joined().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(own: &'static str) -> Packet {
        Packet::Message(own.into())
    }

    #[test]
    fn the_payload_stands_where_it_belongs_and_is_shared() {
        let payload = Bytes::from_static(b"[\"e\",1]");
        let binary = Packet::Binary(Bytes::from_static(b"datarest"));
        let (end, middle) = sharing(payload.clone(), usize::MAX, || {
            let middle = sharing(payload.clone(), 4, || complete(binary, false));
            (complete(text("27"), false), middle)
        });
        assert_eq!(&*end.data(), b"27[\"e\",1]");
        assert_eq!(&*middle.data(), b"data[\"e\",1]rest");
        let Packet::Spliced(end) = end else {
            panic!("{end:?}");
        };
        assert_eq!(end.payload().as_ptr(), payload.as_ptr());
        assert_eq!(end.len(), 9);
        assert_eq!(complete(text("27"), false), text("27"), "it is over");
    }

    #[test]
    fn old_clients_have_a_message_of_their_own() {
        let payload = Bytes::from_static("[\"é\"]".as_bytes());
        let packets = sharing(payload, 4, || {
            [
                complete(text("27"), true),
                complete(Packet::Binary(Bytes::from_static(b"datarest")), true),
                complete(Packet::Noop, true),
            ]
        });
        let binary = Bytes::from_static("data[\"é\"]rest".as_bytes());
        let expected = [text("27[\"é\"]"), Packet::Binary(binary), Packet::Noop];
        assert_eq!(packets, expected);
    }
}
