//! The ceiling of a worker's memory.
//!
//! What is sent to a client that reads more slowly than it is sent waits here; the write-stall rule ends only who
//! reads nothing. And a session costs memory before it has said a word. So when a worker has too much, new
//! sessions are refused, and of those that it has, the ones that never joined anything go first, at once; then,
//! a part at a time, those for which most is waiting, or who are in rooms with the longest names. They connect anew, and know that they missed something;
//! everybody else gets everything.
//!
//! When the whole service has nearly all that its control group may have, which is its sockets' memory and the other
//! processes' too, new sessions are refused before anybody suffers; nobody is ended for that.

use std::time::Duration;

use engineioxide::{EndReason, Weight};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::COMPLAINT_PAUSE;
use super::context::Worker;
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
/// Of the others, one in so many is ended at a time, one at least.
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
        most = now;
        grew = Some(Instant::now());
        worker.admission.set_full(true);
        let mut weights = worker.engine.weights();
        for weight in &mut weights {
            weight.bytes += ROOM_COPIES * worker.bus.room_bytes(weight.sid);
        }
        let ended = choose(weights);
        if ended.is_empty() {
            continue;
        }
        total += ended.len();
        let bytes: usize = ended.iter().map(|weight| weight.bytes).sum();
        warn!(
            memory = now,
            ceiling,
            sessions = ended.len(),
            bytes,
            total,
            "the memory is full; sessions that joined nothing, or whose clients read too slowly, were ended"
        );
        for weight in ended {
            worker.engine.end(weight.sid, EndReason::Memory);
        }
    }
}

/// Which sessions go.
fn choose(mut weights: Vec<Weight>) -> Vec<Weight> {
    if weights.iter().any(|weight| !weight.joined) {
        weights.retain(|weight| !weight.joined);
        return weights;
    }
    weights.retain(|weight| weight.bytes > WORTH);
    weights.sort_by_key(|weight| std::cmp::Reverse(weight.bytes));
    weights.truncate(weights.len().div_ceil(PART));
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketioxide::socket::Sid;

    fn chosen(weights: &[(usize, bool)]) -> Vec<usize> {
        let weight = |&(bytes, joined)| Weight {
            sid: Sid::ZERO,
            bytes,
            joined,
        };
        let chosen = choose(weights.iter().map(weight).collect());
        chosen.iter().map(|weight| weight.bytes).collect()
    }

    #[test]
    fn who_joined_nothing_goes_first_and_then_those_with_most_waiting() {
        const MANY: usize = 1 << 20;
        assert_eq!(chosen(&[(MANY, true), (1, false), (2, false)]), [1, 2]);
        assert_eq!(
            chosen(&[(MANY, true), (3 * MANY, true), (5, true)]),
            [3 * MANY]
        );
        let eleven: Vec<_> = (1..=11).map(|n| (n * MANY, true)).collect();
        assert_eq!(chosen(&eleven), [11 * MANY, 10 * MANY]);
        assert!(chosen(&[(WORTH, true), (5, true)]).is_empty());
    }
}
