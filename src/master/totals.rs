//! What all workers have counted, and what the master has: one answer for the whole server.
//!
//! A worker that ends takes nothing with it: what it had counted is kept for its slot, so that no counter ever falls.
//! Its gauges go with it.

mod handover;
mod slot;
mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;

use self::table::Table;
use super::hub::Hub;
use super::pool::Pool;
use crate::logging::LogGuard;
use crate::metrics::{self, Direction, Kind, LEN, Label, Lag, Sample, Scope, TABLE, nanos};
use crate::process;
use crate::wire::control::Reason;
use crate::wire::session_id::Home;

/// Rates are of this time.
const WINDOW: Duration = Duration::from_secs(5);
/// A worker's first figures are rates of no less than this.
const LEAST: Duration = Duration::from_secs(1);

/// Live sessions by transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SessionCounts {
    /// By long-polling.
    pub(crate) polling: u64,
    /// By `WebSocket`.
    pub(crate) websocket: u64,
}

/// What happened in a second, over the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "they are called so in the status"
)]
pub(crate) struct Traffic {
    /// Engine.IO messages of clients.
    pub(crate) messages_in_per_second: f64,
    /// Engine.IO messages for clients.
    pub(crate) messages_out_per_second: f64,
    /// Their bytes.
    pub(crate) bytes_in_per_second: f64,
    /// Their bytes.
    pub(crate) bytes_out_per_second: f64,
}

/// What happened in a second in the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// What went over the sessions.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    /// New sessions.
    pub(crate) sessions_opened_per_second: f64,
    /// Sessions that ended.
    pub(crate) sessions_ended_per_second: f64,
}

/// What `status` tells of a worker that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct WorkerFigures {
    /// How often it was replaced.
    pub(crate) restarts: u64,
    /// Its sessions.
    pub(crate) sessions: SessionCounts,
    /// Its connections.
    pub(crate) connections: u64,
    /// What goes over them.
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    /// What it has in memory.
    pub(crate) memory_bytes: u64,
    /// The longest that it was late in the last seconds.
    pub(crate) event_loop_lag_seconds: f64,
    /// What waits in it for the hub.
    pub(crate) bus_queue_bytes: u64,
}

/// What `status` tells of the whole server that is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ServerFigures {
    /// Its sessions.
    pub(crate) sessions: SessionCounts,
    /// What goes over them.
    pub(crate) rates: Rates,
    /// Who was refused before there was a session, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Lines that the log could not take.
    pub(crate) log_lines_lost: u64,
}

/// What a rate is made of.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    messages: [u64; 2],
    bytes: [u64; 2],
    opened: u64,
    ended: u64,
}

/// The values of one slot.
#[derive(Debug)]
struct Slot {
    /// Its workers by their numbers: one of each generation.
    workers: BTreeMap<u32, Worker>,
    /// What all before them had, and what the master counts for it.
    kept: Vec<u64>,
    /// What it came to.
    history: History,
    /// The generation of the worker that was started last.
    generation: Option<u16>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            workers: BTreeMap::new(),
            kept: vec![0; LEN],
            history: History::default(),
            generation: None,
        }
    }
}

/// A worker, or a bridge.
#[derive(Debug)]
struct Worker {
    /// What it has counted.
    values: Vec<u64>,
    /// What waits in the hub for it, in bytes.
    waits_in_hub: u64,
    /// What it came to.
    history: History,
    /// Of a program before this one: in which order it tells its values.
    table: Option<Rc<Table>>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            values: vec![0; LEN],
            waits_in_hub: 0,
            history: History::default(),
            table: None,
        }
    }
}

/// What something came to, and when; one of them is older than [`WINDOW`], once there is one.
#[derive(Debug, Default)]
struct History(VecDeque<(Instant, Counts)>);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Totals {
    slots: RefCell<BTreeMap<u16, Slot>>,
    /// The bridge's. Its rates are nobody's.
    bridge: RefCell<Slot>,
}

impl Totals {
    /// For so many workers, none of which is there yet.
    pub(crate) fn new(workers: u16) -> Rc<Self> {
        metrics::BUILD_INFO.set_of(metrics::Version, 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        metrics::START_TIME.set(nanos(now.unwrap_or_default()));
        metrics::WORKERS.set(workers.into());
        let slots = (0..workers).map(|slot| (slot, Slot::default()));
        Rc::new(Self {
            slots: RefCell::new(slots.collect()),
            bridge: RefCell::default(),
        })
    }

    /// A slot has a worker.
    pub(crate) fn started(&self, home: Home, pid: u32) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(home.slot).or_default();
        // The first one of a generation takes nobody's place.
        if slot.generation.replace(home.generation) == Some(home.generation) {
            slot.keep(metrics::WORKER_RESTARTS.0, |restarts| restarts + 1);
        }
        slot.workers.insert(pid, Worker::default());
        slot.remember();
    }

    /// A worker told its values. Those of an older one, or of another version's table, are not taken.
    pub(crate) fn set(&self, slot: u16, pid: u32, values: Vec<u64>) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(slot).or_default();
        if let Some(worker) = slot.workers.get_mut(&pid)
            && worker.set(values)
        {
            slot.remember();
        }
    }

    /// A worker has ended, and its sessions with it.
    pub(crate) fn gone(&self, slot: u16, pid: u32) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(slot).or_default();
        let Some(worker) = slot.workers.remove(&pid) else {
            return;
        };
        let sessions = slot::sessions(&worker.values);
        slot.fold(&worker.values);
        let gone = metrics::SESSIONS_ENDED.0 + Reason::WorkerGone.index();
        slot.keep(gone, |ended| ended + sessions.polling + sessions.websocket);
        slot.remember();
    }

    /// The bridge of this number told its values last; none: there is no bridge.
    pub(crate) fn set_bridge(&self, bridge: Option<(u32, &[u64])>) {
        let mut slot = self.bridge.borrow_mut();
        let number = bridge.map(|(number, _)| number);
        let gone = |&other: &u32| Some(other) != number;
        let gone: Vec<_> = slot.workers.keys().copied().filter(gone).collect();
        for worker in gone
            .iter()
            .filter_map(|it| slot.workers.remove(it))
            .collect::<Vec<_>>()
        {
            slot.fold(&worker.values);
        }
        if let Some((number, values)) = bridge {
            slot.workers.entry(number).or_default().set(values.to_vec());
        }
    }

    /// What all bridges have counted, in the order of the table.
    pub(crate) fn bridge(&self) -> Vec<u64> {
        self.bridge.borrow().values()
    }

    /// So many bytes wait in the hub for a worker.
    pub(crate) fn waits_in_hub(&self, slot: u16, pid: u32, bytes: usize) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(slot).or_default();
        if let Some(worker) = slot.workers.get_mut(&pid) {
            worker.waits_in_hub = bytes as u64;
        }
    }

    /// All metrics, as Prometheus reads them.
    pub(crate) fn render(&self) -> String {
        let slots = self.slots.borrow();
        let workers = slots.iter().map(|(&worker, slot)| Sample {
            worker: Some(worker),
            values: slot.values(),
        });
        let server = Sample {
            worker: None,
            values: self.values(),
        };
        metrics::exposition(&workers.chain([server]).collect::<Vec<_>>())
    }

    /// The figures of a worker, or of a slot that has none.
    pub(crate) fn worker(&self, slot: u16, pid: Option<u32>) -> WorkerFigures {
        let slots = self.slots.borrow();
        let Some(slot) = slots.get(&slot) else {
            return WorkerFigures::default();
        };
        let figures = WorkerFigures {
            restarts: slot.value(metrics::WORKER_RESTARTS.0),
            ..WorkerFigures::default()
        };
        let Some(worker) = pid.and_then(|pid| slot.workers.get(&pid)) else {
            return figures;
        };
        let value = |at: usize| worker.values.get(at).copied().unwrap_or_default();
        // What goes over its sessions went over those of the one before it, unless there are two at a time.
        let rates = match slot.workers.len() {
            1 => slot.rates(),
            _ => worker.rates(),
        };
        WorkerFigures {
            sessions: slot::sessions(&worker.values),
            connections: value(metrics::CONNECTIONS.0),
            traffic: rates.traffic,
            memory_bytes: value(metrics::MEMORY.0),
            event_loop_lag_seconds: metrics::seconds(value(metrics::LAG_LONGEST.0)),
            bus_queue_bytes: value(metrics::BUS_QUEUE.0),
            ..figures
        }
    }

    /// The figures of the whole server.
    pub(crate) fn server(&self) -> ServerFigures {
        let values = self.values();
        let value = |at: usize| values.get(at).copied().unwrap_or_default();
        let mut figures = ServerFigures {
            refused: by_label::<metrics::Refused>(&values, metrics::REFUSED.0),
            log_lines_lost: value(metrics::LOG_LINES_LOST.0),
            ..ServerFigures::default()
        };
        for slot in self.slots.borrow().values() {
            let sessions = slot::sessions(&slot.values());
            figures.sessions.polling += sessions.polling;
            figures.sessions.websocket += sessions.websocket;
            figures.rates.add(slot.rates());
        }
        figures
    }

    /// What all processes have together.
    fn values(&self) -> Vec<u64> {
        let mut total = metrics::values();
        for (sum, value) in total.iter_mut().zip(self.bridge.borrow().values()) {
            *sum += value;
        }
        for slot in self.slots.borrow().values() {
            for (sum, value) in total.iter_mut().zip(slot.values()) {
                *sum += value;
            }
        }
        total
    }
}

/// Measures the master itself, for as long as it lives.
pub(crate) async fn measure_master(pool: &Pool, hub: &Hub, totals: &Totals, log: &LogGuard) {
    let mut lag = Lag::new();
    loop {
        lag.tick(&metrics::MASTER_LAG).await;
        metrics::MASTER_MEMORY.set(process::resident());
        metrics::TAKEN_OUT.set(pool.is_taken_out().into());
        metrics::WORKERS_READY.set(pool.ready() as u64);
        metrics::CONNECTIONS_WAITING.set(pool.waiting() as u64);
        metrics::LOG_LINES_LOST.mirror(log.lost());
        let bridge = hub.bridge();
        metrics::BRIDGE_HUB_QUEUE.set(bridge.waiting as u64);
        metrics::BRIDGE_LOST.mirror_of(Direction::Out, bridge.lost);
        for (number, values) in hub.bridges_gone() {
            totals.set_bridge(Some((number, &values)));
        }
        let values = bridge.report.as_ref().map(|report| &report.values[..]);
        totals.set_bridge(values.map(|values| (bridge.epoch, values)));
    }
}

/// Every place of the values, with what stands there.
fn places() -> impl Iterator<Item = (Scope, Kind, usize)> {
    let kinds = TABLE
        .iter()
        .flat_map(|metric| std::iter::repeat_n((metric.scope, metric.kind), metric.width()));
    kinds
        .enumerate()
        .map(|(at, (scope, kind))| (scope, kind, at))
}

/// A counter's values by the words of its label.
fn by_label<L: Label>(values: &[u64], at: usize) -> BTreeMap<&'static str, u64> {
    let values = values.get(at..).unwrap_or_default();
    L::VALUES
        .iter()
        .copied()
        .zip(values.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests;
