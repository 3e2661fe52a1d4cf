//! The operator's page, on the control socket and in a browser.

use std::path::PathBuf;
use std::process::Command;

use super::harness::*;

/// The script that uses the page, on this server's control socket.
fn operator(server: &Server, arguments: &[&str]) -> serde_json::Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/operator.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg("--socket");
    command.arg(&server.control().path).args(arguments);
    run(&mut command)
}

#[test]
fn the_page_is_on_the_control_socket_alone_and_for_this_machine_alone() {
    let server = Server::start();
    let control = server.control();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = control.ask("GET", path, &["Host: localhost:8080"], "");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        // A name of somebody else's, who has it lead here.
        let foreign = control.ask("GET", path, &["Host: rebound.test"], "");
        assert_eq!(foreign.status, 403);
        let posted = control.ask("POST", path, &["X-Requested-With: my-app"], "");
        assert_eq!(posted.status, 405);
    }
    for path in ["/page.css", "/page.js"] {
        assert_eq!(Raw::tcp(server.addr).get(path).status, 404);
    }
}

#[test]
fn the_page_asks_once_a_second_and_a_browser_has_nothing_to_say_of_it() {
    let server = Server::start();
    let figures = operator(&server, &["--watch", "5"]);
    saw("the page", &figures);
    assert_eq!(figures["state"], "healthy");
    // The answers of five seconds, all over one connection.
    assert_eq!(figures["connections"], 0);
    assert!(number(&figures, "bytesPerSecond") < 5000, "{figures}");
}
