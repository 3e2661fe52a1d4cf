//! Port 80: does it lead to my-app, over IPv4 and IPv6, and if not, whose is it?

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use super::TOOL;
use super::servers::{self, Server, Way};
use crate::cli::doctor::Machine;
use crate::cli::doctor::finding::{Finding, Id, Seen};
use crate::cli::doctor::http::{Answer, ask};
use crate::cli::doctor::{listening, ports};

const PORT: u16 = 80;

/// Sends a request over each way that is to lead to my-app.
pub(super) fn through_nginx(machine: &Machine<'_>, servers: &[Server]) -> Seen {
    let mut seen = Seen::default();
    let ways = servers::ways(servers, has_ipv6());
    if ways.is_empty() || !may_ask(machine, &mut seen) {
        return seen;
    }
    for way in ways {
        let to = SocketAddr::new(way.to, PORT);
        let answer = ask(to, &way.host, &machine.config.engine.path);
        if answer == Answer::MyApp {
            continue;
        }
        let (there, holders) = listening::at(to, &mut seen);
        let who = ports::who(&there, &holders);
        let default = servers::default_of(servers, way.to);
        seen.findings.push(astray(&way, &answer, &who, default));
        // One that is astray is astray everywhere.
        break;
    }
    seen
}

/// Whether a request may be sent. The service that runs may have another path than a file that is only looked at.
fn may_ask(machine: &Machine<'_>, seen: &mut Seen) -> bool {
    if machine.units.would_start() {
        seen.cannot_see("whether port 80 leads to my-app: the service is not running, and a request would start it");
        return false;
    }
    machine.is_the_services
}

fn astray(way: &Way, answer: &Answer, who: &str, default: Option<&Server>) -> Finding {
    let Way { to, host, file } = way;
    let at = SocketAddr::new(*to, PORT);
    let what = format!(
        "port 80 does not lead to my-app: {at} is answered by {}, and held by {who}",
        answer.who()
    );
    let is_nginx = who.starts_with("nginx ")
        || matches!(answer, Answer::Other { server: Some(it), .. } if it.starts_with("nginx"));
    let why = match (answer, default) {
        (
            Answer::Other {
                status: 502 | 504, ..
            },
            _,
        ) => "nginx asks my-app, and gets no answer from it".to_owned(),
        (_, Some(default)) if is_nginx && default.file != *file => format!(
            "{file} is to answer Host {host} there; what no server_name has goes to {} ({})",
            name(default),
            default.file
        ),
        _ => format!("{file} is to pass it on: clients that come to port 80 find somebody else"),
    };
    let remedy = match answer {
        Answer::Other {
            status: 502 | 504, ..
        } => "systemctl restart my-app.socket; journalctl -u my-app -n 50".to_owned(),
        _ if is_nginx => format!("systemctl reload nginx && {TOOL} enable"),
        _ => format!("end what has the port, then: systemctl restart nginx && {TOOL} enable"),
    };
    Finding::fault(Id::Port80, what, why, remedy)
}

/// What a server is called.
fn name(server: &Server) -> String {
    let names = server.names.join(" ");
    if names.is_empty() {
        "a server without a server_name".to_owned()
    } else {
        format!("server_name {names}")
    }
}

/// Where nothing in nginx leads to my-app, port 80 may be another program's.
pub(super) fn without_nginx(machine: &Machine<'_>) -> Seen {
    let mut seen = Seen::default();
    let to = SocketAddr::from(([127, 0, 0, 1], PORT));
    let mut quiet = Seen::default();
    let (there, holders) = listening::at(to, &mut quiet);
    if there.is_empty()
        || holders.iter().any(|it| it.name == "nginx")
        || !may_ask(machine, &mut seen)
    {
        return seen;
    }
    let answer = ask(to, "check.my-app.invalid", &machine.config.engine.path);
    if answer != Answer::MyApp {
        seen.findings
            .push(of_another(&ports::who(&there, &holders), &answer));
        seen.add(quiet);
    }
    seen
}

fn of_another(who: &str, answer: &Answer) -> Finding {
    Finding::note(
        Id::Port80,
        format!(
            "port 80 is held by {who} and does not lead to my-app: it is answered by {}",
            answer.who()
        ),
        "clients reach my-app on its own port alone",
        "pass /socket.io/ there on to http://127.0.0.1:3000, with Upgrade, Connection and Host",
    )
}

/// Whether a connection to `::1` is possible: IPv6 may be switched off.
fn has_ipv6() -> bool {
    let localhost = (Ipv6Addr::LOCALHOST, PORT);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|it| it.connect(localhost).is_ok())
}

/// The addresses of IPv6 at which other machines reach this one.
pub(super) fn addresses() -> Vec<Ipv6Addr> {
    parse(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default())
}

/// Reads the table of the kernel: address, number of the device, prefix, scope, flags, device.
fn parse(table: &str) -> Vec<Ipv6Addr> {
    let of_line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [address, _, _, "00", ..] = fields[..] else {
            return None;
        };
        Some(Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?))
    };
    table.lines().filter_map(of_line).collect()
}

/// Clients that come over IPv6 need a socket of it.
pub(super) fn ipv6(servers: &[Server], addresses: &[Ipv6Addr]) -> Option<Finding> {
    let address = addresses.first()?;
    let on_80: Vec<_> = servers
        .iter()
        .filter(|it| it.is_ours && !it.listens.is_empty())
        .collect();
    let heard = |server: &&Server| {
        let mut listens = server.listens.iter();
        listens.any(|(listen, _)| {
            listen.address == IpAddr::from(Ipv6Addr::UNSPECIFIED)
                || listen.address == IpAddr::from(*address)
        })
    };
    if on_80.is_empty() || on_80.iter().any(heard) {
        return None;
    }
    Some(Finding::note(
        Id::Ipv6,
        format!("this machine has {address}, and my-app's site listens on IPv4 alone"),
        "clients to whom a name server tells that address are refused",
        format!(
            "echo 'server {{ listen [::]:80; server_name ipv6.invalid; return 404; }}' >/etc/nginx/conf.d/ipv6.conf && \
             nginx -t && {TOOL} enable"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tree::Memory;
    use super::*;

    fn servers(text: &str) -> Vec<Server> {
        servers::servers(&Memory::main(&format!("http {{ {text} }}")))
    }

    const OURS: &str =
        "server { listen 80; server_name \"~.\"; location / { proxy_pass http://my_app; } }";

    fn way() -> Way {
        Way {
            to: [127, 0, 0, 1].into(),
            host: "check.my-app.invalid".into(),
            file: "/etc/nginx/sites-enabled/~my-app".into(),
        }
    }

    #[test]
    fn who_answers_instead_is_told_with_what_brings_my_app_back() {
        let other = |status, server: &str| Answer::Other {
            status,
            server: Some(server.into()),
        };
        let default = servers("server { listen 80 default_server; server_name all.test; }");
        for (answer, who, what, why, remedy) in [
            (
                other(404, "nginx/1.26.3"),
                "nginx (pid 7)",
                "127.0.0.1:80 is answered by nginx/1.26.3 (status 404), and held by nginx (pid 7)",
                "goes to server_name all.test (/etc/nginx/nginx.conf)",
                "systemctl reload nginx && /usr/share/my-app/nginx-site enable",
            ),
            (
                other(200, "Apache"),
                "apache2 (pid 8)",
                "answered by Apache (status 200), and held by apache2 (pid 8)",
                "find somebody else",
                "end what has the port",
            ),
            (
                other(502, "nginx"),
                "nginx (pid 7)",
                "status 502",
                "gets no answer",
                "systemctl restart my-app.socket",
            ),
            (
                Answer::Nobody,
                "nobody",
                "answered by nobody",
                "is to pass it on",
                "end what has",
            ),
        ] {
            let found = astray(&way(), &answer, who, default.first());
            assert!(found.what.contains(what), "{found:?}");
            assert!(found.why.contains(why), "{found:?}");
            assert!(found.remedy.contains(remedy), "{found:?}");
        }
        let found = of_another("haproxy (pid 9)", &other(503, "haproxy"));
        assert!(found.what.starts_with("port 80 is held by haproxy (pid 9)"));
    }

    #[test]
    fn ipv6_is_missed_only_where_the_machine_has_an_address() {
        let both = OURS.replace("listen 80;", "listen 80; listen [::]:80;");
        let address: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(ipv6(&servers(OURS), &[]), None);
        assert_eq!(ipv6(&servers(&both), &[address]), None);
        assert_eq!(ipv6(&servers("server { listen 80; }"), &[address]), None);
        let found = ipv6(&servers(OURS), &[address]).unwrap();
        assert!(found.what.starts_with("this machine has 2001:db8::1"));
    }

    #[test]
    fn addresses_of_the_whole_world_are_told_from_those_of_a_link() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     20010db8000000000000000000000001 02 40 00 80     eth0\n\
                     fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(parse(table), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(parse(""), [] as [Ipv6Addr; 0]);
    }
}
