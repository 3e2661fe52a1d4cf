//! Who listens at a port, from /proc: the kernel tells everybody that a port is taken and whose user's it is, and
//! root alone by which process.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) at: SocketAddr,
    pub(super) uid: u32,
    inode: u64,
}

/// A process that has a socket open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// All sockets that listen on this machine.
pub(super) fn listeners() -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok());
    tables.flat_map(|table| parse(&table)).collect()
}

/// Reads a table of `proc_net_tcp(5)`.
fn parse(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(line).collect()
}

fn line(line: &str) -> Option<Listener> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, uid, _, inode, ..] = fields[..] else {
        return None;
    };
    // TCP_LISTEN.
    (state == "0A").then_some(())?;
    let (address, port) = local.split_once(':')?;
    Some(Listener {
        at: (self::address(address)?, u16::from_str_radix(port, 16).ok()?).into(),
        uid: uid.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// An address as the kernel prints it: words of four bytes, each as this machine has it in memory.
fn address(text: &str) -> Option<IpAddr> {
    let mut words = [[0; 4]; 4];
    let count = text.len() / 8;
    for (index, word) in words.iter_mut().take(count).enumerate() {
        let digits = text.get(index * 8..index * 8 + 8)?;
        *word = u32::from_str_radix(digits, 16).ok()?.to_ne_bytes();
    }
    let [first, ..] = words;
    match text.len() {
        8 => Some(Ipv4Addr::from(first).into()),
        32 => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

impl Listener {
    /// Whether a connection to this address may come to it.
    pub(super) fn takes(&self, to: SocketAddr) -> bool {
        let (ip, wanted) = (self.at.ip(), to.ip());
        self.at.port() == to.port()
            && (ip == wanted
                || ip.is_unspecified() && ip.is_ipv4() == wanted.is_ipv4()
                // One of both kinds looks like any other.
                || ip.is_unspecified() && ip.is_ipv6()
                || wanted.is_unspecified())
    }
}

/// Which of the processes have one of these sockets open; nothing: no one may see that but root.
pub(super) fn holders(listeners: &[Listener]) -> Vec<Holder> {
    let sockets: BTreeSet<_> = listeners
        .iter()
        .map(|it| format!("socket:[{}]", it.inode))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let has_one = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| {
            let target = fs::read_link(file.path()).ok();
            target
                .as_deref()
                .and_then(|it| it.to_str())
                .is_some_and(|it| sockets.contains(it))
        })
    };
    if sockets.is_empty() {
        return Vec::new();
    }
    let holding = pids.filter(has_one).map(|pid| Holder {
        pid,
        name: name(pid),
    });
    let mut holding: Vec<_> = holding.collect();
    holding.sort();
    holding
}

/// What a process is called.
pub(super) fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "?" } else { name }.to_owned()
}

/// In words: who has the sockets at an address. systemd has every socket that it passes on, so it counts only
/// when it is alone.
pub(super) fn who(listeners: &[Listener], holders: &[Holder]) -> String {
    let other = holders.iter().find(|it| it.pid != 1);
    let told = other.or_else(|| holders.first());
    match (told, listeners) {
        (Some(told), _) => format!("{} (pid {})", told.name, told.pid),
        (None, [first, ..]) => format!("a process of the user with uid {}", first.uid),
        (None, []) => "nobody".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 100 0 0 10 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
   3: broken";
    const TABLE_6: &str = "  sl  local_address                         remote_address
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0000 100 0 0 10 0
   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4715 1 0000 100 0 0 10 0";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let shown = |table| {
            let listeners = parse(table);
            let listeners = listeners.iter().map(|it| format!("{} {}", it.at, it.uid));
            listeners.collect::<Vec<_>>()
        };
        assert_eq!(shown(TABLE), ["127.0.0.1:8080 998", "0.0.0.0:80 0"]);
        assert_eq!(shown(TABLE_6), ["[::]:80 0", "[::1]:80 0"]);
        assert_eq!(parse(""), []);
    }

    #[test]
    fn a_connection_may_come_to_the_wildcard() {
        let listener = |at: &str| Listener {
            at: at.parse().unwrap(),
            uid: 0,
            inode: 1,
        };
        for (at, to, takes) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.2:80", "0.0.0.0:80", true),
        ] {
            assert_eq!(listener(at).takes(to.parse().unwrap()), takes, "{at} {to}");
        }
    }

    #[test]
    fn a_process_is_told_before_systemd_and_before_its_user() {
        let listeners = parse(TABLE);
        let holder = |pid, name: &str| Holder {
            pid,
            name: name.into(),
        };
        let [systemd, other] = [holder(1, "systemd"), holder(437, "grafana")];
        for (holders, said) in [
            (vec![systemd.clone(), other.clone()], "grafana (pid 437)"),
            (vec![systemd], "systemd (pid 1)"),
            (vec![], "a process of the user with uid 998"),
        ] {
            assert_eq!(who(&listeners, &holders), said);
        }
        assert_eq!(who(&[], &[]), "nobody");
    }

    #[test]
    fn this_process_is_found_at_its_port() {
        let mine = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = mine.local_addr().unwrap();
        let there: Vec<_> = listeners().into_iter().filter(|it| it.at == at).collect();
        let holders = holders(&there);
        assert!(
            holders.iter().any(|it| it.pid == std::process::id()),
            "{holders:?}"
        );
    }
}
