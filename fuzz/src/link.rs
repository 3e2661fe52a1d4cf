//! Any bytes at all, read as a message of the link in either direction: an error or a message, never a panic; and
//! a message, written and read again, is the same message, and no longer.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::link::{ToMaster, ToWorker};

fuzz_target!(|data: &[u8]| {
    read::<ToWorker>(data);
    read::<ToMaster>(data);
});

fn read<M: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(message) = postcard::from_bytes::<M>(data) else {
        return;
    };
    let written = postcard::to_stdvec(&message).expect("what was read can be written");
    assert!(written.len() <= data.len());
    let again: M = postcard::from_bytes(&written).expect("what was written can be read");
    assert_eq!(postcard::to_stdvec(&again), Ok(written));
}
