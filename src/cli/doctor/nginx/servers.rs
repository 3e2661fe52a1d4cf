//! nginx's servers: where they listen on port 80, what they are called, and which lead to my-app.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::tree::{Directive, Tree, named};

/// The upstream of conf.d/my-app.conf. Others are my-app's when they lead to its socket: a neighbour's may have any name.
const UPSTREAM: &str = "my_app_unix_socket";
const SOCKET: &str = "unix:/run/my-app/my-app.sock";
/// What every Host but those of other servers is: nobody is called so.
const NOBODY: &str = "check.my-app.invalid";

/// A server{}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) file: Arc<str>,
    pub(super) names: Vec<String>,
    /// Where on port 80, and whether it is the one that answers what nobody is called there.
    pub(super) listens: Vec<(Listen, bool)>,
    /// A location of it leads to my-app.
    pub(super) is_ours: bool,
    /// Where clients are named first, as load balancers do: it holds for all servers of that socket.
    proxied: Vec<IpAddr>,
}

/// A socket of port 80.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) address: IpAddr,
    /// `ipv6only=off`: of IPv4, too.
    pub(super) both: bool,
}

/// A way over which my-app must be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// Where to connect to.
    pub(super) to: IpAddr,
    pub(super) host: String,
    /// As a load balancer does, that names the client first.
    pub(super) proxied: bool,
    /// The server that is to pass it on.
    pub(super) file: Arc<str>,
}

/// What a `proxy_pass` to my-app has behind `http://`.
#[derive(Debug)]
pub(super) struct Targets(Vec<String>);

impl Targets {
    pub(super) fn of(tree: &Tree) -> Self {
        let http = named(&tree.directives, "http");
        let upstreams = http.flat_map(|http| named(&http.inside, "upstream"));
        let ours = upstreams.filter(|it| {
            let mut servers = named(&it.inside, "server");
            servers.any(|server| server.value() == SOCKET)
        });
        let names = ours.map(|it| it.value().to_owned());
        Self(names.chain([UPSTREAM, SOCKET].map(str::to_owned)).collect())
    }

    pub(super) fn has(&self, directive: &Directive) -> bool {
        let target = directive.value().strip_prefix("http://");
        let target = target.map(|it| it.trim_end_matches(['/', ':']));
        directive.name == "proxy_pass" && self.0.iter().any(|it| Some(&it[..]) == target)
    }

    /// Whether one of the directives, or of those inside, leads to my-app.
    fn are_in(&self, directives: &[Directive]) -> bool {
        directives
            .iter()
            .any(|it| self.has(it) || self.are_in(&it.inside))
    }
}

pub(super) fn servers(tree: &Tree) -> Vec<Server> {
    let targets = Targets::of(tree);
    let http = named(&tree.directives, "http");
    let mut servers: Vec<_> = http
        .flat_map(|http| named(&http.inside, "server"))
        .map(|block| server(block, &targets))
        .collect();
    // The socket is one, whichever server says so.
    let listens = |it: &Server| it.listens.iter().any(|(listen, _)| listen.both);
    if servers.iter().any(listens) {
        let mut all = servers.iter_mut().flat_map(|it| &mut it.listens);
        let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        all.by_ref()
            .filter(|(listen, _)| listen.address == any)
            .for_each(|(listen, _)| listen.both = true);
    }
    servers
}

fn server(block: &Directive, targets: &Targets) -> Server {
    let proxied = named(&block.inside, "listen").filter(|it| it.has("proxy_protocol"));
    let proxied = proxied.filter_map(|it| on_port_80(it.value())).collect();
    let mut listens: Vec<_> = named(&block.inside, "listen").collect();
    // QUIC's port 80 is another one.
    listens.retain(|it| !it.has("quic"));
    let mut on_port_80: Vec<_> = listens
        .into_iter()
        .filter_map(|it| {
            let is_default = it.has("default_server") || it.has("default");
            let address = on_port_80(it.value())?;
            let both = it.has("ipv6only=off");
            Some((Listen { address, both }, is_default))
        })
        .collect();
    // What says nothing listens there.
    if named(&block.inside, "listen").next().is_none() {
        let address = Ipv4Addr::UNSPECIFIED.into();
        on_port_80.push((
            Listen {
                address,
                both: false,
            },
            false,
        ));
    }
    let names = named(&block.inside, "server_name").flat_map(|it| it.values.clone());
    Server {
        file: block.file.clone(),
        names: names.collect(),
        listens: on_port_80,
        is_ours: targets.are_in(&block.inside),
        proxied,
    }
}

/// The address of a `listen`, if its port is 80.
fn on_port_80(text: &str) -> Option<IpAddr> {
    if text.starts_with("unix:") {
        return None;
    }
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let (host, ports) = match text.rsplit_once(':') {
        _ if is_port(text) => ("*", text),
        Some((host, port)) if is_port(port) && (host.ends_with(']') || !host.contains(':')) => {
            (host, port)
        }
        _ => (text, "80"),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    if !(first..=last).contains(&80) {
        return None;
    }
    match host {
        "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
        // The only name that needs nobody to be asked.
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => host.trim_matches(['[', ']']).parse().ok(),
    }
}

/// The ways to try, one for each wildcard socket that a server of ours has.
pub(super) fn ways(servers: &[Server], has_ipv6: bool) -> Vec<Way> {
    let taken = |address: IpAddr| {
        let mut all = servers.iter().flat_map(|it| &it.listens);
        all.any(|(listen, _)| listen.address == address)
    };
    // A site may have an address of its own.
    let four = [[127, 0, 0, 1], [127, 80, 80, 80], [127, 80, 80, 81]];
    let four = four.map(IpAddr::from).into_iter().find(|it| !taken(*it));
    let six = Some(IpAddr::from(Ipv6Addr::LOCALHOST)).filter(|it| has_ipv6 && !taken(*it));
    let mut ways: Vec<Way> = Vec::new();
    for server in servers.iter().filter(|it| it.is_ours) {
        for (listen, is_default) in &server.listens {
            let to = match listen.address {
                address if !address.is_unspecified() => address.is_loopback().then_some(address),
                IpAddr::V4(_) => four,
                IpAddr::V6(_) => six.or(four.filter(|_| listen.both)),
            };
            let (Some(to), Some(host)) = (to, host(server, *is_default)) else {
                continue;
            };
            if !ways.iter().any(|way| way.to == to) {
                ways.push(Way {
                    to,
                    host,
                    proxied: servers
                        .iter()
                        .any(|it| it.proxied.contains(&listen.address)),
                    file: server.file.clone(),
                });
            }
        }
    }
    ways
}

/// Whether a server's name is an expression that fits every Host.
fn matches_all(name: &str) -> bool {
    matches!(name, "~." | "~^" | "~.*" | "~.+" | "~^.*$" | "~^.+$")
}

/// A Host that this server is to answer: one of its names, or what is nobody's.
fn host(server: &Server, is_default: bool) -> Option<String> {
    let is_plain = |name: &&String| {
        !name.starts_with(['.', '_', '*', '~']) && !name.contains(['*', '$']) && !name.is_empty()
    };
    if server.names.iter().any(|name| matches_all(name)) || is_default {
        return Some(NOBODY.to_owned());
    }
    server.names.iter().find(is_plain).cloned()
}

/// The server that answers what nobody is called, on the socket that a connection to `to` meets: one that matches
/// everything, or the default.
pub(super) fn taker_of(servers: &[Server], to: IpAddr) -> Option<&Server> {
    let meets = |listen: &Listen| match listen.address {
        address if address == to => true,
        IpAddr::V4(it) => it.is_unspecified() && to.is_ipv4(),
        IpAddr::V6(it) => it.is_unspecified() && (to.is_ipv6() || listen.both),
    };
    // An address of its own is more than a wildcard.
    let own = |it: &Server| it.listens.iter().any(|(listen, _)| listen.address == to);
    let is_own = servers.iter().any(own);
    let there = |it: &&Server, said: bool| {
        let mut listens = it.listens.iter();
        listens.any(|(listen, default)| {
            meets(listen) && (!is_own || listen.address == to) && (*default || !said)
        })
    };
    let matches_all = |it: &&Server| it.names.iter().any(|name| matches_all(name));
    let of_all = servers
        .iter()
        .find(|it| there(it, false) && matches_all(it));
    of_all
        .or_else(|| servers.iter().find(|it| there(it, true)))
        .or_else(|| servers.iter().find(|it| there(it, false)))
}

#[cfg(test)]
mod tests {
    use super::super::tree::Memory;
    use super::*;

    fn of(servers_of_http: &str) -> Vec<Server> {
        servers(&Memory::main(&format!("http {{ {servers_of_http} }}")))
    }

    const DEBIAN: &str =
        "server { listen 80 default_server; listen [::]:80 default_server; server_name _; }";
    const OURS: &str = "server { listen 80; listen [::]:80; server_name \"~.\";
        location / { proxy_pass http://my_app_unix_socket; } }";

    #[test]
    fn where_port_80_is() {
        for (listen, address) in [
            ("80", Some("0.0.0.0")),
            ("*:80", Some("0.0.0.0")),
            ("0.0.0.0:80", Some("0.0.0.0")),
            ("79-81", Some("0.0.0.0")),
            ("[::]:80", Some("::")),
            ("[::1]", Some("::1")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1:8080", None),
            ("8080", None),
            ("443", None),
            ("localhost:80", Some("127.0.0.1")),
            ("unix:/run/80", None),
        ] {
            let expected = address.map(|it| it.parse().unwrap());
            assert_eq!(on_port_80(listen), expected, "{listen}");
        }
    }

    #[test]
    fn a_server_without_listen_is_on_port_80_and_one_of_quic_is_not() {
        assert_eq!(of("server { }")[0].listens.len(), 1);
        assert!(of("server { listen 80 quic; }")[0].listens.is_empty());
        assert!(of("server { listen 443 ssl; }")[0].listens.is_empty());
    }

    #[test]
    fn where_one_server_has_clients_named_first_all_have() {
        let balanced = "server { listen 80 proxy_protocol; server_name lb.test; }";
        for (text, expected) in [(balanced.to_owned() + OURS, true), (OURS.to_owned(), false)] {
            let ways = ways(&of(&text), false);
            assert_eq!((ways.len(), ways[0].proxied), (1, expected));
        }
    }

    #[test]
    fn what_leads_to_my_app_is_told_by_its_socket_whatever_the_upstream_is_called() {
        let unix = "server unix:/run/my-app/my-app.sock;";
        for (upstream, pass, ours) in [
            ("", "http://my_app_unix_socket", true),
            ("", "http://unix:/run/my-app/my-app.sock:/", true),
            ("", "http://my_app", false),
            (
                &format!("upstream my_app {{ {unix} }}")[..],
                "http://my_app/",
                true,
            ),
            (
                "upstream my_app { server 127.0.0.1:8088; }",
                "http://my_app",
                false,
            ),
        ] {
            let text = format!("{upstream} server {{ location / {{ proxy_pass {pass}; }} }}");
            assert_eq!(of(&text)[0].is_ours, ours, "{text}");
        }
    }

    #[test]
    fn the_ways_to_our_site_are_one_for_each_socket() {
        let ways_of = |text: &str, six| {
            let ways = ways(&of(text), six);
            let ways = ways.iter().map(|way| format!("{} {}", way.to, way.host));
            ways.collect::<Vec<_>>().join(", ")
        };
        let both = format!("{DEBIAN} {OURS}");
        for (text, six, expected) in [
            (
                &both[..],
                true,
                "127.0.0.1 check.my-app.invalid, ::1 check.my-app.invalid",
            ),
            (&both, false, "127.0.0.1 check.my-app.invalid"),
            (DEBIAN, true, ""),
            (
                "server { listen 80; server_name ~^x .a.test b.test; location /socket.io/ { proxy_pass http://my_app_unix_socket; } }",
                true,
                "127.0.0.1 b.test",
            ),
            // By names alone that nobody can guess.
            (
                "server { listen 80; server_name ~^x; location / { proxy_pass http://my_app_unix_socket; } }",
                true,
                "",
            ),
            (
                "server { listen 443 ssl; server_name a.test; location / { proxy_pass http://my_app_unix_socket; } }",
                true,
                "",
            ),
            (
                &format!("server {{ listen 127.0.0.1:80; }} {OURS}"),
                false,
                "127.80.80.80 check.my-app.invalid",
            ),
            (
                "server { listen [::]:80 ipv6only=off default_server; location / { proxy_pass http://my_app_unix_socket; } }",
                false,
                "127.0.0.1 check.my-app.invalid",
            ),
            (
                "server { listen 80; proxy_pass http://my_app_elsewhere; }",
                true,
                "",
            ),
        ] {
            assert_eq!(ways_of(text, six), expected, "{text}");
        }
    }

    #[test]
    fn who_answers_what_nobody_is_called() {
        let servers = of("server { listen 80; server_name first; }
            server { listen 80 default_server; server_name said; }
            server { listen 127.0.0.2:80; server_name own; }
            server { listen [::]:80; server_name six; }");
        for (to, name) in [("127.0.0.1", "said"), ("127.0.0.2", "own"), ("::1", "six")] {
            let found = taker_of(&servers, to.parse().unwrap()).unwrap();
            assert_eq!(found.names, [name], "{to}");
        }
        let both = of(&format!("{DEBIAN} {OURS}"));
        let found = taker_of(&both, [127, 0, 0, 1].into()).unwrap();
        assert_eq!(found.names, ["~."]);
        assert_eq!(taker_of(&of(""), [127, 0, 0, 1].into()), None);
    }
}
