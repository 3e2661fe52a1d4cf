//! The reserved bits, which mean nothing without an extension (RFC 6455 section 5.2).

use crate::cases::{
    BINARY, CLOSE, FIRST_TEXT, LAST, PING, PONG, TEXT, case, echo, frame, say, try_all,
};

/// All that is not zero.
fn reserved() -> impl Iterator<Item = u8> {
    (1..8).map(|bits| bits << 4)
}

#[tokio::test]
async fn a_reserved_bit_is_an_error_in_every_frame() {
    let frames: [(u8, &str); 6] = [
        (TEXT, "4reserved"),
        (BINARY, "reserved"),
        (FIRST_TEXT, "4reserved"),
        (PING, "reserved"),
        (PONG, "reserved"),
        (CLOSE, "\u{3}\u{7f}"),
    ];
    try_all(reserved().flat_map(|bits| {
        frames.map(|(first, payload)| {
            let sent = [say("before"), frame(first | bits, payload), say("after")].concat();
            case(format!("{:x}", first | bits), sent)
                .gets(echo("before"))
                .fails(1002)
        })
    }))
    .await;
}

#[tokio::test]
async fn a_reserved_bit_is_an_error_in_a_later_fragment() {
    try_all(reserved().map(|bits| {
        let sent = [frame(FIRST_TEXT, "4a"), frame(LAST | bits, "b")].concat();
        case(format!("{:x}", LAST | bits), sent).fails(1002)
    }))
    .await;
}

#[tokio::test]
async fn a_reserved_bit_is_an_error_in_an_empty_frame() {
    try_all(
        reserved()
            .map(|bits| case(format!("{:x}", TEXT | bits), frame(TEXT | bits, [])).fails(1002)),
    )
    .await;
}
