//! What master and workers say to each other, and what both read of a request.
//!
//! Everything here but [`link`] is pure: bytes in, values out, no I/O, so that the router and a
//! worker can never disagree about a request, and a fuzzer can call all of it.

pub mod frame;
pub mod link;
pub mod request_line;
pub mod session_id;
pub mod target;
