//! How long the master does nothing while the new program takes over: by its own account, and as somebody sees it who
//! comes then.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::avalanche::{WORKERS, at};
use super::crowd::Part;
use super::group::Group;
use crate::BenchError;
use crate::address::Address;
use crate::servers::{Held, Servers, Who};

/// Clients that rest, or whose request's head is half read.
const SESSIONS: usize = 1000;
const HEADS: usize = 5000;

/// Sessions are moved so fast, and are back before the next reload.
const DRAIN: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_secs(3);

/// Somebody asks so often; who gets no answer for so long gives up.
const EVERY: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(10);

const CHECK: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
const HALF: &[u8] = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: be";

/// What stands above the lines.
pub(super) const HEAD: &str = "
Reloads, one after the other, in ms of all of them: the master's own pause, from the freeze until it accepts again; the
longest that somebody waited who asks it every ms, on a connection of its own each time, whether it is well; and the
same while there was no reload
reloads  the master has      pause: p50    p99   last   asked: p50    p99   last   without: p50    p99   last  failed
";

/// What the master has meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Sessions,
    Heads,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Sessions => format!("{SESSIONS} sessions"),
            Self::Heads => format!("{HEADS} half read heads"),
        })
    }
}

/// What came of it, in microseconds.
pub(super) struct Pauses {
    load: Load,
    /// What the server itself measured at each reload.
    own: Vec<u64>,
    /// The longest of each reload.
    reloads: Vec<u64>,
    /// The longest of as long a time before each.
    without: Vec<u64>,
    failed: usize,
}

/// Reloads the server so often.
pub(super) fn run(servers: &Servers, load: Load, reloads: usize) -> Result<Pauses, BenchError> {
    servers.drain_for(DRAIN)?;
    let held = Held::new(Ipv4Addr::LOCALHOST)?;
    let _server = servers.start_on(&held, Who::Ours, WORKERS)?;
    let Address::Tcp(address) = *held.address() else {
        return Err(BenchError::Broken("no TCP address".into()));
    };
    let sessions = match load {
        Load::Sessions => {
            let mut group = Group::begin(Part::Rest, held.address(), SESSIONS, 0)?;
            group.wait_until_open()?;
            Some(group)
        }
        Load::Heads => None,
    };
    let mut pauses = Pauses {
        load,
        own: Vec::new(),
        reloads: Vec::new(),
        without: Vec::new(),
        failed: 0,
    };
    let mut took = Duration::from_millis(500);
    for _ in 0..reloads {
        thread::sleep(BETWEEN);
        // Heads that take too long are given up; these are new.
        let heads = match load {
            Load::Sessions => Vec::new(),
            Load::Heads => half_heads(address).map_err(BenchError::Clients)?,
        };
        let ((), longest, failed) = watch(address, || {
            thread::sleep(took);
            Ok(())
        })?;
        pauses.without.push(longest);
        pauses.failed += failed;
        let began = Instant::now();
        let (own, longest, failed) = watch(address, || servers.reload().map_err(BenchError::from))?;
        took = began.elapsed();
        pauses.own.push(micros(own));
        pauses.reloads.push(longest);
        pauses.failed += failed;
        drop(heads);
    }
    drop(sessions);
    Ok(pauses)
}

/// Connections whose requests' heads are not whole, all of them accepted.
fn half_heads(to: SocketAddr) -> io::Result<Vec<OwnedFd>> {
    let heads = (0..HEADS).map(|_| {
        let mut head = TcpStream::connect(to)?;
        head.write_all(HALF)?;
        Ok(head.into())
    });
    let heads = heads.collect::<io::Result<Vec<_>>>()?;
    // Who comes later is accepted later.
    check(to)?;
    Ok(heads)
}

/// What comes of something; and the longest that somebody waited meanwhile, in microseconds, and how many got no answer.
fn watch<T>(
    to: SocketAddr,
    during: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(T, u64, usize), BenchError> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut longest, mut failed) = (0, 0);
            while !over.load(Relaxed) {
                let began = Instant::now();
                failed += usize::from(check(to).is_err());
                let waited = began.elapsed();
                longest = longest.max(micros(waited));
                thread::sleep(EVERY.saturating_sub(waited));
            }
            (longest, failed)
        });
        let done = during();
        over.store(true, Relaxed);
        let told = watching.join();
        let done = done?;
        let told = told.map_err(|_| BenchError::Broken("who asked is gone".into()));
        told.map(|(longest, failed)| (done, longest, failed))
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Asks once whether the server is well.
fn check(to: SocketAddr) -> io::Result<()> {
    let mut conn = TcpStream::connect_timeout(&to, PATIENCE)?;
    conn.set_read_timeout(Some(PATIENCE))?;
    conn.write_all(CHECK)?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}  {:<21}", self.reloads.len(), self.load)?;
        let columns = [(&self.own, 9), (&self.reloads, 13), (&self.without, 15)];
        for (times, first) in columns {
            let mut times = times.clone();
            times.sort_unstable();
            for (share, width) in [(0.5, first), (0.99, 7), (1.0, 7)] {
                write!(f, "{:>width$.1}", at(&times, share) / 1e3)?;
            }
        }
        writeln!(f, "{:>8}", self.failed)
    }
}
