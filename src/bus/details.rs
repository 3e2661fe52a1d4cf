//! What Node servers on the same Redis are told of this worker: its namespaces, and of its sockets what Node's
//! `fetchSockets()` shows.

use std::sync::PoisonError;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use socketioxide_core::adapter::Room;
use socketioxide_core::{Sid, Str};
use tokio::task::yield_now;

use super::{Bus, Reply};
use crate::wire::frame::{Answer, Body, Frame};

/// After so many sockets everybody else has their turn.
const TURN: usize = 64;

/// What is known of a socket, beside its rooms.
#[derive(Debug)]
pub(crate) struct Described {
    /// As Node's `socket.handshake`.
    pub handshake: Value,
    /// As Node's `socket.data`.
    pub data: Value,
}

/// Describes a socket of a namespace of this worker, if it is still there.
pub(super) type Describe = Box<dyn Fn(&str, Sid) -> Option<Described> + Send + Sync>;

/// A socket, as Node servers tell each other.
#[derive(Debug, Serialize)]
struct Detail<'a> {
    id: &'a str,
    handshake: Value,
    rooms: Vec<&'a str>,
    data: Value,
}

impl Bus {
    /// Sets who knows the sockets of this worker.
    pub(crate) fn describe_with(
        &self,
        describe: impl Fn(&str, Sid) -> Option<Described> + Send + Sync + 'static,
    ) {
        let _ = self.0.describe.set(Box::new(describe));
    }

    /// Tells the bridge that this worker has a namespace, or has it no more.
    pub(super) fn tell_namespace(&self, ns: Str, is_here: bool) {
        let frame = Frame {
            to: None,
            from: self.id(),
            body: Body::Namespace { ns, is_here },
        };
        if let Ok(frame) = frame.encode() {
            self.0.outbox.push(frame);
        }
    }

    /// Tells the bridge all namespaces of this worker.
    pub(super) fn tell_namespaces(&self) {
        let namespaces = self.0.namespaces.read();
        let namespaces = namespaces.unwrap_or_else(PoisonError::into_inner);
        for ns in namespaces.keys() {
            self.tell_namespace(ns.clone(), true);
        }
    }

    fn detail(&self, ns: &str, id: Sid, rooms: &[Room]) -> Option<Bytes> {
        let described = self.0.describe.get()?(ns, id)?;
        let rooms = rooms.iter().map(AsRef::as_ref);
        let detail = Detail {
            id: id.as_str(),
            handshake: described.handshake,
            // Every socket is in the room that has its id.
            rooms: std::iter::once(id.as_str())
                .chain(rooms.filter(|room| *room != id.as_str()))
                .collect(),
            data: described.data,
        };
        serde_json::to_vec(&detail).ok().map(Bytes::from)
    }
}

/// Answers what is known of these sockets.
pub(super) async fn describe(reply: Reply, ns: Str, sockets: Vec<(Sid, Vec<Room>)>) {
    let mut details = Vec::with_capacity(sockets.len());
    for (nth, (id, rooms)) in sockets.into_iter().enumerate() {
        if nth % TURN == TURN - 1 {
            yield_now().await;
        }
        details.extend(reply.bus.detail(&ns, id, &rooms));
    }
    reply.send(Answer::Details(details)).await;
}
