//! The ceiling of a worker's memory.
//!
//! What is sent to a client that reads more slowly than it is sent waits here; the write-stall rule ends only who
//! reads nothing. And a session costs memory before it has said a word. So when a worker has too much, new
//! sessions are refused, and of those that it has, the ones that never joined anything go first, at once; then,
//! a part at a time, those for which most is waiting. They connect anew, and know that they missed something;
//! everybody else gets everything.

use std::fs;
use std::time::Duration;

use engineioxide::{EndReason, Weight};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::context::Worker;
use crate::process::resident;

/// How often a worker looks at its memory.
const LOOK: Duration = Duration::from_millis(100);
/// So long after it has grown no more, new sessions are let in again: what is freed the allocator keeps for
/// them.
const CALM: Duration = Duration::from_secs(1);
/// Sessions for which no more than this waits are not worth ending, in bytes.
const WORTH: usize = 64 * 1024;
/// Of the others, one in so many is ended at a time, one at least.
const PART: usize = 10;

/// What this worker may have, in bytes: what is configured, or, for zero, its share of four fifths of
/// what there is.
pub(crate) fn ceiling(configured: u64, workers: u16) -> u64 {
    match configured {
        0 => available() / 5 * 4 / u64::from(workers.max(1)),
        some => some,
    }
}

/// Refuses new sessions, and ends some, whenever this worker's memory grows above the ceiling.
pub(crate) async fn keep_below_ceiling(worker: &Worker, ceiling: u64) {
    debug!(ceiling, "the memory that this worker may have");
    // What is freed the allocator keeps for what comes: only growth is a reason to end more.
    let mut most = ceiling;
    let mut grew: Option<Instant> = None;
    let mut total = 0;
    loop {
        sleep(LOOK).await;
        let now = resident();
        most = most.min(now).max(ceiling);
        if now <= most {
            if grew.is_some_and(|at| now <= ceiling || at.elapsed() >= CALM) {
                grew = None;
                worker.admission.set_full(false);
            }
            continue;
        }
        most = now;
        grew = Some(Instant::now());
        worker.admission.set_full(true);
        let ended = choose(worker.engine.weights());
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

/// What this machine has, or what its service may have if that is less, in bytes. Asked of the kernel
/// (sysinfo(2)), because a sandbox may hide /proc/meminfo.
fn available() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram.saturating_mul(machine.mem_unit.into());
    service_limits().fold(machine, u64::min)
}

/// The limits of the control group of this process and of those around it (cgroup v2, memory.max).
fn service_limits() -> impl Iterator<Item = u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = std::path::Path::new("/sys/fs/cgroup").join(group.unwrap_or_default());
    let limits: Vec<_> = group
        .ancestors()
        .take_while(|folder| folder.starts_with("/sys/fs/cgroup"))
        .filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok())
        .filter_map(|limit| limit.trim().parse().ok())
        .collect();
    limits.into_iter()
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

    #[test]
    fn what_is_configured_holds_and_zero_is_a_share_of_what_there_is() {
        assert_eq!(ceiling(1_000_000, 4), 1_000_000);
        let (one, four) = (ceiling(0, 1), ceiling(0, 4));
        assert!(one < available() && one > 64 << 20, "{one}");
        assert!(one / 4 - four <= 1);
    }
}
