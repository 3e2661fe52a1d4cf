//! Very many sessions that rest: what each has in memory, what their pings cost, and whether all stay alive.
//!
//! A process may have so many descriptors and an address so many ports, so the clients are those of several
//! processes, each with an address of its own, and the server has as many workers as it needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::Args;

use crate::BenchError;
use crate::address::Address;
use crate::load::{Kind, Load};
use crate::measure::{SESSION_KIB, broken, kib};
use crate::servers::{Over, Servers, Who};

/// What the processes of clients say when all their sessions are open.
const OPEN: &str = "open";

/// How long new sessions settle before anything is measured.
const SETTLE: Duration = Duration::from_secs(5);

/// What is held, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// How many sessions.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// How many processes the clients are.
    #[arg(long, default_value_t = 6)]
    processes: u8,
    /// How many workers the server has.
    #[arg(long, default_value_t = 6)]
    workers: u16,
    /// How many seconds their rest is measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// They begin by polling and are upgraded.
    #[arg(long)]
    upgraded: bool,
    /// The binary of our server.
    #[arg(long, default_value = "target/release/my-app")]
    server: PathBuf,
}

/// The clients of one process.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[arg(long)]
    to: Address,
    #[arg(long)]
    source: IpAddr,
    #[arg(long)]
    sessions: usize,
    #[arg(long)]
    upgraded: bool,
}

/// Opens the sessions, measures them while they rest, and lets them go.
pub(crate) fn run(plan: &Plan) -> Result<(), BenchError> {
    let servers = Servers::of_ours(&plan.server, "")?;
    let server = servers.start(Who::Ours, plan.workers, Over::Tcp)?;
    let began_with = server.tree.pids();
    let base = kib(server.tree.pss());
    let opening = (Instant::now(), server.tree.cpu());
    let mut clients = (0..plan.processes.max(1))
        .map(|nth| Clients::begin(plan, nth, &server.address))
        .collect::<io::Result<Vec<_>>>()
        .map_err(BenchError::Clients)?;
    for clients in &mut clients {
        clients.wait_until_open()?;
    }
    let took = opening.0.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let sessions = plan.sessions as f64;
    let cost = server.tree.cpu().saturating_sub(opening.1).as_secs_f64() * 1e6 / sessions;
    println!(
        "{} sessions are open after {took:.1} s, {cost:.1} us of ours for each",
        plan.sessions
    );
    sleep(SETTLE);
    let (rest, before) = (Instant::now(), server.tree.cpu());
    sleep(Duration::from_secs(plan.seconds));
    let core =
        server.tree.cpu().saturating_sub(before).as_secs_f64() / rest.elapsed().as_secs_f64();
    let memory = (kib(server.tree.pss()) - base) / sessions;
    println!(
        "they rest: {memory:.2} KiB of ours for each (at most {SESSION_KIB}){}, {:.1} % of a core over {} s",
        broken(memory <= SESSION_KIB),
        core * 100.0,
        plan.seconds,
    );
    for clients in &mut clients {
        clients.end()?;
    }
    println!("all of them were alive at the end");
    if server.tree.pids() != began_with {
        return Err(BenchError::Broken("a worker died".into()));
    }
    if memory > SESSION_KIB {
        let what = format!("{memory:.2} KiB for each session");
        return Err(BenchError::Broken(what));
    }
    Ok(())
}

/// A process with clients.
struct Clients {
    child: Child,
}

impl Clients {
    fn begin(plan: &Plan, nth: u8, to: &Address) -> io::Result<Self> {
        let all = usize::from(plan.processes.max(1));
        // The first ones have what is left over.
        let extra = usize::from(usize::from(nth) < plan.sessions % all);
        let sessions = plan.sessions / all + extra;
        let mut command = Command::new("/proc/self/exe");
        command.args(["hold", "--to", &to.to_string()]);
        // Not from where an earlier run's clients came, whose ports are taken for a minute.
        let run = std::process::id() % 256;
        command.args(["--source", &format!("127.{}.{run}.1", u16::from(nth) + 1)]);
        command.args(["--sessions", &sessions.to_string()]);
        if plan.upgraded {
            command.arg("--upgraded");
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { child })
    }

    fn wait_until_open(&mut self) -> Result<(), BenchError> {
        let mut said = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            let read = BufReader::new(stdout).read_line(&mut said);
            read.map_err(BenchError::Clients)?;
        }
        if said.trim() == OPEN {
            return Ok(());
        }
        Err(BenchError::Broken(
            "not all sessions could be opened".into(),
        ))
    }

    /// Lets the sessions go; an error says that not all were alive until now.
    fn end(&mut self) -> Result<(), BenchError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(BenchError::Clients)?;
        if status.success() {
            return Ok(());
        }
        Err(BenchError::Broken("not all sessions stayed alive".into()))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens sessions, says so, and holds them until the standard input ends.
pub(crate) fn hold(plan: &Hold) -> Result<(), BenchError> {
    let mut load = Load::new(&plan.to, plan.source)?;
    let kind = if plan.upgraded {
        Kind::Upgraded
    } else {
        Kind::WebSocket("")
    };
    load.open(kind, plan.sessions)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{OPEN}")
        .and_then(|()| stdout.flush())
        .map_err(BenchError::Clients)?;
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    thread::spawn(move || {
        // Nothing is ever said there.
        let _ = io::stdin().read(&mut [0]);
        told.store(true, Relaxed);
    });
    while !over.load(Relaxed) {
        load.run(Duration::from_secs(1))?;
    }
    Ok(())
}
