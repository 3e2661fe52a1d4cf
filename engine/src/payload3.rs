//! Bodies of long-polling in revision 3: each packet has its length before it, in UTF-16 units where the
//! body is text, in bytes where it is binary.

use bytes::Bytes;
use engineioxide_core::Str;

use crate::packet::{Packet, base64_len, encode_base64};
pub use crate::payload4::PayloadError;
use crate::payload4::text_of;

/// What a length in a binary body ends with.
const LENGTH_END: u8 = 0xff;
/// More digits than a JavaScript number has.
const LENGTH_DIGITS: usize = 310;

/// The packets of a body; `binary` if it was posted as `application/octet-stream`. What stands before a
/// faulty packet is there; behind it, or behind a packet that ends the session, nothing is read.
pub fn decode(body: &Bytes, binary: bool) -> (Vec<Packet>, Option<PayloadError>) {
    let mut packets = Vec::new();
    let read = if binary {
        decode_binary(body, &mut packets)
    } else {
        decode_text(&text_of(body), &mut packets)
    };
    (packets, read.err())
}

fn decode_text(body: &Str, packets: &mut Vec<Packet>) -> Result<(), PayloadError> {
    let mut start = 0;
    if body.is_empty() {
        return Err(PayloadError::NoLength);
    }
    while start < body.len() {
        let rest = body
            .as_str()
            .get(start..)
            .ok_or(PayloadError::WrongLength)?;
        let (digits, rest) = rest.split_once(':').ok_or(PayloadError::NoLength)?;
        let units = length(digits.bytes().map(|digit| digit.wrapping_sub(b'0')))?;
        let len = utf16_prefix(rest, units).ok_or(PayloadError::WrongLength)?;
        let from = start.saturating_add(digits.len()).saturating_add(1);
        start = from.saturating_add(len);
        if len == 0 {
            continue;
        }
        let packet = Packet::decode_text(&body.slice(from..start), true)?;
        let over = packet == Packet::Close;
        packets.push(packet);
        if over {
            break;
        }
    }
    Ok(())
}

/// A number from its digits' values.
fn length(digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, PayloadError> {
    if !(1..=LENGTH_DIGITS).contains(&digits.len()) {
        return Err(PayloadError::NoLength);
    }
    let mut length = 0_usize;
    for digit in digits {
        if digit > 9 {
            return Err(PayloadError::NoLength);
        }
        length = length.saturating_mul(10).saturating_add(digit.into());
    }
    Ok(length)
}

/// How many bytes the first `units` UTF-16 units of the text have, if they end between two characters.
fn utf16_prefix(text: &str, units: usize) -> Option<usize> {
    if text.as_bytes().get(..units)?.is_ascii() {
        return Some(units);
    }
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// Node cuts the whole body into packets before it reads one: a fault in the lengths lets none be there.
fn decode_binary(body: &Bytes, packets: &mut Vec<Packet>) -> Result<(), PayloadError> {
    let mut frames = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        let is_text = rest.first() == Some(&0);
        let digits = rest.get(1..).unwrap_or_default();
        let digits = digits
            .get(..LENGTH_DIGITS.min(digits.len()))
            .unwrap_or_default();
        let count = memchr::memchr(LENGTH_END, digits).ok_or(PayloadError::NoLength)?;
        let len = length(digits.iter().copied().take(count))?;
        rest = rest.slice(count.saturating_add(2)..);
        // One that is said to be longer than the body ends with it.
        let data = rest.split_to(len.min(rest.len()));
        frames.push((is_text, data));
    }
    for (is_text, data) in frames {
        let packet = if is_text {
            let text = std::str::from_utf8(&data).map_err(|_| PayloadError::Utf8)?;
            Packet::decode_text(&Str::copy_from_slice(text), true)?
        } else {
            Packet::decode_binary(&data, true)
        };
        let over = packet == Packet::Close;
        packets.push(packet);
        if over {
            break;
        }
    }
    Ok(())
}

/// A body of these packets, and whether it is the binary form: Node takes that if one of them is
/// binary and the client did not ask for base64.
#[must_use]
pub fn encode(packets: &[Packet], supports_binary: bool) -> (Vec<u8>, bool) {
    let binary = supports_binary
        && packets
            .iter()
            .any(|packet| matches!(packet, Packet::Binary(_)));
    let len = packets
        .iter()
        .map(|packet| encoded_len(packet, binary))
        .sum();
    let mut out = Vec::with_capacity(len);
    for packet in packets {
        if binary {
            encode_binary(packet, &mut out);
        } else {
            encode_text(packet, &mut out);
        }
    }
    if packets.is_empty() {
        out.extend_from_slice(b"0:");
    }
    (out, binary)
}

fn encode_text(packet: &Packet, out: &mut Vec<u8>) {
    let units = match packet {
        Packet::Binary(data) => base64_len(data.len()).saturating_add(2),
        other => utf16_len(other.data()).saturating_add(1),
    };
    out.extend_from_slice(units.to_string().as_bytes());
    out.push(b':');
    if let Packet::Binary(data) = packet {
        out.extend_from_slice(b"b4");
        encode_base64(data, out);
    } else {
        out.push(packet.type_digit());
        out.extend_from_slice(packet.data());
    }
}

fn encode_binary(packet: &Packet, out: &mut Vec<u8>) {
    let is_binary = matches!(packet, Packet::Binary(_));
    let len = packet.data().len().saturating_add(1).to_string();
    out.push(is_binary.into());
    out.extend(len.bytes().map(|digit| digit.wrapping_sub(b'0')));
    out.push(LENGTH_END);
    let kind = packet.type_digit();
    out.push(if is_binary {
        kind.wrapping_sub(b'0')
    } else {
        kind
    });
    out.extend_from_slice(packet.data());
}

/// How many UTF-16 units a text of UTF-8 has: one for each character, two for those of four bytes.
fn utf16_len(text: &[u8]) -> usize {
    let units =
        |&byte: &u8| usize::from(byte & 0xc0 != 0x80).saturating_add(usize::from(byte >= 0xf0));
    text.iter().map(units).sum()
}

/// How many bytes of a body this packet takes at most.
#[must_use]
pub fn encoded_len(packet: &Packet, supports_binary: bool) -> usize {
    let content = match packet {
        Packet::Binary(data) if !supports_binary => base64_len(data.len()).saturating_add(2),
        other => other.data().len().saturating_add(1),
    };
    let digits = content.checked_ilog10().unwrap_or(0) as usize;
    digits.saturating_add(3).saturating_add(content)
}
