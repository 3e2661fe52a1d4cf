//! Any bytes at all, read as a message between bridges: an error or a message, never a panic; and a message, written
//! and read again, is the same message. Batches have as many frames as they say.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::envelope::{Envelope, Hello, Message, batch};

fuzz_target!(|data: &[u8]| {
    if let Ok(hello) = Hello::decode(data) {
        assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(&hello));
    }
    let bytes = Bytes::copy_from_slice(data);
    let _ = batch::aged(&bytes, 1);
    let Ok(envelope) = Envelope::decode(&bytes) else {
        return;
    };
    if let Message::Batch(batch) = &envelope.message {
        assert_eq!(batch.each().count(), batch.count as usize);
        let _ = (batch.after(1), batch.mark(1));
    }
    let again = envelope.encode();
    assert_eq!(Envelope::decode(&again).as_ref(), Ok(&envelope));
});
