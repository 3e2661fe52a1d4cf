//! Clients whose network comes and goes, while something is sent to all.

use std::fmt;
use std::net::Ipv4Addr;

use super::avalanche::WORKERS;
use super::crowd::Part;
use super::group::{Group, Told};
use crate::BenchError;
use crate::servers::{Held, Servers, Who};

/// What stands above the lines.
pub(super) const HEAD: &str = "
Clients drop for 2 s every 15 s, ten messages a second go to all: what arrives
clients  server    seconds  of all, %  of what was sent while it had a session, %  twice or late
";

/// What became of the clients.
pub(super) struct Jitter {
    who: Who,
    clients: usize,
    seconds: u64,
    told: Told,
}

/// Opens the sessions, and counts what arrives while they come and go.
pub(super) fn run(
    servers: &Servers,
    who: Who,
    clients: usize,
    seconds: u64,
) -> Result<Jitter, BenchError> {
    let held = Held::new(Ipv4Addr::LOCALHOST)?;
    let _server = servers.start_on(&held, who, WORKERS)?;
    let mut group = Group::begin(Part::Jitter, held.address(), clients, seconds)?;
    group.wait_until_open()?;
    Ok(Jitter {
        who,
        clients,
        seconds,
        told: group.told()?,
    })
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let percent = |part: u64, all: u64| part as f64 * 100.0 / all.max(1) as f64;
        let told = &self.told;
        writeln!(
            f,
            "{:>7}  {:<8}{:>9}{:>11.2}{:>49.3}{:>15}",
            self.clients,
            self.who.to_string(),
            self.seconds,
            percent(told.arrived, told.sent),
            percent(told.arrived_awaited, told.awaited),
            told.misplaced,
        )
    }
}
