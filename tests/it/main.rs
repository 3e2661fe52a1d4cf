//! Black-box tests: the real binary, started by hand or as systemd would, and real clients.
//!
//! One binary, so that it is linked once. What a test needs is in [`harness`]; each file is one
//! capability, and each test a sentence.

mod harness;
mod hostile;
mod hostile_engine;
mod hostile_http;
mod hostile_packets;
mod hostile_websocket;
mod session_ids;
