//! The table and the raw figures.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::measure::{Figure, SESSION_KIB, Values, broken, median};
use crate::scale::Scale;
use crate::servers::{Over, Who};

/// A line of the table: what, and what it may be.
struct Line {
    figure: Figure,
    what: &'static str,
    unit: &'static str,
    bound: Bound,
}

/// What a figure may be.
enum Bound {
    /// So much, with any number of workers.
    AtMost(f64),
    /// So many times what a server of one process needs in the same run, with one worker.
    Times(f64, Who),
}

use Bound::{AtMost, Times};

const LINES: [Line; 9] = [
    line(
        Figure::Open,
        "open a WebSocket session",
        "us",
        Times(0.65, Who::Bun),
    ),
    line(
        Figure::Idle,
        "idle WebSocket session",
        "KiB",
        AtMost(SESSION_KIB),
    ),
    line(
        Figure::IdleUpgraded,
        "polling, upgraded, idle",
        "KiB",
        AtMost(SESSION_KIB),
    ),
    line(
        Figure::Echo,
        "echo, 100 clients, 1 under way",
        "us",
        Times(1.3, Who::Limit),
    ),
    line(
        Figure::EchoDeep,
        "echo, 100 clients, 16 under way",
        "us",
        Times(0.9, Who::Limit),
    ),
    line(
        Figure::EchoLarge,
        "echo of 4 KiB, 50 clients, 4 under way",
        "us",
        Times(1.0, Who::Limit),
    ),
    line(
        Figure::Broadcast,
        "broadcast to 1,000, per delivery",
        "us",
        Times(1.1, Who::Limit),
    ),
    line(
        Figure::OpenPolling,
        "open a polling session",
        "us",
        Times(0.6, Who::Bun),
    ),
    line(
        Figure::Polling,
        "polling round trip (POST and GET)",
        "us",
        Times(0.5, Who::Bun),
    ),
];

const fn line(figure: Figure, what: &'static str, unit: &'static str, bound: Bound) -> Line {
    Line {
        figure,
        what,
        unit,
        bound,
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
            writeln!(f, "  in this run")?;
            for line in &LINES {
                self.line(f, over, line)?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn line(&self, f: &mut fmt::Formatter<'_>, over: Over, line: &Line) -> fmt::Result {
        if !self
            .table
            .iter()
            .any(|cell| (cell.over, cell.figure) == (over, line.figure))
        {
            return Ok(());
        }
        let (one, two) = (Who::Single, Who::Ours);
        write!(f, "{:<44}", format!("{}, {}", line.what, line.unit))?;
        for who in Who::ALL {
            match self.cell(over, line.figure, who) {
                Some(cell) => write!(f, "{:>9.1}", cell.median)?,
                None => write!(f, "{:>9}", "")?,
            }
        }
        match line.bound {
            AtMost(most) => {
                let ours = [one, two].map(|who| self.cell(over, line.figure, who));
                let holds = ours.iter().flatten().all(|cell| cell.median <= most);
                write!(f, "  at most {most}{}", broken(holds))?;
            }
            // Servers of one process are compared with one worker; what two are in addition is for reading.
            Times(most, who) => {
                let ratio = |of| self.ratio(over, line.figure, of, who);
                match (ratio(one), ratio(two)) {
                    (Some(one), Some(two)) => write!(f, "  {one:.2} and {two:.2} x {who}")?,
                    (Some(one), None) => write!(f, "  {one:.2} x {who}")?,
                    _ => {}
                }
                if let Some(one) = ratio(one)
                    && over.is_bounded()
                {
                    write!(f, " (at most {most}){}", broken(one <= most))?;
                }
            }
        }
        writeln!(f)
    }
}
