//! Sessions of the engine, from a client's bytes to a handler and back.

// Nothing is outside of this binary, a test fails by panicking, and pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

mod closing;
mod ends;
#[allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: each word is there for whoever needs it"
)]
mod harness;
mod polling;
mod pressure;
mod reuse;
mod slow;
mod upgrade;
mod websocket;
