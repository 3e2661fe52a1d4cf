//! Sessions of the engine, from a client's bytes to a handler and back.

mod harness;
mod polling;
mod pressure;
mod upgrade;
mod websocket;
