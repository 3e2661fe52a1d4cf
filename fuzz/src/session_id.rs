//! Any text, as the name of a session: it is refused unless it was given; and what was given names its session.
//!
//! The first bytes make a session; those behind them change characters of its name, by place and value.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wire::session_id::{BARE_LEN, FIELD_LIMIT, Home, Keyring, TAGGED_LEN, is_bare};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| keyring(7));
static OTHER: LazyLock<Keyring> = LazyLock::new(|| keyring(8));

/// Keys that are the same every time, as they come over the link.
fn keyring(key: u8) -> Keyring {
    let bytes = [&[key; 32][..], &[5]].concat();
    postcard::from_bytes(&bytes).expect("a key and a machine")
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Some((bare, home)) = KEYRING.open(&text) {
        assert!(is_bare(bare));
        assert_eq!(KEYRING.tag(bare, home), text);
    }
    if let Some((session, changes)) = data.split_first_chunk() {
        given(session, changes);
    }
});

fn given(session: &[u8; BARE_LEN + 4], changes: &[u8]) {
    let (bare, home) = session.split_at(BARE_LEN);
    let bare: String = bare
        .iter()
        .map(|&byte| char::from(ALPHABET[usize::from(byte & 63)]))
        .collect();
    let field = |high: u8, low: u8| u16::from_be_bytes([high, low]) % FIELD_LIMIT;
    let home = Home {
        generation: field(home[0], home[1]),
        slot: field(home[2], home[3]),
    };
    let sid = KEYRING.tag(&bare, home);
    assert_eq!(sid.len(), TAGGED_LEN);
    assert_eq!(KEYRING.open(&sid), Some((bare.as_str(), home)));
    assert_eq!(OTHER.open(&sid), None);

    let mut changed = sid.clone().into_bytes();
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) % changed.len();
        changed[at] = change[1];
    }
    let changed = String::from_utf8_lossy(&changed);
    if changed != sid {
        assert_eq!(KEYRING.open(&changed), None);
    }
}
