//! The soak: clients of all kinds come and go for a long time, and nothing may grow, leak or die.
//!
//! ```text
//! load ─▶ everybody leaves ─▶ reading ─▶ load ─▶ everybody leaves ─▶ reading …
//! ```
//!
//! Readings are taken when no session is left, so that what is found then is left over: memory, descriptors.
//! Good clients compare every answer with what it should be; a single wrong one fails the soak.

mod client;
mod visits;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::Args;

use crate::BenchError;
use crate::measure::kib;
use crate::servers::{Over, Server, Servers, Who};
use crate::usage::descriptors;
use client::{Failure, Source};
use visits::Visit;

/// How often memory is read, in the course of a soak.
const READINGS: u32 = 6;
/// From the second reading to the last one, memory grows at most so many times.
const GROWTH: f64 = 1.1;
/// All sessions have ended, and all descriptors are closed, within this time after the last client has gone.
const GONE: Duration = Duration::from_secs(30);
/// Good clients that failed are told up to this number.
const TOLD: usize = 5;

/// Who is gone without a word is missed soon, and the counts are told every second.
const CONFIG: &str = "stats_interval = \"1s\"\n[engine]\nping_interval = \"5s\"\nping_timeout = \"5s\"\n\
    write_stall_timeout = \"3s\"\n";

/// How long it lasts.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// How many minutes of load.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How many workers the server has.
    #[arg(long, default_value_t = 2)]
    workers: u16,
    /// The binary of our server.
    #[arg(long, default_value = "target/release/my-app")]
    server: PathBuf,
}

/// What is left when nobody is there.
struct Reading {
    pids: Vec<u32>,
    /// Of all processes, in KiB.
    memory: f64,
    /// Of each process, in the order of `pids`.
    descriptors: Vec<usize>,
}

/// What all threads of clients share.
#[derive(Default)]
struct Shared {
    /// Clients finish what they do, and begin nothing new.
    pause: AtomicBool,
    visits: [AtomicU64; Visit::ALL.len()],
    failures: Mutex<Vec<String>>,
}

impl Shared {
    fn failures(&self) -> MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visited(&self, visit: Visit) -> u64 {
        self.visits
            .get(visit as usize)
            .map_or(0, |visits| visits.load(Relaxed))
    }
}

/// Runs it; an error says what is not as it should be.
pub(crate) fn run(plan: &Plan) -> Result<(), BenchError> {
    let servers = Servers::of_ours(&plan.server, CONFIG)?;
    let server = servers.start(Who::Ours, plan.workers, Over::Tcp)?;
    let lasts = Duration::from_secs_f64(plan.minutes.max(0.0) * 60.0) / READINGS;
    let shared = Shared::default();
    let began = Instant::now();
    let first = rest(&servers, &server, None)?;
    first.print(0.0);
    let mut readings = Vec::new();
    for _ in 0..READINGS {
        load(&server, &shared, lasts);
        let reading = rest(&servers, &server, Some(&first))?;
        reading.print(began.elapsed().as_secs_f64() / 60.0);
        readings.push(reading);
        let failures = shared.failures().join("\n");
        if !failures.is_empty() {
            return Err(BenchError::Broken(format!(
                "good clients failed:\n{failures}"
            )));
        }
    }
    for visit in Visit::ALL {
        println!("{visit:?}: {}", shared.visited(visit));
    }
    judge(&servers, &first, &readings)
}

/// All kinds of clients at the same time, for so long; each kind has threads of its own.
fn load(server: &Server, shared: &Shared, lasts: Duration) {
    shared.pause.store(false, Relaxed);
    thread::scope(|scope| {
        for visit in Visit::ALL {
            for _ in 0..visit.threads() {
                scope.spawn(move || {
                    let mut source = Source::new(&server.address);
                    for nth in 0.. {
                        if shared.pause.load(Relaxed) {
                            break;
                        }
                        come(visit, nth, &mut source, shared);
                        sleep(visit.pace());
                    }
                });
            }
        }
        sleep(lasts);
        shared.pause.store(true, Relaxed);
    });
}

fn come(visit: Visit, nth: u64, source: &mut Source, shared: &Shared) {
    let visited = visit.run(nth, source, &shared.pause);
    if let Some(visits) = shared.visits.get(visit as usize) {
        visits.fetch_add(1, Relaxed);
    }
    if let Err(failure) = visited
        && (visit.is_good() || matches!(failure, Failure::Connect(_)))
    {
        let mut failures = shared.failures();
        if failures.len() < TOLD {
            failures.push(format!("{visit:?}, the {nth}th: {failure}"));
        }
    }
}

/// Waits until nobody is there, and tells what is left.
fn rest(
    servers: &Servers,
    server: &Server,
    first: Option<&Reading>,
) -> Result<Reading, BenchError> {
    let began = Instant::now();
    // Counts are told every second: those that stand in the log by then are new.
    sleep(Duration::from_millis(1500));
    loop {
        let reading = Reading::of(server);
        let sessions = sessions(servers, &reading);
        let closed = first.is_none_or(|first| reading.leaked(first).is_none());
        if sessions == 0 && closed {
            return Ok(reading);
        }
        if began.elapsed() > GONE {
            let leaked = first
                .and_then(|first| reading.leaked(first))
                .unwrap_or_default();
            return Err(BenchError::Broken(format!(
                "{sessions} sessions are left; {leaked}"
            )));
        }
        sleep(Duration::from_millis(250));
    }
}

/// How many sessions the workers told of last.
fn sessions(servers: &Servers, reading: &Reading) -> u64 {
    let said = servers.said();
    let mut last: HashMap<u32, u64> = HashMap::new();
    for line in said.lines() {
        let told = line.split_once("Worker ").and_then(|(_, told)| {
            let (pid, told) = told.split_once(": ")?;
            let count = told.strip_suffix(" connected client(s)")?;
            Some((pid.parse().ok()?, count.parse().ok()?))
        });
        if let Some((pid, count)) = told {
            last.insert(pid, count);
        }
    }
    let workers = reading.pids.iter();
    workers.filter_map(|pid| last.get(pid)).sum()
}

fn judge(servers: &Servers, first: &Reading, readings: &[Reading]) -> Result<(), BenchError> {
    let said = servers.said();
    let panics: Vec<_> = said
        .lines()
        .filter(|line| line.contains("panicked"))
        .collect();
    if !panics.is_empty() {
        return Err(BenchError::Broken(panics.join("\n")));
    }
    if readings.iter().any(|reading| reading.pids != first.pids) {
        return Err(BenchError::Broken("a worker died".into()));
    }
    if let (Some(second), Some(last)) = (readings.get(1), readings.last()) {
        let grew = last.memory / second.memory;
        println!(
            "from the second reading to the last memory grew {grew:.3} times (at most {GROWTH})"
        );
        if grew > GROWTH {
            return Err(BenchError::Broken("memory grows".into()));
        }
    }
    println!("no session, descriptor or worker was lost, and nothing panicked");
    Ok(())
}

impl Reading {
    fn of(server: &Server) -> Self {
        let pids = server.tree.pids();
        Self {
            memory: kib(server.tree.pss()),
            descriptors: pids.iter().map(|&pid| descriptors(pid)).collect(),
            pids,
        }
    }

    /// Who has more descriptors than at first.
    fn leaked(&self, first: &Self) -> Option<String> {
        let both = self.descriptors.iter().zip(&first.descriptors);
        let more = both.clone().any(|(now, then)| now > then);
        more.then(|| {
            format!(
                "descriptors of master and workers: {:?}, at first {:?}",
                self.descriptors, first.descriptors
            )
        })
    }

    fn print(&self, minutes: f64) {
        println!(
            "{minutes:>5.1} min: {:.0} KiB, descriptors {:?}, processes {:?}",
            self.memory, self.descriptors, self.pids
        );
    }
}
