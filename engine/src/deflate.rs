//! Deflates messages (RFC 7692 section 7.2.1) on their way out: once each, whoever gets them.
//!
//! It is done where a session is written, to what is about to go out and to nothing else. The frame takes the place
//! of the packet in the queue, and is remembered as long as others have the same packet to come: they get the same
//! frame. What does not become shorter goes out as it is.
//!
//! Deflating is slow beside everything else here, so a turn does a bounded amount of it, over all sessions; who
//! comes too late has its turn in the next one.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use crate::extensions::Deflate;
use crate::frame::{self, Opcode};
use crate::inflate::TAIL;
use crate::line::{Line, Out, Transport};
use crate::packet::{Packet, base64_len, encode_base64};
use crate::work::Work;
use crate::write::{BASE64, BATCH, Form};

/// What is deflated in a turn, at most, but for the last message of it, in bytes.
const TURN: usize = 256 * 1024;
/// How many frames are remembered, and how many bytes.
const REMEMBERED: usize = 1024;
const REMEMBERED_BYTES: usize = 16 << 20;
/// Room that is kept from message to message, in bytes.
const KEPT: usize = 64 * 1024;
/// How hard it tries: as hard as Node's zlib.
const LEVEL: u32 = 6;

/// A packet, as a client gets it. The packet is remembered with it, so that its place in memory is nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    place: usize,
    len: usize,
    /// What the message begins with.
    first: u8,
    form: Form,
    bits: u8,
}

/// What is remembered of a packet.
#[derive(Debug)]
struct Frame {
    data: Bytes,
    frame: Bytes,
}

/// One for all sessions. It has no memory until something is deflated.
#[derive(Debug, Default)]
pub(crate) struct Deflater {
    /// One for each size of window; nearly all clients take the largest.
    streams: [Option<Box<Compress>>; (Deflate::LARGEST - Deflate::SMALLEST) as usize + 1],
    frames: HashMap<Key, Frame>,
    /// The oldest first.
    order: VecDeque<Key>,
    /// Of all that is remembered.
    bytes: usize,
    room: Vec<u8>,
    /// How long a message is, at least, that is deflated.
    threshold: usize,
    /// What is left of the turn.
    left: usize,
}

impl Deflater {
    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, threshold: usize) {
        self.threshold = threshold;
        self.left = TURN;
    }

    /// A turn ends: what nobody else has to come is forgotten.
    pub(crate) fn end_turn(&mut self) {
        if self.order.is_empty() {
            return;
        }
        for _ in 0..self.order.len() {
            let Some(key) = self.order.pop_front() else {
                break;
            };
            if self.frames.get(&key).is_some_and(|it| !it.data.is_unique()) {
                self.order.push_back(key);
            } else {
                self.forget(key);
            }
        }
        if self.room.capacity() > KEPT {
            self.room = Vec::new();
        }
    }

    fn remember(&mut self, key: Key, data: Bytes, frame: Bytes) {
        while self.order.len() >= REMEMBERED || self.bytes >= REMEMBERED_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.forget(oldest);
        }
        self.bytes += data.len() + frame.len();
        self.frames.insert(key, Frame { data, frame });
        self.order.push_back(key);
    }

    fn forget(&mut self, key: Key) {
        if let Some(Frame { data, frame }) = self.frames.remove(&key) {
            self.bytes = self.bytes.saturating_sub(data.len() + frame.len());
        }
    }

    /// The frame of this packet; none if the turn has done enough.
    fn frame(&mut self, packet: &Packet, form: Form, deflate: Deflate) -> Option<Bytes> {
        let data = packet.data();
        let key = Key {
            place: data.as_ptr() as usize,
            len: data.len(),
            first: match packet {
                Packet::Binary(_) => 0,
                other => other.type_digit(),
            },
            form: match packet {
                Packet::Binary(_) => form,
                _ => Form::Plain,
            },
            bits: deflate.bits(),
        };
        if let Some(Frame { frame, .. }) = self.frames.get(&key) {
            return Some(frame.clone());
        }
        if self.left == 0 {
            return None;
        }
        self.left = self.left.saturating_sub(data.len());
        let frame = self.make(packet, form, key.bits);
        self.remember(key, packet.bytes(), frame.clone());
        Some(frame)
    }

    /// Makes the frame of a packet: deflated, if that is shorter.
    fn make(&mut self, packet: &Packet, form: Form, bits: u8) -> Bytes {
        let digit = [packet.type_digit()];
        let mut encoded = Vec::new();
        let (opcode, first, data) = match (packet, form) {
            (Packet::Binary(data), Form::Plain) => (Opcode::Binary, &[][..], &data[..]),
            (Packet::Binary(data), Form::Typed) => (Opcode::Binary, &[4][..], &data[..]),
            (Packet::Binary(data), Form::Base64) => {
                encode_base64(data, &mut encoded);
                (Opcode::Text, BASE64, &encoded[..])
            }
            (packet, _) => (Opcode::Text, &digit[..], packet.data()),
        };
        let len = first.len() + data.len();
        if self.deflate(&[first, data], len, bits) {
            let mut out = Vec::with_capacity(frame::MAX_HEADER + self.room.len());
            frame::write_deflated_header(opcode, self.room.len(), &mut out);
            out.extend_from_slice(&self.room);
            return out.into();
        }
        let mut out = Vec::with_capacity(frame::header_len(len) + len);
        frame::write_header(opcode, len, &mut out);
        out.extend_from_slice(first);
        out.extend_from_slice(data);
        out.into()
    }

    /// Deflates `pieces`, `len` bytes, into the room; did it become shorter?
    fn deflate(&mut self, pieces: &[&[u8]], len: usize, bits: u8) -> bool {
        let nth = usize::from(bits.saturating_sub(Deflate::SMALLEST));
        let Some(place) = self.streams.get_mut(nth) else {
            return false;
        };
        let stream = place.get_or_insert_with(|| {
            let level = Compression::new(LEVEL);
            Box::new(Compress::new_with_window_bits(level, false, bits))
        });
        stream.reset();
        self.room.clear();
        // It has room for what is worth it, and no more.
        self.room.reserve(len);
        let mut left = pieces.len();
        for piece in pieces {
            left -= 1;
            let flush = if left == 0 {
                FlushCompress::Sync
            } else {
                FlushCompress::None
            };
            if stream.compress_vec(piece, &mut self.room, flush).is_err() {
                return false;
            }
        }
        let shorter = stream.total_in() == len as u64
            && self.room.len() < len
            && self.room.len() < self.room.capacity()
            && self.room.ends_with(&TAIL);
        self.room
            .truncate(self.room.len().saturating_sub(TAIL.len()));
        shorter
    }
}

impl Line {
    /// Deflates what goes out next, where it is worth it; how many pieces may be written?
    pub(crate) fn deflate_next(&mut self, work: &Work, deflater: &mut Deflater) -> usize {
        let Transport::WebSocket(socket) = &self.transport else {
            return self.queue.len();
        };
        let Some(deflate) = socket.deflate else {
            return self.queue.len();
        };
        let form = self.form();
        let mut total = 0;
        for at in 0..self.queue.len() {
            let Some(out) = self.queue.get_mut(at) else {
                break;
            };
            if total >= BATCH {
                return at;
            }
            let before = out.cost();
            total += before;
            let Out::Packet(packet) = &*out else {
                continue;
            };
            if len_of(packet, form) < deflater.threshold {
                continue;
            }
            let Some(frame) = deflater.frame(packet, form, deflate) else {
                return at;
            };
            *out = Out::Raw(frame);
            let after = out.cost();
            self.change_cost(work, before, after);
        }
        self.queue.len()
    }
}

/// How long a message is that carries this packet.
fn len_of(packet: &Packet, form: Form) -> usize {
    let len = packet.data().len();
    match (packet, form) {
        (Packet::Binary(_), Form::Plain) => len,
        (Packet::Binary(_), Form::Base64) => base64_len(len) + BASE64.len(),
        _ => len + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extensions::negotiate;

    fn agreed(offers: &str) -> Deflate {
        negotiate(offers).unwrap().unwrap().deflate
    }

    fn deflater() -> Deflater {
        let mut deflater = Deflater::default();
        deflater.begin_turn(1024);
        deflater
    }

    fn message(len: usize) -> Packet {
        Packet::Message("m".repeat(len).into())
    }

    #[test]
    fn a_packet_is_deflated_once_whoever_gets_it() {
        let mut deflater = deflater();
        let all = agreed("permessage-deflate");
        let packet = message(5000);
        let frames: Vec<_> = (0..10)
            .map(|_| deflater.frame(&packet.clone(), Form::Plain, all).unwrap())
            .collect();
        assert!(
            frames
                .iter()
                .all(|frame| frame.as_ptr() == frames[0].as_ptr())
        );
        assert!(frames[0].len() < 50);
        // Another window, and another packet, have another frame.
        let small = agreed("permessage-deflate; server_max_window_bits=9");
        let other = deflater.frame(&packet, Form::Plain, small).unwrap();
        assert_ne!(other.as_ptr(), frames[0].as_ptr());
        let other = deflater.frame(&message(5000), Form::Plain, all).unwrap();
        assert_ne!(other.as_ptr(), frames[0].as_ptr());
    }

    #[test]
    fn a_frame_is_remembered_as_long_as_somebody_has_it_to_come() {
        let mut deflater = deflater();
        let all = agreed("permessage-deflate");
        let (mine, theirs) = (message(5000), message(5000));
        deflater.frame(&mine, Form::Plain, all).unwrap();
        deflater.frame(&theirs, Form::Plain, all).unwrap();
        drop(theirs);
        deflater.end_turn();
        assert_eq!((deflater.order.len(), deflater.frames.len()), (1, 1));
        drop(mine);
        deflater.end_turn();
        assert_eq!((deflater.order.len(), deflater.bytes), (0, 0));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut deflater = deflater();
        let all = agreed("permessage-deflate");
        let kept: Vec<_> = (0..20).map(|_| message(1 << 20)).collect();
        for packet in &kept {
            deflater.begin_turn(1024);
            deflater.frame(packet, Form::Plain, all).unwrap();
            deflater.end_turn();
            assert!(deflater.bytes < REMEMBERED_BYTES + (2 << 20));
        }
        assert!(deflater.order.len() < 20);
    }

    #[test]
    fn a_turn_does_a_bounded_amount() {
        let mut deflater = deflater();
        let all = agreed("permessage-deflate");
        let packets: Vec<_> = (0..10).map(|_| message(100_000)).collect();
        let mut turns = 0;
        let mut done = 0;
        while done < packets.len() {
            let frame = deflater.frame(&packets[done], Form::Plain, all);
            if frame.is_some() {
                done += 1;
            } else {
                turns += 1;
                deflater.begin_turn(1024);
            }
        }
        assert_eq!(turns, 3);
        // What is remembered costs nothing.
        deflater.left = 0;
        assert!(deflater.frame(&packets[9], Form::Plain, all).is_some());
    }
}
