//! What happens with this worker's own sockets, whoever wants it.

use std::sync::atomic::Ordering::Relaxed;

use socketioxide::{AckError, BroadcastError, SocketError};
use socketioxide_core::adapter::{BroadcastOptions, CoreLocalAdapter, Room, SocketEmitter};
use socketioxide_core::packet::Packet;
use socketioxide_core::{Sid, Value};

use super::super::WARNING_INTERVAL;
use super::super::rooms::TooManyRooms;
use super::BusAdapter;

impl<E: SocketEmitter<AckError = AckError>> BusAdapter<E> {
    /// Sends to this worker's sockets. To how many?
    pub(super) fn deliver(
        &self,
        packet: Packet,
        opts: &BroadcastOptions,
    ) -> (usize, Result<(), BroadcastError>) {
        self.naming(opts, |local| {
            let receivers = local.sockets(opts.clone()).len();
            if receivers == 0 {
                return (0, Ok(()));
            }
            let sent = local.broadcast(packet, opts.clone());
            (receivers, unless_closed(sent))
        })
    }

    /// Makes this worker's sockets join. Each by itself: `add_sockets` would keep rooms without members,
    /// and members that are not here.
    pub(super) fn join(&self, opts: &BroadcastOptions, rooms: &[Room]) {
        let sockets = self.naming(opts, |local| local.fetch_sockets(opts.clone()));
        for socket in sockets {
            if let Err(error) = self.join_one(socket.id, rooms.to_vec())
                && self.bus.0.warnings.allows(WARNING_INTERVAL)
            {
                tracing::warn!(socket_id = %socket.id, %error, "a socket was not made to join");
            }
        }
    }

    pub(super) fn join_one(&self, id: Sid, rooms: Vec<Room>) -> Result<(), TooManyRooms> {
        let present = || self.local.socket_rooms(id);
        let limit = self.bus.0.rooms_per_socket.load(Relaxed);
        self.rooms.join(id, &rooms, limit, present)?;
        self.local.add_all(id, rooms);
        Ok(())
    }

    pub(super) fn leave(&self, opts: &BroadcastOptions, rooms: &[Room]) {
        self.naming(opts, |local| {
            if self.rooms.are_many() {
                for id in local.sockets(opts.clone()) {
                    self.rooms.left(id, rooms);
                }
            }
            local.del_sockets(opts.clone(), rooms.to_vec());
        });
    }

    pub(super) fn own_rooms(&self, opts: &BroadcastOptions) -> Vec<Room> {
        let ids = self.own_ids(opts);
        let rooms = self.naming(opts, |local| local.rooms(opts.clone()));
        let named = |room: &Room| ids.iter().any(|id| id.as_str() == room.as_ref());
        rooms.into_iter().filter(|room| !named(room)).collect()
    }

    /// Does something while the sockets of this worker whose ids are named as rooms are in them.
    pub(super) fn naming<T>(
        &self,
        opts: &BroadcastOptions,
        what: impl FnOnce(&CoreLocalAdapter<E>) -> T,
    ) -> T {
        let ids = self.own_ids(opts);
        for id in &ids {
            self.local.add_all(*id, *id);
        }
        let done = what(&self.local);
        for id in ids {
            self.local.del(id, id);
        }
        done
    }

    /// The sockets of this worker whose ids are named as rooms that they are not in.
    fn own_ids(&self, opts: &BroadcastOptions) -> Vec<Sid> {
        let named = opts.rooms.iter().chain(&opts.except);
        named
            .filter_map(|room| Some((room, room.parse::<Sid>().ok()?)))
            .filter(|(room, id)| self.has(*id) && !self.is_in(*id, room))
            .map(|(_, id)| id)
            .collect()
    }

    /// Whether this worker can send its clients what another one sent: that may be of a machine, or of a
    /// generation, with another `engine.parser`.
    pub(super) fn can_send(&self, value: &Value) -> bool {
        let can = matches!(value, Value::Bytes(_)) == self.packs;
        if !can && self.bus.0.warnings.allows(WARNING_INTERVAL) {
            tracing::warn!("an event of a worker with another engine.parser was dropped");
        }
        can
    }

    pub(super) fn has(&self, id: Sid) -> bool {
        let it = BroadcastOptions::new(id);
        !self.local.fetch_sockets(it).is_empty()
    }

    fn is_in(&self, id: Sid, room: &Room) -> bool {
        let mut members = BroadcastOptions::default();
        members.rooms.push(room.clone());
        self.local.sockets(members).contains(&id)
    }
}

/// A socket that is closing is no longer to be sent anything.
pub(super) fn unless_closed(sent: Result<(), Vec<SocketError>>) -> Result<(), BroadcastError> {
    let errors = sent.err().into_iter().flatten();
    let errors: Vec<_> = errors
        .filter(|error| !matches!(error, SocketError::Closed))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(BroadcastError::Socket(errors))
}
