//! Why sessions end: the log, `why` and the application's handlers have the same word for it, and the right one.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::*;

const GUEST: &str = "/socket.io/?EIO=4&transport=websocket";

/// How soon an end is known.
const KNOWN: Duration = Duration::from_secs(1);

/// A server that writes down why its guests left.
fn hotel(tables: &str) -> Server {
    let setup = Setup::new().workers(1).level("debug").example("guests");
    setup.config(tables).start()
}

/// A guest over WebSocket that has joined nothing, and its socket id.
fn visitor(server: &Server, more: &str) -> (WebSocket, String) {
    let mut raw = Raw::tcp(server.addr);
    raw.send(WebSocket::request(&format!("{GUEST}{more}")));
    let mut socket = WebSocket::switched(raw);
    let open = socket.read_text();
    let packet: Value = serde_json::from_str(&open[1..]).unwrap();
    let id = packet["sid"].as_str().unwrap()[..16].to_owned();
    (socket, id)
}

/// A guest over WebSocket, and its socket id.
fn guest(server: &Server, more: &str) -> (WebSocket, String) {
    let (mut socket, id) = visitor(server, more);
    socket.text("40");
    assert!(socket.read_text().starts_with("40{"));
    (socket, id)
}

/// A guest that polls, its connection, and its socket id.
fn poller(server: &Server) -> (Polling, Raw, String) {
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    let id = session.sid[..16].to_owned();
    (session, raw, id)
}

/// What follows `name=` in a line.
fn field(line: &str, name: &str) -> String {
    let name = format!(" {name}=");
    let rest = line.split(&name).nth(1).unwrap_or_default();
    rest.split(' ').next().unwrap().trim_matches('"').to_owned()
}

/// The line with this text about a socket.
#[track_caller]
fn line(server: &Server, text: &str, id: &str) -> String {
    let mut found = None;
    eventually(&format!("{text:?} of {id}"), SOON, || {
        let lines = server.log();
        found = lines
            .into_iter()
            .find(|line| line.contains(text) && line.contains(id));
        found.is_some()
    });
    found.unwrap()
}

/// What `why` says of a session that has ended, as soon as it must say so.
#[track_caller]
fn why(server: &Server, id: &str) -> Value {
    let (control, began) = (server.control(), Instant::now());
    loop {
        let answer = control.get(&format!("/why?of={id}"));
        let ends = answer["ends"].as_array().unwrap();
        if let [end] = &ends[..] {
            return end.clone();
        }
        assert!(
            began.elapsed() < KNOWN,
            "not known within {KNOWN:?}: {answer}"
        );
    }
}

/// The session has ended with this word, whose doing it was; and so it was told to its handler, unless that never
/// knew of it.
#[track_caller]
fn left(server: &Server, id: &str, word: &str, by: &str, has_handler: bool) -> Value {
    let ended = line(server, "a session ended", id);
    assert_eq!(field(&ended, "reason"), word, "{ended}");
    let end = why(server, id);
    assert_eq!(
        (&end["reason"], &end["by"]),
        (&word.into(), &by.into()),
        "{end}"
    );
    assert_eq!(end["socket_id"], id);
    assert_eq!(end["address"], "127.0.0.1");
    assert_eq!(end["worker"]["pid"], server.workers()[0]);
    if has_handler {
        told(server, id, word);
    }
    end
}

/// The handler was told this word.
#[track_caller]
fn told(server: &Server, id: &str, word: &str) {
    let told = line(server, "a guest has", id);
    assert_eq!(field(&told, "reason"), word, "{told}");
}

#[test]
fn a_client_that_says_so_has_left() {
    let server = hotel("");
    let (mut socket, id) = guest(&server, "");
    socket.text("42[\"send\",100]");
    assert!(socket.read_text().starts_with("42[\"data\""));
    socket.raw.send(WebSocket::frame(0x88, &[3, 0xe8]));
    let end = left(&server, &id, "client-left", "client", true);
    // `0{"sid":"…"}` and `2["data","x…"]`, without the digit of the engine's packet.
    let counted = ["messages_in", "bytes_in", "messages_out", "bytes_out"];
    let counted = counted.map(|name| end[name].as_u64().unwrap());
    assert_eq!(counted, [2, 1 + 13, 2, 27 + 112]);
    assert_eq!(end["transport"], "websocket");
    assert!(end["lived_seconds"].as_f64().unwrap() < 5.0);

    let (session, mut raw, id) = poller(&server);
    session.post(&mut raw, "1");
    let end = left(&server, &id, "client-left", "client", true);
    assert_eq!(end["transport"], "polling");

    // It leaves its namespace, or says goodbye to the engine, and its connection ends without a word.
    for goodbye in ["41", "1"] {
        let (mut socket, id) = guest(&server, "");
        socket.text(goodbye);
        socket.text("42[\"send\",1]");
        drop(socket);
        let ended = line(&server, "a session ended", &id);
        let word = field(&ended, "reason");
        // Behind a 41 there is no event to be had.
        assert_eq!(word, "client-left", "{goodbye}: {ended}");
        told(&server, &id, "client-left");
    }
}

#[test]
fn an_official_client_that_closes_has_left() {
    let server = hotel("");
    for transports in ["websocket", "polling", "upgrade"] {
        let clients = Puppets::start(&server.url(), "/", 1, &["--transports", transports]);
        let client = &clients.clients()[0];
        client.connected(1, SOON);
        let id = client.id();
        client.close();
        left(&server, &id, "client-left", "client", true);
    }
}

#[test]
fn a_connection_that_ends_without_a_word_is_the_networks_doing() {
    let server = hotel("");
    let (socket, id) = guest(&server, "");
    socket.raw.reset();
    left(&server, &id, "transport-closed", "network", true);
    let (socket, id) = guest(&server, "");
    drop(socket);
    left(&server, &id, "transport-closed", "network", true);
    // The connection with a poll that waits; and one on which a post is arriving.
    let (session, mut raw, id) = poller(&server);
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        session.target()
    ));
    // Nothing shows outside that it waits.
    std::thread::sleep(Duration::from_millis(300));
    drop(raw);
    left(&server, &id, "transport-closed", "network", true);
    let (session, mut raw, id) = poller(&server);
    raw.send(format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n42[",
        session.target()
    ));
    std::thread::sleep(Duration::from_millis(300));
    drop(raw);
    left(&server, &id, "transport-closed", "network", true);
}

#[test]
fn a_client_that_does_not_answer_pings_has_timed_out() {
    let server = hotel("[engine]\nping_interval = \"300ms\"\nping_timeout = \"200ms\"");
    let (_mute, id) = guest(&server, "");
    left(&server, &id, "ping-timeout", "network", true);
    // Between two polls nobody knows that it is gone.
    let (_, raw, id) = poller(&server);
    drop(raw);
    left(&server, &id, "ping-timeout", "network", true);
}

#[test]
fn a_client_that_takes_nothing_has_stalled_unless_its_connection_dies_before() {
    let server = hotel("[engine]\nwrite_stall_timeout = \"1s\"");
    let (mut socket, id) = guest(&server, "");
    socket.text("42[\"send\",20000000]");
    left(&server, &id, "write-stall", "client", true);
    let (mut socket, id) = guest(&server, "");
    socket.text("42[\"send\",20000000]");
    // Its answer is on its way.
    socket.raw.take(1000).unwrap();
    socket.raw.reset();
    left(&server, &id, "transport-closed", "network", true);
}

#[test]
fn a_worker_without_memory_ends_who_costs_most_of_it() {
    let tables = "[engine]\nwrite_stall_timeout = \"60s\"\n[limits]\nworker_memory = 40000000";
    let server = hotel(tables);
    let (mut socket, id) = guest(&server, "");
    // Behind this nothing of it is read any more.
    socket.text("42[\"send\",40000000]");
    left(&server, &id, "memory", "client", true);
}

#[test]
fn a_message_that_is_too_large_is_its_senders_doing() {
    let server = hotel("[engine]\nmax_payload = 10000");
    let large = format!("42[\"a\",\"{}\"]", "x".repeat(20_000));
    let (mut socket, id) = guest(&server, "");
    socket.text(&large);
    left(&server, &id, "too-large", "client", true);
    // A polling client's session goes on, until the client takes the refusal for the end.
    for polls_on in [false, true] {
        let (session, mut raw, id) = poller(&server);
        assert_eq!(session.post(&mut raw, &large).status, 413);
        let mut raw = Raw::tcp(server.addr);
        if polls_on {
            session.post(&mut raw, "42[\"nobody hears it\"]");
        }
        session.post(&mut raw, "1");
        let word = if polls_on { "client-left" } else { "too-large" };
        left(&server, &id, word, "client", true);
    }
}

#[test]
fn whoever_breaks_a_protocol_is_told_so() {
    let server = hotel("");
    for wrong in [
        WebSocket::frame(0x81, b"4garbage"),
        WebSocket::frame(0x83, b""),
        WebSocket::frame(0x81, b"9"),
        WebSocket::frame(0x81, b"40"),
    ] {
        let (mut socket, id) = guest(&server, "");
        socket.raw.send(&wrong);
        left(&server, &id, "protocol-error", "client", true);
    }
    let (session, mut raw, id) = poller(&server);
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        session.target()
    ));
    eventually("a second poll is one too many", SOON, || {
        session.poll(&mut Raw::tcp(server.addr)).status == 400
    });
    left(&server, &id, "protocol-error", "client", true);
}

#[test]
fn who_joins_nothing_in_time_is_asked_to_go() {
    for parser in ["common", "msgpack"] {
        let server = hotel(&format!(
            "[engine]\nconnect_timeout = \"500ms\"\nparser = \"{parser}\""
        ));
        let (mut socket, id) = visitor(&server, "");
        if parser == "msgpack" {
            // From its first packet on socketioxide keeps the time: {"type":0,"nsp":"/elsewhere"}.
            socket.binary(b"\x82\xa4type\x00\xa3nsp\xaa/elsewhere");
        }
        left(&server, &id, "connect-timeout", "client", false);
    }
}

#[test]
fn whom_the_application_disconnects_from_everything_has_not_left_by_itself() {
    let server = hotel("");
    let (mut socket, id) = guest(&server, "");
    socket.text("42[\"leave\"]");
    assert_eq!(socket.read_text(), "41");
    told(&server, &id, "application");
    socket.raw.send(WebSocket::frame(0x88, &[]));
    left(&server, &id, "application", "application", true);
    // From one namespace of two: it is still there.
    let (mut socket, id) = guest(&server, "");
    socket.text("40/lounge,");
    assert!(socket.read_text().starts_with("40/lounge,"));
    socket.text("42/lounge,[\"leave\"]");
    assert_eq!(socket.read_text(), "41/lounge,");
    told(&server, &id, "application");
    socket.raw.send(WebSocket::frame(0x88, &[]));
    left(&server, &id, "client-left", "client", false);
    // The official client closes when it is in no namespace any more.
    let clients = Puppets::start(&server.url(), "/", 1, &[]);
    let client = &clients.clients()[0];
    client.connected(1, SOON);
    let id = client.id();
    client.ask("leave", serde_json::json!([]));
    left(&server, &id, "application", "application", true);
}

#[test]
fn what_an_operator_ends_is_an_operators_doing() {
    let server = hotel("");
    let (mut socket, disconnected) = guest(&server, "");
    let (_elsewhere, drained) = guest(&server, "");
    let control = server.control();
    control.post(&format!("/disconnect?id={disconnected}"), &Value::Null);
    assert_eq!(socket.read().unwrap(), (8, vec![]), "a close frame");
    left(&server, &disconnected, "application", "operator", true);
    control.post("/drain", &serde_json::json!({"over_seconds": 1}));
    left(&server, &drained, "drain", "operator", true);
    let ended = control.get("/status")["ended"].clone();
    let counted = ["application", "drain", "client-left"].map(|word| ended[word].as_u64());
    assert_eq!(counted, [Some(1), Some(1), Some(0)], "{ended}");
}

#[test]
fn a_guest_goes_when_its_time_is_over() {
    let server = hotel("");
    let began = Instant::now();
    let (mut socket, id) = guest(&server, "&stay_ms=700");
    assert_eq!(socket.read().unwrap(), (8, vec![]), "a close frame");
    assert!(began.elapsed() >= Duration::from_millis(700));
    left(&server, &id, "until", "application", true);
    // An upgrade is admitted anew.
    let mut raw = Raw::tcp(server.addr);
    let session = Polling::open(&mut raw);
    raw.send(WebSocket::request(&format!(
        "{GUEST}&sid={}&stay_ms=700",
        session.sid
    )));
    let _upgrades = WebSocket::switched(raw);
    left(&server, &session.sid[..16], "until", "application", true);
}

#[test]
fn an_admission_that_takes_time_keeps_nobody_else_waiting_and_ends_with_its_client() {
    let server = hotel("");
    let mut slow = Raw::tcp(server.addr);
    slow.send(WebSocket::request(&format!("{GUEST}&think_ms=1500")));
    // What it sends before it is answered is not lost.
    slow.send(WebSocket::frame(0x81, b"40"));
    let began = Instant::now();
    drop(guest(&server, ""));
    assert!(began.elapsed() < Duration::from_secs(1));
    let mut slow = WebSocket::switched(slow);
    assert!(slow.read_text().starts_with("0{") && slow.read_text().starts_with("40{"));
    // Over a connection that opens with it, and over one that had requests before.
    let polling = GUEST.replace("websocket", "polling");
    for target in [GUEST, &polling] {
        for used in [false, true] {
            let went = "a guest went away before it was known";
            let before = server.count_lines(went);
            let mut raw = Raw::tcp(server.addr);
            if used {
                assert_eq!(raw.get("/").status, 200);
            }
            let target = format!("{target}&think_ms=9000");
            if target.contains("websocket") {
                raw.send(WebSocket::request(&target));
            } else {
                raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(server.count_lines(went), before);
            drop(raw);
            eventually("the wait is over", SOON, || {
                server.count_lines(went) > before
            });
        }
    }
    assert_eq!(server.sessions().len(), 1);
}

#[test]
fn when_the_server_stops_its_sessions_are_told_so_and_the_master_too() {
    let mut server = hotel("");
    let guests: Vec<_> = (0..3).map(|_| guest(&server, "")).collect();
    server.signal("TERM");
    // The first goes at once, the last after two thirds of `stop_drain`.
    left(&server, &guests[0].1, "stopped", "operator", true);
    server.ended(SOON);
    for (_, id) in &guests {
        let ended = line(&server, "a session ended", id);
        assert_eq!(field(&ended, "reason"), "stopped");
        told_elsewhere(&server, id);
    }
}

#[track_caller]
fn told_elsewhere(server: &Server, id: &str) {
    let told = line(server, "a guest has to go elsewhere", id);
    assert_eq!(field(&told, "reason"), "stopped", "{told}");
}

#[test]
fn of_a_worker_that_was_killed_it_is_known_how_many_sessions_it_had() {
    let server = hotel("");
    let (mut socket, gone_before) = guest(&server, "");
    socket.raw.send(WebSocket::frame(0x88, &[3, 0xe8]));
    left(&server, &gone_before, "client-left", "client", true);
    let guests: Vec<_> = (0..20).map(|_| guest(&server, "")).collect();
    server.wait_for_sessions(20, SOON);
    let killed = server.workers()[0];
    signal_process(killed, "KILL");
    let end = why(&server, &guests[7].1);
    assert_eq!(
        (&end["reason"], &end["by"]),
        (&"worker-gone".into(), &"server".into())
    );
    assert_eq!(
        (&end["sessions"], &end["socket_id"]),
        (&20.into(), &Value::Null)
    );
    assert_eq!(end["worker"], serde_json::json!({"slot": 0, "pid": killed}));
    let all = server.control().get("/why?of=127.0.0.1");
    assert_eq!(all["ends"].as_array().unwrap().len(), 2, "{all}");
    let status = server.control().get("/status");
    assert_eq!(status["ended"]["worker-gone"], 20, "{status}");
}
