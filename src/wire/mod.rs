//! What master and workers say to each other, and what both read of a request.
//!
//! Everything here is pure: bytes in, values out, no I/O, so that the router and a
//! worker can never disagree about a request, and a fuzzer can call all of it.

pub(crate) mod bridge;
pub(crate) mod client;
pub(crate) mod client_file;
mod client_names;
pub(crate) mod control;
pub(crate) mod emit;
pub(crate) mod envelope;
pub(crate) mod frame;
pub(crate) mod handover;
pub(crate) mod health;
pub(crate) mod link;
pub(crate) mod request_line;
pub(crate) mod session_id;
pub(crate) mod target;
