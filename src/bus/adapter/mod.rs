//! socketioxide's adapter: what an application does with sockets happens on all workers.
//!
//! Two things are ours beside the bus. A socket's id is a room, as in Node's Socket.IO: it is
//! joined for the moment in which somebody names it, so that sockets that nobody names cost nothing,
//! and it shows nowhere. And a socket that is just closing is no error of a broadcast.
//!
//! A broadcast that is dropped before it is done may have reached this worker's clients only.

mod others;
mod own;

use std::sync::Arc;
use std::time::Duration;

use socketioxide::adapter::Emitter;
use socketioxide::{AckError, BroadcastError};
use socketioxide_core::adapter::{
    BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter,
    RemoteSocketData, Room, RoomParam, SocketEmitter,
};
use socketioxide_core::packet::{Packet, PacketData};
use socketioxide_core::parser::Parse;
use socketioxide_core::{Sid, Value};
use tokio::time::sleep;

use self::own::unless_closed;
use super::acks::{Acks, Remote};
use super::rooms::{self, Rooms};
use super::turns::Responder;
use super::{Bus, ClusterError, REQUEST_TIMEOUT, shared};
use crate::metrics;
use crate::wire::frame::{Answer, Body, BusMember, Command, Question};

/// How much longer than the clients the other workers may take to tell their acknowledgements.
const ACK_GRACE: Duration = Duration::from_secs(1);

/// One for each namespace of a worker.
pub struct BusAdapter<E: SocketEmitter = Emitter> {
    bus: Bus,
    local: CoreLocalAdapter<E>,
    rooms: Rooms,
    /// Whether packets are msgpack here, and not text. The other parser ends the worker over a value of this one.
    packs: bool,
}

impl<E: SocketEmitter> std::fmt::Debug for BusAdapter<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BusAdapter").field(&self.bus).finish()
    }
}

impl DefinedAdapter for BusAdapter {}

impl<E: SocketEmitter<AckError = AckError>> CoreAdapter<E> for BusAdapter<E> {
    type Error = ClusterError;
    type State = Bus;
    type AckStream = Acks;
    type InitRes = ();

    fn new(bus: &Bus, local: CoreLocalAdapter<E>) -> Self {
        let packed = local.parser().encode_default(&());
        Self {
            bus: bus.clone(),
            local,
            rooms: Rooms::default(),
            packs: matches!(packed, Ok(Value::Bytes(_))),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        let path = self.local.path().clone();
        let bus = self.bus.clone();
        bus.add_namespace(path, self);
        on_success();
    }

    async fn close(&self) -> Result<(), ClusterError> {
        self.bus.remove_namespace(self.local.path());
        self.local.close();
        Ok(())
    }

    async fn server_count(&self) -> Result<u16, ClusterError> {
        Ok(u16::try_from(self.bus.members().len()).unwrap_or(u16::MAX))
    }

    async fn broadcast(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
    ) -> Result<(), BroadcastError> {
        metrics::BROADCASTS.inc();
        let command = event(&packet.inner).map(Command::Emit);
        let (delivered, local) = self.deliver(packet, &opts);
        let published = match command {
            Some(command) => self.publish(opts, command).await,
            None => Ok(()),
        };
        self.bus.pace(delivered).await;
        local?;
        published.map_err(|error| BroadcastError::Adapter(error.into()))
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, ClusterError> {
        metrics::BROADCASTS.inc();
        let turn = self.bus.turn(Responder::Client, asker(&opts)).await?;
        let timeout = timeout.unwrap_or(self.local.ack_timeout());
        let value = event(&packet.inner);
        let (local, delivered) = self.naming(&opts, |local| {
            shared::broadcast_with_ack(local, packet, opts.clone(), timeout)
        });
        let remote = match (self.elsewhere(&opts), value) {
            (Elsewhere::Nobody, _) | (_, None) => None,
            (elsewhere, Some(value)) => {
                let one = opts.sid.filter(|_| elsewhere.to().is_some());
                let question = Question::Acks {
                    ns: self.local.path().clone(),
                    opts,
                    timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                    value,
                };
                let pending = self
                    .bus
                    .ask(elsewhere.to(), question, Arc::clone(&turn))
                    .await?;
                let deadline = sleep(timeout.saturating_add(ACK_GRACE));
                Some(Remote::new(self.bus.clone(), pending, deadline, one))
            }
        };
        self.bus.pace(delivered as usize).await;
        Ok(Acks::new(local, remote, turn))
    }

    async fn add_sockets(
        &self,
        opts: BroadcastOptions,
        names: impl RoomParam,
    ) -> Result<(), ClusterError> {
        let names: Vec<Room> = names.into_room_iter().collect();
        if let Some(id) = opts.sid.filter(|_| rooms::are_joined_by_itself()) {
            return Ok(self.join_one(id, names)?);
        }
        self.join(&opts, &names);
        self.publish(opts, Command::Join(names)).await
    }

    async fn del_sockets(
        &self,
        opts: BroadcastOptions,
        rooms: impl RoomParam,
    ) -> Result<(), ClusterError> {
        let rooms: Vec<Room> = rooms.into_room_iter().collect();
        self.leave(&opts, &rooms);
        self.publish(opts, Command::Leave(rooms)).await
    }

    async fn disconnect_socket(&self, opts: BroadcastOptions) -> Result<(), BroadcastError> {
        let local = self.naming(&opts, |local| local.disconnect_socket(opts.clone()));
        let published = self.publish(opts, Command::Disconnect).await;
        unless_closed(local)?;
        published.map_err(|error| BroadcastError::Adapter(error.into()))
    }

    async fn rooms(&self, opts: BroadcastOptions) -> Result<Vec<Room>, ClusterError> {
        let mut rooms = self.own_rooms(&opts);
        let question = |opts| Question::Rooms {
            ns: self.local.path().clone(),
            opts,
        };
        for (_, answer) in self.ask(opts, question).await? {
            if let Answer::Rooms(more) = answer {
                rooms.extend(more);
            }
        }
        rooms.sort_unstable();
        rooms.dedup();
        Ok(rooms)
    }

    async fn fetch_sockets(
        &self,
        opts: BroadcastOptions,
    ) -> Result<Vec<RemoteSocketData>, ClusterError> {
        let mut sockets = self.naming(&opts, |local| local.fetch_sockets(opts.clone()));
        let ns = self.local.path().clone();
        let question = |opts| Question::Sockets {
            ns: ns.clone(),
            opts,
        };
        for (worker, answer) in self.ask(opts, question).await? {
            let (Answer::Sockets(ids), Ok(server_id)) = (answer, worker.id.as_str().parse()) else {
                continue;
            };
            sockets.extend(ids.into_iter().map(|id| RemoteSocketData {
                id,
                server_id,
                ns: ns.clone(),
            }));
        }
        Ok(sockets)
    }

    fn get_local(&self) -> &CoreLocalAdapter<E> {
        &self.local
    }
}

/// Whom options concern beside this worker.
#[derive(Clone, Copy)]
enum Elsewhere {
    Nobody,
    One(Sid),
    All,
}

impl Elsewhere {
    fn to(self) -> Option<Sid> {
        match self {
            Self::One(id) => Some(id),
            _ => None,
        }
    }
}

impl<E: SocketEmitter<AckError = AckError>> BusAdapter<E> {
    fn elsewhere(&self, opts: &BroadcastOptions) -> Elsewhere {
        if opts.has_flag(BroadcastFlags::Local) {
            return Elsewhere::Nobody;
        }
        let one = !opts.has_flag(BroadcastFlags::Broadcast) && opts.rooms.is_empty();
        match (opts.sid, opts.server_id) {
            // One socket, whose worker is known, or which is here.
            (Some(_), Some(server)) if one && server == self.local.server_id() => Elsewhere::Nobody,
            (Some(_), Some(server)) if one => Elsewhere::One(*server),
            (Some(id), None) if one && self.has(id) => Elsewhere::Nobody,
            // Nobody at all.
            (None, _) if one => Elsewhere::Nobody,
            _ => Elsewhere::All,
        }
    }

    async fn publish(&self, opts: BroadcastOptions, command: Command) -> Result<(), ClusterError> {
        let to = match self.elsewhere(&opts) {
            Elsewhere::Nobody => return Ok(()),
            elsewhere => elsewhere.to(),
        };
        let body = Body::Command {
            ns: self.local.path().clone(),
            opts,
            command,
        };
        self.bus.send(to, body).await
    }

    /// The answers of the other workers. Missing ones are logged.
    async fn ask(
        &self,
        opts: BroadcastOptions,
        question: impl FnOnce(BroadcastOptions) -> Question,
    ) -> Result<Vec<(BusMember, Answer)>, ClusterError> {
        match self.elsewhere(&opts) {
            Elsewhere::Nobody => Ok(Vec::new()),
            elsewhere => {
                let asker = asker(&opts);
                let question = question(opts);
                let gathered = self
                    .bus
                    .gather(elsewhere.to(), asker, question, REQUEST_TIMEOUT)
                    .await?;
                for late in &gathered.late {
                    self.bus.warn_unanswered(late, "did not answer in time");
                }
                for (member, answer) in &gathered.answers {
                    if let Answer::Failed(_) = answer {
                        self.bus.warn_unanswered(member, "could not answer");
                    }
                }
                Ok(gathered.answers)
            }
        }
    }
}

/// For whom something is asked, as far as the options say: a socket's own operators name it, those of a
/// namespace name nobody, and what is done with a socket of another worker names that.
fn asker(opts: &BroadcastOptions) -> Option<Sid> {
    opts.sid.filter(|_| opts.server_id.is_none())
}

/// An event's name and arguments.
fn event(packet: &PacketData) -> Option<Value> {
    match packet {
        PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) => Some(value.clone()),
        _ => None,
    }
}
