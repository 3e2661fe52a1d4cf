//! Bodies of long-polling in revision 4: packets with a separator between them. Binary is `b` and base64.

use bytes::Bytes;
use engineioxide_core::Str;

use crate::packet::{Packet, PacketError, base64_len, encode_base64};

/// Stands between two packets.
pub const SEPARATOR: u8 = 0x1e;

/// A body that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// What stands at a packet's place is none.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// Revision 3: no length, or one that is no number.
    #[error("a packet without a length")]
    NoLength,
    /// Revision 3: a length that goes beyond the body, or ends within a character.
    #[error("a packet of a wrong length")]
    WrongLength,
    /// Revision 3: a text packet in a binary body that is no UTF-8.
    #[error("a text that is not UTF-8")]
    Utf8,
}

/// The packets of a body. What stands before a faulty packet is there; behind it, or behind a packet
/// that ends the session, nothing is read.
pub fn decode(body: &Bytes) -> (Vec<Packet>, Option<PayloadError>) {
    let mut packets = Vec::new();
    for packet in Packets::of(body) {
        match packet {
            Ok(packet) => packets.push(packet),
            Err(error) => return (packets, Some(error)),
        }
    }
    (packets, None)
}

/// The packets of a body, one after the other: a body of a million bytes may hold half a million.
#[derive(Debug)]
pub struct Packets {
    body: Str,
    /// Where the next packet begins, if there is one.
    next: Option<usize>,
}

impl Packets {
    /// Of this body. What is no UTF-8 in it becomes U+FFFD, as in Node.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self {
            body: text_of(body),
            next: Some(0),
        }
    }
}

impl Iterator for Packets {
    type Item = Result<Packet, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next.take()?;
        let rest = self.body.as_bytes().get(start..)?;
        let end = match memchr::memchr(SEPARATOR, rest) {
            Some(len) => {
                let end = start.saturating_add(len);
                self.next = Some(end.saturating_add(1));
                end
            }
            None => self.body.len(),
        };
        let packet = Packet::decode_text(&self.body.slice(start..end), false);
        if matches!(packet, Ok(Packet::Close) | Err(_)) {
            self.next = None;
        }
        Some(packet.map_err(PayloadError::from))
    }
}

/// A body as text; it is copied once, and its packets are slices of it.
pub(crate) fn text_of(body: &[u8]) -> Str {
    Str::from(String::from_utf8_lossy(body).into_owned())
}

/// How many bytes [`encode_into`] writes for this packet.
#[must_use]
pub fn encoded_len(packet: &Packet) -> usize {
    let len = match packet {
        Packet::Binary(data) => base64_len(data.len()),
        Packet::Spliced(spliced) if spliced.is_binary() => base64_len(spliced.len()),
        other => other.data_len(),
    };
    len.saturating_add(1)
}

/// Writes a packet behind what is there. The separator is the caller's.
pub fn encode_into(packet: &Packet, out: &mut Vec<u8>) {
    match packet {
        Packet::Binary(data) => {
            out.push(b'b');
            encode_base64(data, out);
        }
        Packet::Spliced(spliced) if spliced.is_binary() => {
            out.push(b'b');
            encode_base64(&spliced.data(), out);
        }
        packet => {
            out.push(packet.type_digit());
            out.extend_from_slice(&packet.data());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Packet {
        Packet::Message(text.into())
    }

    fn binary(bytes: &'static [u8]) -> Packet {
        Packet::Binary(Bytes::from_static(bytes))
    }

    // As decodePayload of engine.io-parser 5.2.3.
    #[test]
    fn a_body_is_read_up_to_its_fault_or_end() {
        let empty = Some(PayloadError::Packet(PacketError::Empty));
        let unknown = Some(PayloadError::Packet(PacketError::UnknownType));
        for (body, packets, error) in [
            ("4a", vec![message("a")], None),
            ("4a\x1e4b", vec![message("a"), message("b")], None),
            ("4é😀\x1e4", vec![message("é😀"), message("")], None),
            (
                "bAQI=\x1ebAQI",
                vec![binary(b"\x01\x02"), binary(b"\x01\x02")],
                None,
            ),
            ("b4AQ==", vec![binary(b"\xe0\x04")], None),
            (
                "3\x1e5\x1e6",
                vec![Packet::Pong("".into()), Packet::Upgrade, Packet::Noop],
                None,
            ),
            ("", vec![], empty),
            ("4a\x1e", vec![message("a")], empty),
            ("\x1e4a", vec![], empty),
            ("4a\x1e\x1e4b", vec![message("a")], empty),
            ("7", vec![], unknown),
            ("4a\x1ex\x1e4b", vec![message("a")], unknown),
            ("4a\x1e1\x1ex", vec![message("a"), Packet::Close], None),
        ] {
            assert_eq!(
                decode(&Bytes::from_static(body.as_bytes())),
                (packets, error),
                "{body:?}"
            );
        }
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        let body = Bytes::from_static(b"4a\xff\x1e4\xc3");
        assert_eq!(
            decode(&body),
            (vec![message("a\u{fffd}"), message("\u{fffd}")], None)
        );
    }

    #[test]
    fn packets_are_written_behind_each_other() {
        let packets = [
            message("é"),
            binary(b"\x01\x02\x03"),
            binary(b"\x01"),
            Packet::Ping("".into()),
            Packet::Ping("probe".into()),
        ];
        let mut out = Vec::new();
        for packet in &packets {
            let start = out.len();
            encode_into(packet, &mut out);
            assert_eq!(out.len(), start + encoded_len(packet), "{packet:?}");
            out.push(SEPARATOR);
        }
        out.pop();
        assert_eq!(out, "4é\x1ebAQID\x1ebAQ==\x1e2\x1e2probe".as_bytes());
        assert_eq!(decode(&out.into()), (packets.to_vec(), None));
    }

    #[test]
    fn a_body_of_nothing_but_separators_ends_at_the_first() {
        let body = Bytes::from(vec![SEPARATOR; 1 << 20]);
        let empty = Some(PayloadError::Packet(PacketError::Empty));
        assert_eq!(decode(&body), (vec![], empty));
    }
}
