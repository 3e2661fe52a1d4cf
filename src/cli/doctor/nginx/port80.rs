//! Port 80: does it lead to my-app, over IPv4 and IPv6, and if not, whose is it?

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::TOOL;
use super::servers::{self, Listen, Server, Way};
use crate::cli::doctor::Machine;
use crate::cli::doctor::finding::{Finding, Id, Seen};
use crate::cli::doctor::http::{Answer, ask, ask_as_a_proxy};
use crate::cli::doctor::{listening, ports};

const PORT: u16 = 80;
const LOCALHOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// Sends a request over each way that is to lead to my-app.
pub(super) fn through_nginx(machine: &Machine<'_>, servers: &[Server]) -> Seen {
    let mut seen = Seen::default();
    let ways = servers::ways(servers, has_ipv6());
    if ways.is_empty() || !may_ask(machine, &mut seen) {
        return seen;
    }
    for way in ways {
        let to = SocketAddr::new(way.to, PORT);
        let path = &machine.config.engine.path;
        let answer = if way.proxied {
            ask_as_a_proxy(to, &way.host, path)
        } else {
            ask(to, &way.host, path)
        };
        if answer == Answer::MyApp {
            continue;
        }
        let (there, holders) = listening::at(to, &mut seen);
        let who = ports::who(&there, &holders);
        let taker = servers::taker_of(servers, way.to);
        seen.findings.push(astray(&way, &answer, &who, taker));
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

fn astray(way: &Way, answer: &Answer, who: &str, taker: Option<&Server>) -> Finding {
    let Way { to, host, file, .. } = way;
    let at = SocketAddr::new(*to, PORT);
    let what = format!(
        "port 80 does not lead to my-app: {at} is answered by {}, and held by {who}",
        answer.who()
    );
    let is_nginx = who.starts_with("nginx ")
        || matches!(answer, Answer::Other { server: Some(it), .. } if it.starts_with("nginx"));
    let why = match (answer, taker) {
        (
            Answer::Other {
                status: 502 | 504, ..
            },
            _,
        ) => "nginx asks my-app, and gets no answer from it".to_owned(),
        (_, Some(taker)) if is_nginx && taker.file != *file => format!(
            "{file} is to answer Host {host} there; what no server_name has goes to {} ({})",
            name(taker),
            taker.file
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

/// Who has port 80, if anybody has.
pub(super) fn holder(seen: &mut Seen) -> Option<String> {
    let (there, holders) = listening::at(LOCALHOST, seen);
    (!there.is_empty()).then(|| ports::who(&there, &holders))
}

/// Where nothing in nginx leads to my-app, port 80 may be another program's.
pub(super) fn of_another(machine: &Machine<'_>) -> Seen {
    let mut seen = Seen::default();
    let mut of_port = Seen::default();
    let Some(who) = holder(&mut of_port) else {
        return seen;
    };
    if !may_ask(machine, &mut seen) {
        return seen;
    }
    let answer = ask(
        LOCALHOST,
        "check.my-app.invalid",
        &machine.config.engine.path,
    );
    // What nginx lacks is told with what brings it.
    let is_nginx = who.starts_with("nginx ")
        || matches!(&answer, Answer::Other { server: Some(it), .. } if it.starts_with("nginx"));
    if answer != Answer::MyApp && !is_nginx {
        seen.add(of_port);
        seen.findings.push(foreign(&who, &answer));
    }
    seen
}

fn foreign(who: &str, answer: &Answer) -> Finding {
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

/// Clients need a socket of the kind over which they come. The site has those that other sites have.
pub(super) fn of_both_kinds(servers: &[Server], addresses: &[Ipv6Addr]) -> Option<Finding> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let has = |ours: bool, wanted: &dyn Fn(&Listen) -> bool| {
        let mut servers = servers.iter().filter(|it| it.is_ours == ours);
        servers.any(|it| it.listens.iter().any(|(listen, _)| wanted(listen)))
    };
    let [four, six]: [&dyn Fn(&Listen) -> bool; 2] =
        [&|it| it.address == any[0] || it.both, &|it| {
            it.address == any[1]
        }];
    // What has an address of its own is meant so.
    if !any.iter().any(|any| has(true, &|it| it.address == *any)) {
        return None;
    }
    let enable = |missing: &str, others: bool| {
        let server =
            format!("server {{ listen {missing}; server_name none.invalid; return 404; }}");
        if others {
            format!("echo '{server}' >/etc/nginx/conf.d/listen.conf && nginx -t && {TOOL} enable")
        } else {
            format!("{TOOL} enable")
        }
    };
    match addresses.first() {
        _ if !has(true, four) => Some(Finding::warning(
            Id::Port80,
            "my-app's site listens on IPv6 alone",
            "clients that come to port 80 over IPv4 are refused, or find another site",
            enable("80", has(false, six)),
        )),
        Some(address) if !has(true, six) => Some(Finding::note(
            Id::Ipv6,
            format!("this machine has {address}, and my-app's site listens on IPv4 alone"),
            "clients to whom a name server tells that address are refused",
            enable("[::]:80", has(false, four)),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Memory;
    use super::*;

    fn servers(text: &str) -> Vec<Server> {
        servers::servers(&Memory::main(&format!("http {{ {text} }}")))
    }

    const OURS: &str = "server { listen 80; server_name \"~.\"; location / { proxy_pass http://my_app_unix_socket; } }";

    fn way() -> Way {
        Way {
            to: [127, 0, 0, 1].into(),
            host: "check.my-app.invalid".into(),
            proxied: false,
            file: "/etc/nginx/sites-enabled/~my-app".into(),
        }
    }

    #[test]
    fn who_answers_instead_is_told_with_what_brings_my_app_back() {
        let other = |status, server: &str| Answer::Other {
            status,
            server: Some(server.into()),
        };
        let taker = servers("server { listen 80 default_server; server_name all.test; }");
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
            let found = astray(&way(), &answer, who, taker.first());
            assert!(found.what.contains(what), "{found:?}");
            assert!(found.why.contains(why), "{found:?}");
            assert!(found.remedy.contains(remedy), "{found:?}");
        }
        let found = foreign("haproxy (pid 9)", &other(503, "haproxy"));
        assert!(found.what.starts_with("port 80 is held by haproxy (pid 9)"));
    }

    #[test]
    fn a_kind_of_address_is_missed_where_clients_may_come_over_it() {
        let on = |listens: &str| OURS.replace("listen 80;", listens);
        let six: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let other = "server { listen 80; server_name other.test; }";
        for (text, addresses, id, remedy) in [
            (on("listen 80;"), &[][..], None, ""),
            (on("listen 80; listen [::]:80;"), &[six], None, ""),
            (on("listen [::]:80 ipv6only=off;"), &[six], None, ""),
            (
                on("listen [::]:80;") + "server { listen [::]:80 ipv6only=off; }",
                &[six],
                None,
                "",
            ),
            (on("listen 10.0.0.1:80;"), &[six], None, ""),
            (on("listen 443 ssl;"), &[six], None, ""),
            (other.to_owned(), &[six], None, ""),
            (
                on("listen 80;"),
                &[six],
                Some(Id::Ipv6),
                "/usr/share/my-app/nginx-site enable",
            ),
            (
                on("listen 80;") + other,
                &[six],
                Some(Id::Ipv6),
                "echo 'server { listen [::]:80;",
            ),
            (
                on("listen [::]:80;"),
                &[],
                Some(Id::Port80),
                "/usr/share/my-app/nginx-site enable",
            ),
        ] {
            let found = of_both_kinds(&servers(&text), addresses);
            assert_eq!(found.as_ref().map(|it| it.id), id, "{text}");
            assert!(
                found.is_none_or(|it| it.remedy.starts_with(remedy)),
                "{text}"
            );
        }
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
