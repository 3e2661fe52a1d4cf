//! Acknowledgements of the clients of all workers, as one stream.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::FusedStream;
use futures_util::{Stream, StreamExt};
use socketioxide::{AckError, SocketError};
use socketioxide_core::Sid;
use socketioxide_core::adapter::AckStreamItem;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::requests::{Pending, Update};
use super::turns::Turn;
use super::{Bus, Reply, unread};
use crate::wire::frame::{AckFailure, Answer, BusMember, MAX_FRAME, value_size};

/// Acknowledgements that travel together, in bytes: more than one for a system call, fewer than
/// what would hold up others.
const BATCH: usize = 64 * 1024;
/// The largest acknowledgement that the bus carries, in bytes.
const LARGEST: usize = MAX_FRAME - BATCH;

pub(super) type Item = AckStreamItem<AckError>;

/// The acknowledgements of this worker's clients, and those of the others'. Every socket yields one
/// item: its client's answer, or why there is none.
#[must_use = "streams do nothing unless polled"]
pub struct Acks {
    local: Option<Local>,
    remote: Option<Remote>,
    /// Until all are there.
    turn: Option<Arc<Turn>>,
}

/// What is still to come from this worker's clients. It is taken from socketioxide, and counted, as it comes, however
/// slowly the application takes it from here.
struct Local {
    items: mpsc::UnboundedReceiver<Item>,
    task: JoinHandle<()>,
}

/// What is still to come from other workers.
pub(super) struct Remote {
    bus: Bus,
    pending: Pending,
    deadline: Pin<Box<Sleep>>,
    /// Who answers, once that is known; and for each the sockets that have not answered, once those
    /// are known.
    responders: Option<Vec<(BusMember, Option<HashSet<Sid>>)>>,
    /// The one socket that was asked, if it was one, until it has its item.
    one: Option<Sid>,
    ready: VecDeque<Item>,
}

impl Acks {
    pub(super) fn new(
        local: impl Stream<Item = Item> + Send + 'static,
        remote: Option<Remote>,
        turn: Arc<Turn>,
    ) -> Self {
        Self {
            local: Some(Local::new(local, Arc::clone(&turn))),
            remote,
            turn: Some(turn),
        }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        if let Some(local) = &mut self.local {
            match local.items.poll_recv(cx) {
                Poll::Ready(None) => self.local = None,
                Poll::Ready(item) => return Poll::Ready(item),
                Poll::Pending => {}
            }
        }
        if let Some(remote) = &mut self.remote {
            match remote.poll_next(cx) {
                Poll::Ready(None) => self.remote = None,
                Poll::Ready(item) => return Poll::Ready(item),
                Poll::Pending => {}
            }
        }
        if self.local.is_none() && self.remote.is_none() {
            self.turn = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Acks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acks")
            .field("local", &self.local.is_some())
            .field("remote", &self.remote.is_some())
            .finish_non_exhaustive()
    }
}

impl Stream for Acks {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let item = ready!(self.poll_item(cx));
        if let Some((_, Ok(value))) = &item {
            unread::given(value);
        }
        Poll::Ready(item)
    }
}

impl FusedStream for Acks {
    fn is_terminated(&self) -> bool {
        self.local.is_none() && self.remote.is_none()
    }
}

impl Local {
    fn new(acks: impl Stream<Item = Item> + Send + 'static, turn: Arc<Turn>) -> Self {
        let (taken, items) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut acks = std::pin::pin!(acks);
            while let Some(ack) = acks.next().await {
                if taken.send(counted(ack, &turn)).is_err() {
                    return;
                }
            }
        });
        Self { items, task }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An acknowledgement, if there is room for it.
pub(super) fn counted((id, ack): Item, turn: &Turn) -> Item {
    let ack = ack.and_then(|value| {
        let has_room = turn.admit(value_size(&value));
        let full = || AckError::Socket(SocketError::InternalChannelFull);
        has_room.then_some(value).ok_or_else(full)
    });
    (id, ack)
}

impl Remote {
    pub(super) fn new(bus: Bus, pending: Pending, deadline: Sleep, one: Option<Sid>) -> Self {
        Self {
            bus,
            pending,
            deadline: Box::pin(deadline),
            responders: None,
            one,
            ready: VecDeque::new(),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.one = None;
                return Poll::Ready(Some(item));
            }
            if self.responders.as_ref().is_some_and(Vec::is_empty) {
                // Gone before it was asked, perhaps with its worker.
                let gone = self
                    .one
                    .take()
                    .map(|id| (id, Err(AckFailure::Closed.into())));
                return Poll::Ready(gone);
            }
            if let Poll::Ready(update) = self.pending.updates.poll_recv(cx) {
                match update {
                    Some(update) => self.apply(update),
                    None => self.responders = Some(Vec::new()),
                }
                continue;
            }
            ready!(self.deadline.as_mut().poll(cx));
            self.give_up();
        }
    }

    fn apply(&mut self, update: Update) {
        if let Update::Responders(all) = update {
            self.responders = Some(all.into_iter().map(|member| (member, None)).collect());
            return;
        }
        // The hub tells whom it asked before anybody can answer.
        let mut responders = self.responders.iter_mut().flatten();
        let mut pending_of = |from| {
            let found = responders.find(|(member, _)| *member == from);
            found.map(|(_, pending)| pending)
        };
        match update {
            Update::Responders(_) => {}
            Update::Answer(from, Answer::AcksOf(sockets)) => {
                if let Some(pending) = pending_of(from) {
                    *pending = Some(sockets.into_iter().collect());
                }
            }
            Update::Acks(from, acks) => {
                let Some(Some(pending)) = pending_of(from) else {
                    return;
                };
                for (id, ack) in acks {
                    if pending.remove(&id) {
                        self.ready.push_back((id, ack));
                    }
                }
            }
            Update::Answer(from, _) => self.done(&from, AckFailure::Closed),
            Update::Gone(member) => self.done(&member, AckFailure::Closed),
        }
    }

    /// Nothing more will come from this worker. Sockets that did not answer have their error.
    fn done(&mut self, worker: &BusMember, why: AckFailure) {
        let responders = self.responders.get_or_insert_default();
        if let Some(at) = responders.iter().position(|(member, _)| member == worker) {
            let (_, pending) = responders.swap_remove(at);
            self.fail(pending, why);
        }
    }

    fn fail(&mut self, pending: Option<HashSet<Sid>>, why: AckFailure) {
        let pending = pending.into_iter().flatten();
        self.ready.extend(pending.map(|id| (id, Err(why.into()))));
    }

    /// The clients' time is over, and some for the way.
    fn give_up(&mut self) {
        let responders = self.responders.replace(Vec::new());
        let late = responders.unwrap_or_else(|| {
            let expected = self.pending.expected.iter();
            expected.map(|member| (member.clone(), None)).collect()
        });
        for (worker, pending) in late {
            self.bus.warn_unanswered(&worker, "did not answer in time");
            self.fail(pending, AckFailure::Timeout);
        }
    }
}

/// Collects what the clients of this worker answer, for another worker. Waits for room on the bus.
pub(super) async fn collect(
    reply: Reply,
    sockets: Vec<Sid>,
    acks: impl Stream<Item = Item> + Send,
) {
    reply.send(Answer::AcksOf(sockets)).await;
    let mut acks = std::pin::pin!(acks.ready_chunks(256));
    while let Some(chunk) = acks.next().await {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (id, ack) in chunk {
            let ack = ack.map_err(|error| AckFailure::from(&error));
            // What the bus cannot carry is as good as not given.
            let ack = ack.and_then(|value| match value_size(&value) {
                ..LARGEST => Ok(value),
                _ => Err(AckFailure::Closed),
            });
            let size = ack.as_ref().map_or(0, value_size);
            if bytes + size > BATCH && !batch.is_empty() {
                reply.send(Answer::Acks(std::mem::take(&mut batch))).await;
                bytes = 0;
            }
            bytes += size;
            batch.push((id, ack));
        }
        reply.send(Answer::Acks(batch)).await;
    }
    reply.send(Answer::AcksEnd).await;
}

impl From<AckFailure> for AckError {
    fn from(failure: AckFailure) -> Self {
        match failure {
            AckFailure::Timeout => Self::Timeout,
            AckFailure::Closed => Self::Socket(SocketError::Closed),
        }
    }
}

impl From<&AckError> for AckFailure {
    fn from(error: &AckError) -> Self {
        match error {
            AckError::Timeout => Self::Timeout,
            _ => Self::Closed,
        }
    }
}
