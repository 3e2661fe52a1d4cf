//! WebSocket frames (RFC 6455 section 5), without I/O: headers are read and written, masks are taken off.
//!
//! What a client may not send is an error with the close code that RFC 6455 section 7.4.1 and Node's `ws` give it.

/// The longest header of a client's frame, in bytes: two, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;
/// The bit, the first of the reserved ones, of a message that is deflated.
const DEFLATED: u8 = 0x40;
/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a fragmented message.
    Continuation,
    /// Text, in UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The connection is to be closed.
    Close,
    /// To be answered by a pong with the same payload.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Is it about the connection, and not part of a message?
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a connection is closed by us (RFC 6455 section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The server goes away.
    Away = 1001,
    /// The peer broke the protocol.
    Protocol = 1002,
    /// Text that is no UTF-8.
    InvalidData = 1007,
    /// More than is accepted.
    TooBig = 1009,
}

impl CloseCode {
    /// What a close frame with this code carries.
    #[must_use]
    pub fn payload(self) -> [u8; 2] {
        (self as u16).to_be_bytes()
    }
}

/// The header of a frame that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Is it the last frame of its message?
    pub fin: bool,
    /// Is it the first frame of a message that is deflated (RFC 7692 section 7.2.2)?
    pub deflated: bool,
    /// What it is.
    pub opcode: Opcode,
    /// Bytes of payload.
    pub len: u64,
    /// What the payload is masked with.
    pub mask: [u8; 4],
    /// Bytes of the header itself.
    pub size: usize,
}

impl Header {
    /// Reads the header at the beginning of `bytes`; none while it is not whole. `deflate`: may messages be deflated?
    ///
    /// # Errors
    /// [`CloseCode::Protocol`] for a frame that no client may send: reserved bits, an unknown opcode, no mask, a
    /// control frame that is fragmented or long, a length of more than 63 bits.
    pub fn read(bytes: &[u8], deflate: bool) -> Result<Option<Self>, CloseCode> {
        let (Some(&first), second) = (bytes.first(), bytes.get(1)) else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(CloseCode::Protocol)?;
        let fin = first & 0x80 != 0;
        let deflated = first & DEFLATED != 0;
        let may_be = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || deflated && !may_be || opcode.is_control() && !fin {
            return Err(CloseCode::Protocol);
        }
        let Some(&second) = second else {
            return Ok(None);
        };
        let short = second & 0x7f;
        if second & 0x80 == 0 || opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(CloseCode::Protocol);
        }
        let (len, at) = match short {
            126 => match bytes.get(2..4).and_then(|len| len.try_into().ok()) {
                Some(len) => (u64::from(u16::from_be_bytes(len)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|len| len.try_into().ok()) {
                Some(len) => (u64::from_be_bytes(len), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if len >> 63 != 0 {
            return Err(CloseCode::Protocol);
        }
        let mask = bytes.get(at..at + 4).and_then(|mask| mask.try_into().ok());
        Ok(mask.map(|mask| Self {
            fin,
            deflated,
            opcode,
            len,
            mask,
            size: at + 4,
        }))
    }
}

/// Takes the mask off a piece of payload that begins `offset` bytes into it (RFC 6455 section 5.3).
pub fn unmask(piece: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut turned = mask;
    turned.rotate_left(offset % 4);
    let [a, b, c, d] = turned;
    let wide = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(wide);
    let mut chunks = piece.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
        }
    }
    let rest = chunks.into_remainder().iter_mut();
    rest.zip(wide).for_each(|(byte, mask)| *byte ^= mask);
}

/// Appends the header of a whole, unmasked frame of `len` bytes of payload.
pub fn write_header(opcode: Opcode, len: usize, out: &mut Vec<u8>) {
    write_first(0x80 | opcode.bits(), len, out);
}

/// As [`write_header`], of a message that is deflated.
pub(crate) fn write_deflated_header(opcode: Opcode, len: usize, out: &mut Vec<u8>) {
    write_first(0x80 | DEFLATED | opcode.bits(), len, out);
}

fn write_first(first: u8, len: usize, out: &mut Vec<u8>) {
    out.push(first);
    if let Ok(len @ ..126) = u8::try_from(len) {
        out.push(len);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// How long the header of a frame that we write is.
#[must_use]
pub fn header_len(len: usize) -> usize {
    match len {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// Appends a close frame; with an empty payload the client sees 1005.
pub fn write_close(payload: &[u8], out: &mut Vec<u8>) {
    write_header(Opcode::Close, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Is this the payload of a close frame that a client may send? It is sent back as it is (RFC 6455 section 5.5.1).
///
/// # Errors
/// The code that the connection is closed with if it is not.
pub fn check_close(payload: &[u8]) -> Result<(), CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(())
        } else {
            Err(CloseCode::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::Protocol);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(CloseCode::InvalidData),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Result<Option<Header>, CloseCode> {
        Header::read(bytes, false)
    }

    #[test]
    fn a_header_is_read_once_it_is_whole() {
        let bytes = [0x81, 0x85, 1, 2, 3, 4, 0xff];
        for end in 0..6 {
            assert_eq!(header(&bytes[..end]), Ok(None), "{end}");
        }
        let read = header(&bytes).unwrap().unwrap();
        assert_eq!((read.fin, read.opcode, read.len), (true, Opcode::Text, 5));
        assert_eq!((read.mask, read.size), ([1, 2, 3, 4], 6));
        let long = header(&[0x02, 0xfe, 1, 0, 9, 9, 9, 9]).unwrap().unwrap();
        assert_eq!((long.fin, long.len, long.size), (false, 256, 8));
        let huge = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9];
        assert_eq!(header(&huge).unwrap().unwrap().len, 65536);
        assert_eq!(header(&huge[..13]), Ok(None));
    }

    #[test]
    fn what_no_client_may_send_is_a_protocol_error() {
        for bytes in [
            [0xc1, 0x80].as_slice(), // RSV1 without an extension
            &[0x83, 0x80],           // an unknown opcode
            &[0x8b, 0x80],
            &[0x81, 0x05],       // no mask
            &[0x09, 0x80],       // a fragmented ping
            &[0x89, 0xfe, 0, 1], // a long ping
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
            &[0xf1],
        ] {
            assert_eq!(header(bytes), Err(CloseCode::Protocol), "{bytes:x?}");
        }
    }

    #[test]
    fn a_message_may_be_deflated_if_that_was_agreed_on_and_nothing_else() {
        for (first, deflated) in [(0xc1, true), (0x42, true), (0x81, false), (0x00, false)] {
            let read = Header::read(&[first, 0x80, 0, 0, 0, 0], true).unwrap();
            assert_eq!(read.unwrap().deflated, deflated, "{first:x}");
        }
        for first in [0xc0, 0x40, 0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xd1] {
            let read = Header::read(&[first, 0x80], true);
            assert_eq!(read, Err(CloseCode::Protocol), "{first:x}");
        }
    }

    #[test]
    fn a_mask_is_taken_off_in_whatever_pieces_it_comes() {
        let plain: Vec<u8> = (0..100).collect();
        let mask = [7, 77, 177, 200];
        let masked: Vec<u8> = plain
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        for cut in 0..plain.len() {
            let mut bytes = masked.clone();
            let (first, second) = bytes.split_at_mut(cut);
            unmask(first, mask, 0);
            unmask(second, mask, cut);
            assert_eq!(bytes, plain, "{cut}");
        }
    }

    #[test]
    fn our_headers_have_the_shortest_form() {
        for (len, expected) in [
            (0, [0x82, 0].as_slice()),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65535, &[0x82, 126, 0xff, 0xff]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_header(Opcode::Binary, len, &mut out);
            assert_eq!(out, expected);
            assert_eq!(out.len(), header_len(len));
        }
    }

    #[test]
    fn a_close_frame_that_no_client_may_send_has_its_code() {
        for payload in [[].as_slice(), &[3, 0xe8], &[0x0f, 0xa0, b'w', b'h', b'y']] {
            assert_eq!(check_close(payload), Ok(()));
        }
        assert_eq!(check_close(&[3]), Err(CloseCode::Protocol));
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert_eq!(check_close(&code.to_be_bytes()), Err(CloseCode::Protocol));
        }
        assert_eq!(check_close(&[3, 0xe8, 0xff]), Err(CloseCode::InvalidData));
        let mut out = Vec::new();
        write_close(&CloseCode::Away.payload(), &mut out);
        write_close(&[], &mut out);
        assert_eq!(out, [0x88, 2, 3, 0xe9, 0x88, 0]);
    }
}
