//! A packet of Engine.IO, as both transports carry it, and what stands in one piece of text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use bytes::Bytes;
use engineioxide_core::Str;

use crate::spliced::Spliced;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The handshake's answer, JSON.
    Open(Str),
    /// The session is over.
    Close,
    /// Mostly empty; `probe` in an upgrade.
    Ping(Str),
    /// The answer to a ping, with the same text.
    Pong(Str),
    /// A text message.
    Message(Str),
    /// A binary message.
    Binary(Bytes),
    /// A message whose payload others have, too. Nothing that is read is one, nor is anything of revision 3.
    Spliced(Box<Spliced>),
    /// The session moves to this connection.
    Upgrade,
    /// Nothing, to answer a poll.
    Noop,
}

/// A text that is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// There is nothing in it.
    #[error("an empty packet")]
    Empty,
    /// The first character is not the number of a type.
    #[error("a packet of an unknown type")]
    UnknownType,
}

/// As clients write it, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Packet {
    /// Reads one packet: the content of a WebSocket text frame, or one packet of a polled body.
    /// What is kept of the text is a slice of it.
    ///
    /// Node reads `b` and base64 on both transports, so this does. What stands behind the type of
    /// a packet that has no data is ignored.
    ///
    /// # Errors
    /// If there is no type, or one that does not exist.
    pub fn decode_text(text: &Str, revision3: bool) -> Result<Self, PacketError> {
        let kind = *text.as_bytes().first().ok_or(PacketError::Empty)?;
        Ok(match kind {
            b'0' => Self::Open(text.slice(1..)),
            b'1' => Self::Close,
            b'2' => Self::Ping(text.slice(1..)),
            b'3' => Self::Pong(text.slice(1..)),
            b'4' => Self::Message(text.slice(1..)),
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            b'b' if revision3 => {
                let kind = text.as_bytes().get(1).map(|kind| kind.wrapping_sub(b'0'));
                Self::of_binary(kind, || {
                    decode_base64(text.as_bytes().get(2..).unwrap_or_default()).into()
                })
            }
            b'b' => {
                Self::Binary(decode_base64(text.as_bytes().get(1..).unwrap_or_default()).into())
            }
            _ => return Err(PacketError::UnknownType),
        })
    }

    /// Reads a WebSocket's binary frame. In revision 3 its first byte is the packet's type.
    #[must_use]
    pub fn decode_binary(data: &Bytes, revision3: bool) -> Self {
        if revision3 {
            Self::of_binary(data.first().copied(), || data.slice(1..))
        } else {
            Self::Binary(data.clone())
        }
    }

    /// A packet of revision 3 whose data is binary. Only a message has use for it; a type that does
    /// not exist does nothing, as in Node.
    fn of_binary(kind: Option<u8>, data: impl FnOnce() -> Bytes) -> Self {
        match kind {
            Some(0) => Self::Open(Str::default()),
            Some(1) => Self::Close,
            Some(2) => Self::Ping(Str::default()),
            Some(3) => Self::Pong(Str::default()),
            Some(4) => Self::Binary(data()),
            Some(5) => Self::Upgrade,
            _ => Self::Noop,
        }
    }

    /// The type, as it is written: a text or binary message is `4`.
    #[must_use]
    pub fn type_digit(&self) -> u8 {
        match self {
            Self::Open(_) => b'0',
            Self::Close => b'1',
            Self::Ping(_) => b'2',
            Self::Pong(_) => b'3',
            Self::Message(_) | Self::Binary(_) | Self::Spliced(_) => b'4',
            Self::Upgrade => b'5',
            Self::Noop => b'6',
        }
    }

    /// What stands behind the type, shared.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Open(text) | Self::Ping(text) | Self::Pong(text) | Self::Message(text) => {
                text.clone().into()
            }
            Self::Binary(data) => data.clone(),
            Self::Close | Self::Upgrade | Self::Noop => Bytes::new(),
        }
    }

    /// What stands behind the type.
    #[must_use]
    pub fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Open(text) | Self::Ping(text) | Self::Pong(text) | Self::Message(text) => {
                text.as_bytes().into()
            }
            Self::Binary(data) => (&**data).into(),
            Self::Spliced(spliced) => spliced.data(),
            Self::Close | Self::Upgrade | Self::Noop => Cow::default(),
        }
    }

    /// How long [`Packet::data`] is.
    #[must_use]
    pub fn data_len(&self) -> usize {
        match self {
            Self::Open(text) | Self::Ping(text) | Self::Pong(text) | Self::Message(text) => {
                text.len()
            }
            Self::Binary(data) => data.len(),
            Self::Spliced(spliced) => spliced.len(),
            Self::Close | Self::Upgrade | Self::Noop => 0,
        }
    }
}

/// How long `len` bytes are in base64.
pub(crate) const fn base64_len(len: usize) -> usize {
    len.div_ceil(3).saturating_mul(4)
}

/// Writes base64 behind what is there.
pub(crate) fn encode_base64(data: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start.saturating_add(base64_len(data.len())), 0);
    let written = out.get_mut(start..).map_or(Ok(0), |place| {
        general_purpose::STANDARD.encode_slice(data, place)
    });
    debug_assert_eq!(written, Ok(out.len().saturating_sub(start)));
}

/// Reads base64 as Node's `Buffer` does, which refuses nothing: both alphabets, up to the first `=`,
/// and what is no base64 is passed over.
pub(crate) fn decode_base64(text: &[u8]) -> Vec<u8> {
    BASE64.decode(text).unwrap_or_else(|_| {
        let mut digits: Vec<u8> = text
            .iter()
            .take_while(|&&byte| byte != b'=')
            .filter_map(|&byte| match byte {
                b'-' => Some(b'+'),
                b'_' => Some(b'/'),
                b'+' | b'/' => Some(byte),
                _ => byte.is_ascii_alphanumeric().then_some(byte),
            })
            .collect();
        // One digit alone is less than a byte.
        if digits.len() % 4 == 1 {
            digits.pop();
        }
        BASE64.decode(digits).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, revision3: bool) -> Result<Packet, PacketError> {
        Packet::decode_text(&Str::copy_from_slice(text), revision3)
    }

    #[test]
    fn every_type_is_read_and_written() {
        for (written, packet) in [
            ("0{}", Packet::Open("{}".into())),
            ("1", Packet::Close),
            ("2", Packet::Ping("".into())),
            ("2probe", Packet::Ping("probe".into())),
            ("3probe", Packet::Pong("probe".into())),
            ("4é", Packet::Message("é".into())),
            ("4", Packet::Message("".into())),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            for revision3 in [false, true] {
                assert_eq!(text(written, revision3).as_ref(), Ok(&packet), "{written}");
            }
            let again = [&[packet.type_digit()][..], &packet.data()].concat();
            assert_eq!(again, written.as_bytes());
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for (written, error) in [
            ("", PacketError::Empty),
            ("7", PacketError::UnknownType),
            ("é", PacketError::UnknownType),
            ("B", PacketError::UnknownType),
        ] {
            for revision3 in [false, true] {
                assert_eq!(text(written, revision3), Err(error), "{written}");
            }
        }
    }

    // What Node 20's `Buffer.from(text, "base64")` makes of it.
    #[test]
    fn base64_is_read_as_node_reads_it() {
        for (written, bytes) in [
            ("", &b""[..]),
            ("YQ==", b"a"),
            ("YQ", b"a"),
            ("YQ=", b"a"),
            ("YR==", b"a"),
            ("Y Q = =", b"a"),
            ("YQ==YQ==", b"a"),
            ("Y=Q=", b""),
            ("Y", b""),
            ("====", b""),
            ("YWI=YWI", b"ab"),
            ("YWJjZ", b"abc"),
            ("YWJj=ZGVm", b"abc"),
            ("YWJj!ZGVm", b"abcdef"),
            ("YWJjZGVm=ZGVm", b"abcdef"),
            ("YWéJj", b"abc"),
            ("-_-_", b"\xfb\xff\xbf"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            let packet = Packet::Binary(Bytes::from_static(bytes));
            assert_eq!(
                text(&format!("b{written}"), false).as_ref(),
                Ok(&packet),
                "{written}"
            );
            assert_eq!(
                text(&format!("b4{written}"), true).as_ref(),
                Ok(&packet),
                "{written}"
            );
        }
    }

    #[test]
    fn in_revision_3_binary_has_a_type() {
        for (written, packet) in [
            ("b", Packet::Noop),
            ("b9", Packet::Noop),
            ("b2AQID", Packet::Ping("".into())),
            ("b4", Packet::Binary(Bytes::new())),
        ] {
            assert_eq!(text(written, true), Ok(packet), "{written}");
        }
        for (frame, packet) in [
            (
                &b"\x04\x01"[..],
                Packet::Binary(Bytes::from_static(b"\x01")),
            ),
            (b"", Packet::Noop),
            (b"\x02", Packet::Ping("".into())),
            (b"4", Packet::Noop),
        ] {
            assert_eq!(
                Packet::decode_binary(&Bytes::from_static(frame), true),
                packet
            );
            let whole = Packet::Binary(Bytes::from_static(frame));
            assert_eq!(
                Packet::decode_binary(&Bytes::from_static(frame), false),
                whole
            );
        }
    }
}
