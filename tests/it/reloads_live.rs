//! What takes effect at a reload without new workers.

use std::fs;

use super::harness::*;
use super::reloads::{reload, reloaded};

/// A reload after which all is as before, but for these keys; what else it says.
#[track_caller]
fn reloaded_with_another(server: &Server, keys: &str) -> String {
    let (code, said) = reload(server);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with("reloaded: 2 workers and their sessions go on after a pause of "),
        "{said}"
    );
    let (_, rest) = said.split_once(" ms; changed: ").unwrap();
    rest.strip_prefix(keys).expect(keys).to_owned()
}

/// Replaces a line of the configuration.
fn change(server: &Server, was: &str, is: &str) {
    let file = server.dir.path().join("my-app.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(was), "{text}");
    fs::write(&file, text.replacen(was, is, 1)).unwrap();
}

/// May a page of this origin connect? It is told so even where there is no room for it.
fn lets_in(raw: &mut Raw, origin: &str) -> bool {
    raw.send(format!(
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
    ));
    let answer = raw.response();
    assert!([200, 403, 503].contains(&answer.status), "{answer:?}");
    answer.header("access-control-allow-origin") == Some(origin)
}

const ORIGINS: &str = "cors_origins = [\"https://a.test\"]";
const OTHERS: &str = "cors_origins = [\"https://b.test\"]";

#[test]
fn limits_origins_and_the_logs_level_change_and_nobody_is_ended() {
    let server = Setup::new()
        .config(&format!("[engine]\n{ORIGINS}"))
        .config("[limits]\nmax_connections = 10")
        .start();
    let workers = server.workers();
    let mut clients: Vec<_> = (0..4)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    let mut kept = Raw::tcp(server.addr);
    let polling = Polling::open(&mut kept);
    assert!(lets_in(&mut Raw::tcp(server.addr), "https://a.test"));
    assert_eq!(server.count_lines(" DEBUG "), 0);

    change(&server, ORIGINS, OTHERS);
    change(&server, "max_connections = 10", "max_connections = 4");
    change(&server, "level = \"info\"", "level = \"debug\"");
    let keys = "engine.cors_origins, limits.max_connections, log.level";
    assert_eq!(reloaded_with_another(&server, keys), "");
    assert_eq!(server.workers(), workers);
    assert_eq!(server.control().get("/status")["generation"], 0);

    // Over a new connection, and over one that was there before.
    assert!(!lets_in(&mut Raw::tcp(server.addr), "https://a.test"));
    eventually("its worker knows", SOON, || {
        lets_in(&mut kept, "https://b.test")
    });
    eventually("lines of the new level", SOON, || {
        server.count_lines("the memory that this worker may have") == 2
    });
    for client in &mut clients {
        client.echo("still there");
    }
    polling.echo(&mut kept, "still there");
    assert_eq!(
        Raw::tcp(server.addr)
            .get("/socket.io/?EIO=4&transport=polling")
            .status,
        503
    );

    // The next program knows what they know.
    change(&server, OTHERS, ORIGINS);
    assert_eq!(reloaded_with_another(&server, "engine.cors_origins"), "");
    assert_eq!(server.workers(), workers);
    for client in &mut clients {
        client.echo("still there");
    }
}

#[test]
fn other_keys_and_no_change_at_all_bring_new_workers() {
    let server = Setup::new().top("drain = \"0s\"").start();
    reloaded(&server);
    change(&server, "drain = \"0s\"", "drain = \"100ms\"\nworkers = 2");
    assert_eq!(reloaded_with_another(&server, "drain"), "");
    change(
        &server,
        "drain = \"100ms\"",
        "drain = \"0s\"\nengine.ping_interval = \"9s\"",
    );
    let before = server.workers();
    let (code, said) = reload(&server);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.ends_with("; changed: drain, engine.ping_interval"),
        "{said}"
    );
    assert!(server.workers().iter().any(|pid| !before.contains(pid)));
}

#[test]
fn a_worker_that_does_not_listen_hears_of_a_change_later_and_its_successor_begins_with_it() {
    let server = Setup::new()
        .top("watchdog = \"1m\"")
        .config(&format!("[engine]\n{ORIGINS}"))
        .start();
    let workers = server.workers();
    let mut kept: Vec<_> = (0..2).map(|_| Raw::tcp(server.addr)).collect();
    for raw in &mut kept {
        Polling::open(raw);
    }
    signal_process(workers[0], "STOP");
    change(&server, ORIGINS, OTHERS);
    let remark = reloaded_with_another(&server, "engine.cors_origins");
    signal_process(workers[0], "CONT");
    let late = "; 1 worker(s) have not heard of it yet, and are told as soon as they answer";
    // A link takes more than a worker reads, so that it may count as told.
    assert!(["", late].contains(&&*remark), "{remark}");
    for raw in &mut kept {
        eventually("either worker knows", SOON, || {
            lets_in(raw, "https://b.test")
        });
    }
    for pid in &workers {
        signal_process(*pid, "KILL");
    }
    eventually("others in their places", SOON, || {
        let now = server.workers();
        now.len() == 2 && now.iter().all(|pid| !workers.contains(pid))
    });
    for _ in 0..2 {
        assert!(lets_in(&mut Raw::patient(server.addr), "https://b.test"));
    }
}

#[test]
fn a_control_socket_that_cannot_be_had_stays_where_it_was() {
    let server = Setup::new().start();
    let workers = server.workers();
    let was = server.control().path.display().to_string();
    let nowhere = server.dir.path().join("nowhere/control.sock");
    change(&server, &was, &nowhere.display().to_string());
    let (code, said) = reload(&server);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nowhere/control.sock"), "{said}");
    assert_eq!(server.workers(), workers);
    assert_eq!(server.control().get("/status")["pid"], server.pid);
}

#[test]
fn a_level_of_the_log_that_an_operator_wants_stays_and_is_told() {
    let server = Setup::new().start();
    let level = serde_json::json!({"level": "debug"});
    server.control().post("/log", &level);
    change(&server, "level = \"info\"", "level = \"warn\"");
    let remark = reloaded_with_another(&server, "log.level");
    assert_eq!(
        remark,
        "; the log stays at debug, as an operator asked by command"
    );
}

#[test]
fn a_worker_that_hangs_is_replaced_whatever_is_reloaded_meanwhile() {
    let server = Setup::new()
        .top("watchdog = \"3s\"\ndrain = \"1s\"")
        .start();
    let hung = server.workers()[0];
    signal_process(hung, "STOP");
    let mut drain = 1;
    eventually("another in its place", SOON, || {
        let is = format!("drain = \"{}s\"", drain + 1);
        change(&server, &format!("drain = \"{drain}s\""), &is);
        drain += 1;
        // It may be between two workers.
        reload(&server);
        !server.workers().contains(&hung)
    });
}
