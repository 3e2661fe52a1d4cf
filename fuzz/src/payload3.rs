//! Any bytes at all, read as a polled body of revision 3: packets and perhaps an error, never a panic;
//! and the packets, written in either form and read again, are the same packets. The first byte says which
//! form is read.

#![no_main]

use bytes::Bytes;
use engineioxide::payload3::{decode, encode, encoded_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((form, body)) = data.split_first() else {
        return;
    };
    let (packets, _) = decode(&Bytes::copy_from_slice(body), form & 1 == 1);
    for supports_binary in [false, true] {
        let (body, is_binary) = encode(&packets, supports_binary);
        assert!(supports_binary || !is_binary);
        let lens = packets
            .iter()
            .map(|packet| encoded_len(packet, supports_binary));
        assert!(body.len() <= lens.sum::<usize>().max(2));
        assert_eq!(decode(&body.into(), is_binary), (packets.clone(), None));
    }
});
