//! The ceiling of a worker's memory. What is sent to a client that reads more slowly than it is sent
//! waits here, whole messages of it; the write-stall rule ends only who reads nothing. So when a
//! worker has too much memory, whoever has been behind the longest goes first. It connects anew,
//! and knows that it missed something; everybody else gets everything.

use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::Worker;
use super::drain::{self, Session};

/// How often a worker looks at its memory.
const LOOK: Duration = Duration::from_millis(100);
/// Who was behind for less may be reading all that it gets.
const BEHIND: Duration = Duration::from_millis(250);
/// Of those that are behind, one in so many is ended at a time, one at least.
const PART: usize = 10;

/// What this worker may have, in bytes: what is configured, or, for zero, its share of four fifths of
/// what there is.
pub(crate) fn ceiling(configured: u64, workers: u16) -> u64 {
    match configured {
        0 => available() / 5 * 4 / u64::from(workers.max(1)),
        some => some,
    }
}

/// Ends sessions of clients that are behind, whenever this worker's memory grows above the ceiling.
pub(crate) async fn keep_below_ceiling(worker: &Worker, ceiling: u64) {
    debug!(ceiling, "the memory that this worker may have");
    // What is freed the allocator keeps for what comes: only growth is a reason to end more.
    let mut most = ceiling;
    let mut ended = 0;
    loop {
        sleep(LOOK).await;
        let now = resident();
        most = most.min(now).max(ceiling);
        if now <= most {
            continue;
        }
        most = now;
        let behind = behind(worker);
        let part = behind.len().div_ceil(PART);
        let Some(&(first, _)) = behind.first() else {
            continue;
        };
        ended += part;
        warn!(
            memory = now,
            ceiling,
            behind_ms = first.elapsed().as_millis(),
            sessions = part,
            total = ended,
            "the memory is full; sessions of clients that read too slowly were ended"
        );
        for (_, session) in behind.into_iter().take(part) {
            match session {
                Session::WebSocket(control) => control.abort(),
                polling @ Session::Polling(..) => drain::end(worker, polling).await,
            }
        }
    }
}

/// The sessions whose clients are behind, the slowest first.
fn behind(worker: &Worker) -> Vec<(Instant, Session)> {
    let websockets = worker.sessions.websockets().into_iter();
    let websockets = websockets
        .filter_map(|control| Some((control.behind_since()?, Session::WebSocket(control))));
    let polling = worker.sessions.polling_behind().into_iter();
    let polling = polling.map(|(since, sid, revision)| (since, Session::Polling(sid, revision)));
    let mut behind: Vec<_> = websockets
        .chain(polling)
        .filter(|(since, _)| since.elapsed() >= BEHIND)
        .collect();
    behind.sort_by_key(|(since, _)| *since);
    behind
}

/// What this process has in memory, in bytes (proc(5), statm).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * rustix::param::page_size() as u64
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

    #[test]
    fn what_is_configured_holds_and_zero_is_a_share_of_what_there_is() {
        assert_eq!(ceiling(1_000_000, 4), 1_000_000);
        let (one, four) = (ceiling(0, 1), ceiling(0, 4));
        assert!(one < available() && one > 64 << 20, "{one}");
        assert!(one / 4 - four <= 1);
    }
}
