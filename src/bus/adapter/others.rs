//! What other workers want of this one's sockets.

use std::time::Duration;

use socketioxide::AckError;
use socketioxide_core::Sid;
use socketioxide_core::adapter::{BroadcastOptions, Room, SocketEmitter};
use socketioxide_core::packet::Packet;

use super::super::{Namespace, Reply, acks, details, shared};
use super::BusAdapter;
use super::own::unless_closed;
use crate::wire::frame::{Answer, Command, Question};

/// What the names of a socket's rooms have at most is exact enough below so many bytes.
const COUNTED_FROM: usize = 16 * 1024;

impl<E: SocketEmitter<AckError = AckError>> Namespace for BusAdapter<E> {
    fn apply(&self, opts: BroadcastOptions, command: Command) -> usize {
        match command {
            Command::Emit(value) if !self.can_send(&value) => 0,
            Command::Emit(value) => {
                let packet = Packet::event(self.local.path().clone(), value);
                let (delivered, sent) = self.deliver(packet, &opts);
                if let Err(error) = sent {
                    tracing::warn!(%error, "an event of another worker was not delivered");
                }
                delivered
            }
            Command::Join(rooms) => {
                self.join(&opts, &rooms);
                1
            }
            Command::Leave(rooms) => {
                self.leave(&opts, &rooms);
                1
            }
            Command::Disconnect => {
                let sent = self.naming(&opts, |local| local.disconnect_socket(opts.clone()));
                if let Err(error) = unless_closed(sent) {
                    tracing::warn!(%error, "a socket was not disconnected");
                }
                1
            }
        }
    }

    fn answer(&self, reply: Reply, question: Question) -> usize {
        match question {
            Question::Sockets { opts, .. } => {
                let sockets = self.naming(&opts, |local| local.fetch_sockets(opts.clone()));
                let ids = sockets.into_iter().map(|socket| socket.id).collect();
                reply.give(Answer::Sockets(ids));
                1
            }
            Question::Rooms { opts, .. } => {
                reply.give(Answer::Rooms(self.own_rooms(&opts)));
                1
            }
            Question::Acks { value, .. } if !self.can_send(&value) => {
                reply.give(Answer::AcksEnd);
                0
            }
            Question::Acks {
                opts,
                timeout_ms,
                value,
                ..
            } => {
                let packet = Packet::event(self.local.path().clone(), value);
                let timeout = Duration::from_millis(timeout_ms);
                let (sockets, acks) = self.naming(&opts, |local| {
                    let sockets = local.fetch_sockets(opts.clone());
                    let (acks, _) =
                        shared::broadcast_with_ack(local, packet, opts.clone(), timeout);
                    (sockets, acks)
                });
                let delivered = sockets.len();
                let ids = sockets.into_iter().map(|socket| socket.id).collect();
                tokio::spawn(acks::collect(reply, ids, acks));
                delivered
            }
            Question::Details { opts, .. } => {
                let ids = self.naming(&opts, |local| local.sockets(opts.clone()));
                let with_rooms = ids.into_iter().map(|id| {
                    let rooms = self.local.socket_rooms(id);
                    (id, rooms.into_iter().collect())
                });
                let sockets = with_rooms.collect();
                tokio::spawn(details::describe(reply, self.local.path().clone(), sockets));
                1
            }
            // The bus answers it itself.
            Question::ServerSide { .. } => 0,
        }
    }

    fn forget(&self, id: Sid) {
        self.rooms.forget(id);
        self.local.del_all(id);
    }

    fn room_bytes(&self, id: Sid) -> usize {
        let most = self.rooms.bytes(id);
        if most < COUNTED_FROM {
            return most;
        }
        let rooms = self.local.socket_rooms(id);
        rooms.iter().map(|room| room.len()).sum()
    }

    fn rooms_of(&self, id: Sid) -> Option<Vec<Room>> {
        let rooms = || self.local.socket_rooms(id).into_iter().collect();
        self.has(id).then(rooms)
    }

    fn own_in(&self, room: &str) -> Vec<Sid> {
        let mut members = BroadcastOptions::default();
        members.rooms.push(room.to_owned().into());
        self.local.sockets(members)
    }
}
