//! WebSocket frames (RFC 6455 section 5.2), as far as text of one frame goes.

/// Clients mask what they send. Always the same mask: a server's work does not depend on it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN_TEXT: u8 = 0x81;

/// In the place of a length: it stands behind, in two bytes or in eight.
const LENGTH_16: u8 = 0x7e;
const LENGTH_64: u8 = 0x7f;

/// A client's frame with this text.
pub(crate) fn client(text: &str) -> Vec<u8> {
    let mut frame = header(text.len(), 0x80);
    frame.extend(MASK);
    frame.extend(
        text.bytes()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A server's frame with this text.
pub(crate) fn server(text: &[u8]) -> Vec<u8> {
    let mut frame = header(text.len(), 0);
    frame.extend(text);
    frame
}

fn header(len: usize, masked: u8) -> Vec<u8> {
    let mut header = vec![FIN_TEXT];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..LENGTH_16), _) => header.push(masked | len),
        (_, Ok(len)) => {
            header.push(masked | LENGTH_16);
            header.extend(len.to_be_bytes());
        }
        _ => {
            header.push(masked | LENGTH_64);
            header.extend((len as u64).to_be_bytes());
        }
    }
    header
}

/// The first frame, if it is whole, and what stands behind it.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = payload_start(bytes)?;
    let len = match bytes.get(1)? & 0x7f {
        LENGTH_16 => u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        LENGTH_64 => u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?),
        short => u64::from(short),
    };
    bytes.split_at_checked(start.checked_add(usize::try_from(len).ok()?)?)
}

/// The payload of a whole frame of a server.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    let start = payload_start(frame).unwrap_or(frame.len());
    &frame[start..]
}

/// The payload of a whole frame of ours, in clear.
pub(crate) fn unmasked(frame: &[u8]) -> Vec<u8> {
    let payload = payload(frame).iter().zip(MASK.iter().cycle());
    payload.map(|(byte, mask)| byte ^ mask).collect()
}

fn payload_start(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    let length = match second & 0x7f {
        LENGTH_16 => 4,
        LENGTH_64 => 10,
        _ => 2,
    };
    let start = length + if second & 0x80 == 0 { 0 } else { MASK.len() };
    (bytes.len() >= start).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_come_apart_again() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(len);
            for (frame, read) in [
                (client(&text), unmasked as fn(&[u8]) -> Vec<u8>),
                (server(text.as_bytes()), |frame| payload(frame).to_vec()),
            ] {
                let two = [&*frame, &frame].concat();
                let (first, rest) = split(&two).unwrap();
                assert_eq!((read(first), rest), (text.clone().into_bytes(), &*frame));
                assert_eq!(split(&frame[..frame.len() - 1]), None);
            }
        }
    }
}
