//! The page at `/`: what a person sees of the sample application.

use super::harness::*;

/// As a browser asks for a file.
fn get(server: &Server, path: &str, more: &str) -> Response {
    let mut raw = Raw::tcp(server.addr);
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nHost: my-app.test\r\n{more}\r\n"
    ));
    raw.response()
}

#[test]
fn the_page_comes_with_a_strict_policy_and_is_not_sent_twice() {
    let server = Server::start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let answer = get(&server, path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let tag = answer.header("etag").unwrap();
        let again = get(&server, path, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    let page = get(&server, "/", "");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
    assert!(policy.ends_with("connect-src 'self' ws://my-app.test wss://my-app.test"));
    assert_eq!(get(&server, "/page/", "").status, 404);
}

#[test]
fn two_windows_talk_over_two_workers_and_come_back_when_one_is_killed() {
    let server = Server::start();
    let figures = node(
        "page.mjs",
        &server.url(),
        &["--kill", "kill -KILL", "--deadline", "120"],
    );
    saw("two windows", &figures);
    assert!(number(&figures, "backAfterMs") < 10_000, "{figures}");
}

#[test]
fn the_page_finds_an_engine_that_is_elsewhere_and_speaks_msgpack() {
    let setup = Setup::new().config("[engine]\npath = \"/live/\"\nparser = \"msgpack\"");
    let server = setup.start();
    saw(
        "two windows",
        node("page.mjs", &server.url(), &["--briefly"]),
    );
}

#[test]
fn without_the_clients_files_the_page_names_the_command() {
    let server = Server::start();
    let figures = node("page.mjs", &server.url(), &["--no-client"]);
    saw("the page", &figures);
}
