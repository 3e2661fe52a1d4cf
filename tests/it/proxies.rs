//! In production: started by systemd's sockets, and behind nginx, over the Unix socket.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::harness::*;

/// With as many idle connections to the server kept open.
const KEEPALIVE: Option<u16> = Some(16);
/// With a connection to the server for each request.
const NO_KEEPALIVE: Option<u16> = None;

const DEADLINE: [&str; 2] = ["--deadline", "180"];

/// A server, and nginx in front of its Unix socket. The proxy ends first.
struct Proxied {
    nginx: Nginx,
    server: Server,
}

impl Proxied {
    fn start(setup: Setup, keepalive: Option<u16>) -> Self {
        let server = setup.unix().start();
        let nginx = Nginx::start(&server.unix, keepalive);
        Self { nginx, server }
    }

    #[track_caller]
    fn echo(&self, client: &str, transport: &str) {
        let arguments = ["--client", client, "--transport", transport];
        node(
            "echo.mjs",
            &self.nginx.url(),
            &[&arguments, &DEADLINE[..]].concat(),
        );
    }

    /// nginx, too, saw nothing go wrong, not even what it mended by asking once more.
    #[track_caller]
    fn assert_no_failure(self) {
        self.assert_only_failures(&[]);
    }

    /// The same, but each of `forgiven` may have come once.
    #[track_caller]
    fn assert_only_failures(self, forgiven: &[&str]) {
        let answers = self.nginx.answers();
        assert!(!answers.is_empty());
        let mut bad: Vec<_> = answers.iter().filter(|answer| !is_good(answer)).collect();
        for once in forgiven {
            if let Some(at) = bad.iter().position(|answer| answer == once) {
                bad.remove(at);
            }
        }
        assert!(bad.is_empty(), "nginx answered {bad:?}");
        let complaints = self.nginx.complaints();
        assert!(!complaints.contains("upstream"), "{complaints}");
        saw("answers of nginx", answers.len());
    }
}

/// Does a line of nginx's log tell of one attempt that succeeded? A client that goes away while its
/// poll waits has no answer (499).
fn is_good(answer: &str) -> bool {
    let (status, rest) = answer.split_once(' ').unwrap();
    let upstream = rest.rsplit_once(' ').unwrap().0;
    match status {
        "101" | "200" => upstream == status,
        "499" => upstream == "-",
        _ => false,
    }
}

#[track_caller]
fn all_clients_echo(keepalive: Option<u16>) {
    let proxied = Proxied::start(Setup::new().eio3(), keepalive);
    for (client, transport) in [
        ("v4", "polling"),
        ("v4", "websocket"),
        ("v4", "upgrade"),
        ("v3", "upgrade"),
        ("v2", "polling"),
        ("v2", "upgrade"),
    ] {
        proxied.echo(client, transport);
    }
    proxied.assert_no_failure();
}

#[track_caller]
fn python_clients_echo(keepalive: Option<u16>) {
    let proxied = Proxied::start(Setup::new(), keepalive);
    for transport in ["polling", "websocket", "upgrade"] {
        let arguments = ["--transport", transport];
        python(
            "echo_client.py",
            &proxied.nginx.url(),
            &[&arguments, &DEADLINE[..]].concat(),
        );
    }
    // The plain client polls in a thread of its own, which its disconnect may overtake. The other one ends its poll
    // first, which ends the session, as on Node, and then posts that it leaves.
    proxied.assert_only_failures(&["400 400 GET", "400 400 POST"]);
}

#[track_caller]
fn fresh_connections_and_a_storm(keepalive: Option<u16>) {
    let proxied = Proxied::start(Setup::new(), keepalive);
    let url = proxied.nginx.url();
    let fresh = node(
        "polling-fresh.mjs",
        &url,
        &["--clients", "100", "--requests", "20"],
    );
    assert_eq!(fresh["failures"], 0, "{fresh}");
    let storm = node("polling-storm.mjs", &url, &["--clients", "50"]);
    assert_eq!(storm["failures"], 0, "{storm}");
    saw("sessions a second", &storm["perSecond"]);
    proxied.assert_no_failure();
}

#[test]
fn systemds_sockets_start_the_server_and_both_serve() {
    let mut server = Setup::new().socket_activate().start();
    let arguments = ["--client", "v4", "--transport", "upgrade"];
    let arguments = [&arguments, &DEADLINE[..]].concat();
    node("echo.mjs", &server.url(), &arguments);
    let nginx = Nginx::start(&server.unix, KEEPALIVE);
    node("echo.mjs", &nginx.url(), &arguments);
    assert!(server.stop().success());
}

#[test]
fn all_clients_echo_through_nginx_with_upstream_keepalive() {
    all_clients_echo(KEEPALIVE);
}

#[test]
fn all_clients_echo_through_nginx_without_upstream_keepalive() {
    all_clients_echo(NO_KEEPALIVE);
}

#[test]
fn python_clients_echo_through_nginx_with_upstream_keepalive() {
    python_clients_echo(KEEPALIVE);
}

#[test]
fn python_clients_echo_through_nginx_without_upstream_keepalive() {
    python_clients_echo(NO_KEEPALIVE);
}

#[test]
fn no_polling_request_fails_through_nginx_with_upstream_keepalive() {
    fresh_connections_and_a_storm(KEEPALIVE);
}

#[test]
fn no_polling_request_fails_through_nginx_without_upstream_keepalive() {
    fresh_connections_and_a_storm(NO_KEEPALIVE);
}

/// The connections to a Unix socket, by the numbers that the kernel gave them.
fn connections(path: &Path) -> Vec<String> {
    let all = fs::read_to_string("/proc/net/unix").unwrap();
    let fields = all.lines().map(|line| line.split_whitespace().collect());
    // Num RefCount Protocol Flags Type St Inode Path; state 03 is "connected".
    fields
        .filter(|fields: &Vec<_>| fields.last() == Some(&path.to_str().unwrap()))
        .filter(|fields| fields[5] == "03")
        .map(|fields| fields[6].to_owned())
        .collect()
}

#[test]
fn sessions_of_all_workers_take_turns_on_one_upstream_connection() {
    let proxied = Proxied::start(Setup::new(), Some(1));
    let mut raw = Raw::tcp(proxied.nginx.addr);
    let sessions: Vec<_> = (0..6).map(|_| Polling::open(&mut raw)).collect();
    let before = connections(&proxied.server.unix);
    assert_eq!(before.len(), 1, "{before:?}");
    // All were opened on one connection, so one worker has them; these are on the other, too.
    let others: Vec<_> = (0..6)
        .map(|_| Polling::open(&mut Raw::unix(&proxied.server.unix)))
        .collect();
    let sessions: Vec<_> = sessions.iter().chain(&others).collect();
    let slots: BTreeSet<_> = sessions.iter().map(|session| session.slot()).collect();
    assert_eq!(slots.len(), 2, "both workers have sessions");
    for round in 0..20 {
        for (nth, session) in sessions.iter().enumerate() {
            session.echo(&mut raw, &format!("round {round} of session {nth}"));
        }
    }
    assert_eq!(connections(&proxied.server.unix), before);
    proxied.assert_no_failure();
}

/// One idle connection is kept, and whoever comes next takes it: it carries the requests of all
/// sessions, of all workers.
#[test]
fn forty_polling_clients_that_share_an_upstream_connection_miss_nothing() {
    let proxied = Proxied::start(Setup::new(), Some(1));
    let url = proxied.nginx.url();
    let clients = Held::connect(&url, 40, &["--transport", "polling", "--every", "100"]);
    std::thread::sleep(Duration::from_secs(5));
    let stats = clients.quit();
    for fault in ["missing", "outOfOrder", "disconnects"] {
        assert_eq!(stats[fault], 0, "{fault}: {stats}");
    }
    assert_eq!(stats["sent"], stats["received"], "{stats}");
    saw("events", &stats["received"]);
    proxied.assert_no_failure();
}

/// How the package's script for nginx sees whether a request to port 80 came here.
#[test]
fn a_request_with_a_mark_gets_it_back() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    for target in ["/", "/socket.io/", "/nowhere"] {
        raw.send(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nX-My-App-Mark: 0123\r\n\r\n"
        ));
        let response = raw.response();
        assert_eq!(response.header("x-my-app-mark"), Some("0123"), "{target}");
    }
    assert_eq!(raw.get("/").header("x-my-app-mark"), None);
}
