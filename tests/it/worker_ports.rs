//! `worker_listen`: whoever connects to a worker's own port has chosen the worker of its new sessions. What belongs to
//! another worker is routed as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value as Json;

use super::harness::*;

const CLIENTS: usize = 200;

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Two workers with a port each.
fn two_workers() -> (Server, Vec<u16>) {
    let ports = free_ports(2);
    (Setup::new().worker_ports(&ports, &[]).start(), ports)
}

/// So many sessions, all over one connection, and which workers have them.
#[track_caller]
fn slots(raw: &mut Raw, count: usize) -> (Vec<Polling>, BTreeSet<String>) {
    let sessions: Vec<_> = (0..count).map(|_| Polling::open(raw)).collect();
    let slots = sessions.iter().map(Polling::slot).collect();
    (sessions, slots)
}

/// A slot as a session's id has it.
fn slot(number: u8) -> String {
    format!("A{}", char::from(b'A' + number))
}

#[test]
fn sessions_stay_with_the_worker_whose_port_they_came_to_over_one_connection_and_over_many() {
    let (server, ports) = two_workers();
    for (number, port) in (0..).zip(&ports) {
        let mut raw = Raw::tcp(at(*port));
        let (_sessions, seen) = slots(&mut raw, 20);
        assert_eq!(seen, [slot(number)].into());
        let own = (0..10).map(|_| Polling::handshake(&mut Raw::tcp(at(*port))).slot());
        assert_eq!(own.collect::<BTreeSet<_>>(), [slot(number)].into());
    }
    let mut sockets: Vec<_> = (0..10)
        .map(|_| WebSocket::open(Raw::tcp(at(ports[1]))))
        .collect();
    sockets[0].echo("here");
    assert_eq!(server.sessions(), [30, 40]);
    // The port that all share balances.
    let (_sessions, _) = slots(&mut Raw::tcp(server.addr), 10);
    assert_eq!(server.sessions(), [40, 40]);
}

#[test]
fn a_request_that_comes_to_another_workers_port_is_routed() {
    let (_server, ports) = two_workers();
    let mut right = Raw::tcp(at(ports[0]));
    let session = Polling::open(&mut right);
    assert_eq!(session.slot(), slot(0));
    // A connection that is new, and one that the wrong worker has already.
    session.echo(&mut Raw::tcp(at(ports[1])), "new");
    let mut wrong = Raw::tcp(at(ports[1]));
    assert_eq!(Polling::handshake(&mut wrong).slot(), slot(1));
    session.echo(&mut wrong, "in use");
    // An upgrade over the wrong port.
    let mut upgrade = Raw::tcp(at(ports[1]));
    let target = session.target().replace("polling", "websocket");
    upgrade.send(WebSocket::request(&target));
    let mut socket = WebSocket::switched(upgrade);
    socket.text("2probe");
    assert_eq!(socket.read_text(), "3probe");
    socket.text("5");
    socket.echo("upgraded");
    // The connection went to the session's worker; what it opens is where it connected to.
    let (_sessions, seen) = slots(&mut wrong, 5);
    assert_eq!(seen, [slot(1)].into());
}

#[test]
fn a_port_answers_while_its_worker_is_replaced_and_is_its_own_again_thereafter() {
    let (server, ports) = two_workers();
    let killed = server.workers()[0];
    signal_process(killed, "KILL");
    let began = Instant::now();
    let mut elsewhere = 0;
    // Not one is refused; at first another worker takes them.
    while server.workers().first() == Some(&killed)
        || Polling::handshake(&mut Raw::tcp(at(ports[0]))).slot() != slot(0)
    {
        elsewhere += 1;
        assert!(began.elapsed() < SOON, "the worker was not replaced");
    }
    saw("sessions that another worker took meanwhile", elsewhere);
    let (_sessions, seen) = slots(&mut Raw::tcp(at(ports[0])), 5);
    assert_eq!(seen, [slot(0)].into());
}

#[test]
fn behind_nginx_with_hash_a_clients_address_decides_which_worker_has_its_sessions() {
    let ports = free_ports(2);
    let server = Setup::new()
        .worker_ports(&ports, &[])
        .config("[limits]\ntrusted_proxies = [\"127.0.0.1\"]")
        .start();
    let line = |port| format!("    server 127.0.0.1:{port} max_fails=0;\n");
    let nginx = Nginx::example(
        "nginx-workers.conf",
        &[
            (&line(3102), String::new()),
            (&line(3103), String::new()),
            ("127.0.0.1:3100", at(ports[0]).to_string()),
            ("127.0.0.1:3101", at(ports[1]).to_string()),
        ],
    );
    // Two hundred poll, two hundred have WebSockets; each has an address of its own.
    let mut held = [("polling", "1"), ("websocket", "2")].map(|(transport, network)| {
        let own = ["--transport", transport, "--addresses", network];
        let pace = ["--every", "1000", "--arrive", "15", "--grace", "5000"];
        Held::connect(&nginx.url(), CLIENTS, &[&own[..], &pace].concat())
    });
    for it in &mut held {
        eventually("each has echoed", SOON, || {
            it.stats()["received"].as_u64() >= Some(400)
        });
    }
    let spread = server.sessions();
    saw("sessions of each worker", Json::from(spread.clone()));
    for it in held {
        it.quit_unharmed();
    }
    // What nginx has decided is what holds. It tells of a WebSocket when that is over.
    let mut chosen = BTreeMap::<String, BTreeSet<String>>::new();
    eventually("nginx has told of all", SOON, || {
        chosen.clear();
        for line in nginx.answers() {
            let client = line.split(' ').next().unwrap();
            let port = line.rsplit(' ').next().unwrap();
            let clients = chosen.entry(port.to_owned()).or_default();
            clients.insert(client.to_owned());
        }
        chosen.values().map(BTreeSet::len).sum::<usize>() >= 2 * CLIENTS
    });
    let chosen: Vec<_> = chosen
        .values()
        .map(|clients| clients.len() as u64)
        .collect();
    // On a busy machine a worker may give no sign of life for a second: then another one takes who comes.
    let moved: u64 = spread
        .iter()
        .zip(&chosen)
        .map(|(had, sent)| had.abs_diff(*sent))
        .sum();
    saw("sessions that are not where nginx sent them", moved / 2);
    assert!(moved / 2 <= CLIENTS as u64 / 20, "{spread:?}, {chosen:?}");
    let share = CLIENTS as u64 * 7 / 10..=CLIENTS as u64 * 13 / 10;
    assert!(
        spread.iter().all(|count| share.contains(count)),
        "{spread:?}"
    );
}

#[test]
fn of_systemd_a_workers_listener_is_known_by_its_port_and_one_that_is_missing_is_told() {
    let ports = free_ports(2);
    let server = Setup::new()
        .worker_ports(&ports, &ports[..1])
        .systemd()
        .start();
    let (_sessions, seen) = slots(&mut Raw::tcp(at(ports[0])), 10);
    assert_eq!(seen, [slot(0)].into());
    let status = server.control().get("/status");
    assert_eq!(status["state"], "degraded");
    let reason = status["reasons"][0].as_str().unwrap();
    let port = ports[1];
    assert!(
        reason.starts_with(&format!(
            "worker_listen: systemd opens no 127.0.0.1:{port}: "
        )) && reason.contains(&format!("'systemctl enable my-app-worker@{port}.socket'")),
        "{reason}"
    );
    let listeners = status["listeners"].as_array().unwrap();
    let of = |port| {
        let address = |it: &&Json| {
            it["address"]
                .as_str()
                .unwrap()
                .ends_with(&format!(":{port}"))
        };
        listeners.iter().find(address).unwrap()
    };
    assert_eq!(of(ports[0])["worker"], 0);
    assert_eq!(of(ports[0])["state"], "listening");
    assert_eq!(of(port)["state"], "missing");
    drop(server);
    let server = Setup::new().worker_ports(&ports, &ports).systemd().start();
    assert_eq!(server.control().get("/status")["state"], "healthy");
    let (_sessions, seen) = slots(&mut Raw::tcp(at(port)), 10);
    assert_eq!(seen, [slot(1)].into());
}

#[test]
fn by_hand_a_port_that_is_taken_costs_no_other_and_is_had_when_it_is_free() {
    let ports = free_ports(2);
    let held = std::net::TcpListener::bind(at(ports[1])).unwrap();
    let server = Setup::new().worker_ports(&ports, &[]).start();
    let (_sessions, seen) = slots(&mut Raw::tcp(at(ports[0])), 5);
    assert_eq!(seen, [slot(0)].into());
    assert_eq!(server.control().get("/status")["state"], "degraded");
    drop(held);
    server.wait_for_line(&format!("listening on 127.0.0.1:{} now", ports[1]));
    let (_sessions, seen) = slots(&mut Raw::tcp(at(ports[1])), 5);
    assert_eq!(seen, [slot(1)].into());
}
