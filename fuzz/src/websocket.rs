//! Any bytes at all, read from a WebSocket: what comes of them is the same wherever they are cut, and never is
//! more kept than has arrived. And frames that are written as ours are, but for the mask, are read back.
//!
//! The first byte says which revision it is, how long a message may be, and whether it may be deflated; the second
//! how long the pieces are.

#![no_main]

use bytes::Bytes;
use engineioxide::assembly::{Assembly, Incoming, Rules};
use engineioxide::frame::{self, CloseCode, MAX_CONTROL, Opcode};
use engineioxide::inflate::Inflater;
use engineioxide::packet::Packet;
use flate2::{Compress, Compression, FlushCompress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let &[form, step, ref stream @ ..] = data else {
        return;
    };
    let rules = Rules {
        max_payload: usize::from((form & 0x7f) >> 1) * 5,
        revision3: form & 1 == 1,
        deflate: form & 0x80 != 0,
    };
    let whole = read(stream, stream.len().max(1), rules);
    for step in [1, 2, usize::from(step).max(3)] {
        assert_eq!(read(stream, step, rules), whole);
    }
    kept_for_later(stream);
    masks(stream, step);
    written(stream, step);
});

/// What comes of a stream that arrives in pieces, up to its end, an error or a close frame.
fn read(stream: &[u8], step: usize, rules: Rules) -> (Vec<Incoming>, Result<(), CloseCode>) {
    let mut assembly = Assembly::default();
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    let mut arrived = 0;
    for piece in stream.chunks(step) {
        arrived += piece.len();
        let mut unread = piece.to_vec();
        while !unread.is_empty() {
            let before = out.len();
            let fed = assembly.feed(&mut unread, rules, &mut inflater, &mut out);
            // A message that is too long is noticed when it is by one byte, or by what was left of the room.
            assert!(inflater.take_inflated() < 200_000);
            for incoming in &out[before..] {
                assert!(len(incoming) <= arrived || rules.deflate);
                assert!(len(incoming) <= rules.max_payload.max(MAX_CONTROL));
            }
            if fed.is_err() || matches!(out.last(), Some(Incoming::Close(_))) {
                return (out, fed);
            }
            unread = assembly.take_unread();
        }
        let kept = assembly.kept();
        assert!(kept <= arrived && kept <= rules.max_payload);
    }
    (out, Ok(()))
}

fn len(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Packet(packet) => packet.data().len(),
        Incoming::Ping(data) | Incoming::Close(data) => {
            assert!(data.len() <= MAX_CONTROL);
            data.len()
        }
        Incoming::Malformed => 0,
    }
}

fn kept_for_later(stream: &[u8]) {
    let mut assembly = Assembly::default();
    assembly.set_unread(stream);
    assert_eq!(assembly.take_unread(), stream);
    assert!(assembly.take_unread().is_empty());
}

fn masks(stream: &[u8], cut: u8) {
    let mask = [cut, 0, cut.wrapping_mul(31), 0xff];
    let mut bytes = stream.to_vec();
    frame::unmask(&mut bytes, mask, 0);
    let plainly: Vec<u8> = stream
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    assert_eq!(bytes, plainly);
    let cut = usize::from(cut).min(bytes.len());
    let (first, second) = bytes.split_at_mut(cut);
    frame::unmask(first, mask, 0);
    frame::unmask(second, mask, cut);
    assert_eq!(bytes, stream);
}

/// A message in two frames, with a ping between them, and a close frame behind it.
fn written(data: &[u8], step: u8) {
    let step = usize::from(step).max(1);
    let rules = Rules {
        max_payload: data.len(),
        revision3: false,
        deflate: true,
    };
    let (first, second) = data.split_at(step.min(data.len()));
    let ping = &data[..data.len().min(MAX_CONTROL)];
    let mut stream = masked(Opcode::Binary, false, first);
    stream.extend(masked(Opcode::Ping, true, ping));
    stream.extend(masked(Opcode::Continuation, true, second));
    let payload = CloseCode::Away.payload();
    stream.extend(masked(Opcode::Close, true, &payload));
    let expected = vec![
        Incoming::Ping(Bytes::copy_from_slice(ping)),
        Incoming::Packet(Packet::Binary(Bytes::copy_from_slice(data))),
        Incoming::Close(Bytes::copy_from_slice(&payload)),
    ];
    assert_eq!(read(&stream, step, rules), (expected, Ok(())));
    deflated(data, step, rules);
}

/// The same message, deflated, in two frames.
fn deflated(data: &[u8], step: usize, rules: Rules) {
    let mut out = Vec::with_capacity(data.len() + 1024);
    let mut stream = Compress::new(Compression::fast(), false);
    stream
        .compress_vec(data, &mut out, FlushCompress::Sync)
        .expect("anything can be deflated");
    let whole = &out[..out.len() - 4];
    let (first, second) = whole.split_at(step.min(whole.len()));
    let mut sent = masked(Opcode::Binary, false, first);
    sent[0] |= 0x40;
    sent.extend(masked(Opcode::Continuation, true, second));
    let rules = Rules {
        max_payload: rules.max_payload.max(whole.len()),
        ..rules
    };
    let expected = Incoming::Packet(Packet::Binary(Bytes::copy_from_slice(data)));
    assert_eq!(read(&sent, step, rules), (vec![expected], Ok(())));
}

/// A frame of ours as a client would send it: with a mask, and perhaps not the last of its message.
fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0, 0xff, 0x81];
    let mut out = Vec::new();
    frame::write_header(opcode, payload.len(), &mut out);
    assert_eq!(out.len(), frame::header_len(payload.len()));
    out[0] &= if fin { 0xff } else { 0x7f };
    out[1] |= 0x80;
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    frame::unmask(&mut out[start..], MASK, 0);
    out
}
