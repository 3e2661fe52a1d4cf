//! Any bytes at all, read as a frame of the bus: an error or a frame, never a panic; and a frame,
//! written and read again, is the same frame.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::frame::{self, Frame, Head, length};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = length(&bytes);
    let _ = Head::ticket(&bytes);
    let _ = (
        frame::number(bytes.clone(), 1),
        frame::number_for_bridge(&bytes, 1),
    );
    let head = Head::read(&bytes);
    let Ok(frame) = Frame::decode(&bytes) else {
        return;
    };
    let head = head.expect("a whole frame has a head");
    assert_eq!(
        (head.len, head.to, head.from),
        (bytes.len(), frame.to, frame.from)
    );
    let again = frame.encode().expect("what was read can be written");
    assert_eq!(Frame::decode(&again).as_ref(), Ok(&frame));
});
