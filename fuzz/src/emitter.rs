//! Any bytes at all, as a message of an emitter: an error or something for the workers, never a panic. What is an event is
//! JSON or msgpack that can be read, and what is written of it for Node is the same event.

#![no_main]

// Paths in it are as seen from here.
#[path = "."]
mod bridge {
    #[path = "../../src/bridge/emitter/mod.rs"]
    pub(crate) mod emitter;
    #[path = "../../src/bridge/notepack/mod.rs"]
    pub(crate) mod notepack;

    pub(crate) mod transport {
        pub(crate) enum Channel {
            Pattern(String),
        }
    }

    use bytes::Bytes;
    use serde::de::IgnoredAny;
    use socketioxide_core::Value;

    use emitter::Emitter;
    use notepack::{Parser, Writer, event, json};

    pub(crate) fn run(data: &Bytes) {
        for parser in [Parser::Common, Parser::Msgpack] {
            let emitter = Emitter::new("K", parser);
            for channel in ["K#/#", "K#/#room#", "K-request#/#"] {
                let _ = emitter.decode(channel, data);
            }
        }
        if let Ok(json) = json(data) {
            serde_json::from_str::<IgnoredAny>(&json).expect("JSON");
        }
        if let Ok(value) = event(data, data, Parser::Msgpack) {
            let Value::Bytes(bytes) = &value else {
                panic!("text");
            };
            assert_eq!(event(bytes, bytes, Parser::Msgpack), Ok(value.clone()));
            Writer::new().value(&value).expect("msgpack");
        }
        let Ok(value) = event(data, data, Parser::Common) else {
            return;
        };
        let Value::Str(text, attachments) = &value else {
            panic!("bytes");
        };
        serde_json::from_str::<IgnoredAny>(text).expect("JSON");
        let mut writer = Writer::new();
        let written = writer.value(&value);
        // What only looks like a place for an attachment is one for whoever reads it.
        let places = text.matches("_placeholder").count();
        if places == attachments.as_ref().map_or(0, |them| them.len()) {
            written.expect("what was read can be written");
            let written = writer.finish();
            assert_eq!(event(&written, &written, Parser::Common), Ok(value));
        }
    }
}

#[path = "."]
mod logging {
    #[path = "../../src/logging/rate_limit.rs"]
    mod rate_limit;
    pub(crate) use rate_limit::RateLimit;
}

#[path = "."]
mod wire {
    #[path = "../../src/wire/envelope/mod.rs"]
    pub(crate) mod envelope;
    #[path = "../../src/wire/frame/mod.rs"]
    pub(crate) mod frame;
}

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bridge::run(&Bytes::copy_from_slice(data)));
