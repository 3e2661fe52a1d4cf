//! Any Socket.IO packets of a session, with a separator between them: never a panic; what is handed on is
//! JSON, would be handed on again as it is (but for names with what looks like a stand-in), and has a name that
//! can be read without unescaping and is the client's. And any text is an argument of an event if it is JSON.
//!
//! The first byte says which revision it is; a packet that begins with 1 is an attachment, one with 2 goes to
//! the client.

#![no_main]

use bytes::Bytes;
use engineioxide::guard::{Guard, Kind, event_name};
use engineioxide_core::Str;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let Some((revision, packets)) = data.split_first() else {
        return;
    };
    let revision3 = revision & 1 == 1;
    let mut guard = Guard::default();
    guard.sent("0{}");
    for packet in packets.split(|&byte| byte == 0x1e) {
        let text = String::from_utf8_lossy(packet);
        match packet.split_first() {
            Some((1, data)) => {
                let _ = guard.binary(&Bytes::copy_from_slice(data));
            }
            Some((2, _)) => {
                guard.sent(&text[1..]);
            }
            _ => {
                one(&mut guard, &text, revision3);
                argument(&text);
            }
        }
    }
});

fn one(guard: &mut Guard, text: &str, revision3: bool) {
    let Ok(checked) = guard.text(Str::copy_from_slice(text), revision3) else {
        return;
    };
    let message = &checked.message;
    let (kind, namespace, payload) = parts(message);
    let mut fresh = Guard::default();
    if kind != b'0' {
        let answer = if namespace.is_empty() {
            "0".into()
        } else {
            format!("0{namespace},")
        };
        fresh.sent(&answer);
    }
    let again = fresh.text(message.clone(), revision3);
    let again = again.expect("what was handed on can be read");
    if !message.contains(|character: char| character >= '\u{f0000}') {
        assert_eq!(&again.message, message);
    }
    if checked.kind == Kind::Ignored {
        return;
    }
    assert_eq!(again.kind, checked.kind);
    if !payload.is_empty() {
        serde_json::from_str::<IgnoredAny>(payload).expect("a payload is JSON");
    }
    if matches!(checked.kind, Kind::Event | Kind::BinaryEvent) {
        let all: Vec<&RawValue> = serde_json::from_str(payload).expect("a list");
        let name = all[0].get();
        assert!(name.starts_with('"') && !name.contains('\\'));
        let name: &str = serde_json::from_str(name).expect("a name without escapes");
        let name = event_name(name);
        let (_, _, written) = parts(text);
        if let Ok(Some(written)) =
            serde_json::from_str::<Vec<Value>>(written).map(|all| all.into_iter().next())
            && let Some(written) = written.as_str()
        {
            assert_eq!(name, written);
        }
    }
}

fn argument(text: &str) {
    let mut guard = Guard::default();
    guard.sent("0{}");
    let event = format!("2[\"a\",{text}]");
    let taken = guard.text(Str::copy_from_slice(&event), false).is_ok();
    assert_eq!(
        taken,
        serde_json::from_str::<IgnoredAny>(&event[1..]).is_ok()
    );
}

/// The type, the namespace (empty: `/`) and the payload.
fn parts(message: &str) -> (u8, &str, &str) {
    let kind = message.as_bytes().first().copied().unwrap_or_default();
    let mut rest = message.get(1..).unwrap_or_default();
    if matches!(kind, b'5' | b'6') {
        rest = rest.split_once('-').map_or("", |(_, rest)| rest);
    }
    let mut namespace = "";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    (
        kind,
        namespace,
        rest.trim_start_matches(|id: char| id.is_ascii_digit()),
    )
}
