//! Any text, as the target of a request: what the router reads of it is what a worker reads of it, escaped or not,
//! by itself or through hyper.

#![no_main]

#[path = "../../src/wire/mod.rs"]
mod wire;

use http::Uri;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;
use wire::request_line::{escape, needs_escape};
use wire::target::Target;

const ENGINE: &str = "/socket.io/";

fuzz_target!(|data: &[u8]| {
    let escaped = escape(data);
    assert!(!escaped.iter().copied().any(needs_escape));
    assert_eq!(escape(&escaped), escaped);
    assert!(percent_decode(data).eq(percent_decode(&escaped)));

    let text = String::from_utf8_lossy(data);
    let escaped = String::from_utf8(escape(text.as_bytes()).into_owned());
    let escaped = escaped.expect("what is escaped is ASCII");
    let sent = Target::parse(&text);
    let read = Target::parse(&escaped);
    assert_eq!(sent.is_engine(ENGINE), read.is_engine(ENGINE));
    assert_eq!(sent.engine_query(), read.engine_query());
    through_hyper(&escaped, read);
});

fn through_hyper(escaped: &str, read: Target<'_>) {
    let Ok(uri) = escaped.parse::<Uri>() else {
        let visible = escaped.bytes().all(|b| b > b' ' && b < 0x7f);
        assert!(!visible || !escaped.starts_with('/'), "{escaped:?}");
        return;
    };
    let seen = Target::of(&uri);
    assert_eq!(seen.is_engine(ENGINE), read.is_engine(ENGINE));
    if read.is_engine(ENGINE) {
        assert_eq!(seen, read);
    }
}
