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
        other => other.data().len(),
    };
    len.saturating_add(1)
}

/// Writes a packet behind what is there. The separator is the caller's.
pub fn encode_into(packet: &Packet, out: &mut Vec<u8>) {
    if let Packet::Binary(data) = packet {
        out.push(b'b');
        encode_base64(data, out);
    } else {
        out.push(packet.type_digit());
        out.extend_from_slice(packet.data());
    }
}
