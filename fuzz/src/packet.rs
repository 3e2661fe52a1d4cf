//! Any bytes at all, read as a packet of either revision: an error or a packet, never a panic; and a
//! packet, written and read again, is the same packet.

#![no_main]

use bytes::Bytes;
use engineioxide::packet::Packet;
use engineioxide_core::Str;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    let text = Str::from(String::from_utf8_lossy(data).into_owned());
    for revision3 in [false, true] {
        let _ = Packet::decode_binary(&frame, revision3);
        let Ok(packet) = Packet::decode_text(&text, revision3) else {
            continue;
        };
        let mut written = vec![packet.type_digit()];
        written.extend_from_slice(&packet.data());
        let again = if matches!(packet, Packet::Binary(_)) {
            written[0] = if revision3 { 4 } else { b'4' };
            let from = usize::from(!revision3);
            Packet::decode_binary(&Bytes::from(written).slice(from..), revision3)
        } else {
            let written = String::from_utf8(written).expect("text stays text");
            Packet::decode_text(&Str::from(written), revision3).expect("what was read can be read")
        };
        assert_eq!(again, packet);
    }
});
