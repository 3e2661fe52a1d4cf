//! The command line of the model.

use clap::{Parser, ValueEnum};

use super::model::{Bus, Costs, Load};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BusName {
    Redis,
    Postgres,
}

/// Computes what several machines need, and what is full first. Costs are microseconds of CPU time.
#[derive(Debug, Parser)]
#[command(name = "scaling")]
struct Options {
    /// The largest number of machines in the table
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4095))]
    machines: u32,
    /// What joins the machines
    #[arg(long, value_enum, default_value = "redis")]
    bus: BusName,
    /// Sessions of each machine
    #[arg(long, default_value_t = 20_000.0, value_parser = positive)]
    sessions: f64,
    /// The sessions are those of all machines together
    #[arg(long)]
    in_all: bool,
    /// Seconds between two messages of one session
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    every: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 300.0, value_parser = positive)]
    size: f64,
    /// Sessions that get a message
    #[arg(long, default_value_t = 50.0, value_parser = positive)]
    fan_out: f64,
    /// Workers of each machine
    #[arg(long, default_value_t = 4.0, value_parser = positive)]
    workers: f64,
    /// Messages of one machine that travel together: more than one when traffic is dense
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    batch: f64,
    /// What the server's machine can send, in Gbit/s
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    network: f64,
    /// Redis: a publication
    #[arg(long, default_value_t = Costs::default().publish, value_parser = positive)]
    publish: f64,
    /// Redis: a publication for each machine that reads it
    #[arg(long, default_value_t = Costs::default().reader, value_parser = positive)]
    reader: f64,
    /// Redis: each byte of it
    #[arg(long, default_value_t = Costs::default().reader_byte, value_parser = positive)]
    reader_byte: f64,
    /// Postgres: a commit
    #[arg(long, default_value_t = Costs::default().commit, value_parser = positive)]
    commit: f64,
    /// Postgres: each byte of it
    #[arg(long, default_value_t = Costs::default().commit_byte, value_parser = positive)]
    commit_byte: f64,
    /// The bridge: a frame
    #[arg(long, default_value_t = Costs::default().bridge, value_parser = positive)]
    bridge: f64,
    /// A worker: a frame from elsewhere
    #[arg(long, default_value_t = Costs::default().frame, value_parser = positive)]
    frame: f64,
    /// A worker: a message to a client
    #[arg(long, default_value_t = Costs::default().deliver, value_parser = positive)]
    deliver: f64,
}

fn positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().map_err(|_| "write a number")?;
    if f64::is_finite(number) && number > 0.0 {
        Ok(number)
    } else {
        Err("write a number above 0")
    }
}

/// The largest number of machines, what clients do, what it costs.
///
/// # Errors
/// When the line makes no sense, or asks for help.
pub(crate) fn read<T>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<(u32, Load, Costs), clap::Error>
where
    T: Into<std::ffi::OsString> + Clone,
{
    let it = Options::try_parse_from(arguments)?;
    let load = Load {
        bus: match it.bus {
            BusName::Redis => Bus::Redis,
            BusName::Postgres => Bus::Postgres,
        },
        sessions: it.sessions,
        in_all: it.in_all,
        every: it.every,
        size: it.size,
        fan_out: it.fan_out,
        workers: it.workers,
        batch: it.batch,
        network: it.network,
    };
    let costs = Costs {
        publish: it.publish,
        reader: it.reader,
        reader_byte: it.reader_byte,
        commit: it.commit,
        commit_byte: it.commit_byte,
        bridge: it.bridge,
        frame: it.frame,
        deliver: it.deliver,
    };
    Ok((it.machines, load, costs))
}
