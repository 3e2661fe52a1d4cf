//! The Engine.IO engine of my-app, under an unchanged socketioxide.
//!
//! It owns sessions, heartbeats, transports, upgrades, framing, limits, and the memory of all that; what a client
//! sees is what Node's engine.io does. The crate has the name and the outer names of the crate that socketioxide
//! was written for, and is put in its place; nothing of it is from there.
//!
//! ```text
//! worker ─▶ Engine: open, poll, post, upgrade, end        hooks ─▶ worker: names, ends, congestion
//!                    │                                       ▲
//!              Socket (a session): Line ◀── pump: read, hand on, write, keep time ──▶ handler (socketioxide)
//! ```
//!
//! - One task serves all sessions ([`Engine::run`]). A session owns no task, timer, channel or buffer.
//! - A session that rests holds no bytes but its handshake's.
//! - No lock is held while a handler is called.
//! - To emit is to queue; each session is written once a turn.
//! - Whatever a client sends has a bound, and an answer with a code. Codecs are pure, and fuzzed.

#[doc(hidden)]
pub mod assembly;
mod closing;
pub mod config;
mod conn;
mod core;
mod counts;
mod deflate;
mod delivery;
mod ending;
mod engine;
#[doc(hidden)]
pub mod extensions;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod guard;
pub mod handler;
mod head;
mod hooks;
mod inbox;
mod incoming;
#[doc(hidden)]
pub mod inflate;
mod line;
mod live;
#[doc(hidden)]
pub mod packet;
#[doc(hidden)]
pub mod payload3;
#[doc(hidden)]
pub mod payload4;
mod polling;
mod polls;
mod posts;
mod pump;
mod query;
pub mod service;
mod sessions;
mod skim;
pub mod socket;
mod spliced;
mod upgrade;
mod wheel;
mod work;
mod write;

pub use config::Settings;
pub use conn::Conn;
pub use counts::{Messages, Stats};
pub use delivery::Delivery;
pub use engine::{Engine, Handshake, Opened, Refused, Weight};
pub use engineioxide_core::{ProtocolVersion, Str, TransportType};
pub use extensions::{Agreed, Deflate, Malformed, negotiate};
pub use handler::end_reason;
pub use head::{Complete, Head};
pub use hooks::{EndReason, Ended, Hooks, Traffic};
pub use live::Live;
pub use polls::{Answer, PollAnswer, Posting, Receipt};
pub use socket::{DisconnectReason, Socket};
pub use spliced::sharing;
pub use upgrade::{Upgraded, Upgrading};
