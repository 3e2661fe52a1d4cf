//! All clients lose their sessions at once, and come back.

use std::fmt;
use std::net::Ipv4Addr;

use clap::ValueEnum;

use super::crowd::Part;
use super::group::{Group, Told};
use crate::BenchError;
use crate::servers::{Held, Servers, Who};

/// Clients that come back at once and echo: what the storm costs those who are in.
const PROBES: usize = 50;

/// Seconds within which so many are back.
const WITHIN: [u64; 3] = [2, 5, 10];

/// Workers of either server.
pub(super) const WORKERS: u16 = 2;

/// What stands above the lines.
pub(super) const HEAD: &str = "
All clients lose their sessions: how many are back within so many seconds; seconds for each; attempts that were
refused, and that failed otherwise; an echo meanwhile of 50 who came back at once, in ms
clients  server   service      2 s    5 s   10 s    all    p50    p99   last refused failed     p50    p99   last
";

/// How the service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Its main process is killed.
    Killed,
    /// It is asked to end, and started again.
    Restarted,
    /// It is reloaded, and moves its clients to new workers.
    Reloaded,
}

impl How {
    pub(crate) const ALL: [Self; 3] = [Self::Killed, Self::Restarted, Self::Reloaded];
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Killed => "killed",
            Self::Restarted => "restarted",
            Self::Reloaded => "reloaded",
        };
        f.pad(name)
    }
}

/// What became of the clients.
pub(super) struct Avalanche {
    who: Who,
    how: How,
    clients: usize,
    told: Told,
    echoes: Vec<u64>,
}

/// Opens the sessions, ends the server, starts it again on the same socket, and waits for who comes back.
pub(super) fn run(
    servers: &Servers,
    who: Who,
    how: How,
    clients: usize,
) -> Result<Avalanche, BenchError> {
    let held = Held::new(Ipv4Addr::LOCALHOST)?;
    let mut server = servers.start_on(&held, who, WORKERS)?;
    let mut rest = Group::begin(Part::Rest, held.address(), clients, 0)?;
    rest.wait_until_open()?;
    let mut probes = Group::begin(Part::Probe, held.address(), PROBES, 0)?;
    probes.wait_until_open()?;
    if how == How::Killed {
        server.kill();
    }
    // It is asked to end, if it has not been killed.
    drop(server);
    let _server = servers.start_again_on(&held, who, WORKERS)?;
    let told = rest.told()?;
    let echoes = probes.told()?.echoes;
    Ok(Avalanche {
        who,
        how,
        clients,
        told,
        echoes,
    })
}

impl fmt::Display for Avalanche {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut back = self.told.back.clone();
        back.sort_unstable();
        let mut echoes = self.echoes.clone();
        echoes.sort_unstable();
        let seconds = |share| at(&back, share) / 1e3;
        let millis = |share| at(&echoes, share) / 1e3;
        let within = |seconds: u64| back.partition_point(|&away| away <= seconds * 1000);
        let (who, how, clients) = (self.who.to_string(), self.how, self.clients);
        write!(f, "{clients:>7}  {who:<8} {how:<10}")?;
        for seconds in WITHIN {
            write!(f, "{:>7}", within(seconds))?;
        }
        write!(f, "{:>7}", back.len())?;
        for share in [0.5, 0.99, 1.0] {
            write!(f, "{:>7.1}", seconds(share))?;
        }
        write!(f, "{:>8}{:>7}", self.told.refused, self.told.failed)?;
        writeln!(
            f,
            "{:>8.1}{:>7.1}{:>7.0}",
            millis(0.5),
            millis(0.99),
            millis(1.0)
        )
    }
}

/// The one of sorted values that this share of them does not exceed.
pub(super) fn at(sorted: &[u64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "far below 2^52"
    )]
    let (nth, value) = {
        let nth = (sorted.len() as f64 * share).ceil() as usize;
        (nth, |value: &u64| *value as f64)
    };
    let nth = nth.saturating_sub(1).min(sorted.len().saturating_sub(1));
    sorted.get(nth).map_or(f64::NAN, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_sorted_values() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| at(&sorted, share).to_string()),
            ["50", "99", "100"]
        );
        assert!(at(&[], 0.5).is_nan());
    }
}
