//! A session as socketioxide sees it: something to emit to, and to close.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake};

use bytes::Bytes;
use engineioxide_core::{ProtocolVersion, Str, TransportType};
use tokio::sync::mpsc::error::TrySendError;

pub use engineioxide_core::Sid;

use crate::head::Head;
use crate::hooks::EndReason;
use crate::line::Line;
use crate::packet::Packet;
use crate::spliced;
use crate::work::{Key, Work};

/// Why a session ended, as handlers are told. socketioxide knows exactly these; [`EndReason`] says it finer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client, or the application, closed the session. socketioxide closes one so that has joined nothing in time, or
    /// sent something to a namespace that it is not in.
    TransportClose,
    /// The client sent two polls, or two posts, at the same time.
    MultipleHttpPollingError,
    /// The client sent something malformed.
    PacketParsingError,
    /// The connection ended.
    TransportError,
    /// The client did not answer a ping in time.
    HeartbeatTimeout,
    /// The server ends its sessions.
    ClosingServer,
}

/// A session.
pub struct Socket<D> {
    /// Its id, as applications see it.
    pub id: Sid,
    /// Its revision of the protocol.
    pub protocol: ProtocolVersion,
    /// The head of its handshake.
    pub req_parts: Head,
    /// What the handler keeps for it.
    pub data: D,
    pub(crate) key: Key,
    /// Does it stand in the list of ready sessions?
    pub(crate) ready: AtomicBool,
    pub(crate) line: Mutex<Line>,
    pub(crate) work: Arc<Work>,
}

impl<D> Socket<D> {
    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn revision3(&self) -> bool {
        self.protocol == ProtocolVersion::V3
    }

    /// Has the pump look at this session.
    pub(crate) fn set_ready(&self) {
        if !self.ready.swap(true, Relaxed) {
            self.work.push_ready(self.key);
        }
    }

    fn push(&self, packets: impl Iterator<Item = Packet>) {
        let mut line = self.line();
        if line.push(&self.work, packets) {
            self.work.push_dirty(self.key);
        }
    }
}

impl<D> Socket<D>
where
    D: Default + Send + Sync + 'static,
{
    pub(crate) fn new(
        id: Sid,
        protocol: ProtocolVersion,
        head: Head,
        key: Key,
        line: Line,
        work: Arc<Work>,
    ) -> Self {
        Self {
            id,
            protocol,
            req_parts: head,
            data: D::default(),
            key,
            ready: AtomicBool::new(false),
            line: Mutex::new(line),
            work,
        }
    }

    /// The transport that it has now.
    pub fn transport_type(&self) -> TransportType {
        self.line().transport_type()
    }

    /// A permit to emit one message, with what is attached to it.
    ///
    /// # Errors
    /// When the session is over.
    pub fn reserve(&self) -> Result<Permit<'_>, TrySendError<()>> {
        if self.is_closed() {
            return Err(TrySendError::Closed(()));
        }
        Ok(Permit { socket: self })
    }

    /// Emits a text message.
    ///
    /// # Errors
    /// With the message, when the session is over.
    pub fn emit(&self, msg: impl Into<Str>) -> Result<(), TrySendError<Str>> {
        let msg = msg.into();
        match self.reserve() {
            Ok(permit) => {
                permit.emit(msg);
                Ok(())
            }
            Err(_) => Err(TrySendError::Closed(msg)),
        }
    }

    /// Emits a binary message.
    ///
    /// # Errors
    /// With the message, when the session is over.
    pub fn emit_binary<B: Into<Bytes>>(&self, data: B) -> Result<(), TrySendError<Bytes>> {
        let data = data.into();
        match self.reserve() {
            Ok(permit) => {
                permit.emit_binary(data);
                Ok(())
            }
            Err(_) => Err(TrySendError::Closed(data)),
        }
    }

    /// Emits a text message if the client takes it now; did it?
    pub fn emit_volatile(&self, msg: impl Into<Str>) -> bool {
        self.volatile(|permit| permit.emit(msg.into()))
    }

    /// Emits a binary message if the client takes it now; did it?
    pub fn emit_binary_volatile<B: Into<Bytes>>(&self, data: B) -> bool {
        self.volatile(|permit| permit.emit_binary(data.into()))
    }

    /// Emits a message with what is attached to it if the client takes it now; did it?
    pub fn emit_many_volatile(&self, msg: Str, data: VecDeque<Bytes>) -> bool {
        self.volatile(|permit| permit.emit_many(msg, data))
    }

    fn volatile(&self, emit: impl FnOnce(Permit<'_>)) -> bool {
        let takes = self.line().takes_volatile();
        if takes {
            emit(Permit { socket: self });
        }
        takes
    }

    /// Ends the session: at once for whoever emits, and for its client when all that was emitted is sent.
    #[expect(clippy::needless_pass_by_value, reason = "socketioxide calls it so")]
    pub fn close(&self, reason: DisconnectReason) {
        let reason = match reason {
            DisconnectReason::ClosingServer => EndReason::Application,
            // There is no namespace `/`.
            DisconnectReason::TransportClose if self.revision3() => EndReason::Application,
            // A packet, which the pump has just handed on, is for a namespace that it is not in.
            DisconnectReason::TransportClose if self.work.is_in_turn() => EndReason::ProtocolError,
            DisconnectReason::TransportClose => EndReason::ConnectTimeout,
            DisconnectReason::MultipleHttpPollingError => EndReason::Overlap,
            DisconnectReason::PacketParsingError => EndReason::ProtocolError,
            DisconnectReason::TransportError => EndReason::TransportClosed,
            DisconnectReason::HeartbeatTimeout => EndReason::PingTimeout,
        };
        self.close_with(reason);
    }

    pub(crate) fn close_with(&self, reason: EndReason) {
        if self.line().begin_close(reason) {
            self.work.push_closed(self.key);
        }
    }

    /// Is the session over?
    pub fn is_closed(&self) -> bool {
        self.line().is_closed()
    }

    /// Waits for the session's end.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            if self.line().poll_closed(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl<D> Drop for Socket<D> {
    fn drop(&mut self) {
        if let Some(hooks) = self.work.hooks.get() {
            hooks.released(self.id);
        }
    }
}

/// What was readable or writable wakes the session, and the session the pump.
impl<D: Send + Sync + 'static> Wake for Socket<D> {
    fn wake(self: Arc<Self>) {
        self.set_ready();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set_ready();
    }
}

impl<D> fmt::Debug for Socket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

trait Emit: Send + Sync {
    fn emit_all(&self, first: Packet, rest: &mut dyn Iterator<Item = Packet>);
}

impl<D: Send + Sync> Emit for Socket<D> {
    fn emit_all(&self, first: Packet, rest: &mut dyn Iterator<Item = Packet>) {
        let first = spliced::complete(first, self.revision3());
        self.push(std::iter::once(first).chain(rest));
    }
}

/// A permit to emit one message, with what is attached to it. There is always room: bytes are counted, not
/// places.
pub struct Permit<'a> {
    socket: &'a dyn Emit,
}

impl Permit<'_> {
    /// Emits a text message.
    pub fn emit(self, msg: Str) {
        self.socket
            .emit_all(Packet::Message(msg), &mut std::iter::empty());
    }

    /// Emits a binary message.
    pub fn emit_binary(self, data: Bytes) {
        self.socket
            .emit_all(Packet::Binary(data), &mut std::iter::empty());
    }

    /// Emits a text message and what is attached to it; nothing comes between.
    pub fn emit_many(self, msg: Str, data: VecDeque<Bytes>) {
        let mut data = data.into_iter().map(Packet::Binary);
        self.socket.emit_all(Packet::Message(msg), &mut data);
    }

    /// Emits a binary message and others behind it; nothing comes between.
    pub fn emit_many_binary(self, bin: Bytes, data: Vec<Bytes>) {
        let mut data = data.into_iter().map(Packet::Binary);
        self.socket.emit_all(Packet::Binary(bin), &mut data);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
