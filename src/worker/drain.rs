//! Ends the sessions of a worker at a set pace, at the transport.
//!
//! Never with a Socket.IO DISCONNECT packet: after that one clients do not come back. A WebSocket's
//! client sees a close frame (1001), a polling client's poll returns, and both connect anew.

use std::time::Duration;

use engineioxide::EndReason;
use tokio::time::{Instant, sleep, sleep_until};

use super::context::Worker;

/// How long the last answers and close frames may take to get away.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the sessions that there are, the oldest first, spread evenly over `over`; those that begin meanwhile stay.
pub(crate) async fn spread(worker: &Worker, over: Duration) {
    let begun = Instant::now();
    let mut sids = worker.engine.sids();
    sids.sort_by_cached_key(|&sid| {
        let lived = worker.engine.live(sid).map(|live| live.lived);
        std::cmp::Reverse(lived)
    });
    let total = u32::try_from(sids.len()).unwrap_or(u32::MAX);
    for (nth, sid) in (0..total).zip(sids) {
        sleep_until(begun + over * nth / total).await;
        worker.engine.end(sid, EndReason::Drain);
    }
}

/// Ends the sessions that there are for this reason, spread evenly over `within`, and then those that began meanwhile.
/// A handshake whose connection was accepted before the stop is served like any other: there is nobody
/// else who could, and its client would see an error instead of a short session.
pub(crate) async fn run(worker: &Worker, within: Duration, reason: EndReason) {
    let begun = Instant::now();
    let sids = worker.engine.sids();
    let total = u32::try_from(sids.len()).unwrap_or(u32::MAX);
    for (nth, sid) in (0..total).zip(sids) {
        sleep_until(begun + within * nth / total).await;
        worker.engine.end(sid, reason);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        for sid in worker.engine.sids() {
            worker.engine.end(sid, reason);
        }
        worker.sessions.abort_idle();
        if worker.sessions.open_connections() == 0 && worker.sessions.count() == 0 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
}
