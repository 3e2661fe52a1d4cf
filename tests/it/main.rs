//! Black-box tests: the real binary, started by hand or as systemd would, and real clients.
//!
//! One binary, so that it is linked once. What a test needs is in [`harness`]; each file is one
//! capability, and each test a sentence.

// Nothing is outside of this binary; a failed expectation is the message, in helpers, too; and
// pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

mod admission;
mod clients;
mod harness;
mod proxies;
mod routing;
mod session_ids;
