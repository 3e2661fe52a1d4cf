//! The ceiling of a worker's memory.
//!
//! What is sent to a client that reads more slowly than it is sent waits here; the write-stall rule ends only who
//! reads nothing. And a session costs memory before it has said a word. So when a worker has too much, new
//! sessions are refused, and of those that it has, the ones that never joined anything go first, at once; then,
//! a part at a time, those for which most is waiting, who are in rooms with the longest names, or whose requests have
//! most in memory: a post that has arrived in part, an answer that is read slowly. They connect anew, and know that they
//! missed something; everybody else gets everything.
//!
//! When the whole service has nearly all that its control group may have, which is its sockets' memory and the other
//! processes' too, new sessions are refused before anybody suffers; nobody is ended for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engineioxide::{EndReason, Weight};
use socketioxide::socket::Sid;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::COMPLAINT_PAUSE;
use super::context::Worker;
use super::stream::Control;
use crate::config::Config;
use crate::control_group;
use crate::logging::RateLimit;
use crate::process::{resident, worker_memory};

/// How often a worker looks at its memory.
const LOOK: Duration = Duration::from_millis(100);
/// So long after it has grown no more, new sessions are let in again: what is freed the allocator keeps for
/// them.
const CALM: Duration = Duration::from_secs(1);
/// Sessions for which no more than this waits are not worth ending, in bytes.
const WORTH: usize = 64 * 1024;
/// So often the name of a room is kept for a socket that is in it alone: as the room's, the socket's, and to count it.
const ROOM_COPIES: usize = 3;
/// Of the others, one in so many is ended at a time, one at least; and as many as have what the memory has grown by.
const PART: usize = 10;

/// The memory that a worker may have, in bytes.
fn ceiling(config: &Config) -> u64 {
    let ceiling = worker_memory(config.limits.worker_memory, config.workers);
    debug!(ceiling, "the memory that this worker may have");
    ceiling
}

/// Refuses new sessions, and ends some, whenever this worker's memory grows above the ceiling.
pub(crate) async fn keep_below_ceiling(worker: &Worker) {
    let mut reconfigured = worker.reconfigured();
    let mut ceiling = ceiling(&worker.config());
    // What is freed the allocator keeps for what comes: only growth is a reason to end more.
    let mut most = ceiling;
    let mut grew: Option<Instant> = None;
    let mut total = 0;
    let mut service_full = false;
    let mut service_looked = Instant::now();
    let complaints = RateLimit::default();
    loop {
        sleep(LOOK).await;
        if reconfigured.has_changed().is_ok_and(|changed| changed) {
            reconfigured.mark_unchanged();
            ceiling = self::ceiling(&worker.config());
        }
        // Some files are read for it.
        let service_is_due = service_looked.elapsed() >= CALM;
        if service_is_due {
            service_looked = Instant::now();
        }
        if service_is_due && control_group::is_full() != service_full {
            service_full = !service_full;
            worker.admission.set_full(service_full || grew.is_some());
            if service_full && complaints.allows(COMPLAINT_PAUSE) {
                warn!(
                    "the service has nearly all the memory that it may have (MemoryMax=); new sessions are refused"
                );
            }
        }
        let now = resident();
        most = most.min(now).max(ceiling);
        if now <= most {
            if grew.is_some_and(|at| now <= ceiling || at.elapsed() >= CALM) {
                grew = None;
                worker.admission.set_full(service_full);
            }
            continue;
        }
        let growth = now - most;
        most = now;
        grew = Some(Instant::now());
        worker.admission.set_full(true);
        worker.engine.give_up_closing();
        let ended = choose(users(worker), growth);
        if ended.is_empty() {
            continue;
        }
        total += ended.len();
        let bytes: usize = ended.iter().map(|user| user.bytes).sum();
        warn!(
            memory = now,
            ceiling,
            sessions = ended.len(),
            bytes,
            total,
            "the memory is full; sessions that joined nothing, or had most in memory, were ended"
        );
        for user in ended {
            user.end(worker);
        }
    }
}

/// Who uses memory.
#[derive(Debug)]
struct User {
    /// None: a connection, with a request of a session that has ended, or of another worker's.
    sid: Option<Sid>,
    bytes: usize,
    joined: bool,
    /// Connections that have something of it in memory.
    connections: Vec<Arc<Control>>,
}

impl From<Weight> for User {
    fn from(weight: Weight) -> Self {
        Self {
            sid: Some(weight.sid),
            bytes: weight.bytes,
            joined: weight.joined,
            connections: Vec::new(),
        }
    }
}

impl User {
    /// Ends it, and lets go of what it has.
    fn end(self, worker: &Worker) {
        if let Some(sid) = self.sid {
            worker.engine.end(sid, EndReason::Memory);
        }
        for connection in self.connections {
            connection.abort();
        }
    }
}

/// All who use memory, and how much.
fn users(worker: &Worker) -> Vec<User> {
    let weights = worker.engine.weights().into_iter();
    let mut users: Vec<_> = weights.map(User::from).collect();
    for user in &mut users {
        let rooms = user.sid.map_or(0, |sid| worker.bus.room_bytes(sid));
        user.bytes += ROOM_COPIES * rooms;
    }
    let holding = worker.sessions.holding(WORTH);
    if holding.is_empty() {
        return users;
    }
    let ids = users.iter().enumerate();
    let places: HashMap<_, _> = ids
        .filter_map(|(place, user)| Some((user.sid?, place)))
        .collect();
    for connection in holding {
        let held = connection.held();
        let place = held.sid.and_then(|sid| places.get(&sid));
        if let Some(user) = place.and_then(|place| users.get_mut(*place)) {
            user.bytes += held.bytes;
            user.connections.push(connection);
        } else {
            // Its session has ended, or is another worker's.
            users.push(User {
                sid: None,
                bytes: held.bytes,
                joined: true,
                connections: vec![connection],
            });
        }
    }
    users
}

/// Who goes, when the memory has grown by so many bytes: those who have as much of it at least.
fn choose(mut users: Vec<User>, growth: u64) -> Vec<User> {
    if users.iter().any(|user| !user.joined) {
        users.retain(|user| !user.joined);
        return users;
    }
    users.retain(|user| user.bytes > WORTH);
    users.sort_by_key(|user| std::cmp::Reverse(user.bytes));
    let mut freed = 0;
    let enough = users.iter().position(|user| {
        freed += user.bytes as u64;
        freed >= growth
    });
    let enough = enough.map_or(users.len(), |last| last + 1);
    users.truncate(users.len().div_ceil(PART).max(enough));
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(weights: &[(usize, bool)], growth: usize) -> Vec<usize> {
        let user = |&(bytes, joined)| User {
            sid: None,
            bytes,
            joined,
            connections: Vec::new(),
        };
        let chosen = choose(weights.iter().map(user).collect(), growth as u64);
        chosen.iter().map(|user| user.bytes).collect()
    }

    #[test]
    fn who_joined_nothing_goes_first_and_then_those_with_most_waiting() {
        const MANY: usize = 1 << 20;
        assert_eq!(chosen(&[(MANY, true), (1, false), (2, false)], 1), [1, 2]);
        let three = [(MANY, true), (3 * MANY, true), (5, true)];
        assert_eq!(chosen(&three, 1), [3 * MANY]);
        assert_eq!(chosen(&three, 3 * MANY + 1), [3 * MANY, MANY]);
        assert_eq!(chosen(&three, 9 * MANY), [3 * MANY, MANY]);
        let eleven: Vec<_> = (1..=11).map(|n| (n * MANY, true)).collect();
        assert_eq!(chosen(&eleven, 1), [11 * MANY, 10 * MANY]);
        assert!(chosen(&[(WORTH, true), (5, true)], MANY).is_empty());
    }
}
