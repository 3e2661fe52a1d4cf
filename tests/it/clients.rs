//! The official clients, unchanged: every kind of data, in order, over each transport.

use super::harness::*;

/// Long enough for a busy machine; the scripts end much sooner.
const DEADLINE: [&str; 2] = ["--deadline", "180"];

#[track_caller]
fn echo(server: &Server, client: &str, transport: &str) {
    let told = node(
        "echo.mjs",
        &server.url(),
        &[
            "--client",
            client,
            "--transport",
            transport,
            DEADLINE[0],
            DEADLINE[1],
        ],
    );
    saw("events echoed", &told["events"]);
    if transport == "upgrade" {
        // Five of each kind: see the script.
        assert_eq!(told["crossings"].as_array().unwrap().len(), 15);
    }
}

#[track_caller]
fn python_echo(transport: &str) {
    let server = Server::start();
    let told = python(
        "echo_client.py",
        &server.url(),
        &["--transport", transport, DEADLINE[0], DEADLINE[1]],
    );
    assert_eq!(told["clients"], serde_json::json!(["plain", "asyncio"]));
}

fn msgpack() -> Server {
    Setup::new()
        .config("[engine]\nparser = \"msgpack\"")
        .start()
}

#[test]
fn a_v4_client_echoes_over_polling() {
    echo(&Server::start(), "v4", "polling");
}

#[test]
fn a_v4_client_echoes_over_websocket() {
    echo(&Server::start(), "v4", "websocket");
}

#[test]
fn a_v4_client_echoes_across_an_upgrade() {
    echo(&Server::start(), "v4", "upgrade");
}

#[test]
fn a_v3_client_echoes_over_polling() {
    echo(&Server::start(), "v3", "polling");
}

#[test]
fn a_v3_client_echoes_over_websocket() {
    echo(&Server::start(), "v3", "websocket");
}

#[test]
fn a_v3_client_echoes_across_an_upgrade() {
    echo(&Server::start(), "v3", "upgrade");
}

#[test]
fn a_v2_client_that_is_allowed_echoes_over_polling() {
    echo(&Setup::new().eio3().start(), "v2", "polling");
}

#[test]
fn a_v2_client_that_is_allowed_echoes_over_websocket() {
    echo(&Setup::new().eio3().start(), "v2", "websocket");
}

#[test]
fn a_v2_client_that_is_allowed_echoes_across_an_upgrade() {
    echo(&Setup::new().eio3().start(), "v2", "upgrade");
}

#[test]
fn a_messagepack_client_echoes_over_polling() {
    echo(&msgpack(), "msgpack", "polling");
}

#[test]
fn a_messagepack_client_echoes_over_websocket() {
    echo(&msgpack(), "msgpack", "websocket");
}

#[test]
fn a_messagepack_client_echoes_across_an_upgrade() {
    echo(&msgpack(), "msgpack", "upgrade");
}

#[test]
fn python_clients_echo_over_polling() {
    python_echo("polling");
}

#[test]
fn python_clients_echo_over_websocket() {
    python_echo("websocket");
}

#[test]
fn python_clients_echo_across_an_upgrade() {
    python_echo("upgrade");
}

#[test]
fn a_browser_on_a_page_of_an_allowed_origin_connects_over_every_transport() {
    let port = free_port();
    let origins = format!("[engine]\ncors_origins = [\"http://127.0.0.1:{port}\"]");
    let server = Setup::new().config(&origins).start();
    let told = browser(&server, port, &[]);
    let results = told["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{told}");
    for result in results {
        assert_eq!(result["connected"], true, "{result}");
    }
}

#[test]
fn a_browser_on_a_page_of_a_foreign_origin_is_kept_out_over_every_transport() {
    let server = Server::start();
    let told = browser(&server, free_port(), &["--expect-blocked"]);
    saw("the browser was kept out", &told["blocked"]);
    assert_eq!(told["blocked"]["websocket"]["opens"], false, "{told}");
}

#[test]
fn twenty_thousand_events_of_one_tick_come_back_in_order() {
    let server = Server::start();
    let told = node("pipeline.mjs", &server.url(), &["--count", "20000"]);
    assert_eq!(told["count"], 20_000);
    saw("milliseconds", &told["ms"]);
}

#[test]
fn polling_works_when_every_request_comes_on_a_new_connection() {
    let server = Server::start();
    let told = node(
        "polling-fresh.mjs",
        &server.url(),
        &["--clients", "100", "--requests", "20"],
    );
    assert_eq!(
        (&told["clients"], &told["failures"]),
        (&100.into(), &0.into())
    );
    saw("requests", &told["requests"]);
}

#[test]
fn polling_sessions_open_and_close_as_fast_as_fifty_clients_can() {
    let server = Server::start();
    let told = node(
        "polling-storm.mjs",
        &server.url(),
        &["--clients", "50", "--seconds", "5"],
    );
    assert_eq!(told["failures"], 0, "{told}");
    saw("sessions a second", &told["perSecond"]);
}

#[test]
fn an_event_sent_in_the_connect_handler_is_heard_from_every_one_of_300_clients() {
    let server = Server::start();
    let told = node("ws-burst.mjs", &server.url(), &["--clients", "300"]);
    assert_eq!(told["heard"], 300, "{told}");
}

#[test]
fn a_v2_client_that_is_not_allowed_is_told_the_option() {
    let server = Server::start();
    let told = node("eio3-refused.mjs", &server.url(), &[]);
    assert_eq!(told["status"], 400, "{told}");
}

#[test]
fn the_public_id_of_a_v4_client_lets_nobody_into_its_session() {
    let server = Server::start();
    let told = node("ids.mjs", &server.url(), &["--client", "v4"]);
    assert_ne!(told["id"], told["engineId"]);
}

#[test]
fn a_v2_client_has_one_id_for_both_layers() {
    let server = Setup::new().eio3().start();
    let told = node("ids.mjs", &server.url(), &["--client", "v2"]);
    assert_eq!(told["id"], told["engineId"]);
}

#[test]
fn an_event_name_that_json_escapes_comes_back() {
    let server = Server::start();
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    socket.text(r#"42["a\"b\\\u0001\u00e9",1]"#);
    assert_eq!(socket.read_text(), r#"42["a\"b\\\u0001é",1]"#);
}

/// Reads what comes until an event with two attachments is there: its text, and they.
#[track_caller]
fn with_two_attachments(socket: &mut WebSocket) -> (String, [Vec<u8>; 2]) {
    let mut next = |opcode| loop {
        match socket.read().unwrap() {
            (1, ping) if ping == b"2" => {}
            (read, payload) if read == opcode => return payload,
            other => panic!("{other:?}"),
        }
    };
    let text = String::from_utf8(next(1)).unwrap();
    (text, [next(2), next(2)])
}

#[test]
fn attachments_go_by_their_numbers_and_may_be_named_twice() {
    let server = Server::start();
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    socket.echo("connected");
    let place = |num| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
    let echoed = format!(r#"452-["a",{},{}]"#, place(0), place(1));
    for (first, second, came) in [
        (0, 1, [b"one", b"two"]),
        (1, 0, [b"two", b"one"]),
        (1, 1, [b"two", b"two"]),
    ] {
        socket.text(&format!(r#"452-["a",{},{}]"#, place(first), place(second)));
        socket.binary(b"one");
        socket.binary(b"two");
        let (text, attachments) = with_two_attachments(&mut socket);
        assert_eq!(text, echoed);
        assert_eq!(attachments, came);
    }
    socket.echo("still here");
}

/// Its page comes from `port`; an origin must be known before the server starts.
#[track_caller]
fn browser(server: &Server, port: u16, more: &[&str]) -> serde_json::Value {
    let port = port.to_string();
    let page = ["--transport", "all", "--port", &port];
    node(
        "browser.mjs",
        &server.url(),
        &[&page, &DEADLINE[..], more].concat(),
    )
}
