//! What `GET /status` tells of the link to other machines.

use serde::Serialize;

use super::super::Parts;
use super::status::seconds;
use crate::metrics::{self, Direction, Label};
use crate::wire::bridge::Machine;

/// The link, see docs/CONTROL.md.
#[derive(Debug, Serialize)]
pub(super) struct BridgeStatus {
    state: &'static str,
    since_seconds: Option<f64>,
    missing: Vec<String>,
    server: String,
    pid: Option<u32>,
    uptime_seconds: Option<f64>,
    bridges: u32,
    machines: Vec<Machine>,
    frames_in: u64,
    frames_out: u64,
    repaired: u64,
    lost_in: u64,
    lost_out: u64,
    outages: u64,
    garbled: u64,
    emitted: u64,
    ring_bytes: u64,
    waiting_bytes: u64,
    memory_bytes: u64,
}

/// The link as it is; none where no server for it is configured.
pub(super) fn bridge(parts: &Parts) -> Option<BridgeStatus> {
    let url = parts.config.bridge.url.as_ref()?;
    let bridge = parts.hub.bridge();
    let missing = super::super::bridge::missing(parts);
    let report = bridge.report.unwrap_or_default();
    let values = parts.totals.bridge();
    let value = |at: usize| values.get(at).copied().unwrap_or_default();
    let [incoming, outgoing] = [Direction::In, Direction::Out].map(Direction::index);
    let state = match (bridge.pid, report.up) {
        (None, _) => "missing",
        (Some(_), false) => "down",
        (Some(_), true) => "up",
    };
    Some(BridgeStatus {
        state,
        since_seconds: bridge.pid.map(|_| report.since_seconds),
        missing: missing.into_iter().collect(),
        server: url.to_string(),
        pid: bridge.pid,
        uptime_seconds: bridge.uptime.map(seconds),
        bridges: bridge.epoch,
        machines: report.machines,
        frames_in: value(metrics::BRIDGE_FRAMES.0 + incoming),
        frames_out: bridge.passed,
        repaired: value(metrics::BRIDGE_REPAIRED.0),
        lost_in: value(metrics::BRIDGE_LOST.0 + incoming),
        lost_out: value(metrics::BRIDGE_LOST.0 + outgoing) + bridge.lost,
        outages: value(metrics::BRIDGE_OUTAGES.0),
        garbled: value(metrics::BRIDGE_GARBLED.0),
        emitted: value(metrics::BRIDGE_EMITTED.0),
        ring_bytes: value(metrics::BRIDGE_RING.0),
        waiting_bytes: value(metrics::BRIDGE_WAITING.0) + bridge.waiting as u64,
        memory_bytes: value(metrics::BRIDGE_MEMORY.0),
    })
}
