//! What is measured, in which order, on which servers.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::measure::{Mode, Times, Values, measure};
use crate::report::{self, Report};
use crate::servers::{Over, Servers, Who};
use crate::storm::{self, Question, Sizes};
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
    /// Not the table, but what clients meet who lose their sessions.
    #[arg(long, value_enum, value_delimiter = ',')]
    storm: Vec<Question>,
    #[command(flatten)]
    sizes: Sizes,
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
    if !plan.storm.is_empty() {
        return storm::run(&servers, &plan.storm, &whos, &plan.sizes);
    }
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
        storm::run(&servers, &Question::ALL, &whos, &plan.sizes)?;
    }
    report::write(&report, &plan.json).map_err(|source| BenchError::Write {
        path: plan.json.clone(),
        source,
    })
}
