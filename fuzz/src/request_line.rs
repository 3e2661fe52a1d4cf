//! Any bytes at all, as the first of a connection: never a panic; and what is decided after some of them stays
//! decided, however many come behind.
//!
//! If the first byte is odd, the byte behind it stands there as often as a line may be long; the third says where.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use wire::request_line::{MAX_LINE, Peeked, needs_escape, read};

fuzz_target!(|data: &[u8]| {
    let &[form, filler, at, ref bytes @ ..] = data else {
        return;
    };
    // Every count of bytes is looked at, so there are not to be many.
    let bytes = &bytes[..bytes.len().min(256)];
    if form & 1 == 0 {
        return decided(bytes, 0..=bytes.len());
    }
    let (before, behind) = bytes.split_at(usize::from(at).min(bytes.len()));
    let long = [before, &vec![filler; MAX_LINE], behind].concat();
    let turns = [
        before.len()..before.len() + 40,
        MAX_LINE - 1..MAX_LINE + 20,
        long.len()..long.len() + 1,
    ];
    decided(
        &long,
        turns
            .into_iter()
            .flatten()
            .filter(|&count| count <= long.len()),
    );
});

/// The bytes are looked at after each of these counts of them.
fn decided(bytes: &[u8], counts: impl Iterator<Item = usize>) {
    let mut decision = Peeked::Partial;
    for count in counts {
        let seen = read(&bytes[..count]);
        if decision != Peeked::Partial {
            assert_eq!(seen, decision, "after {count} bytes");
        }
        decision = seen;
    }
    if let Peeked::Line(line) = decision {
        assert!(!line.method.is_empty() && !line.method.contains(' '));
        let mut target = line.target.bytes();
        assert!(target.len() > 0 && target.all(|b| b > b' ' && b < 0x7f && !needs_escape(b)));
    }
}
