//! Mends what engineioxide sends to revision 3 clients by polling.
//!
//! A binary packet travels as `b4<base64>` there: base64, then the packet's type, then the data
//! (engine.io-parser 2, `encodeBase64Packet`). engineioxide 0.17 leaves the type out, and the
//! client takes the first character of the data for it. Pure: a payload in, the mended one out.

use std::borrow::Cow;

/// A polling payload in which every binary packet has its type. `binary` tells the payload's form:
/// of bytes (`application/octet-stream`) or of text.
pub(super) fn mended(payload: &[u8], binary: bool) -> Cow<'_, [u8]> {
    let packets = if binary {
        split_bytes(payload)
    } else {
        split_text(payload)
    };
    match packets {
        Some(packets) if packets.iter().any(Packet::lacks_type) => {
            Cow::Owned(join(&packets, binary))
        }
        // Nothing to mend, or nothing that this understands.
        _ => Cow::Borrowed(payload),
    }
}

struct Packet<'a> {
    /// Of a payload of bytes: 0 is text, 1 is binary and as it should be.
    kind: u8,
    /// As the payload counts it: UTF-16 units in text, bytes in bytes.
    length: usize,
    body: &'a [u8],
}

impl Packet<'_> {
    fn lacks_type(&self) -> bool {
        self.kind == 0 && self.body.first() == Some(&b'b')
    }
}

/// `<length>:<packet>…`, the length in UTF-16 units.
fn split_text(payload: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut rest = std::str::from_utf8(payload).ok()?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        let mut units = 0;
        let end = behind.char_indices().find_map(|(at, c)| {
            let here = units;
            units += c.len_utf16();
            (here == length).then_some(at)
        });
        let (body, next) = behind.split_at_checked(end.unwrap_or(behind.len()))?;
        packets.push(Packet {
            kind: 0,
            length,
            body: body.as_bytes(),
        });
        rest = next;
    }
    Some(packets)
}

/// `<0: text, 1: binary><length: digits as numbers><255><packet>…`, the length in bytes.
fn split_bytes(mut rest: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut packets = Vec::new();
    while let Some((&kind, behind)) = rest.split_first() {
        let digits = behind.iter().position(|&b| b == 255)?;
        let (length, behind) = behind.split_at_checked(digits)?;
        let length = length.iter().try_fold(0_usize, |length, &digit| {
            length.checked_mul(10)?.checked_add(usize::from(digit))
        })?;
        let (body, next) = behind.get(1..)?.split_at_checked(length)?;
        packets.push(Packet { kind, length, body });
        rest = next;
    }
    Some(packets)
}

fn join(packets: &[Packet<'_>], binary: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        let lacks_type = packet.lacks_type();
        let length = (packet.length + usize::from(lacks_type)).to_string();
        if binary {
            out.push(packet.kind);
            out.extend(length.bytes().map(|digit| digit - b'0'));
            out.push(255);
        } else {
            out.extend_from_slice(length.as_bytes());
            out.push(b':');
        }
        match packet.body.split_first() {
            Some((first, data)) if lacks_type => {
                out.extend_from_slice(&[*first, b'4']);
                out.extend_from_slice(data);
            }
            _ => out.extend_from_slice(packet.body),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_packets_of_a_text_payload_get_their_type() {
        let payload = "7:4€𝕊ab2:b=5:bAQID1:6".as_bytes();
        // "4€𝕊ab" is six units long, not seven: lengths are believed, and what does not fit stays.
        assert!(matches!(mended(payload, false), Cow::Borrowed(_)));
        let payload = "6:4€𝕊ab5:bAQID1:6".as_bytes();
        assert_eq!(mended(payload, false), "6:4€𝕊ab6:b4AQID1:6".as_bytes());
    }

    #[test]
    fn binary_packets_of_a_payload_of_bytes_get_their_type() {
        let payload = b"\x00\x03\xff4ab\x00\x05\xffbAQID\x01\x02\xff\x04b";
        assert_eq!(
            &*mended(payload, true),
            b"\x00\x03\xff4ab\x00\x06\xffb4AQID\x01\x02\xff\x04b"
        );
    }

    #[test]
    fn what_needs_no_mending_is_not_touched() {
        for payload in ["2:40", "", "1:6", "10:4b4b4b4b4b", "garbage", "3:", "99:4"] {
            assert!(
                matches!(mended(payload.as_bytes(), false), Cow::Borrowed(_)),
                "{payload}"
            );
        }
        for payload in [
            &b"\x00\x01\xff6"[..],
            b"",
            b"\x00",
            b"\x00\x09\xff6",
            b"\x01\xff",
        ] {
            assert!(
                matches!(mended(payload, true), Cow::Borrowed(_)),
                "{payload:?}"
            );
        }
    }
}
