//! Follows a client's WebSocket frames just closely enough to know where one ends.
//!
//! Pure. A close frame of ours may be put into what the engine reads only between two frames
//! (RFC 6455 section 5.2 gives the header's form).

/// Where in its client's byte stream a WebSocket is.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    /// Of the payload, once the header is there; before, what is known of its length.
    payload_left: u64,
    /// How much of the header is there.
    have: u8,
    /// Its second byte: is there a mask, and how long is the length?
    second: u8,
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
            if self.have == 0 && self.payload_left > 0 {
                let skip = usize::try_from(self.payload_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            self.header_byte(first);
            bytes = rest;
        }
    }

    fn header_byte(&mut self, byte: u8) {
        if self.have == 1 {
            self.second = byte;
        }
        let (size, short) = match self.second & 0x7f {
            126 => (4, 0),
            127 => (10, 0),
            short => (2, short),
        };
        match self.have {
            0 => self.second = 0,
            1 => self.payload_left = short.into(),
            // The length, in network byte order.
            at if at < size => self.payload_left = self.payload_left << 8 | u64::from(byte),
            // The mask.
            _ => {}
        }
        self.have += 1;
        let mask = if self.second & 0x80 == 0 { 0 } else { 4 };
        if self.have >= 2 && self.have == size + mask {
            self.have = 0;
        }
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
