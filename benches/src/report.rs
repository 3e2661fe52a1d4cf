//! The table and the raw figures.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::measure::{Figure, Values, median};
use crate::scale::Scale;
use crate::servers::{Over, Who};

/// A line of the table: what, and what it may be.
struct Line {
    figure: Figure,
    what: &'static str,
    unit: &'static str,
    at_most: f64,
    /// At most so many times what another server needs in the same run.
    ratio: Option<(Who, f64)>,
}

const LINES: [Line; 9] = [
    line(
        Figure::Open,
        "open a WebSocket session",
        "us",
        120.0,
        Some((Who::Bun, 0.6)),
    ),
    line(Figure::Idle, "idle WebSocket session", "KiB", 17.0, None),
    line(
        Figure::IdleUpgraded,
        "polling, upgraded, idle",
        "KiB",
        19.0,
        None,
    ),
    line(
        Figure::Echo,
        "echo, 100 clients, 1 under way",
        "us",
        14.0,
        Some((Who::Limit, 1.65)),
    ),
    line(
        Figure::EchoDeep,
        "echo, 100 clients, 16 under way",
        "us",
        7.0,
        Some((Who::Limit, 1.25)),
    ),
    line(
        Figure::EchoLarge,
        "echo of 4 KiB, 50 clients, 4 under way",
        "us",
        13.0,
        Some((Who::Limit, 1.25)),
    ),
    line(
        Figure::Broadcast,
        "broadcast to 1,000, per delivery",
        "us",
        7.5,
        Some((Who::Limit, 1.3)),
    ),
    line(
        Figure::OpenPolling,
        "open a polling session",
        "us",
        300.0,
        Some((Who::Bun, 1.0)),
    ),
    line(
        Figure::Polling,
        "polling round trip (POST and GET)",
        "us",
        65.0,
        Some((Who::Bun, 0.65)),
    ),
];

const fn line(
    figure: Figure,
    what: &'static str,
    unit: &'static str,
    at_most: f64,
    ratio: Option<(Who, f64)>,
) -> Line {
    Line {
        figure,
        what,
        unit,
        at_most,
        ratio,
    }
}

/// All that a run found.
#[derive(Serialize)]
pub(crate) struct Report {
    table: Vec<Cell>,
    /// Printed by itself.
    pub(crate) scale: Option<Scale>,
}

/// One figure of one server.
#[derive(Serialize)]
struct Cell {
    over: Over,
    figure: Figure,
    server: Who,
    median: f64,
    rounds: Vec<f64>,
}

impl Report {
    pub(crate) fn new(values: &Values) -> Self {
        let cell = |(&(over, figure, server), rounds): (&(Over, Figure, Who), &Vec<f64>)| Cell {
            over,
            figure,
            server,
            median: median(rounds.clone()),
            rounds: rounds.clone(),
        };
        Self {
            table: values.iter().map(cell).collect(),
            scale: None,
        }
    }

    fn cell(&self, over: Over, figure: Figure, server: Who) -> Option<&Cell> {
        let wanted = |cell: &&Cell| (cell.over, cell.figure, cell.server) == (over, figure, server);
        self.table.iter().find(wanted)
    }

    /// The median of the rounds' ratios: what disturbs a round disturbs both.
    fn ratio(&self, over: Over, figure: Figure, of: Who, to: Who) -> Option<f64> {
        let ours = &self.cell(over, figure, of)?.rounds;
        let theirs = &self.cell(over, figure, to)?.rounds;
        Some(median(
            ours.iter()
                .zip(theirs)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        ))
    }
}

/// The raw figures as JSON.
pub(crate) fn write(report: &Report, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, serde_json::to_vec_pretty(report)?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for over in [Over::Tcp, Over::Unix] {
            if !self.table.iter().any(|cell| cell.over == over) {
                continue;
            }
            write!(f, "\n{:<44}", format!("over {over:?}").to_lowercase())?;
            for who in Who::ALL {
                write!(f, "{:>9}", who.to_string())?;
            }
            let bounds = if over.is_bounded() { "at most" } else { "" };
            writeln!(f, "{bounds:>9}  ratio in this run")?;
            for line in &LINES {
                self.line(f, over, line)?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn line(&self, f: &mut fmt::Formatter<'_>, over: Over, line: &Line) -> fmt::Result {
        let Some(ours) = self.cell(over, line.figure, Who::Ours) else {
            return Ok(());
        };
        write!(f, "{:<44}", format!("{}, {}", line.what, line.unit))?;
        for who in Who::ALL {
            match self.cell(over, line.figure, who) {
                Some(cell) => write!(f, "{:>9.1}", cell.median)?,
                None => write!(f, "{:>9}", "")?,
            }
        }
        let broken = |holds: bool| if holds { "" } else { " BROKEN" };
        if over.is_bounded() {
            let broken = broken(ours.median <= line.at_most);
            write!(f, "{:>9.1}{broken}", line.at_most)?;
        } else {
            write!(f, "{:>9}", "")?;
        }
        // Servers of one process are compared with one worker; what two are in addition is for reading.
        if let Some((who, at_most)) = line.ratio
            && let Some(single) = self.ratio(over, line.figure, Who::Single, who)
            && let Some(ratio) = self.ratio(over, line.figure, Who::Ours, who)
        {
            write!(f, "  {single:.2} and {ratio:.2} x {who}")?;
            if over.is_bounded() {
                write!(f, " (at most {at_most}){}", broken(single <= at_most))?;
            }
        }
        writeln!(f)
    }
}
