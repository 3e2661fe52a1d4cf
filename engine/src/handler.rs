//! What is done with what sessions say: socketioxide implements this.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use engineioxide_core::Str;
use tracing::error;

use crate::hooks::EndReason;
use crate::socket::{DisconnectReason, Socket};

thread_local! {
    /// Why the session ends whose handler is told so at this moment.
    static WHY: Cell<Option<EndReason>> = const { Cell::new(None) };
}

/// Handles the events of sessions. Called by the engine with no lock held.
pub trait EngineIoHandler: std::fmt::Debug + Send + Sync + 'static {
    /// What the handler keeps for each session.
    type Data: Default + Send + Sync + 'static;

    /// A session says something for the first time; one of revision 3: it was opened.
    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Self::Data>>);

    /// A session is over, after all its messages. Not called for one that said nothing. Within the call
    /// [`end_reason`] tells why, finer than `reason`.
    fn on_disconnect(&self, socket: Arc<Socket<Self::Data>>, reason: DisconnectReason);

    /// A text message came.
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<Self::Data>>);

    /// A binary message came.
    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<Self::Data>>);
}

/// Within [`EngineIoHandler::on_disconnect`]: why the session has ended.
#[must_use]
pub fn end_reason() -> Option<EndReason> {
    WHY.get()
}

/// Calls a handler, which is told that this is why. It must not panic.
pub(crate) fn told_why(reason: EndReason, call: impl FnOnce()) {
    WHY.set(Some(reason));
    call();
    WHY.set(None);
}

/// Calls application code: a panic in it costs one event, not the worker.
pub(crate) fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        error!("a handler panicked");
    }
}
