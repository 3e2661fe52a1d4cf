//! What is measured, in which order, on which servers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::load::{Kind, Load, LoadError};
use crate::report::{self, Report};
use crate::servers::{Over, Server, Servers, Who};
use crate::{BenchError, scale};

/// What one run measures.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// One short round of the table, without the scale.
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these modes.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Mode>,
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Who>,
    /// The binary of our server.
    #[arg(long, default_value = "target/release/my-app")]
    server: PathBuf,
    /// The folder of the others' scripts, with their packages installed.
    #[arg(long, default_value = "benches/peers")]
    peers: PathBuf,
    /// Where the raw figures go.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Not the table, but how costs grow with sessions and workers.
    #[arg(long)]
    scale: bool,
}

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Sessions that begin with a WebSocket, and then rest.
    Open,
    /// Sessions that begin by polling, are upgraded, and then rest.
    Upgrade,
    /// 100 clients, one small echo under way each.
    Echo,
    /// 100 clients, 16 small echoes under way each.
    EchoDeep,
    /// 50 clients, 4 echoes of 4 KiB under way each.
    EchoLarge,
    /// 1,000 clients who all get what one of them announces.
    Broadcast,
    /// Sessions that begin by polling.
    OpenPolling,
    /// 100 clients that post an event and poll its echo.
    Polling,
}

/// Bytes of text in a small event.
pub(crate) const SMALL: usize = 16;
const LARGE: usize = 4096;

impl Mode {
    const ALL: [Self; 8] = [
        Self::Open,
        Self::Upgrade,
        Self::Echo,
        Self::EchoDeep,
        Self::EchoLarge,
        Self::Broadcast,
        Self::OpenPolling,
        Self::Polling,
    ];

    pub(crate) fn sessions(self) -> usize {
        match self {
            Self::Open | Self::Upgrade | Self::OpenPolling => 6000,
            Self::Echo | Self::EchoDeep | Self::Polling => 100,
            Self::EchoLarge => 50,
            Self::Broadcast => 1000,
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Open | Self::Echo | Self::EchoDeep | Self::EchoLarge => Kind::WebSocket(""),
            Self::Broadcast => Kind::WebSocket("/chat,"),
            Self::Upgrade => Kind::Upgraded,
            Self::OpenPolling | Self::Polling => Kind::Polling,
        }
    }

    /// Begins what open sessions of this mode do.
    pub(crate) fn begin(self, load: &mut Load) -> Result<(), LoadError> {
        match self {
            Self::Open | Self::Upgrade | Self::OpenPolling => Ok(()),
            Self::Echo => load.echo(1, SMALL),
            Self::EchoDeep => load.echo(16, SMALL),
            Self::EchoLarge => load.echo(4, LARGE),
            Self::Broadcast => load.announce(SMALL),
            Self::Polling => load.round_trips(SMALL),
        }
    }

    /// Does it for so long; tells how many operations that were.
    pub(crate) fn work(self, load: &mut Load, lasts: Duration) -> Result<u64, LoadError> {
        self.begin(load)?;
        let done = load.run(lasts)?;
        load.finish()?;
        Ok(done)
    }

    /// The limit knows no polling.
    fn is_for(self, who: Who) -> bool {
        who != Who::Limit || !matches!(self, Self::Upgrade | Self::OpenPolling | Self::Polling)
    }
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    Open,
    Idle,
    IdleUpgraded,
    Echo,
    EchoDeep,
    EchoLarge,
    Broadcast,
    OpenPolling,
    Polling,
}

/// All that was measured of one thing: a value for each round.
pub(crate) type Values = BTreeMap<(Over, Figure, Who), Vec<f64>>;

/// How long a measurement lasts, and how long it runs before.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    warm: Duration,
    measured: Duration,
}

impl Times {
    fn of(quick: bool) -> Self {
        let (warm, measured) = if quick { (400, 800) } else { (1000, 2000) };
        Self {
            warm: Duration::from_millis(warm),
            measured: Duration::from_millis(measured),
        }
    }
}

/// Measures all that the plan says, and reports it.
pub(crate) fn run(plan: &Plan) -> Result<(), BenchError> {
    let servers = Servers::new(&plan.server, &plan.peers)?;
    let began = Instant::now();
    if plan.scale {
        let scale = scale::run(&servers, plan.rounds, Times::of(plan.quick))?;
        print!("{scale}");
        return Ok(());
    }
    let times = Times::of(plan.quick);
    let whos = Who::ALL
        .iter()
        .filter(|who| plan.servers.is_empty() || plan.servers.contains(who));
    let whos: Vec<Who> = whos.copied().collect();
    let modes = Mode::ALL
        .iter()
        .filter(|mode| plan.only.is_empty() || plan.only.contains(mode));
    let modes: Vec<Mode> = modes.copied().collect();
    let rounds = if plan.quick { 1 } else { plan.rounds };
    // Proxies come over the Unix socket; what that changes one round tells.
    let unix = usize::from(!plan.quick);
    let mut values = Values::new();
    for (over, rounds) in [(Over::Tcp, rounds), (Over::Unix, unix)] {
        for round in 1..=rounds {
            for &mode in &modes {
                for &who in whos.iter().filter(|who| mode.is_for(**who)) {
                    let seconds = began.elapsed().as_secs();
                    eprintln!("[{seconds:>4} s] {over:?}, round {round}, {mode:?}, {who}");
                    let workers = if who == Who::Single { 1 } else { 2 };
                    let server = servers.start(who, workers, over)?;
                    for (figure, value) in measure(&server, mode, times)? {
                        values.entry((over, figure, who)).or_default().push(value);
                    }
                }
            }
        }
    }
    let mut report = Report::new(&values);
    print!("{report}");
    if !plan.quick && plan.only.is_empty() {
        let scale = scale::run(&servers, plan.rounds, times)?;
        print!("{scale}");
        report.scale = Some(scale);
    }
    report::write(&report, &plan.json).map_err(|source| BenchError::Write {
        path: plan.json.clone(),
        source,
    })
}

fn measure(server: &Server, mode: Mode, times: Times) -> Result<Vec<(Figure, f64)>, BenchError> {
    let figure = match mode {
        Mode::Open | Mode::Upgrade | Mode::OpenPolling => return opening(server, mode),
        Mode::Echo => Figure::Echo,
        Mode::EchoDeep => Figure::EchoDeep,
        Mode::EchoLarge => Figure::EchoLarge,
        Mode::Broadcast => Figure::Broadcast,
        Mode::Polling => Figure::Polling,
    };
    let mut load = Load::new(&server.address, Servers::source())?;
    load.open(mode.kind(), mode.sessions())?;
    mode.begin(&mut load)?;
    Ok(vec![(figure, cost(server, &mut load, times)?)])
}

/// What each operation of a load costs that has begun, in microseconds.
pub(crate) fn cost(server: &Server, load: &mut Load, times: Times) -> Result<f64, BenchError> {
    load.run(times.warm)?;
    let before = server.tree.cpu();
    let done = load.run(times.measured)?;
    let cpu = server.tree.cpu().saturating_sub(before);
    load.finish()?;
    Ok(micros(cpu, done))
}

/// The cost of opening sessions, and their memory when they rest.
fn opening(server: &Server, mode: Mode) -> Result<Vec<(Figure, f64)>, BenchError> {
    // The first ones warm it up.
    let (warm, all) = (mode.sessions() / 6, mode.sessions());
    let mut load = Load::new(&server.address, Servers::source())?;
    load.open(mode.kind(), warm)?;
    load.run(Duration::from_millis(500))?;
    let base = server.tree.pss();
    let before = server.tree.cpu();
    load.open(mode.kind(), all)?;
    // What is still to be done when the last one is open: reports, timers.
    load.run(Duration::from_millis(100))?;
    let cpu = server.tree.cpu().saturating_sub(before);
    let cost = micros(cpu, (all - warm) as u64);
    if load.refused > 0 {
        eprintln!(
            "         {} of {all} sessions were refused at first",
            load.refused
        );
    }
    if mode == Mode::OpenPolling {
        return Ok(vec![(Figure::OpenPolling, cost)]);
    }
    sleep(Duration::from_secs(1));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let idle = kib(server.tree.pss().saturating_sub(base)) / (all - warm) as f64;
    Ok(match mode {
        Mode::Upgrade => vec![(Figure::IdleUpgraded, idle)],
        _ => vec![(Figure::Open, cost), (Figure::Idle, idle)],
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// Microseconds for each of `done`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a run has far fewer than 2^52 operations"
)]
fn micros(cpu: Duration, done: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / done.max(1) as f64
}
