//! A client's socket, as handlers have it.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::FutureExt;
use socketioxide::extract::SocketRef;
use socketioxide::handler::{FromConnectParts, FromDisconnectParts, FromMessageParts};
use socketioxide::socket::{self, DisconnectReason};
use socketioxide::{SocketError, handler::MessageHandler};
use socketioxide_core::Value;
use socketioxide_core::adapter::{Room, RoomParam};

use super::handler::Attributed;
use super::{Adapter, ClusterError, TooManyRooms};
use crate::bus::by_itself;

/// A client's socket in one namespace: socketioxide's [`SocketRef`], to which it dereferences.
///
/// What is done with a socket that has disconnected does nothing, as in Socket.IO for Node. That matters
/// since handlers are tasks: one may run, or run on, when its socket has left; and a client that joins the
/// namespace again has a new socket with the same id, for the id is that of its session. A room joined
/// by the old one would be the new one's; or, if there is none, nobody would ever leave it.
///
/// Questions that a handler asks the cluster are counted as its socket's: see [`Socket::on`].
#[derive(Debug, Clone)]
pub struct Socket {
    socket: SocketRef<Adapter>,
    /// It was given to a middleware: it was not connected yet.
    connecting: bool,
}

impl Deref for Socket {
    type Target = SocketRef<Adapter>;

    fn deref(&self) -> &SocketRef<Adapter> {
        &self.socket
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        self.socket == other.socket
    }
}

impl From<SocketRef<Adapter>> for Socket {
    fn from(socket: SocketRef<Adapter>) -> Self {
        Self {
            socket,
            connecting: false,
        }
    }
}

impl From<Arc<socket::Socket<Adapter>>> for Socket {
    fn from(socket: Arc<socket::Socket<Adapter>>) -> Self {
        SocketRef::from(socket).into()
    }
}

impl Socket {
    /// Handles an event, in the place of whoever handled it before.
    ///
    /// A handler's questions to the cluster (`fetch_sockets`, `rooms`, broadcasts with acknowledgements,
    /// `server_side_emit_with_ack`) have a quota for each client: handlers above it wait, in order, and
    /// meanwhile their client's further events wait, too; nobody else's do.
    pub fn on<H, T>(&self, event: impl Into<std::borrow::Cow<'static, str>>, handler: H)
    where
        Attributed<H>: MessageHandler<Adapter, T>,
        T: Send + Sync + 'static,
    {
        self.socket.on(event, Attributed(handler));
    }

    /// Handles all events that have no handler of their own. See [`Socket::on`].
    pub fn on_fallback<H, T>(&self, handler: H)
    where
        Attributed<H>: MessageHandler<Adapter, T>,
        T: Send + Sync + 'static,
    {
        self.socket.on_fallback(Attributed(handler));
    }

    /// Joins rooms, all or none of them, unless it has disconnected.
    ///
    /// # Errors
    /// If it would be in more rooms than `limits.rooms_per_socket` allows. What socketioxide's own `SocketRef` joins is
    /// not counted.
    pub fn join(&self, rooms: impl RoomParam) -> Result<(), TooManyRooms> {
        if !self.is_live() {
            return Ok(());
        }
        // With itself, on its own worker, there is nothing to wait for.
        match by_itself(|| self.socket.local().join(rooms).now_or_never()) {
            Some(Err(ClusterError::Rooms(error))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Leaves rooms, unless it has disconnected, and so left them all.
    pub fn leave(&self, rooms: impl RoomParam) {
        if self.is_live() {
            // As above. It cannot fail.
            let _ = by_itself(|| self.socket.local().leave(rooms).now_or_never());
        }
    }

    /// Leaves all rooms.
    pub fn leave_all(&self) {
        if self.is_live() {
            self.socket.leave_all();
        }
    }

    /// The rooms that it is in. A disconnect handler sees those that it was in.
    #[must_use]
    pub fn rooms(&self) -> Vec<Room> {
        if self.is_live() || self.is_present() {
            return self.socket.rooms();
        }
        Vec::new()
    }

    /// Disconnects it from the namespace, unless it has disconnected already.
    ///
    /// # Errors
    /// When its client cannot be told.
    pub fn disconnect(self) -> Result<(), SocketError> {
        if self.socket.connected() {
            return self.socket.disconnect();
        }
        Ok(())
    }

    /// Is it connected, or still connecting? Of a middleware's socket it is not known whether the middleware has
    /// refused it since: what it joins then, it is in until its session is over or joins the namespace.
    fn is_live(&self) -> bool {
        self.socket.connected() || self.connecting && self.present().is_none()
    }

    /// Is it, and no newer one with its id, in its namespace?
    fn is_present(&self) -> bool {
        let present = self.present();
        present.is_some_and(|present| std::ptr::eq(&raw const *present, &raw const *self.socket))
    }

    fn present(&self) -> Option<SocketRef<Adapter>> {
        self.socket.local().get_socket(self.socket.id)
    }
}

impl FromConnectParts<Adapter> for Socket {
    type Error = Infallible;

    fn from_connect_parts(
        socket: &Arc<socket::Socket<Adapter>>,
        _: &Option<Value>,
    ) -> Result<Self, Infallible> {
        Ok(Self {
            connecting: !socket.connected(),
            ..Arc::clone(socket).into()
        })
    }
}

impl FromMessageParts<Adapter> for Socket {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<socket::Socket<Adapter>>,
        _: &mut Value,
        _: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Arc::clone(socket).into())
    }
}

impl FromDisconnectParts<Adapter> for Socket {
    type Error = Infallible;

    fn from_disconnect_parts(
        socket: &Arc<socket::Socket<Adapter>>,
        _: DisconnectReason,
    ) -> Result<Self, Infallible> {
        Ok(Arc::clone(socket).into())
    }
}
