//! Processes of clients.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, setpriority_process};
use serde::{Deserialize, Serialize};

use super::crowd::{OPEN, Part};
use crate::BenchError;
use crate::address::Address;

/// So many clients have one process for themselves: with more it would be slower than a server.
const OF_ONE_PROCESS: usize = 10_000;

/// Clients of one part, in as many processes as they need.
pub(super) struct Group {
    processes: Vec<(Child, Lines<BufReader<ChildStdout>>)>,
}

impl Group {
    /// So many clients of `to` begin.
    pub(super) fn begin(
        part: Part,
        to: &Address,
        clients: usize,
        seconds: u64,
    ) -> Result<Self, BenchError> {
        let count = clients.div_ceil(OF_ONE_PROCESS).max(1);
        let mut processes = Vec::new();
        for nth in 0..count {
            let extra = usize::from(nth < clients % count);
            let mut command = Command::new("/proc/self/exe");
            command.args(["crowd", name(part), "--to", &to.to_string()]);
            command.args(["--source", &source()]);
            command.args(["--clients", &(clients / count + extra).to_string()]);
            command.args(["--seconds", &seconds.to_string()]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().map_err(BenchError::Clients)?;
            let stdout = child.stdout.take();
            let stdout = stdout.ok_or_else(|| BenchError::Broken("no pipe".into()))?;
            processes.push((child, BufReader::new(stdout).lines()));
        }
        Ok(Self { processes })
    }

    /// Waits until all have a session.
    pub(super) fn wait_until_open(&mut self) -> Result<(), BenchError> {
        for (_, lines) in &mut self.processes {
            if line(lines)? != OPEN {
                return Err(BenchError::Broken("not all clients came in".into()));
            }
        }
        Ok(())
    }

    /// Has these clients take what others leave of the processors, as if they were on machines of their own.
    pub(super) fn stand_back(&self) -> Result<(), BenchError> {
        for (child, _) in &self.processes {
            setpriority_process(Some(Pid::from_child(child)), 19)
                .map_err(|error| BenchError::Clients(error.into()))?;
        }
        Ok(())
    }

    /// Waits for the end of their part; what became of all of them.
    pub(super) fn told(mut self) -> Result<Told, BenchError> {
        let mut all = Told::default();
        for (child, lines) in &mut self.processes {
            // Probes go on until then.
            drop(child.stdin.take());
            let told: Told = serde_json::from_str(&line(lines)?)
                .map_err(|error| BenchError::Clients(error.into()))?;
            all.add(told);
        }
        Ok(all)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (child, _) in &mut self.processes {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What became of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// How long each was away that came back, in milliseconds.
    pub(super) back: Vec<u64>,
    /// When each lost its session, every time, in milliseconds of the machine's clock.
    pub(super) lost: Vec<u64>,
    /// They never came back.
    pub(super) missing: usize,
    /// Attempts that were answered with something else than 101.
    pub(super) refused: usize,
    /// Attempts whose connection was not made, or ended before there was a session.
    pub(super) failed: usize,
    /// How long each echo took, in microseconds.
    pub(super) echoes: Vec<u64>,
    /// When each of those came, in milliseconds of the machine's clock; only of clients that stay.
    pub(super) came: Vec<u64>,
    /// What was sent, by client: all of it, and while that client had a session.
    pub(super) sent: u64,
    pub(super) awaited: u64,
    /// What arrived of both.
    pub(super) arrived: u64,
    pub(super) arrived_awaited: u64,
    /// What came once more, or after what was sent later.
    pub(super) misplaced: u64,
}

impl Told {
    fn add(&mut self, more: Self) {
        self.back.extend(more.back);
        self.lost.extend(more.lost);
        self.echoes.extend(more.echoes);
        self.came.extend(more.came);
        self.missing += more.missing;
        self.refused += more.refused;
        self.failed += more.failed;
        self.sent += more.sent;
        self.awaited += more.awaited;
        self.arrived += more.arrived;
        self.arrived_awaited += more.arrived_awaited;
        self.misplaced += more.misplaced;
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Rest => "rest",
        Part::Probe => "probe",
        Part::Stay => "stay",
        Part::Jitter => "jitter",
    }
}

/// Milliseconds of the machine's clock, which all processes share.
pub(super) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, BenchError> {
    match lines.next() {
        Some(line) => line.map_err(BenchError::Clients),
        None => Err(BenchError::Broken("a process with clients died".into())),
    }
}

/// Not from where an earlier crowd came, whose ports are taken for a minute.
fn source() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let nth = NEXT.fetch_add(1, Relaxed) % 250 + 1;
    format!("127.{nth}.{}.1", std::process::id() % 256)
}
