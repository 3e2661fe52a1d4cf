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

/// A client in a room of `/chat`, and its socket id.
fn member(server: &Server, room: &str) -> (WebSocket, String) {
    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    socket.text("40/chat,");
    let joined = socket.read_text();
    let id = joined.split('"').nth(3).unwrap().to_owned();
    socket.text(&format!("42/chat,0[\"join\",\"{room}\"]"));
    assert!(socket.read_text().starts_with("43/chat,0["));
    (socket, id)
}

#[test]
fn who_works_with_the_keyboard_finds_a_session_and_disconnects_it() {
    let server = Server::start();
    // What a client calls a room is text, whatever it is.
    let room = "<img src=x onerror=alert(1)>";
    let mut members: Vec<_> = (0..5).map(|_| member(&server, room)).collect();
    let (mut chosen, id) = members.pop().unwrap();
    let sought = ["--room", room, "--namespace", "/chat"];
    // An id may begin with a dash.
    let wanted = format!("--id={id}");
    let figures = operator(&server, &[&[wanted.as_str()], &sought[..]].concat());
    saw("the page", &figures);
    assert_eq!(number(&figures, "ofTheAddress"), 5);
    assert_eq!(number(&figures, "inTheRoom"), 5);
    assert!(
        figures["rooms"].as_str().unwrap().contains(room),
        "{figures}"
    );
    let reason = figures["reason"].as_str().unwrap();
    assert!(
        reason.contains(&id) && reason.contains("operator"),
        "{reason}"
    );
    let last = std::iter::repeat_with(|| chosen.read()).find(|frame| !matches!(frame, Ok((1, _))));
    saw("what the client got", format!("{last:?}"));
    for (mut socket, _) in members {
        socket.text("42/chat,1[\"whereami\"]");
        assert!(socket.read_text().starts_with("43/chat,1["));
    }
}
