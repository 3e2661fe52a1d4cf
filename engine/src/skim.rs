//! What a client still sends that is sent nothing any more: only where its frames end, so that its close frame is seen.

use crate::assembly::Assembly;
use crate::frame::{Header, MAX_HEADER, Opcode};

/// Where in its client's byte stream a WebSocket is, of which only the close frame is of interest.
#[derive(Debug, Default)]
pub(crate) struct Skim {
    /// Of a header that is not whole.
    header: Vec<u8>,
    /// Bytes of payload that are still to come.
    left: u64,
    /// Are they those of the close frame?
    closes: bool,
}

impl Skim {
    /// Goes on where `assembly` has stopped. None: the client has closed there already, or has broken the protocol.
    pub(crate) fn after(mut assembly: Assembly) -> Option<Self> {
        if assembly.is_over() {
            return None;
        }
        let unread = assembly.take_unread();
        let (header, frame) = assembly.into_unfinished();
        let mut skim = Self {
            header,
            left: frame.map_or(0, |(_, left)| left),
            closes: matches!(frame, Some((Opcode::Close, _))),
        };
        (!skim.is_over(&unread)).then_some(skim)
    }

    /// Passes over what has arrived. True: the client has closed, or breaks the protocol; nothing comes after it.
    pub(crate) fn is_over(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let taken =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            bytes = bytes.get(taken..).unwrap_or_default();
            self.left -= taken as u64;
            if self.closes && self.left == 0 {
                return true;
            }
            if bytes.is_empty() {
                return false;
            }
            let before = self.header.len();
            let (more, _) = bytes.split_at(bytes.len().min(MAX_HEADER - before));
            self.header.extend_from_slice(more);
            let header = match Header::read(&self.header, true) {
                Ok(Some(header)) => header,
                Ok(None) => return false,
                Err(_) => return true,
            };
            self.header.clear();
            bytes = bytes.get(header.size - before..).unwrap_or_default();
            self.left = header.len;
            self.closes = header.opcode == Opcode::Close;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembly::Rules;
    use crate::inflate::Inflater;

    /// Frames as a client sends them, masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ ..126 => frame.push(0x80 | u8::try_from(len).unwrap()),
            len => {
                frame.push(0xfe);
                frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    fn stream() -> Vec<u8> {
        // A message in two fragments with a ping between them, a long one, a deflated one, and the close frame.
        let mut stream = frame(0x01, b"4hel");
        stream.extend(frame(0x89, b"?"));
        stream.extend(frame(0x80, b"lo"));
        stream.extend(frame(0x82, &[0x88; 300]));
        stream.extend(frame(0xc1, &[0x88, 0x80]));
        stream.extend(frame(0x88, &1001_u16.to_be_bytes()));
        stream
    }

    #[test]
    fn the_close_frame_is_seen_however_the_bytes_arrive() {
        let stream = stream();
        for size in 1..=stream.len() {
            let mut skim = Skim::default();
            let pieces: Vec<_> = stream.chunks(size).collect();
            let (last, first) = pieces.split_last().unwrap();
            assert!(first.iter().all(|piece| !skim.is_over(piece)), "{size}");
            assert!(skim.is_over(last), "{size}");
        }
    }

    #[test]
    fn it_goes_on_wherever_an_assembly_has_stopped() {
        let stream = stream();
        let rules = Rules {
            max_payload: 1000,
            revision3: false,
            deflate: false,
        };
        // Without the deflated one, which would have to be one.
        let deflated = stream.len() - 16..stream.len() - 8;
        let stream = [&stream[..deflated.start], &stream[deflated.end..]].concat();
        for cut in 0..stream.len() - 1 {
            let mut assembly = Assembly::default();
            let mut before = stream[..cut].to_vec();
            let (mut inflater, mut out) = (Inflater::default(), Vec::new());
            assembly
                .feed(&mut before, rules, &mut inflater, &mut out)
                .unwrap();
            let (unread, read) = stream[cut..].split_at(3.min(stream.len() - 1 - cut));
            assembly.set_unread(unread);
            let mut skim = Skim::after(assembly).unwrap();
            assert!(!skim.is_over(&read[..read.len() - 1]), "{cut}");
            assert!(skim.is_over(&read[read.len() - 1..]), "{cut}");
        }
    }

    #[test]
    fn who_has_closed_or_breaks_the_protocol_is_not_waited_for() {
        let rules = Rules {
            max_payload: 1000,
            revision3: false,
            deflate: false,
        };
        for bytes in [frame(0x88, b""), frame(0x83, b"")] {
            assert!(Skim::default().is_over(&bytes));
            let mut assembly = Assembly::default();
            let (mut inflater, mut out) = (Inflater::default(), Vec::new());
            let _ = assembly.feed(&mut bytes.clone(), rules, &mut inflater, &mut out);
            assert!(Skim::after(assembly).is_none());
            let mut assembly = Assembly::default();
            assembly.set_unread(&bytes);
            assert!(Skim::after(assembly).is_none());
        }
    }
}
