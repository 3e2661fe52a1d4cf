//! The sessions of this worker that an operator looks for: as many as are asked for, and as fit into one message.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engineioxide::Live;
use serde::Serialize;
use socketioxide::socket::Sid;
use tokio::task::yield_now;

use super::context::Worker;
use super::ends;
use crate::wire::control::{Answer, Sought, Traffic, TransportName};

/// What is told may be so long, in bytes: a message of the link has room for it.
const MOST_BYTES: usize = 30 * 1024;
/// Rooms that are told of a socket in one namespace, and namespaces of a session.
const MOST_ROOMS: usize = 20;
/// Of a room's name so many characters are told.
const MOST_CHARS: usize = 200;
/// After so many sessions everybody else has their turn.
const TURN: usize = 25;

/// A session, as docs/CONTROL.md has it.
#[derive(Debug, Serialize)]
struct Shown {
    socket_id: String,
    address: Option<IpAddr>,
    worker: WorkerId,
    transport: TransportName,
    open_seconds: f64,
    #[serde(flatten)]
    traffic: Traffic,
    namespaces: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Serialize)]
struct WorkerId {
    slot: u16,
    pid: u32,
}

/// Finds them.
pub(super) async fn search(worker: &Worker, sought: &Sought, most: u16) -> Answer {
    let most = usize::from(most);
    let candidates = candidates(worker, sought, most + 1);
    let (mut sessions, mut count, mut more) = (String::from("["), 0, false);
    for (nth, sid) in candidates.into_iter().enumerate() {
        if nth % TURN == TURN - 1 {
            yield_now().await;
        }
        // It may have ended meanwhile.
        let Some(live) = worker.engine.live(sid) else {
            continue;
        };
        let Ok(shown) = serde_json::to_string(&show(worker, live)) else {
            continue;
        };
        if count == most || sessions.len() + shown.len() + 2 > MOST_BYTES {
            more = true;
            break;
        }
        if count > 0 {
            sessions.push(',');
        }
        sessions.push_str(&shown);
        count += 1;
    }
    sessions.push(']');
    Answer::Found { sessions, more }
}

/// Whose sessions are looked at, `most` of them.
fn candidates(worker: &Worker, sought: &Sought, most: usize) -> Vec<Sid> {
    match sought {
        Sought::Id(id) => id.parse().into_iter().collect(),
        Sought::Address(address) => {
            let found = worker.engine.live_of(*address, most);
            found.into_iter().map(|live| live.sid).collect()
        }
        Sought::Room { namespace, room } => {
            let mut found = worker.bus.own_in(namespace, room);
            found.truncate(most);
            found
        }
    }
}

fn show(worker: &Worker, live: Live) -> Shown {
    let rooms = worker.bus.rooms_of(live.sid).into_iter().take(MOST_ROOMS);
    let namespaces = rooms.map(|(namespace, mut rooms)| {
        rooms.sort_unstable();
        let rooms = rooms.iter().take(MOST_ROOMS);
        (namespace.to_string(), rooms.map(|room| cut(room)).collect())
    });
    Shown {
        socket_id: live.sid.to_string(),
        address: live.client.map(|address| address.to_canonical()),
        worker: WorkerId {
            slot: worker.home.slot,
            pid: std::process::id(),
        },
        transport: ends::transport(live.transport),
        open_seconds: live.lived.as_secs_f64(),
        traffic: ends::traffic(live.traffic),
        namespaces: namespaces.collect(),
    }
}

/// A name that is not too long to be told.
fn cut(name: &str) -> String {
    match name.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", name.get(..at).unwrap_or_default()),
        None => name.to_owned(),
    }
}
