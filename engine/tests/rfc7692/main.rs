//! RFC 7692 as a client sees it: messages that are deflated, by it and by the server. Cases are those of the tests of
//! RFC 6455; where the RFC leaves a choice, the answer is that of Node's `ws`.

// Nothing is outside of this binary, a test fails by panicking, and pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

mod bounds;
#[allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: each word is there for whoever needs it"
)]
#[path = "../rfc6455/cases.rs"]
mod cases;
#[allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: each word is there for whoever needs it"
)]
#[path = "../sessions/harness.rs"]
mod harness;
mod incoming;
mod outgoing;

use cases::{Server, frame};
use harness::deflate;

/// The bit of a message that is deflated.
const DEFLATED: u8 = 0x40;

/// A server whose clients may deflate.
fn server() -> Server {
    Server::start().agreeing("permessage-deflate")
}

/// A message of one frame, deflated.
fn deflated(first: u8, message: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first | DEFLATED, deflate(message))
}

/// A text message, deflated.
fn say_deflated(message: &str) -> Vec<u8> {
    deflated(cases::TEXT, format!("4{message}"))
}
