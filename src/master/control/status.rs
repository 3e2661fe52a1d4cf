//! `GET /status`: how the server is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use serde::Serialize;

use super::super::Parts;
use super::super::drains::{Draining, Whose};
use super::super::slots::{SlotState, Vacancy};
use super::super::status::Health;
use super::super::totals::{Rates, SessionCounts, WorkerFigures};
use super::bridge::{BridgeStatus, bridge};
use super::{Control, Phase};
use crate::process;
use crate::wire::control::Reason;

/// The answer, see docs/CONTROL.md.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    state: &'static str,
    reasons: Vec<String>,
    version: &'static str,
    pid: u32,
    machine: MachineStatus,
    started_at: String,
    uptime_seconds: f64,
    taken_out: bool,
    drains: Vec<DrainStatus>,
    sessions: SessionCounts,
    rates: Rates,
    connections_waiting: usize,
    generation: u16,
    reload: Option<&'static str>,
    workers: Vec<WorkerStatus>,
    earlier_workers: Vec<EarlierStatus>,
    listeners: Vec<ListenerStatus>,
    limits: LimitsStatus,
    refused: BTreeMap<&'static str, u64>,
    ended: BTreeMap<Reason, u64>,
    faults: Vec<FaultStatus>,
    log: LogStatus,
    bridge: Option<BridgeStatus>,
}

/// How the machine's sessions are told from those of others.
#[derive(Debug, Serialize)]
struct MachineStatus {
    number: u16,
    /// The number as it stands in session ids, behind the first 16 characters.
    characters: String,
}

/// Sessions that end at a set pace.
#[derive(Debug, Serialize)]
struct DrainStatus {
    why: &'static str,
    sessions_left: u64,
    seconds_left: u64,
}

#[derive(Debug, Serialize)]
struct WorkerStatus {
    slot: u16,
    pid: Option<u32>,
    state: &'static str,
    why: Option<String>,
    next_attempt_seconds: Option<f64>,
    uptime_seconds: Option<f64>,
    #[serde(flatten)]
    figures: WorkerFigures,
}

/// A worker that gets no new sessions any more.
#[derive(Debug, Serialize)]
struct EarlierStatus {
    generation: u16,
    slot: u16,
    pid: u32,
    #[serde(flatten)]
    figures: WorkerFigures,
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    address: String,
    /// Whose own port it is.
    worker: Option<u16>,
    state: &'static str,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct LimitsStatus {
    max_connections: u32,
    max_connections_per_address: u32,
    new_sessions_per_second: u32,
    rooms_per_socket: u32,
    worker_memory_bytes: u64,
    open_files: u64,
}

#[derive(Debug, Serialize)]
struct FaultStatus {
    at: String,
    what: String,
}

#[derive(Debug, Serialize)]
struct LogStatus {
    level: String,
    until: Option<String>,
    lines_lost: u64,
}

/// How the server is now.
pub(super) fn status(control: &Control) -> Status {
    let parts = &control.parts;
    let (state, reasons) = state(control);
    let limits = &parts.config.limits;
    let slots = parts.slots.states();
    let figures = parts.totals.server();
    Status {
        state,
        reasons,
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        machine: MachineStatus {
            number: parts.pool.keyring().machine(),
            characters: parts.pool.keyring().machine_characters(),
        },
        started_at: time(control.started_at, Unit::Second),
        uptime_seconds: seconds(control.since.elapsed()),
        taken_out: parts.pool.is_taken_out(),
        drains: parts.drains().into_iter().map(drain).collect(),
        sessions: figures.sessions,
        rates: figures.rates,
        connections_waiting: parts.pool.waiting(),
        generation: parts.pool.current(),
        reload: parts.reloads.stage().word(),
        workers: slots
            .into_iter()
            .map(|slot| worker(control, slot))
            .collect(),
        earlier_workers: earlier(control),
        listeners: listeners(control),
        limits: LimitsStatus {
            max_connections: limits.max_connections,
            max_connections_per_address: limits.max_connections_per_address,
            new_sessions_per_second: limits.new_sessions_per_second,
            rooms_per_socket: limits.rooms_per_socket,
            worker_memory_bytes: process::worker_memory(limits.worker_memory, parts.config.workers),
            open_files: process::descriptor_limit(),
        },
        refused: figures.refused,
        ended: parts.ends.by_reason(),
        faults: faults(control),
        log: LogStatus {
            level: parts.log.level().to_string(),
            until: parts.log.until().map(|until| time(until, Unit::Second)),
            lines_lost: figures.log_lines_lost,
        },
        bridge: bridge(parts),
    }
}

/// The word for how it is, and why it is not healthy.
fn state(control: &Control) -> (&'static str, Vec<String>) {
    let parts = &control.parts;
    let health = Health {
        workers: parts.config.workers,
        vacant: parts.slots.vacant(),
        clients: parts.pool.sessions(),
        reload: None,
        drains: Vec::new(),
        deaf: parts.missing.describe(),
        apart: super::super::bridge::missing(parts).or_else(|| parts.hub.divided()),
    };
    let mut reasons = health.missing();
    reasons.extend(stalled(control));
    let state = match control.phase.get() {
        Phase::Starting => "starting",
        Phase::Stopping => "stopping",
        Phase::Running if reasons.is_empty() => "healthy",
        Phase::Running => "degraded",
    };
    (state, reasons)
}

fn stalled(control: &Control) -> Vec<String> {
    let members = control.parts.pool.members();
    let stalled = members.iter().filter(|member| member.is_stalled());
    stalled
        .map(|member| format!("worker {} does not answer", member.home.slot))
        .collect()
}

fn drain(draining: Draining) -> DrainStatus {
    DrainStatus {
        why: match draining.whose {
            Whose::Everybody => "stop",
            Whose::TakenOut => "taken-out",
            Whose::Generation(_) => "reload",
        },
        sessions_left: draining.sessions,
        seconds_left: draining.left.as_secs(),
    }
}

fn worker(control: &Control, slot: SlotState) -> WorkerStatus {
    let members = control.parts.pool.members();
    let member = members.iter().find(|member| Some(member.pid) == slot.pid);
    let (state, why) = match (&slot.vacancy, member) {
        (Some(Vacancy::Starting), _) => ("starting", None),
        (Some(Vacancy::Failed(why)), _) => ("failed", Some(why.clone())),
        (Some(Vacancy::Died), _) => ("died", slot.why),
        (None, Some(member)) if member.is_stalled() => ("stalled", None),
        (None, _) => ("ready", None),
    };
    WorkerStatus {
        slot: slot.number,
        pid: slot.pid,
        state,
        why,
        next_attempt_seconds: slot.next.map(seconds),
        uptime_seconds: slot.uptime.map(seconds),
        figures: control.parts.totals.worker(slot.number, slot.pid),
    }
}

/// The workers of other generations than the current one.
fn earlier(control: &Control) -> Vec<EarlierStatus> {
    let Parts { pool, totals, .. } = &control.parts;
    let members = pool.members().into_iter();
    let earlier = members.filter(|member| member.home.generation != pool.current());
    let earlier = earlier.map(|member| EarlierStatus {
        generation: member.home.generation,
        slot: member.home.slot,
        pid: member.pid,
        figures: totals.worker(member.home.slot, Some(member.pid)),
    });
    earlier.collect()
}

fn listeners(control: &Control) -> Vec<ListenerStatus> {
    let places = control.parts.router.places().into_iter();
    let listening = places.map(|it| ListenerStatus {
        address: it.place,
        worker: it.port_of,
        state: "listening",
        why: None,
    });
    let missing = control.parts.missing.list().into_iter();
    let missing = missing.map(|(address, why)| ListenerStatus {
        address,
        worker: None,
        state: "missing",
        why: Some(why),
    });
    listening.chain(missing).collect()
}

fn faults(control: &Control) -> Vec<FaultStatus> {
    let faults = control.parts.faults.list().into_iter();
    faults
        .map(|fault| FaultStatus {
            at: time(fault.at, Unit::Millisecond),
            what: fault.what,
        })
        .collect()
}

/// A time as RFC 3339, in UTC.
pub(super) fn time(at: SystemTime, unit: Unit) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    let rounded = at.round(
        TimestampRound::new()
            .smallest(unit)
            .mode(jiff::RoundMode::Trunc),
    );
    rounded.unwrap_or(at).to_string()
}

/// A duration in seconds, to the millisecond.
pub(super) fn seconds(duration: std::time::Duration) -> f64 {
    let milliseconds = SignedDuration::try_from(duration).unwrap_or_default();
    (milliseconds.as_secs_f64() * 1000.0).round() / 1000.0
}
