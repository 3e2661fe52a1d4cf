//! msgpack as Node's emitters and its Redis adapter write it, read into the workers' values and written from them.
//!
//! Both use notepack.io, whose versions differ in what msgpack has no type for:
//!
//! | JavaScript | notepack 2 (emitter 4, adapter 7) | notepack 3 (emitter 5, adapter 8) |
//! |---|---|---|
//! | `undefined` | ext 0 of one byte | nil |
//! | `Date` | ext 0 of eight bytes: milliseconds | msgpack's timestamp, ext -1 |
//! | `ArrayBuffer`, typed arrays | ext 0 of any length | bin |
//!
//! Both are read, whoever wrote them: [`Reader`] has one token for each. What JavaScript would make of a value is what
//! clients are sent: its numbers are doubles, what JSON has no word for is `null`, a date is text. [`event`] makes an
//! event's arguments into a [`Value`], [`Writer`] writes only what both versions read: no ext at all.
//!
//! All of it is pure. Nothing is allocated by what a length says, nesting ends at [`MAX_DEPTH`], and what comes out is
//! no longer than a frame may be.
//!
//! [`Value`]: socketioxide_core::Value

mod date;
mod event;
mod number;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use self::event::{Parser, acknowledgement, event, json};
pub(super) use self::read::{Reader, Token};
pub(super) use self::write::Writer;

/// How deep lists and maps may stand in each other.
const MAX_DEPTH: usize = 64;
/// How long an event may become, in bytes: as long as a frame of the bus.
const MAX_LENGTH: usize = 32 << 20;
/// How many attachments an event may have: as many as one of a client.
const MAX_ATTACHMENTS: usize = 1000;
/// Events that a client takes for a broken packet: it would close its connection.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Bytes that are no msgpack, or not what is taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotepackError {
    /// Shorter than what it says it holds.
    #[error("msgpack that ends too early")]
    Short,
    /// Longer than what it holds.
    #[error("msgpack that goes on behind its end")]
    Trailing,
    /// A byte that begins no value.
    #[error("msgpack with a byte that begins no value")]
    Reserved,
    /// More than [`MAX_DEPTH`].
    #[error("lists and maps nested more than {MAX_DEPTH} deep")]
    Depth,
    /// More than [`MAX_LENGTH`].
    #[error("an event of more than {MAX_LENGTH} bytes; the bus takes no more")]
    Long,
    /// More than [`MAX_ATTACHMENTS`].
    #[error("an event with more than {MAX_ATTACHMENTS} attachments")]
    Attachments,
    /// A key that JavaScript has no text for.
    #[error("a map with a key that is neither text nor number")]
    Key,
    /// No list, or one without a name.
    #[error("an event that is no list of its name and its arguments")]
    Event,
    /// One of [`RESERVED`].
    #[error("an event whose name is reserved: clients would close their connections")]
    ReservedName,
    /// Binary where JSON is all that there is room for.
    #[error("binary data where only JSON is taken")]
    Binary,
    /// JSON that cannot be had as msgpack.
    #[error("a value that is no JSON")]
    Json,
}
