//! One encoding of an event for all that are to acknowledge it.
//!
//! socketioxide writes such an event anew for each socket, because of its number. It is given the event without its
//! payload instead, which the engine puts into each socket's message, as the same bytes.

use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::Value;
use socketioxide_core::adapter::{BroadcastOptions, CoreLocalAdapter, SocketEmitter};
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::Parse;

/// What is shorter is copied, in bytes.
const COPIED: usize = 2 * 1024;

/// Sends an event to be acknowledged. To how many?
pub(super) fn broadcast_with_ack<E: SocketEmitter>(
    local: &CoreLocalAdapter<E>,
    mut packet: Packet,
    opts: BroadcastOptions,
    timeout: Duration,
) -> (E::AckStream, u32) {
    let payload = take_payload(&mut packet);
    let at = place(local.parser(), &packet);
    let emit = || local.broadcast_with_ack(packet, opts, Some(timeout));
    match payload {
        Some(payload) => engineioxide::sharing(payload, at, emit),
        None => emit(),
    }
}

/// Where the payload belongs: in JSON at the end; in msgpack the number stands behind it.
fn place(parser: impl Parse, packet: &Packet) -> usize {
    match &packet.inner {
        PacketData::Event(Value::Bytes(_), _) => parser.encode(packet.clone()).len(),
        _ => usize::MAX,
    }
}

/// Leaves the packet without its payload, if that is large.
fn take_payload(packet: &mut Packet) -> Option<Bytes> {
    let (PacketData::Event(value, _) | PacketData::BinaryEvent(value, _)) = &mut packet.inner
    else {
        return None;
    };
    match value {
        Value::Str(text, _) if text.len() > COPIED => Some(std::mem::take(text).into()),
        Value::Bytes(bytes) if bytes.len() > COPIED => Some(std::mem::take(bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketioxide_parser_common::CommonParser;
    use socketioxide_parser_msgpack::MsgPackParser;

    /// What a socket's message is, put together as the engine does, and what it is if it is written at once.
    fn both(parser: impl Parse, payload: &str) -> (Vec<u8>, Vec<u8>) {
        let value = parser.encode_value(payload, Some("e")).unwrap();
        let mut packet = Packet::event("/chat", value);
        let numbered = |packet: &Packet| {
            let mut packet = packet.clone();
            packet.inner.set_ack_id(1_234_567);
            match parser.encode(packet) {
                Value::Str(text, _) => text.as_bytes().to_vec(),
                Value::Bytes(bytes) => bytes.to_vec(),
            }
        };
        let whole = numbered(&packet);
        let payload = take_payload(&mut packet).expect("it is large");
        let mut parts = numbered(&packet);
        let at = place(parser, &packet).min(parts.len());
        parts.splice(at..at, payload);
        (parts, whole)
    }

    #[test]
    fn a_message_of_parts_is_the_same_as_one_written_at_once() {
        let payload = "é".repeat(COPIED);
        let (parts, whole) = both(CommonParser, &payload);
        assert!(parts == whole);
        let (parts, whole) = both(MsgPackParser, &payload);
        assert!(parts == whole);
    }

    #[test]
    fn what_is_small_stays_as_it_is() {
        let value = CommonParser.encode_value("small", Some("e")).unwrap();
        let mut packet = Packet::event("/", value);
        assert_eq!(take_payload(&mut packet), None);
        assert!(
            matches!(&packet.inner, PacketData::Event(Value::Str(text, _), _) if !text.is_empty())
        );
    }
}
