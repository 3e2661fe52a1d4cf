//! A reload moves all clients to new workers, one after the other.

use std::fmt;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::avalanche::{WORKERS, at};
use super::crowd::Part;
use super::group::{Group, Told, clock};
use crate::BenchError;
use crate::servers::{Held, Servers, Who};

/// Clients that echo until they are moved.
const STAYING: usize = 200;

/// How long they do so before the reload.
const BEFORE: Duration = Duration::from_secs(5);

/// After these parts of the time it is told how many are moved.
const PARTS: [u64; 3] = [6, 2, 1];

/// What stands above the lines.
pub(super) fn head(drain_seconds: u64) -> String {
    let [first, second, third] = PARTS.map(|part| format!("{} s", drain_seconds / part));
    format!(
        "
A reload moves all clients within {drain_seconds} s: how many lost their session within so many seconds of it, and how many came back;
seconds that each was away; attempts that were refused, and that failed otherwise; an echo of 200 clients, in ms: p99 in the
5 s before, then p50, p99 and the longest of those that had not been moved yet; seconds until the reload was done
clients  server   {first:>7}{second:>7}{third:>7}   back    p50    p99   last refused failed  before    p50    p99   last   done
"
    )
}

/// What became of the clients.
pub(super) struct Moved {
    clients: usize,
    /// Within which all are to be moved.
    drain_seconds: u64,
    /// When the reload began, by the machine's clock.
    began: u64,
    took: Duration,
    told: Told,
    stayed: Told,
}

/// Opens the sessions, reloads the server, and waits until all were moved.
pub(super) fn run(
    servers: &Servers,
    clients: usize,
    drain_seconds: u64,
) -> Result<Moved, BenchError> {
    let held = Held::new(Ipv4Addr::LOCALHOST)?;
    let _server = servers.start_on(&held, Who::Ours, WORKERS)?;
    let mut rest = Group::begin(Part::Rest, held.address(), clients, 0)?;
    rest.wait_until_open()?;
    rest.stand_back()?;
    let mut staying = Group::begin(Part::Stay, held.address(), STAYING, 0)?;
    staying.wait_until_open()?;
    sleep(BEFORE);
    let (began, asked) = (clock(), Instant::now());
    servers.reload()?;
    let took = asked.elapsed();
    let told = rest.told()?;
    let stayed = staying.told()?;
    Ok(Moved {
        clients,
        drain_seconds,
        began,
        took,
        told,
        stayed,
    })
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}  {:<8} ", self.clients, Who::Ours.to_string())?;
        for part in PARTS {
            let until = self.began + self.drain_seconds * 1000 / part;
            let moved = self.told.lost.iter().filter(|lost| **lost <= until).count();
            write!(f, "{moved:>7}")?;
        }
        let mut back = self.told.back.clone();
        back.sort_unstable();
        write!(f, "{:>7}", back.len())?;
        for share in [0.5, 0.99, 1.0] {
            write!(f, "{:>7.1}", at(&back, share) / 1e3)?;
        }
        write!(f, "{:>8}{:>7}", self.told.refused, self.told.failed)?;
        let echoes = self.stayed.came.iter().zip(&self.stayed.echoes);
        let (mut before, mut since) = (Vec::new(), Vec::new());
        for (&came, &took) in echoes {
            if came < self.began {
                before.push(took);
            } else {
                since.push(took);
            }
        }
        before.sort_unstable();
        since.sort_unstable();
        write!(f, "{:>8.1}", at(&before, 0.99) / 1e3)?;
        for share in [0.5, 0.99, 1.0] {
            write!(f, "{:>7.1}", at(&since, share) / 1e3)?;
        }
        writeln!(f, "{:>7.1}", self.took.as_secs_f64())
    }
}
