//! What buyers ask: are all back after a restart, and how soon; what does a client miss whose network comes and
//! goes; what does it cost to hold very many that rest.
//!
//! ```text
//! questions ──starts, kills, starts──▶ server, on a listening socket that stays
//!     └──starts──▶ crowd, several processes ──sockets──▶ server
//! ```
//!
//! The clients come back as socket.io-client does. The part of systemd is played here: the listening socket is this
//! process's, and each server that is started gets it (`sd_listen_fds(3)`).

mod avalanche;
mod client;
mod crowd;
mod group;
mod jitter;
mod moved;
mod pause;
mod resting;

use std::time::Duration;

use clap::ValueEnum;

pub(crate) use avalanche::How;
pub(crate) use crowd::{Crowding, crowd};

use crate::BenchError;
use crate::servers::{Servers, Who};

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Question {
    /// All clients lose their sessions at once: how many are back after which time?
    Avalanche,
    /// Clients drop for 2 s every 15 s: what of ten messages a second to all reaches them?
    Jitter,
    /// A server is reloaded again and again: for how long does its master do nothing?
    Pause,
    /// Clients rest, directly and behind nginx: what do the server, nginx and the kernel need?
    Idle,
}

impl Question {
    pub(crate) const ALL: [Self; 4] = [Self::Avalanche, Self::Jitter, Self::Pause, Self::Idle];
}

/// How much is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Sizes {
    /// How many clients an avalanche has; several numbers are several avalanches.
    #[arg(long, value_delimiter = ',', default_values_t = [5000])]
    clients: Vec<usize>,
    /// How the service ends before an avalanche.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = How::ALL)]
    how: Vec<How>,
    /// Within how many seconds a reload moves its clients; 30 is what a server does by itself.
    #[arg(long, default_value_t = 30)]
    drain_seconds: u64,
    /// How many clients have jitter, and for how many seconds.
    #[arg(long, default_value_t = 1000)]
    jittering: usize,
    #[arg(long, default_value_t = 30)]
    jitter_seconds: u64,
    /// How many clients rest, and for how many seconds.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// How many reloads are asked how long they pause.
    #[arg(long, default_value_t = 50)]
    reloads: usize,
}

/// Asks the questions of our server and of Node's, and prints what came of it.
pub(crate) fn run(
    servers: &Servers,
    questions: &[Question],
    whos: &[Who],
    sizes: &Sizes,
) -> Result<(), BenchError> {
    let asked = |who: &&Who| matches!(who, Who::Ours | Who::Node);
    let whos: Vec<Who> = whos.iter().filter(asked).copied().collect();
    for question in questions {
        match question {
            Question::Avalanche => {
                avalanches(servers, &whos, sizes)?;
            }
            Question::Pause if !whos.contains(&Who::Ours) => {}
            Question::Pause => {
                print!("{}", pause::HEAD);
                for load in [pause::Load::Sessions, pause::Load::Heads] {
                    eprintln!("         pause: {} reloads, {load}", sizes.reloads);
                    print!("{}", pause::run(servers, load, sizes.reloads)?);
                }
            }
            Question::Idle => {
                print!("{}", resting::HEAD);
                for nginx in [false, true] {
                    for &who in &whos {
                        let (clients, seconds) = (sizes.idle, sizes.idle_seconds);
                        eprintln!("         idle: {clients} clients, {who}");
                        let told = resting::run(servers, who, clients, seconds, nginx)?;
                        print!("{told}");
                    }
                }
            }
            Question::Jitter => {
                print!("{}", jitter::HEAD);
                for &who in &whos {
                    let (clients, seconds) = (sizes.jittering, sizes.jitter_seconds);
                    eprintln!("         jitter: {clients} clients, {who}");
                    print!("{}", jitter::run(servers, who, clients, seconds)?);
                }
            }
        }
    }
    Ok(())
}

/// All clients lose their sessions, in each way.
fn avalanches(servers: &Servers, whos: &[Who], sizes: &Sizes) -> Result<(), BenchError> {
    let (moved, ended): (Vec<How>, Vec<How>) =
        sizes.how.iter().partition(|how| **how == How::Reloaded);
    if !ended.is_empty() {
        print!("{}", avalanche::HEAD);
    }
    for &clients in &sizes.clients {
        for &how in &ended {
            for &who in whos {
                eprintln!("         avalanche: {clients} clients, {who}, {how}");
                print!("{}", avalanche::run(servers, who, how, clients)?);
            }
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    servers.drain_for(Duration::from_secs(sizes.drain_seconds))?;
    print!("{}", moved::head(sizes.drain_seconds));
    for &clients in &sizes.clients {
        for &who in whos {
            eprintln!("         avalanche: {clients} clients, {who}, reloaded");
            match who {
                Who::Ours => print!("{}", moved::run(servers, clients, sizes.drain_seconds)?),
                // It has no such thing.
                _ => println!("{clients:>7}  {:<8}      -", who.to_string()),
            }
        }
    }
    Ok(())
}
