//! CPU time and memory of a server's processes, from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A process and all its descendants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree {
    root: u32,
}

impl Tree {
    pub(crate) fn of(root: u32) -> Self {
        Self { root }
    }

    /// The processes that it has now, the root first.
    pub(crate) fn pids(self) -> Vec<u32> {
        let parents: HashMap<u32, u32> = all_pids()
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let mut family = vec![self.root];
        let mut next = 0;
        while let Some(&pid) = family.get(next) {
            let children = parents.iter().filter(|&(_, parent)| *parent == pid);
            let mut children: Vec<u32> = children.map(|(child, _)| *child).collect();
            children.sort_unstable();
            family.extend(children);
            next += 1;
        }
        family
    }

    /// What all its threads have run on a processor since they began.
    pub(crate) fn cpu(self) -> Duration {
        self.pids().into_iter().map(cpu).sum()
    }

    /// What the first of its processes has run.
    pub(crate) fn root_cpu(self) -> Duration {
        cpu(self.root)
    }

    /// Proportional set size, in bytes: private memory, and its share of what is shared.
    pub(crate) fn pss(self) -> u64 {
        self.pids().into_iter().map(pss).sum()
    }
}

/// What the kernel has for all sockets of this machine, in bytes: they themselves, which only root may know
/// (slabinfo(5)), and what waits in those of TCP (`mem` of `/proc/net/sockstat`, in pages of 4 KiB).
pub(crate) fn sockets() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let of_sockets = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let is_one =
            ["TCP", "TCPv6", "sock_inode_cache"].contains(&name) || name.starts_with("UNIX");
        // Active objects, all objects, the size of one.
        let count: u64 = fields.next().filter(|_| is_one)?.parse().ok()?;
        let size: u64 = fields.nth(1)?.parse().ok()?;
        Some(count * size)
    };
    let themselves: u64 = slabs.lines().filter_map(of_sockets).sum();
    let sockstat = fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, pages) = tcp.rsplit_once("mem ")?;
    Some(themselves + pages.trim().parse::<u64>().ok()? * 4096)
}

/// Does this process run still? One that nobody has waited for yet does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, behind)| !behind.trim_start().starts_with(['Z', 'X']))
    })
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What a process' threads have run on a processor. The first number of schedstat counts
/// nanoseconds, where stat counts hundredths of a second.
fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let nanos = threads
        .into_iter()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

fn pss(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; behind it come the state and the parent.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}
