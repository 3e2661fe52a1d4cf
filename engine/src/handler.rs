//! What is done with what sessions say: socketioxide implements this.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use engineioxide_core::Str;
use tracing::error;

use crate::socket::{DisconnectReason, Socket};

/// Handles the events of sessions. Called by the engine with no lock held.
pub trait EngineIoHandler: std::fmt::Debug + Send + Sync + 'static {
    /// What the handler keeps for each session.
    type Data: Default + Send + Sync + 'static;

    /// A session says something for the first time; one of revision 3: it was opened.
    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Self::Data>>);

    /// A session is over, after all its messages. Not called for one that said nothing.
    fn on_disconnect(&self, socket: Arc<Socket<Self::Data>>, reason: DisconnectReason);

    /// A text message came.
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<Self::Data>>);

    /// A binary message came.
    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<Self::Data>>);
}

/// Calls application code: a panic in it costs one event, not the worker.
pub(crate) fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        error!("a handler panicked");
    }
}
