//! Follows a client's WebSocket frames just closely enough to know where one ends.
//!
//! Pure. A close frame of ours may be put into what the engine reads only between two frames
//! (RFC 6455 section 5.2 gives the header's form).

/// Where in its client's byte stream a WebSocket is.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    header: [u8; 14],
    have: u8,
    payload_left: u64,
}

impl FrameTracker {
    /// Is the next byte the first of a frame?
    pub(crate) fn at_boundary(&self) -> bool {
        self.have == 0 && self.payload_left == 0
    }

    /// Follows `bytes`, in whatever pieces they come. After a frame that no client may send the
    /// answer is meaningless; the engine closes such a session anyway.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let skip = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            if let Some(byte) = self.header.get_mut(usize::from(self.have)) {
                *byte = first;
            }
            self.have += 1;
            bytes = rest;
            if let Some(length) = self.whole_header() {
                self.payload_left = length;
                self.have = 0;
            }
        }
    }

    /// The payload's length, once the header is there.
    fn whole_header(&self) -> Option<u64> {
        let [_, second, length @ ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (size, length) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes([length[0], length[1]]))),
            127 => {
                let (length, _) = length.split_first_chunk::<8>()?;
                (10, u64::from_be_bytes(*length))
            }
            short => (2, u64::from(short)),
        };
        (self.have >= 2 && self.have == size + mask).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Vec<u8> {
        let mut frame = vec![0x82];
        match len {
            0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
            126..=65535 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend([0xff; 4]);
        frame.resize(frame.len() + len, 0x81);
        frame
    }

    #[test]
    fn boundaries_are_found_whatever_the_pieces() {
        let frames = [0, 1, 125, 126, 300, 65_535, 65_536, 0].map(frame);
        for piece in [1, 2, 3, 7, 1000, usize::MAX] {
            let mut tracker = FrameTracker::default();
            for frame in &frames {
                let (last, most) = frame.split_last().unwrap();
                for chunk in most.chunks(piece) {
                    tracker.follow(chunk);
                    assert!(!tracker.at_boundary());
                }
                tracker.follow(&[*last]);
                assert!(tracker.at_boundary());
            }
            tracker.follow(&frames.concat());
            assert!(tracker.at_boundary());
        }
    }

    #[test]
    fn a_forged_length_does_not_panic() {
        let mut tracker = FrameTracker::default();
        tracker.follow(&[
            0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
        ]);
        tracker.follow(&[0; 4096]);
        assert!(!tracker.at_boundary());
    }
}
