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
    let mut rest = body.clone();
    while !rest.is_empty() {
        cut(&mut rest)?;
    }
    let mut rest = body.clone();
    while !rest.is_empty() {
        let (is_text, data) = cut(&mut rest)?;
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

/// Takes one packet off a binary body. Is it text?
fn cut(rest: &mut Bytes) -> Result<(bool, Bytes), PayloadError> {
    let is_text = rest.first() == Some(&0);
    let digits = rest.get(1..).unwrap_or_default();
    let digits = digits
        .get(..LENGTH_DIGITS.min(digits.len()))
        .unwrap_or_default();
    let count = memchr::memchr(LENGTH_END, digits).ok_or(PayloadError::NoLength)?;
    let len = length(digits.iter().copied().take(count))?;
    *rest = rest.slice(count.saturating_add(2)..);
    // One that is said to be longer than the body ends with it.
    Ok((is_text, rest.split_to(len.min(rest.len()))))
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
        other => utf16_len(&other.data()).saturating_add(1),
    };
    out.extend_from_slice(units.to_string().as_bytes());
    out.push(b':');
    if let Packet::Binary(data) = packet {
        out.extend_from_slice(b"b4");
        encode_base64(data, out);
    } else {
        out.push(packet.type_digit());
        out.extend_from_slice(&packet.data());
    }
}

fn encode_binary(packet: &Packet, out: &mut Vec<u8>) {
    let is_binary = matches!(packet, Packet::Binary(_));
    let len = packet.data_len().saturating_add(1).to_string();
    out.push(is_binary.into());
    out.extend(len.bytes().map(|digit| digit.wrapping_sub(b'0')));
    out.push(LENGTH_END);
    let kind = packet.type_digit();
    out.push(if is_binary {
        kind.wrapping_sub(b'0')
    } else {
        kind
    });
    out.extend_from_slice(&packet.data());
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
        other => other.data_len().saturating_add(1),
    };
    let digits = content.checked_ilog10().unwrap_or(0) as usize;
    digits.saturating_add(3).saturating_add(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketError;

    fn message(text: &'static str) -> Packet {
        Packet::Message(text.into())
    }

    fn binary(bytes: &'static [u8]) -> Packet {
        Packet::Binary(Bytes::from_static(bytes))
    }

    const EMPTY: Option<PayloadError> = Some(PayloadError::Packet(PacketError::Empty));
    const UNKNOWN: Option<PayloadError> = Some(PayloadError::Packet(PacketError::UnknownType));
    const NO_LENGTH: Option<PayloadError> = Some(PayloadError::NoLength);
    const WRONG: Option<PayloadError> = Some(PayloadError::WrongLength);

    // As decodePayload of parser-v3 in engine.io 6.6.4, but for the last three: there lengths are any number
    // that JavaScript knows, and half a character is one.
    #[test]
    fn a_body_of_text_is_read_up_to_its_fault_or_end() {
        for (body, packets, error) in [
            ("2:4a", vec![message("a")], None),
            ("2:4a2:4b", vec![message("a"), message("b")], None),
            ("2:4é", vec![message("é")], None),
            ("3:4😀2:4é", vec![message("😀"), message("é")], None),
            ("02:4a", vec![message("a")], None),
            ("0:", vec![], None),
            ("0:2:4a0:", vec![message("a")], None),
            ("6:b4AQID", vec![binary(b"\x01\x02\x03")], None),
            ("2:b4", vec![binary(b"")], None),
            ("2:b9", vec![Packet::Noop], None),
            ("1:b", vec![Packet::Noop], None),
            (
                "6:2probe1:5",
                vec![Packet::Ping("probe".into()), Packet::Upgrade],
                None,
            ),
            ("1:12:xx", vec![Packet::Close], None),
            ("", vec![], NO_LENGTH),
            ("2", vec![], NO_LENGTH),
            (":4a", vec![], NO_LENGTH),
            ("a:4a", vec![], NO_LENGTH),
            ("-1:4a", vec![], NO_LENGTH),
            ("3:4a", vec![], WRONG),
            ("99999999999999999999:4a", vec![], WRONG),
            ("1:4a", vec![message("")], NO_LENGTH),
            ("2:4a3", vec![message("a")], NO_LENGTH),
            ("2:4a3:", vec![message("a")], WRONG),
            ("2:7a", vec![], UNKNOWN),
            ("2:4a2:7a2:4b", vec![message("a")], UNKNOWN),
            ("2.0:4a", vec![], NO_LENGTH),
            (" 2:4a", vec![], NO_LENGTH),
            ("2:4😀", vec![], WRONG),
        ] {
            let read = decode(&Bytes::from_static(body.as_bytes()), false);
            assert_eq!(read, (packets, error), "{body:?}");
        }
    }

    // As decodePayloadAsBinary there, but for two: it goes on behind a faulty packet and behind a `1`, with
    // a session that is closed.
    #[test]
    fn a_body_of_bytes_is_read_up_to_its_fault_or_end() {
        for (body, packets, error) in [
            (&b""[..], vec![], None),
            (b"\0\x02\xff4a", vec![message("a")], None),
            (b"\x01\x03\xff\x04\x01\x02", vec![binary(b"\x01\x02")], None),
            (
                b"\0\x02\xff4a\x01\x02\xff\x04\x07",
                vec![message("a"), binary(b"\x07")],
                None,
            ),
            (b"\x02\x02\xff\x04a", vec![binary(b"a")], None),
            (b"\0\x03\xff4\xc3\xa9", vec![message("é")], None),
            (b"\0\x06\xffb4AQID", vec![binary(b"\x01\x02\x03")], None),
            (b"\0\x09\xff4a", vec![message("a")], None),
            (b"\x01\0\xff", vec![Packet::Noop], None),
            (b"\x01\x01\xff\x09", vec![Packet::Noop], None),
            (b"\x01\x01\xff\x02", vec![Packet::Ping("".into())], None),
            (b"\0\x01\xff1\0\x01\xff7", vec![Packet::Close], None),
            (b"\0\0\xff", vec![], EMPTY),
            (b"\0\x01\xff7", vec![], UNKNOWN),
            (
                b"\0\x02\xff4a\0\x01\xff7\0\x02\xff4b",
                vec![message("a")],
                UNKNOWN,
            ),
            (b"\0\xff4a", vec![], NO_LENGTH),
            (b"\0\x02", vec![], NO_LENGTH),
            (b"\0\x0a\x02\xff4a", vec![], NO_LENGTH),
            (b"\0\x02\xff4a\0", vec![], NO_LENGTH),
            (b"\0\x03\xff4\xc3\x28", vec![], Some(PayloadError::Utf8)),
        ] {
            let read = decode(&Bytes::from_static(body), true);
            assert_eq!(read, (packets, error), "{body:?}");
        }
    }

    // What encodePayload there writes.
    #[test]
    fn a_body_is_binary_if_it_has_to_be() {
        let pong = || Packet::Pong("probe".into());
        for (packets, text, bytes) in [
            (vec![], "0:", None),
            (vec![message("a")], "2:4a", None),
            (vec![message("é😀"), Packet::Noop], "4:4é😀1:6", None),
            (vec![message("xxxxxxxxxxxx")], "13:4xxxxxxxxxxxx", None),
            (vec![binary(b"\x01\x02\x03")], "6:b4AQID", Some(&b"\x01\x04\xff\x04\x01\x02\x03"[..])),
            (vec![binary(&[0; 9])], "14:b4AAAAAAAAAAAA", Some(b"\x01\x01\0\xff\x04\0\0\0\0\0\0\0\0\0")),
            (
                vec![message("é😀"), binary(b"\x01\x02\x03"), pong()],
                "4:4é😀6:b4AQID6:3probe",
                Some(b"\0\x07\xff4\xc3\xa9\xf0\x9f\x98\x80\x01\x04\xff\x04\x01\x02\x03\0\x06\xff3probe"),
            ),
        ] {
            let as_text = text.as_bytes().to_vec();
            assert_eq!(encode(&packets, false), (as_text.clone(), false));
            let (body, is_binary) = encode(&packets, true);
            assert_eq!((body.as_slice(), is_binary), match bytes {
                Some(bytes) => (bytes, true),
                None => (as_text.as_slice(), false),
            });
            for supports_binary in [false, true] {
                let (body, is_binary) = encode(&packets, supports_binary);
                let bound: usize = packets.iter().map(|packet| encoded_len(packet, supports_binary)).sum();
                assert!(packets.is_empty() || body.len() <= bound, "{text}");
                assert_eq!(decode(&body.into(), is_binary), (packets.clone(), None), "{text}");
            }
        }
    }

    #[test]
    fn many_tiny_packets_are_read_as_fast_as_a_large_one() {
        let many = "1:6".repeat(300_000);
        assert_eq!(decode(&many.into(), false).0.len(), 300_000);
        let many = b"\0\x01\xff6".repeat(250_000);
        assert_eq!(decode(&many.into(), true).0.len(), 250_000);
    }
}
