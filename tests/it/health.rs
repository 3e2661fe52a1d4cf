//! Health checks: `/healthz` and `/readyz`, on every way by which they come.

use std::net::TcpListener;
use std::time::Duration;

use super::harness::*;

/// A check as HAProxy sends it: no Host, and the connection ends with the answer.
fn haproxy(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.0\r\n\r\n")
}

/// What a new connection is answered, whole.
fn answer_of(mut raw: Raw, request: &str) -> String {
    raw.send(request);
    String::from_utf8(raw.read_to_end().unwrap()).unwrap()
}

fn ready(server: &Server) -> Response {
    Raw::tcp(server.addr).get("/readyz")
}

#[test]
fn both_paths_answer_get_head_and_options_on_tcp_and_on_the_unix_socket() {
    let server = Setup::new().unix().start();
    for (path, body) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let body = if method == "HEAD" { "" } else { body };
            for raw in [Raw::tcp(server.addr), Raw::unix(&server.unix)] {
                let answer = answer_of(raw, &haproxy(method, path));
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert!(answer.contains("\r\ncache-control: no-store\r\n"));
                let (_, found) = answer.split_once("\r\n\r\n").unwrap();
                assert_eq!(found, body, "{method} {path}");
            }
        }
    }
    // Other methods are for the application.
    assert_eq!(Raw::tcp(server.addr).post("/healthz", "").status, 404);
}

#[test]
fn a_check_over_a_connection_that_is_kept_is_answered_too_and_keeps_it() {
    let server = Server::start();
    let mut raw = Raw::tcp(server.addr);
    assert_eq!(raw.get("/").status, 200);
    for _ in 0..3 {
        for (path, body) in [("/healthz", "alive\n"), ("/readyz?from=a", "ready\n")] {
            let answer = raw.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (200, body));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        raw.send(
            "HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS /readyz HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        let head = until(&mut raw, "\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("content-length: 6"), "{head}");
        assert_eq!(raw.response().body, "ready\n");
    }
    assert_eq!(raw.get("/").status, 200);
}

/// Reads up to the end of `text`.
fn until(raw: &mut Raw, text: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(text) {
        read.push(char::from(raw.take(1).unwrap()[0]));
    }
    read
}

#[test]
fn a_full_server_answers_checks_and_refuses_everybody_else() {
    let limits = [
        ("max_connections = 2", 503),
        ("max_connections_per_address = 2", 429),
    ];
    for (limit, status) in limits {
        let limits = format!("[limits]\n{limit}");
        let server = Setup::new().workers(1).config(&limits).start();
        let held: Vec<_> = (0..2)
            .map(|_| {
                let mut raw = Raw::tcp(server.addr);
                assert_eq!(raw.get("/").status, 200);
                raw
            })
            .collect();
        eventually("the server is full", SOON, || {
            Raw::tcp(server.addr).get("/").status == status
        });
        assert_eq!(ready(&server).body, "ready\n");
        // Its line need not be there when the connection is.
        let mut slow = Raw::tcp(server.addr);
        for part in ["GET /he", "althz HTTP/1.1\r\n", "\r\n"] {
            slow.send(part);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(slow.response().status, 200);
        let mut silent = Raw::tcp(server.addr);
        assert_eq!(silent.response().status, status);
        drop(held);
    }
}

#[test]
fn without_a_worker_that_answers_the_server_is_alive_and_not_ready() {
    let server = Setup::new().top("watchdog = \"1m\"").start();
    let workers = server.workers();
    for &pid in &workers {
        signal_process(pid, "STOP");
    }
    let after = eventually("not ready", SOON, || ready(&server).status == 503);
    saw("told that it is not ready after", format!("{after:?}"));
    assert_eq!(ready(&server).body, "no worker takes connections\n");
    let mut raw = Raw::tcp(server.addr);
    assert_eq!(raw.get("/healthz").body, "alive\n");
    for &pid in &workers {
        signal_process(pid, "CONT");
    }
    eventually("ready again", SOON, || ready(&server).status == 200);
}

#[test]
fn a_machine_that_is_taken_out_says_so_over_every_connection() {
    let server = Server::start();
    let mut kept = Raw::tcp(server.addr);
    assert_eq!(kept.get("/").status, 200);
    let out = serde_json::json!({"over_seconds": 1});
    server.control().post("/drain", &out);
    assert_eq!(ready(&server).body, "taken out by the operator\n");
    eventually("a worker knows", SOON, || kept.get("/readyz").status == 503);
    assert_eq!(kept.get("/readyz").body, "taken out by the operator\n");
    for mut raw in [kept.sender(), Raw::tcp(server.addr)] {
        assert_eq!(raw.get("/healthz").status, 200);
    }
    let back = serde_json::json!({"undo": true});
    server.control().post("/drain", &back);
    assert_eq!(ready(&server).status, 200);
    eventually("a worker knows", SOON, || kept.get("/readyz").status == 200);
}

#[test]
fn before_the_first_worker_and_during_a_stop_a_check_waits_in_the_backlog() {
    let mut server = Setup::new()
        .example("slow_start")
        .under(&["env", "SLOW_WORKERS=0,1", "SLOW_SECONDS=2"])
        .systemd()
        .unwaited()
        .start();
    // Answered only now that there is one.
    assert_eq!(ready(&server).body, "ready\n");
    let client = WebSocket::open(Raw::tcp(server.addr));
    server.signal("TERM");
    server.wait_for_notification("STOPPING=1");
    let mut waiting = Raw::tcp(server.addr);
    waiting.send(haproxy("GET", "/readyz"));
    assert_eq!(server.ended(SOON).code(), Some(0));
    drop(client);
    let next = Setup::new().listeners_of(&server).start();
    assert_eq!(waiting.response().body, "ready\n");
    drop(next);
}

#[test]
fn nginx_as_shipped_passes_both_paths() {
    let server = Setup::new().unix().start();
    let nginx = Nginx::shipped(&server.unix, 1);
    for _ in 0..4 {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(Raw::tcp(nginx.addr).get(path).status, 200);
            for method in ["HEAD", "OPTIONS"] {
                let request = haproxy(method, path);
                let request = request.replace("1.0\r\n", "1.0\r\nHost: my.test\r\n");
                let answer = answer_of(Raw::tcp(nginx.addr), &request);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            // So that idle connections to the server are used, too.
            assert_eq!(Raw::tcp(nginx.addr).get("/").status, 200);
        }
    }
    assert!(
        !nginx.complaints().contains("upstream"),
        "{}",
        nginx.complaints()
    );
}

#[test]
fn the_line_that_says_that_it_is_ready_says_where() {
    let server = Setup::new().unix().start();
    let (addr, unix) = (server.addr, server.unix.display());
    server.wait_for_line(&format!(
        "Listening on http://{addr}, unix:{unix} (2 workers)"
    ));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let server = Setup::new().workers(1).listen(&taken).start();
    server.wait_for_line(&format!("Listening on http://{} (1 worker)", server.addr));
}

#[test]
fn an_origin_of_the_command_line_may_connect_and_one_that_is_refused_is_told_with_the_key() {
    let server = Setup::new()
        .workers(1)
        .option("--cors", "http://a.test:8000")
        .option("--cors", "https://b.test")
        .start();
    let from = |origin: &str| {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
        );
        Raw::tcp(server.addr).send(request).response()
    };
    for origin in ["http://a.test:8000", "https://b.test"] {
        let answer = from(origin);
        assert_eq!(answer.status, 200);
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin));
    }
    for _ in 0..3 {
        assert_eq!(from("http://c.test").status, 403);
    }
    server.wait_for_line("add it to engine.cors_origins (to try it: --cors)");
    let told = server.log();
    let told: Vec<_> = told
        .iter()
        .filter(|line| line.contains("engine.cors_origins"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("origin=http://c.test"), "{told:?}");
}
