//! Any bytes at all, read as a polled body of revision 4: packets and perhaps an error, never a panic;
//! and the packets, written and read again, are the same packets.

#![no_main]

use bytes::Bytes;
use engineioxide::payload4::{SEPARATOR, decode, encode_into, encoded_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (packets, _) = decode(&Bytes::copy_from_slice(data));
    let mut body = Vec::new();
    for packet in &packets {
        if !body.is_empty() {
            body.push(SEPARATOR);
        }
        let start = body.len();
        encode_into(packet, &mut body);
        assert_eq!(body.len() - start, encoded_len(packet));
    }
    if !packets.is_empty() {
        assert_eq!(decode(&body.into()), (packets, None));
    }
});
