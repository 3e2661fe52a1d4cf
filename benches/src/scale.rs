//! How our costs grow with sessions and workers, what the master takes, and what rest costs.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::BenchError;
use crate::load::{Kind, Load};
use crate::measure::{Mode, SESSION_KIB, SMALL, Times, broken, cost, kib, median};
use crate::servers::{Over, Server, Servers, Who};

/// Sessions of the growth's lines.
const SESSIONS: [usize; 4] = [100, 1000, 5000, LAST];
const LAST: usize = 15_000;

/// Echoes under way, whatever the number of sessions: each answer lets the next session ask.
const UNDER_WAY: usize = 100;

/// Sessions that rest.
const RESTING: usize = 10_000;

/// Twice the interval of pings.
const REST: Duration = Duration::from_secs(50);

/// After all have left, memory is what it is when it has not become less for so long, or after the other at the
/// latest.
const STEADY: Duration = Duration::from_secs(3);
const AFTERWARDS: Duration = Duration::from_secs(20);

/// The cost of an echo may grow so many times as much as the limit's.
const GROWTH: f64 = 1.1;
/// Two workers do at least so many times the work of one.
const GAIN: f64 = 1.8;
/// The most that the master takes of the CPU time, and sessions that rest take of a core.
const SMALL_PART: f64 = 0.03;
/// The most that memory is after second sessions have left, in terms of what it was after the first.
const LEFT_AGAIN: f64 = 1.05;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    growth: Vec<Growth>,
    workers: Vec<Workers>,
    rest: Rest,
}

/// The cost of an echo among so many sessions, in microseconds.
#[derive(Debug, Serialize)]
struct Growth {
    sessions: usize,
    ours: f64,
    limit: f64,
}

/// The cost of an operation with one worker and with two, in microseconds of all processes.
#[derive(Debug, Serialize)]
struct Workers {
    mode: &'static str,
    one: f64,
    two: f64,
    /// The work of two on two cores of their own, as a multiple of the work of one on one.
    gain: f64,
    /// The master's part of the CPU time, of two workers.
    master: f64,
}

#[derive(Debug, Serialize)]
struct Rest {
    sessions: usize,
    /// KiB of memory for each.
    memory: f64,
    /// CPU time as a part of one core.
    core: f64,
    /// KiB of all processes: before the first session, after all have left, and after as many have come and left
    /// again.
    before: f64,
    after: f64,
    again: f64,
}

pub(crate) fn run(servers: &Servers, rounds: usize, times: Times) -> Result<Scale, BenchError> {
    Ok(Scale {
        growth: growth(servers, rounds, times)?,
        workers: [("echo", Mode::Echo), ("echo-deep", Mode::EchoDeep)]
            .into_iter()
            .map(|(name, mode)| workers(servers, name, mode, rounds, times))
            .collect::<Result<_, _>>()?,
        rest: rest(servers)?,
    })
}

fn growth(servers: &Servers, rounds: usize, times: Times) -> Result<Vec<Growth>, BenchError> {
    let mut all = Vec::new();
    for sessions in SESSIONS {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (who, costs) in [Who::Single, Who::Limit].into_iter().zip(&mut costs) {
                eprintln!("         {sessions} sessions, {who}");
                let server = servers.start(who, 1, Over::Tcp)?;
                let mut load = Load::new(&server.address, Servers::source())?;
                load.open(Kind::WebSocket(""), sessions)?;
                load.wandering_echo(UNDER_WAY, SMALL)?;
                costs.push(cost(&server, &mut load, times)?);
            }
        }
        let [ours, limit] = costs.map(median);
        all.push(Growth {
            sessions,
            ours,
            limit,
        });
    }
    Ok(all)
}

fn workers(
    servers: &Servers,
    name: &'static str,
    mode: Mode,
    rounds: usize,
    times: Times,
) -> Result<Workers, BenchError> {
    let mut costs = [Vec::new(), Vec::new()];
    let mut masters = Vec::new();
    for _ in 0..rounds {
        for (workers, costs) in [1, 2].into_iter().zip(&mut costs) {
            eprintln!("         {name}, {workers} worker(s)");
            let server = servers.start(Who::Ours, workers, Over::Tcp)?;
            let mut load = Load::new(&server.address, Servers::source())?;
            load.open(mode.kind(), mode.sessions())?;
            mode.begin(&mut load)?;
            let (all, master) = (server.tree.cpu(), server.tree.root_cpu());
            costs.push(cost(&server, &mut load, times)?);
            if workers == 2 {
                let all = server.tree.cpu().saturating_sub(all);
                let master = server.tree.root_cpu().saturating_sub(master);
                masters.push(master.as_secs_f64() / all.as_secs_f64());
            }
        }
    }
    let [one, two] = costs.map(median);
    Ok(Workers {
        mode: name,
        one,
        two,
        gain: 2.0 * one / two,
        master: median(masters),
    })
}

fn rest(servers: &Servers) -> Result<Rest, BenchError> {
    eprintln!("         {RESTING} sessions rest");
    let server = servers.start(Who::Ours, 2, Over::Tcp)?;
    let before = kib(server.tree.pss());
    let mut load = Load::new(&server.address, Servers::source())?;
    load.open(Kind::WebSocket(""), RESTING)?;
    load.run(Duration::from_secs(2))?;
    let began = (Instant::now(), server.tree.cpu());
    load.run(REST)?;
    let cpu = server.tree.cpu().saturating_sub(began.1);
    let core = cpu.as_secs_f64() / began.0.elapsed().as_secs_f64();
    let full = kib(server.tree.pss());
    drop(load);
    let after = settled(&server);
    let mut load = Load::new(&server.address, Servers::source())?;
    load.open(Kind::WebSocket(""), RESTING)?;
    drop(load);
    let again = settled(&server);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let memory = (full - before) / RESTING as f64;
    Ok(Rest {
        sessions: RESTING,
        memory,
        core,
        before,
        after,
        again,
    })
}

/// What memory is left when it becomes no less, in KiB.
fn settled(server: &Server) -> f64 {
    let began = Instant::now();
    let (mut least, mut since) = (f64::MAX, began);
    while since.elapsed() < STEADY && began.elapsed() < AFTERWARDS {
        let now = kib(server.tree.pss());
        if now < least {
            (least, since) = (now, Instant::now());
        }
        sleep(Duration::from_millis(250));
    }
    least
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{UNDER_WAY} small echoes under way among all sessions, one worker, us for each"
        )?;
        let grown = |of: fn(&Growth) -> f64| {
            let first = self.growth.first().map_or(f64::NAN, of);
            move |growth: &Growth| of(growth) / first
        };
        let (ours, limit) = (grown(|growth| growth.ours), grown(|growth| growth.limit));
        for growth in &self.growth {
            let (ours_grew, limit_grew) = (ours(growth), limit(growth));
            write!(
                f,
                "{:>7} sessions: ours {:.1}, {ours_grew:.2} x the first; limit {:.1}, {limit_grew:.2} x the first",
                growth.sessions, growth.ours, growth.limit,
            )?;
            if growth.sessions == LAST {
                let times = ours_grew / limit_grew;
                write!(
                    f,
                    ": {times:.2} x its growth (at most {GROWTH}){}",
                    broken(times <= GROWTH)
                )?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nworkers, the load's share of the cores subtracted")?;
        for workers in &self.workers {
            writeln!(
                f,
                "{:>17}: one {:.2} us, two {:.2} us: {:.2} x the work (at least {GAIN}){}; \
                 master {:.1} % of the CPU time (below {}){}",
                workers.mode,
                workers.one,
                workers.two,
                workers.gain,
                broken(workers.gain >= GAIN),
                workers.master * 100.0,
                SMALL_PART * 100.0,
                broken(workers.master < SMALL_PART),
            )?;
        }
        let rest = &self.rest;
        writeln!(
            f,
            "\n{} sessions that rest: {:.2} KiB each (at most {SESSION_KIB}){}, {:.1} % of a core (below {}){}",
            rest.sessions,
            rest.memory,
            broken(rest.memory <= SESSION_KIB),
            rest.core * 100.0,
            SMALL_PART * 100.0,
            broken(rest.core < SMALL_PART),
        )?;
        let times = rest.again / rest.after;
        writeln!(
            f,
            "memory: {:.0} KiB before them, {:.0} after they left; after a second {} have left {:.0}: \
             {times:.2} x that (at most {LEFT_AGAIN}){}",
            rest.before,
            rest.after,
            rest.sessions,
            rest.again,
            broken(times <= LEFT_AGAIN),
        )
    }
}
