//! Any bytes at all, read as the state that a master hands over: an error or a state, never a panic. The same bytes
//! behind a right head: a state, written and read again, is the same state, and one with a byte flipped is an error.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use wire::handover::State;

fuzz_target!(|data: &[u8]| {
    let _ = State::decode(data);
    let Ok((state, _)) = postcard::take_from_bytes::<State>(data) else {
        return;
    };
    let mut written = state.encode().expect("what was read can be written");
    assert_eq!(State::decode(&written).as_ref(), Ok(&state));
    let at = data.len() * 31 % written.len();
    written[at] ^= 1 << (data.len() % 8);
    assert!(State::decode(&written).is_err());
    assert!(State::decode(&written[..at]).is_err());
});
