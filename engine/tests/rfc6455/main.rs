//! RFC 6455 as a client sees it, chapter by chapter: each case is bytes that are sent, and the frames, the close
//! code and the end that follow, wherever the bytes are cut on their way.
//!
//! Messages are those of Engine.IO: a text begins with `4`, and the server echoes. Where the RFC leaves a choice,
//! the answer is that of Node's `ws`.

// Nothing is outside of this binary, a test fails by panicking, and pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

mod cases;
mod closing;
mod fragments;
mod framing;
#[allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: each word is there for whoever needs it"
)]
#[path = "../sessions/harness.rs"]
mod harness;
mod limits;
mod misc;
mod opcodes;
mod pings;
mod reserved;
mod utf8;
mod utf8_invalid;
