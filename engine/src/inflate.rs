//! Takes the deflation off messages (RFC 7692 section 7.2.2). One [`Inflater`] serves all sessions: nothing is kept
//! from one message to the next.
//!
//! What a message is worth once it is inflated is not known before. So inflating stops at what a message may be
//! long, and a turn is over when it has inflated as much as it may read.

use flate2::{Decompress, FlushDecompress, Status};

use crate::frame::CloseCode;

/// What a sender leaves away at the end of a message.
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// What is inflated in one go, at most, but for the last message of it, in bytes.
const TURN: usize = 32 * 1024;
/// Room that is kept from message to message, in bytes.
const KEPT: usize = 64 * 1024;

/// See the module's text. Without a deflated message it has no memory.
#[derive(Debug, Default)]
pub struct Inflater {
    stream: Option<Decompress>,
    room: Vec<u8>,
    inflated: usize,
}

impl Inflater {
    /// Inflates a message to at most `most` bytes, and gives it to `then`. What is there of a message that breaks off
    /// is a message, as in Node.
    ///
    /// # Errors
    /// [`CloseCode::TooBig`] when it is longer, [`CloseCode::InvalidData`] when it is not deflated.
    pub fn inflate<T>(
        &mut self,
        data: &[u8],
        most: usize,
        then: impl FnOnce(&[u8]) -> Result<T, CloseCode>,
    ) -> Result<T, CloseCode> {
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        self.room.clear();
        let inflated = fill(stream, &mut self.room, data, most);
        self.inflated = self.inflated.saturating_add(self.room.len());
        let result = inflated.and_then(|()| then(&self.room));
        if self.room.capacity() > KEPT {
            self.room = Vec::new();
        }
        result
    }

    /// Bytes that were inflated since this was asked the last time.
    pub fn take_inflated(&mut self) -> usize {
        std::mem::take(&mut self.inflated)
    }

    /// Has it inflated so much that it is somebody else's turn?
    pub(crate) fn has_done_enough(&self) -> bool {
        self.inflated >= TURN
    }
}

/// Inflates `data` and the tail behind it.
fn fill(
    stream: &mut Decompress,
    room: &mut Vec<u8>,
    data: &[u8],
    most: usize,
) -> Result<(), CloseCode> {
    for mut rest in [data, &TAIL] {
        loop {
            if room.len() == room.capacity() {
                let first = data.len().saturating_mul(4).max(1024);
                let left = most.saturating_add(1) - room.len();
                room.reserve_exact(room.len().max(first).min(left));
            }
            let (taken, had) = (stream.total_in(), room.len());
            let status = stream
                .decompress_vec(rest, room, FlushDecompress::Sync)
                .map_err(|_| CloseCode::InvalidData)?;
            if room.len() > most {
                return Err(CloseCode::TooBig);
            }
            if status == Status::StreamEnd {
                // What is behind a final block is ignored, as in Node.
                return Ok(());
            }
            let taken = usize::try_from(stream.total_in() - taken).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if room.len() < room.capacity() {
                // It had room for all that this piece came to.
                if rest.is_empty() {
                    break;
                }
                if taken == 0 && room.len() == had {
                    return Err(CloseCode::InvalidData);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 1024);
        let mut stream = Compress::new(Compression::default(), false);
        stream
            .compress_vec(data, &mut out, FlushCompress::Sync)
            .unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>, CloseCode> {
        Inflater::default().inflate(data, most, |data| Ok(data.to_vec()))
    }

    #[test]
    fn a_message_is_inflated_to_what_it_may_be_long() {
        for len in [0, 1, 5, 1000, 1023, 1024, 1025, 4096, 70_000, 1_000_000] {
            let data = "{\"a\":1}".repeat(len / 7 + 1).into_bytes();
            let data = &data[..len];
            let deflated = deflate(data);
            assert_eq!(inflate(&deflated, len).as_deref(), Ok(data), "{len}");
            assert_eq!(inflate(&deflated, 2_000_000).as_deref(), Ok(data), "{len}");
            if len > 0 {
                assert_eq!(inflate(&deflated, len - 1), Err(CloseCode::TooBig), "{len}");
            }
        }
    }

    #[test]
    fn a_bomb_costs_what_a_message_may_be_long() {
        // Deflate knows no more than about a thousandfold.
        let bomb = deflate(&vec![0; 4 << 20]);
        assert!(bomb.len() < 5000);
        let mut inflater = Inflater::default();
        let refused = inflater.inflate(&bomb, 1_000_000, |_| Ok(()));
        assert_eq!(refused, Err(CloseCode::TooBig));
        assert_eq!(inflater.take_inflated(), 1_000_001);
        assert_eq!(inflater.room.capacity(), 0);
    }

    // What Node 20's zlib and ws 8 make of it.
    #[test]
    fn what_is_not_deflated_well_is_as_in_node() {
        let hello = deflate(b"Hello");
        for (bytes, expected) in [
            (&[][..], Ok(&b""[..])),
            (&[0], Ok(b"")),
            // A final block, with an empty one behind it, and without.
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", Ok(b"Hello")),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00", Ok(b"Hello")),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff\xff", Ok(b"Hello")),
            (b"\xff\xff\xff\xff\xff", Err(CloseCode::InvalidData)),
            // It looks back to what was before it.
            (b"\xf2\x00\x11\x00", Err(CloseCode::InvalidData)),
        ] {
            let mut inflater = Inflater::default();
            // Nothing is left of an earlier message.
            inflater.inflate(&hello, 5, |_| Ok(())).unwrap();
            let came = inflater.inflate(bytes, 100, |data| Ok(data.to_vec()));
            assert_eq!(
                came.as_deref().map_err(|code| *code),
                expected,
                "{bytes:x?}"
            );
        }
        let long = deflate(b"Hello Hello Hello world");
        assert_eq!(inflate(&long[..6], 100).as_deref(), Ok(&b"Hello "[..]));
    }
}
