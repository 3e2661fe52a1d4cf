//! One measurement: a kind of load, put on one server, and what it costs there.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::BenchError;
use crate::load::{Kind, Load, LoadError};
use crate::servers::{Over, Server, Servers, Who};

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

/// What a session that rests may take of all processes, in KiB.
pub(crate) const SESSION_KIB: f64 = 2.0;

impl Mode {
    pub(crate) const ALL: [Self; 8] = [
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
    pub(crate) fn is_for(self, who: Who) -> bool {
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
    pub(crate) fn of(quick: bool) -> Self {
        let (warm, measured) = if quick { (400, 800) } else { (1000, 2000) };
        Self {
            warm: Duration::from_millis(warm),
            measured: Duration::from_millis(measured),
        }
    }
}

/// Puts one load on a server; tells what each operation costs.
pub(crate) fn measure(
    server: &Server,
    mode: Mode,
    times: Times,
) -> Result<Vec<(Figure, f64)>, BenchError> {
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

/// Stands behind a figure that is not within its bound.
pub(crate) fn broken(holds: bool) -> &'static str {
    if holds { "" } else { " BROKEN" }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
