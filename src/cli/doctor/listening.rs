//! The ports of the server itself: who has them, and is it my-app?

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::Machine;
use super::finding::{Finding, Id, Seen};
use super::http::{Answer, ask};
use super::look;
use super::ports::{self, Holder, Listener};
use super::units::{SERVICE, TCP_SOCKET, Unit, Units};
use crate::config::{Config, ListenAddr};

/// How long a name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(3);

/// The port that systemd opens for the service, if it is wanted and not there.
pub(super) fn of_the_service(machine: &Machine<'_>) -> Seen {
    let mut seen = Seen::default();
    for address in missing(&machine.units) {
        let (there, holders) = at(address, &mut seen);
        seen.findings.push(taken(address, &there, &holders));
    }
    let listeners = ports::listeners();
    let closed = closed(&machine.units, |address| {
        listeners.iter().any(|it| it.takes(address))
    });
    seen.findings.extend(closed.into_iter().map(changed));
    if machine.is_the_services && machine.units.service.is("active") {
        seen.findings
            .extend(unopened(&worker_ports(machine.config)));
    }
    seen
}

/// The addresses of the workers' own ports at which nobody listens.
fn worker_ports(config: &Config) -> Vec<SocketAddr> {
    let Some(ports) = &config.worker_listen else {
        return Vec::new();
    };
    let addresses = (0..config.worker_count()).filter_map(|slot| ports.of(slot));
    let addresses = addresses.filter_map(|it| resolved(&it));
    let listeners = ports::listeners();
    let mut addresses: Vec<_> = addresses.collect();
    addresses.retain(|address| !listeners.iter().any(|it| it.takes(*address)));
    addresses
}

/// Ports that `worker_listen` names, and no socket unit opens.
fn unopened(addresses: &[SocketAddr]) -> Option<Finding> {
    let list = |each: fn(&SocketAddr) -> String, between| {
        let all: Vec<_> = addresses.iter().map(each).collect();
        all.join(between)
    };
    let units = list(|it| format!("my-app-worker@{}.socket", it.port()), " ");
    (!addresses.is_empty()).then(|| {
        Finding::warning(
            Id::WorkerPorts,
            format!(
                "nobody listens at {}: worker_listen names it, and systemd opens it for no worker",
                list(ToString::to_string, ", ")
            ),
            "what nginx sends there is refused",
            format!(
                "cp /usr/share/doc/my-app/examples/my-app-worker@.socket /etc/systemd/system/ && \
                 systemctl daemon-reload && systemctl enable {units} && systemctl restart {SERVICE}"
            ),
        )
    })
}

/// The first address of a name with a port.
fn resolved(address: &ListenAddr) -> Option<SocketAddr> {
    let ListenAddr::Tcp(name) = address else {
        return None;
    };
    let to_resolve = name.clone();
    let addresses: Vec<SocketAddr> = look::within(RESOLVING, move || {
        let addresses = to_resolve.to_socket_addrs();
        addresses.map(Iterator::collect).unwrap_or_default()
    })?;
    addresses.into_iter().find(|it| it.port() != 0)
}

/// Where my-app-tcp.socket listens, if it is to and does not. When all is stopped, that is told elsewhere.
fn missing(units: &Units) -> Vec<SocketAddr> {
    let tcp = &units.tcp;
    let wanted = tcp.get("UnitFileState") == "enabled" && units.socket.is("active");
    if !wanted || tcp.is("active") {
        return Vec::new();
    }
    addresses(tcp)
}

fn addresses(unit: &Unit) -> Vec<SocketAddr> {
    let words = unit.get("Listen").split_whitespace();
    words.filter_map(|it| it.parse().ok()).collect()
}

/// Where my-app-tcp.socket is to listen, is active, and nobody does: systemd has read another unit since it opened it.
fn closed(units: &Units, is_open: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
    let mut closed = if units.tcp.is("active") {
        addresses(&units.tcp)
    } else {
        Vec::new()
    };
    closed.retain(|address| !is_open(*address));
    closed
}

fn changed(address: SocketAddr) -> Finding {
    Finding::warning(
        Id::PortTaken,
        format!(
            "nobody listens at {address}, which {TCP_SOCKET} names: it was changed after its start"
        ),
        "clients that connect to that port are refused, and the service may lose the one that it had",
        format!("systemctl restart {TCP_SOCKET}"),
    )
}

fn taken(address: SocketAddr, there: &[Listener], holders: &[Holder]) -> Finding {
    let why = "clients that connect to that port do not reach my-app; nginx does not need it";
    let open = format!("systemctl restart {TCP_SOCKET}");
    if there.is_empty() {
        let what = format!("nobody listens at {address}: {TCP_SOCKET} is enabled, and not active");
        return Finding::warning(Id::PortTaken, what, why, open);
    }
    let who = ports::who(there, holders);
    let what = format!("{address} is held by {who}, so that {TCP_SOCKET} has not got it");
    Finding::warning(Id::PortTaken, what, why, format!("when it is free: {open}"))
}

/// Who listens where a connection to this address would come to.
pub(super) fn at(address: SocketAddr, seen: &mut Seen) -> (Vec<Listener>, Vec<Holder>) {
    let mut there = ports::listeners();
    there.retain(|it| it.takes(address));
    let holders = ports::holders(&there);
    if holders.is_empty() && !there.is_empty() {
        seen.cannot_see(format!(
            "which process has port {}: root sees that",
            address.port()
        ));
    }
    (there, holders)
}

/// By hand the server opens its own listeners: is one of them somebody else's?
pub(super) fn by_hand(config: &Config) -> Seen {
    let mut seen = Seen::default();
    let ports = config.worker_listen.as_ref();
    let own = (0..config.worker_count()).filter_map(|slot| ports?.of(slot));
    for listen in config.listen.iter().cloned().chain(own) {
        let Some(address) = resolved(&listen) else {
            continue;
        };
        let name = &listen.to_string();
        let (there, holders) = at(address, &mut seen);
        if there.is_empty() || ask(reachable(address), name, &config.engine.path) == Answer::MyApp {
            continue;
        }
        seen.findings.push(Finding::warning(
            Id::PortTaken,
            format!("{name} is held by {}", ports::who(&there, &holders)),
            "the server does not get it while that is so",
            "end that program, or choose another port: my-app --listen ADDR",
        ));
    }
    seen
}

/// Where to connect to for what listens everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let localhost = match address {
        _ if !address.ip().is_unspecified() => address.ip(),
        SocketAddr::V4(_) => [127, 0, 0, 1].into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    (localhost, address.port()).into()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn units(tcp: &str, socket: &str, enabled: &str) -> Units {
        Units::parse(&format!(
            "Id=my-app.socket\nActiveState={socket}\n\nId=my-app-tcp.socket\nActiveState={tcp}\n\
             UnitFileState={enabled}\nListen=127.0.0.1:3000 (Stream) [::1]:3000 (Stream)\n"
        ))
    }

    #[test]
    fn a_port_is_missing_when_it_is_wanted_and_not_there() {
        for (tcp, socket, enabled, missed) in [
            ("active", "active", "enabled", 0),
            ("failed", "active", "enabled", 2),
            ("inactive", "active", "enabled", 2),
            ("inactive", "active", "disabled", 0),
            ("inactive", "inactive", "enabled", 0),
        ] {
            let found = missing(&units(tcp, socket, enabled));
            assert_eq!(found.len(), missed, "{tcp} {socket} {enabled}");
        }
        assert_eq!(missing(&Units::default()), []);
    }

    #[test]
    fn a_port_that_the_unit_names_since_it_was_changed_is_told() {
        for (tcp, open, told) in [
            ("active", true, 0),
            ("active", false, 2),
            ("inactive", false, 0),
        ] {
            let found = closed(&units(tcp, "active", "enabled"), |_| open);
            assert_eq!(found.len(), told, "{tcp} {open}");
        }
        let finding = changed("127.0.0.1:3000".parse().unwrap());
        assert!(finding.what.contains("was changed after its start"));
    }

    #[test]
    fn a_port_that_another_program_has_is_told_with_its_name() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let config = Config {
            listen: vec![ListenAddr::Tcp(address.to_string())],
            ..Config::default()
        };
        let seen = by_hand(&config);
        let [finding] = &seen.findings[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(finding.id, Id::PortTaken);
        let pid = format!("(pid {})", std::process::id());
        assert!(finding.what.contains(&pid), "{finding:?}");
        drop(held);
        assert_eq!(by_hand(&config).findings, []);
    }

    #[test]
    fn a_workers_port_that_nobody_opens_is_told_with_what_opens_it() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let mut config = Config {
            workers: 1,
            worker_listen: Some(address.to_string().parse().unwrap()),
            ..Config::default()
        };
        assert_eq!(worker_ports(&config), []);
        drop(free);
        assert_eq!(worker_ports(&config), [address]);
        let finding = unopened(&[address]).unwrap();
        let unit = format!(
            "systemctl enable my-app-worker@{}.socket &&",
            address.port()
        );
        assert!(finding.remedy.contains(&unit), "{}", finding.remedy);
        config.worker_listen = None;
        assert_eq!(worker_ports(&config), []);
        assert_eq!(unopened(&[]), None);
    }

    #[test]
    fn nobody_at_a_port_is_told_apart_from_another_program() {
        let address = "127.0.0.1:3000".parse().unwrap();
        assert!(taken(address, &[], &[]).what.starts_with("nobody listens"));
        assert_eq!(
            reachable("0.0.0.0:80".parse().unwrap()).to_string(),
            "127.0.0.1:80"
        );
        assert_eq!(
            reachable("[::]:80".parse().unwrap()).to_string(),
            "[::1]:80"
        );
        assert_eq!(reachable(address), address);
    }
}
