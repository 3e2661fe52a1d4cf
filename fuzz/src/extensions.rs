//! Any text, as what a client offers in `Sec-WebSocket-Extensions`: an error or an answer, never a panic; and the
//! answer, offered again, comes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(offers) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(Some(agreed)) = engineioxide::negotiate(offers) {
        assert!(offers.contains("permessage-deflate"));
        let again = engineioxide::negotiate(&agreed.to_string());
        assert_eq!(again, Ok(Some(agreed)));
        // Whatever is offered behind it.
        let more = format!("{offers}, permessage-deflate; server_max_window_bits=9");
        assert_eq!(engineioxide::negotiate(&more), Ok(Some(agreed)));
    }
});
