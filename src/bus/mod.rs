//! A worker's end of the bus: what its sockets and its application say to those of other workers.
//!
//! ```text
//! app ─▶ adapter ─▶ own sockets
//!           │
//!           └─▶ outbox ─▶ hub ─▶ the others' [Bus::run] ─▶ their adapters ─▶ their sockets
//! ```
//!
//! Own sockets get an event first; the bus never costs them a message.

mod acks;
mod adapter;
mod cluster;
mod details;
mod members;
mod outbox;
mod requests;
mod rooms;
mod sessions;
mod shared;
mod turns;
pub(crate) mod unread;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use socketioxide_core::adapter::errors::AdapterError;
use socketioxide_core::adapter::{BroadcastOptions, Room};
use socketioxide_core::{Sid, Str};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use self::cluster::Handlers;
use self::details::Describe;
use self::outbox::Outbox;
use self::requests::{Gathered, Pending, Requests};
use self::sessions::Released;
use self::turns::{Responder, Turn, Turns};
use crate::ipc::bus::{BusError, Reader};
use crate::logging::RateLimit;
use crate::metrics::{self, Direction};
use crate::wire::frame::{
    Answer, Body, BusMember, Command, Failure, Frame, FrameError, Question, Role,
};

pub(crate) use self::adapter::BusAdapter;
pub use self::cluster::{Answers, Cluster, Missing, Why, WorkerInfo};
pub(crate) use self::details::Described;
pub(crate) use self::outbox::Gate;
pub use self::rooms::TooManyRooms;
pub(crate) use self::rooms::by_itself;
pub(crate) use self::turns::asking;

/// How long another worker may take to answer. Node's adapters call it `requestsTimeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For whoever wants to wait for ever.
const A_LONG_TIME: Duration = Duration::from_hours(24 * 365);
/// After so many deliveries other tasks run.
const TURN: usize = 64;
/// The same trouble is logged once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Something could not be sent to the other workers.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It is larger than the bus takes.
    #[error("too large for the other workers: {0}")]
    Frame(#[from] FrameError),
    /// It waited for its turn, and its socket's session is over.
    #[error("the socket that asks is gone")]
    AskerGone,
    /// A socket is in as many rooms as it may be.
    #[error(transparent)]
    Rooms(#[from] TooManyRooms),
    /// Not to be had as JSON.
    #[error("not to be had as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<ClusterError> for AdapterError {
    fn from(error: ClusterError) -> Self {
        Self(Box::new(error))
    }
}

/// A worker's end of the bus. All its clones are one.
#[derive(Clone, Default)]
pub struct Bus(Arc<Shared>);

#[derive(Default)]
struct Shared {
    id: OnceLock<Sid>,
    outbox: Outbox,
    requests: Arc<Requests>,
    turns: Turns,
    released: Released,
    members: watch::Sender<Vec<BusMember>>,
    namespaces: RwLock<HashMap<Str, Arc<dyn Namespace>>>,
    handlers: Handlers,
    describe: OnceLock<Describe>,
    /// 0: no limit.
    rooms_per_socket: AtomicUsize,
    /// Deliveries to own sockets since other tasks last ran.
    delivered: AtomicUsize,
    unanswered: AtomicU64,
    warnings: RateLimit,
}

/// A namespace, as the bus meets it.
trait Namespace: Send + Sync {
    /// Applies another worker's command. Returns how many sockets it concerned.
    fn apply(&self, opts: BroadcastOptions, command: Command) -> usize;
    /// Answers another worker's request. Returns how many sockets it concerned.
    fn answer(&self, reply: Reply, question: Question) -> usize;
    /// Takes a socket out of all rooms: nothing refers to it any more.
    fn forget(&self, id: Sid);
    /// How many bytes the names of a socket's rooms have.
    fn room_bytes(&self, id: Sid) -> usize;
    /// The rooms of a socket of this worker, if it is in this namespace.
    fn rooms_of(&self, id: Sid) -> Option<Vec<Room>>;
    /// The sockets of this worker that are in a room.
    fn own_in(&self, room: &str) -> Vec<Sid>;
}

/// Where an answer goes.
#[derive(Debug, Clone)]
struct Reply {
    bus: Bus,
    ticket: u64,
    to: Sid,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bus").field(&self.0.id).finish()
    }
}

impl Bus {
    /// Sets this worker's id on the bus, and sends it before everything else.
    pub(crate) fn hello(&self, id: Sid) {
        if self.0.id.set(id).is_err() {
            return;
        }
        let hello = Frame {
            to: None,
            from: id,
            body: Body::Hello(Role::Worker),
        };
        if let Ok(frame) = hello.encode() {
            self.0.outbox.push(frame);
        }
    }

    /// Sets how many rooms a socket may be in; 0: any number.
    pub(crate) fn limit_rooms(&self, rooms_per_socket: usize) {
        self.0.rooms_per_socket.store(rooms_per_socket, Relaxed);
    }

    /// How many bytes the names of the rooms have that a session's sockets are in.
    pub(crate) fn room_bytes(&self, sid: Sid) -> usize {
        let namespaces = self.0.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        namespaces.values().map(|it| it.room_bytes(sid)).sum()
    }

    /// Joins the bus, and serves it until it breaks.
    pub(crate) async fn run(self, stream: UnixStream) -> BusError {
        let (read, mut write) = stream.into_split();
        tokio::select! {
            error = self.listen(Reader::new(read)) => error,
            error = self.0.outbox.write_to(&mut write) => error,
            never = self.gate().renew() => never,
            never = self.forget_released() => never,
        }
    }

    /// Waits until this worker is a member.
    pub(crate) async fn joined(&self) {
        let mut members = self.0.members.subscribe();
        // The sender lives as long as this.
        let _ = members.wait_for(|members| !members.is_empty()).await;
    }

    /// Waits until the hub has all that was sent.
    pub(crate) async fn flushed(&self) {
        self.0.outbox.flushed().await;
    }

    /// How many bytes wait for the hub.
    pub(crate) fn queued(&self) -> usize {
        self.0.outbox.bytes()
    }

    /// Holds clients back while the bus is full.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.0.outbox.gate()
    }

    /// Waits for the turn to ask. `named`: for whom, if the task does not know.
    async fn turn(
        &self,
        responder: Responder,
        named: Option<Sid>,
    ) -> Result<Arc<Turn>, ClusterError> {
        // Of nobody known, there may be any number.
        let _waiting = (!Turns::is_known(named)).then(|| self.gate().enter());
        let turn = self.0.turns.take(responder, named).await;
        turn.ok_or(ClusterError::AskerGone)
    }

    fn id(&self) -> Sid {
        self.0.id.get().copied().unwrap_or(Sid::ZERO)
    }

    fn members(&self) -> Vec<BusMember> {
        self.0.members.borrow().clone()
    }

    async fn listen(&self, mut reader: Reader<tokio::net::unix::OwnedReadHalf>) -> BusError {
        let mut turn = 0;
        loop {
            let frame = match reader.next().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            metrics::BUS_FRAMES.count(Direction::In);
            metrics::BUS_BYTES.count_many(Direction::In, frame.len() as u64);
            turn += 1 + match Frame::decode(&frame) {
                Ok(frame) => self.dispatch(frame.from, frame.body),
                Err(error) => return error.into(),
            };
            if turn >= TURN {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// Gives what came over the bus to whom it concerns. Returns how many sockets that were.
    fn dispatch(&self, from: Sid, body: Body) -> usize {
        match body {
            Body::Command { ns, opts, command } => match self.namespace(&ns) {
                Some(namespace) => namespace.apply(opts, command),
                None => 0,
            },
            Body::Ask { ticket, question } => {
                let reply = Reply {
                    bus: self.clone(),
                    ticket,
                    to: from,
                };
                self.answer(reply, question)
            }
            Body::Answer { ticket, answer } => {
                self.0.requests.answered(ticket, from, answer);
                0
            }
            Body::Responders { ticket, ids } => {
                // The hub passes requests to members only, and has said who they are.
                let members = members::with_ids(self.members(), &ids);
                self.0.requests.set_responders(ticket, members);
                0
            }
            Body::Members(members) => {
                self.set_members(&members);
                0
            }
            Body::ServerSide { event, data } => {
                self.0.handlers.tell(&event, data);
                0
            }
            Body::TellNamespaces => {
                self.tell_namespaces();
                0
            }
            // What members say to the hub or to a bridge, and the hub to a bridge.
            Body::Hello(_)
            | Body::Welcome(_)
            | Body::Elsewhere(_)
            | Body::Link(_)
            | Body::Report(_)
            | Body::Heard { .. }
            | Body::Namespace { .. } => 0,
        }
    }

    fn answer(&self, reply: Reply, question: Question) -> usize {
        let ns = match question {
            Question::ServerSide { event, data } => {
                self.0.handlers.ask(&event, data, reply);
                return 0;
            }
            Question::Sockets { ref ns, .. }
            | Question::Rooms { ref ns, .. }
            | Question::Acks { ref ns, .. }
            | Question::Details { ref ns, .. } => ns,
        };
        if let Some(namespace) = self.namespace(ns) {
            return namespace.answer(reply, question);
        }
        // Nobody has connected to it here.
        reply.give(match question {
            Question::Sockets { .. } => Answer::Sockets(Vec::new()),
            Question::Rooms { .. } => Answer::Rooms(Vec::new()),
            Question::Details { .. } => Answer::Details(Vec::new()),
            _ => Answer::AcksEnd,
        });
        0
    }

    fn set_members(&self, members: &[BusMember]) {
        let before = self.0.members.send_replace(members.to_vec());
        for gone in members::gone(before, members) {
            let requests = self.0.requests.remove_member(&gone);
            debug!(slot = gone.slot, pid = gone.pid, "a worker left the bus");
            if requests > 0 {
                let total = self.count_unanswered(requests as u64);
                let worker = WorkerInfo::from(gone);
                warn!(
                    requests,
                    total, "{worker} is gone and did not answer; the others did",
                );
            }
        }
    }

    /// Logs and counts that a worker's answer is missing.
    fn warn_unanswered(&self, member: &BusMember, why: &str) {
        let total = self.count_unanswered(1);
        if self.0.warnings.allows(WARNING_INTERVAL) {
            warn!(total, "{} {why}", WorkerInfo::from(member.clone()));
        }
    }

    fn count_unanswered(&self, requests: u64) -> u64 {
        metrics::UNANSWERED.add(requests);
        self.0.unanswered.fetch_add(requests, Relaxed) + requests
    }

    fn namespace(&self, path: &str) -> Option<Arc<dyn Namespace>> {
        let namespaces = self.0.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        namespaces.get(path).cloned()
    }

    fn add_namespace(&self, path: Str, namespace: Arc<dyn Namespace>) {
        let namespaces = self.0.namespaces.write();
        let mut namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        namespaces.insert(path.clone(), namespace);
        self.tell_namespace(path, true);
    }

    fn remove_namespace(&self, path: &str) {
        let namespaces = self.0.namespaces.write();
        let mut namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        if let Some((path, _)) = namespaces.remove_entry(path) {
            self.tell_namespace(path, false);
        }
    }

    /// The namespaces in which this worker has a socket of this id, each with the rooms of that.
    pub(crate) fn rooms_of(&self, id: Sid) -> Vec<(Str, Vec<Room>)> {
        let namespaces = self.0.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        let in_each = namespaces
            .iter()
            .filter_map(|(path, namespace)| Some((path.clone(), namespace.rooms_of(id)?)));
        in_each.collect()
    }

    /// The sockets of this worker that are in a room of this namespace.
    pub(crate) fn own_in(&self, namespace: &str, room: &str) -> Vec<Sid> {
        let namespace = self.namespace(namespace);
        namespace.map_or_else(Vec::new, |namespace| namespace.own_in(room))
    }

    /// Sends something to the other workers, or to one; waits for room.
    async fn send(&self, to: Option<Sid>, body: Body) -> Result<(), ClusterError> {
        let from = self.id();
        let frame = Frame { to, from, body }.encode()?;
        self.0.outbox.send(frame).await;
        Ok(())
    }

    /// Asks the other workers, or one.
    async fn ask(
        &self,
        to: Option<Sid>,
        question: Question,
        turn: Arc<Turn>,
    ) -> Result<Pending, ClusterError> {
        metrics::QUESTIONS.inc();
        let pending = self.0.requests.open(turn, self.expected(to));
        let body = Body::Ask {
            ticket: pending.ticket,
            question,
        };
        self.send(to, body).await?;
        Ok(pending)
    }

    /// Who will probably answer, as far as is known here.
    fn expected(&self, to: Option<Sid>) -> Vec<BusMember> {
        let mut members = self.members();
        members.retain(|member| to.map_or(member.id != self.id(), |to| member.id == to));
        members
    }

    /// Asks, when it is the asker's turn, and waits for everybody's answer, `timeout` from then on.
    async fn gather(
        &self,
        to: Option<Sid>,
        asker: Option<Sid>,
        question: Question,
        timeout: Duration,
    ) -> Result<Gathered, ClusterError> {
        let turn = self.turn(Responder::Worker, asker).await?;
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + A_LONG_TIME);
        match timeout_at(deadline, self.ask(to, question, turn)).await {
            Ok(pending) => Ok(pending?.gather(deadline).await),
            Err(_) => Ok(Gathered {
                late: self.expected(to),
                ..Gathered::default()
            }),
        }
    }

    /// Counts sockets of this worker that were sent something. After [`TURN`] of them it yields, so that
    /// the tasks that write to the clients run.
    async fn pace(&self, deliveries: usize) {
        let delivered = self.0.delivered.fetch_add(deliveries, Relaxed) + deliveries;
        if delivered >= TURN {
            self.0.delivered.store(0, Relaxed);
            yield_now().await;
        }
    }
}

impl Reply {
    /// Gives an answer that is small, or the only one.
    fn give(&self, answer: Answer) {
        if let Some(frame) = self.encode(answer) {
            self.bus.0.outbox.push(frame);
        }
    }

    /// Gives one of many answers; waits for room.
    async fn send(&self, answer: Answer) {
        if let Some(frame) = self.encode(answer) {
            self.bus.0.outbox.send(frame).await;
        }
    }

    fn encode(&self, answer: Answer) -> Option<Bytes> {
        let frame = |answer| Frame {
            to: Some(self.to),
            from: self.bus.id(),
            body: Body::Answer {
                ticket: self.ticket,
                answer,
            },
        };
        let encoded = frame(answer).encode().or_else(|error| {
            if self.bus.0.warnings.allows(WARNING_INTERVAL) {
                warn!(%error, "an answer to another worker was too large");
            }
            frame(Answer::Failed(Failure::Other(error.to_string().into()))).encode()
        });
        encoded.ok()
    }
}
