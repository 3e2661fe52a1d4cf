//! Tells the master what this worker has counted.

use std::time::Duration;

use engineioxide::Stats;

use super::context::Worker;
use crate::ipc::link::LinkError;
use crate::logging::LogGuard;
use crate::metrics::{self, Direction, Lag, Upgrade, nanos};
use crate::process::resident;
use crate::wire::control::{Reason, TransportName};
use crate::wire::link::ToMaster;

/// So many ticks lie between two messages, at least: a quarter of a second.
const PAUSE: u32 = 2;
/// Of a worker at rest the master hears after so many.
const REST: u32 = 8;

/// Tells the figures for as long as the worker lives, four times a second at most.
pub(super) async fn tell(worker: &Worker, log: &LogGuard) -> LinkError {
    let mut lag = Lag::new();
    let mut told = Vec::new();
    let mut since = 0;
    loop {
        lag.tick(&metrics::LAG_SECONDS).await;
        since += 1;
        if since < PAUSE {
            continue;
        }
        collect(worker, log, lag.longest());
        let values = metrics::values();
        if since < REST && metrics::rests(&told, &values) {
            continue;
        }
        since = 0;
        told.clone_from(&values);
        if let Err(error) = worker.link.tell(&ToMaster::Metrics(values)).await {
            return error;
        }
    }
}

/// Tells them a last time, before the worker leaves.
pub(super) async fn tell_last(worker: &Worker, log: &LogGuard) {
    collect(worker, log, Duration::ZERO);
    // A master that does not hear it any more does not need it.
    let _ = worker
        .link
        .tell(&ToMaster::Metrics(metrics::values()))
        .await;
}

/// Asks those who count by themselves.
fn collect(worker: &Worker, log: &LogGuard, lag: Duration) {
    of_the_engine(worker.engine.stats());
    for (reason, ended) in Reason::ALL.into_iter().zip(worker.ends.by_reason()) {
        metrics::SESSIONS_ENDED.mirror_of(reason, ended);
    }
    metrics::CONNECTIONS.set(worker.sessions.connections());
    metrics::BUS_QUEUE.set(worker.bus.queued() as u64);
    metrics::MEMORY.set(resident());
    metrics::LAG_LONGEST.set(nanos(lag));
    metrics::LOG_LINES_LOST.mirror(log.lost());
}

fn of_the_engine(stats: Stats) {
    metrics::SESSIONS.set_of(TransportName::Polling, stats.polling);
    metrics::SESSIONS.set_of(TransportName::WebSocket, stats.websockets);
    metrics::WAITING.set(stats.waiting);
    for (way, messages) in [
        (Direction::In, stats.received),
        (Direction::Out, stats.sent),
    ] {
        metrics::MESSAGES.mirror_of(way, messages.count);
        metrics::MESSAGE_BYTES.mirror_of(way, messages.bytes);
        metrics::ACKS.mirror_of(way, messages.acks);
    }
    metrics::UPGRADES.mirror_of(Upgrade::Tried, stats.upgrades_tried);
    metrics::UPGRADES.mirror_of(Upgrade::Done, stats.upgrades_done);
    metrics::UPGRADES.mirror_of(Upgrade::Failed, stats.upgrades_failed);
    metrics::SLOW_CLIENTS.mirror(stats.slow);
    metrics::HELD_BACK.mirror(stats.held_back);
}
