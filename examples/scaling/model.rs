//! What a deployment of several machines needs, computed from its load: the model of docs/SCALING.md. It is a sum of
//! costs that were measured one by one (each says where), so it tells what breaks first, and about when; not a promise.

use std::fmt::Write as _;

/// The server that joins the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    /// One core does all of it.
    Redis,
    /// Commits with a NOTIFY come one after the other.
    Postgres,
}

impl Bus {
    fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Postgres => "Postgres",
        }
    }
}

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) bus: Bus,
    /// Sessions of each machine; of all together, if `in_all`.
    pub(crate) sessions: f64,
    pub(crate) in_all: bool,
    /// Seconds between two messages of one session that go to a room.
    pub(crate) every: f64,
    /// The bytes of such a message.
    pub(crate) size: f64,
    /// How many sessions get it.
    pub(crate) fan_out: f64,
    /// Workers of each machine.
    pub(crate) workers: f64,
    /// How many messages of one machine travel together. Bridges join what waits, so dense traffic has more.
    pub(crate) batch: f64,
    /// What the server's machine can send, in Gbit/s.
    pub(crate) network: f64,
}

/// What things cost, in microseconds of CPU time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Redis 7.0: a publication, whoever reads it.
    pub(crate) publish: f64,
    /// Redis: each machine that reads it.
    pub(crate) reader: f64,
    /// Redis: each byte, for each machine that reads it.
    pub(crate) reader_byte: f64,
    /// Postgres 15: a commit with a NOTIFY, which the next one waits for.
    pub(crate) commit: f64,
    /// Postgres: each byte of it.
    pub(crate) commit_byte: f64,
    /// The bridge: a frame of either direction, with TLS, and the hub's part.
    pub(crate) bridge: f64,
    /// Each worker: a frame from elsewhere, read and looked up.
    pub(crate) frame: f64,
    /// A worker: a message to one of its clients.
    pub(crate) deliver: f64,
}

impl Default for Costs {
    /// Redis: 455,000 publications/s of 300 bytes with 2 readers, 235,000 with 10, 31,000 with 100; 4,600 of 4 KiB with 100:
    /// within a tenth of this. Postgres: 12,000 commits/s of 200 bytes; 4,900 of 10 kB. The bridge: the upper ends of 0.3-1.4 and
    /// 0.13-1.6. A frame at a worker is an estimate. A delivery: docs/PERFORMANCE.md.
    fn default() -> Self {
        Self {
            publish: 1.6,
            reader: 0.15,
            reader_byte: 0.00049,
            commit: 80.0,
            commit_byte: 0.012,
            bridge: 3.0,
            frame: 2.0,
            deliver: 7.4,
        }
    }
}

/// What one number of machines needs. Shares are those of one core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Messages of all machines, in a second.
    pub(crate) messages: f64,
    /// Of the one core of Redis, or of the time in which Postgres can commit.
    pub(crate) bus: f64,
    /// What the server sends, bits in a second.
    pub(crate) bus_bits: f64,
    /// Connections that the server has.
    pub(crate) connections: u32,
    /// Messages to the clients of one machine, in a second.
    pub(crate) deliveries: f64,
    pub(crate) bridge: f64,
    /// Of each worker.
    pub(crate) worker: f64,
}

const MICROSECOND: f64 = 1e-6;
/// As many as session ids can tell apart.
const MOST: u32 = 4095;

impl Need {
    /// What so many machines need.
    pub(crate) fn of(machines: u32, load: &Load, costs: &Costs) -> Self {
        let count = f64::from(machines);
        let sessions = if load.in_all {
            load.sessions
        } else {
            load.sessions * count
        };
        let messages = sessions / load.every;
        // One machine needs no server: it is not asked.
        let shared = if machines > 1 { messages } else { 0.0 };
        let batches = shared / load.batch;
        let batch_bytes = load.size * load.batch;
        let each = match load.bus {
            Bus::Redis => costs.publish + count * (costs.reader + costs.reader_byte * batch_bytes),
            Bus::Postgres => costs.commit + costs.commit_byte * batch_bytes,
        };
        // In base64 a third more.
        let coded = match load.bus {
            Bus::Redis => 1.0,
            Bus::Postgres => 4.0 / 3.0,
        };
        let deliveries = messages * load.fan_out / count;
        Self {
            messages,
            bus: batches * each * MICROSECOND,
            bus_bits: shared * load.size * coded * count * 8.0,
            connections: if machines > 1 { 2 * machines } else { 0 },
            deliveries,
            bridge: shared * costs.bridge * MICROSECOND,
            worker: (messages * costs.frame + deliveries / load.workers * costs.deliver)
                * MICROSECOND,
        }
    }

    /// What is full, if something is.
    pub(crate) fn broken(&self, load: &Load) -> &'static str {
        let parts = [
            (self.bus, load.bus.name()),
            (self.bus_bits / 1e9 / load.network, "network"),
            (self.bridge, "bridge"),
            (self.worker, "workers"),
        ];
        let fullest = parts.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b));
        fullest
            .filter(|(share, _)| *share >= 1.0)
            .map_or("", |(_, name)| name)
    }
}

/// From how many machines on nothing is full, and with how many of more something is again, and what.
fn limits(load: &Load, costs: &Costs) -> (Option<u32>, Option<(u32, &'static str)>) {
    let broken = |machines| Need::of(machines, load, costs).broken(load);
    let enough = (1..=MOST).find(|machines| broken(*machines).is_empty());
    let beyond = (enough.unwrap_or(1)..=MOST).find(|machines| !broken(*machines).is_empty());
    (enough, beyond.map(|machines| (machines, broken(machines))))
}

/// The numbers of machines that a table has, up to this one.
fn steps(machines: u32) -> impl Iterator<Item = u32> {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
    let below = steps.into_iter().filter(move |step| *step < machines);
    below.chain([machines])
}

/// A row for each of some numbers of machines, up to `machines`, and what breaks first.
pub(crate) fn table(machines: u32, load: &Load, costs: &Costs) -> String {
    let mut text = format!(
        "machines  messages/s  {:>8}  sends Mbit/s  connections  | one machine: deliveries/s  bridge  each worker\n",
        load.bus.name()
    );
    for machines in steps(machines) {
        let it = Need::of(machines, load, costs);
        let (bus, bridge, worker) = (it.bus * 100.0, it.bridge * 100.0, it.worker * 100.0);
        let megabits = it.bus_bits / 1e6;
        let broken = match it.broken(load) {
            "" => String::new(),
            what => format!("  full: {what}"),
        };
        let _ = writeln!(
            text,
            "{machines:>8}  {:>10.0}  {bus:>6.1} %  {megabits:>12.0}  {:>11}  | {:>25.0}  {bridge:>4.1} %  {worker:>9.1} %{broken}",
            it.messages, it.connections, it.deliveries
        );
    }
    let (enough, beyond) = limits(load, costs);
    let enough = match enough {
        Some(1) => String::new(),
        Some(machines) => format!("enough: {machines} machines; "),
        None => "never enough; ".to_owned(),
    };
    let _ = match beyond {
        Some((machines, what)) => writeln!(text, "{enough}first full: {what}, with {machines}"),
        None => writeln!(text, "{enough}nothing is full with {MOST} machines"),
    };
    text
}
