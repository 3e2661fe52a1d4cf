//! What handlers do for a socket that has left does nothing: they are tasks, and may run when it is gone, or when
//! its client has joined again.

use serde_json::{Value, json};

use super::harness::*;

/// Several messages in one write.
fn write(socket: &mut WebSocket, messages: &[&str]) {
    let frames = messages
        .iter()
        .map(|text| WebSocket::frame(0x81, text.as_bytes()));
    socket.raw.send(frames.collect::<Vec<_>>().concat());
}

/// Asks with acknowledgement 7, and reads it.
#[track_caller]
fn ask(socket: &mut WebSocket, namespace: &str, event: &Value) -> Value {
    let namespace = if namespace == "/" {
        String::new()
    } else {
        format!("{namespace},")
    };
    socket.text(&format!("42{namespace}7{event}"));
    let head = format!("43{namespace}7");
    loop {
        let text = socket.read_text();
        if let Some(answer) = text.strip_prefix(&head) {
            return serde_json::from_str::<Value>(answer).unwrap()[0].take();
        }
    }
}

#[track_caller]
fn joined(socket: &mut WebSocket, namespace: &str) {
    let text = socket.read_text();
    assert!(text.starts_with(&format!("40{namespace},")), "{text}");
}

#[test]
fn what_a_socket_joined_that_has_left_its_successor_of_the_same_id_is_not_in() {
    let server = Setup::new().workers(1).start();
    let mut observer = WebSocket::handshake(Raw::tcp(server.addr));
    write(&mut observer, &["40/chat,"]);
    joined(&mut observer, "/chat");
    let mut who = |room: &str| ask(&mut observer, "/chat", &json!(["who", room]))["sockets"].take();

    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    write(&mut socket, &["40/chat,"]);
    joined(&mut socket, "/chat");
    // In two writes, and in one.
    write(&mut socket, &["42/chat,[\"join\",\"two\"]", "41/chat,"]);
    write(&mut socket, &["40/chat,"]);
    joined(&mut socket, "/chat");
    assert_eq!(who("two"), json!([]));
    write(
        &mut socket,
        &["42/chat,[\"join\",\"one\"]", "41/chat,", "40/chat,"],
    );
    joined(&mut socket, "/chat");
    assert_eq!(who("one"), json!([]));
    // What it joins itself it is in, and what an older one leaves then, it does not leave.
    assert_eq!(
        ask(&mut socket, "/chat", &json!(["join", "three"]))["ok"],
        true
    );
    let there = who("three");
    assert_eq!(there.as_array().map(Vec::len), Some(1));
    write(
        &mut socket,
        &["42/chat,[\"leave\",\"three\"]", "41/chat,", "40/chat,"],
    );
    joined(&mut socket, "/chat");
    assert_eq!(
        ask(&mut socket, "/chat", &json!(["join", "three"]))["ok"],
        true
    );
    assert_eq!(who("three"), there);
}

#[test]
fn a_handler_that_outlives_its_session_leaves_no_room_behind() {
    let server = Setup::new().workers(1).example("operators").start();
    let mut observer = WebSocket::open(Raw::tcp(server.addr));
    let mut sockets: Vec<_> = (0..20)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    for socket in &mut sockets {
        write(
            socket,
            &["42[\"joinLate\",\"late\"]", "42[\"join\",\"early\"]"],
        );
        // All are handled.
        ask(socket, "/", &json!(["whereami"]));
    }
    let mut rooms = |room: &str| {
        let selection = json!({ "within": [room] });
        ask(&mut observer, "/", &json!(["rooms", selection]))["rooms"].take()
    };
    assert_eq!(rooms("early"), json!(["early"]));
    drop(sockets);
    server.wait_for_sessions(1, SOON);
    eventually("no room remains", SOON, || {
        ["early", "late", "late, bare"]
            .iter()
            .all(|room| rooms(room) == json!([]))
    });
}

#[test]
fn what_a_middleware_joins_holds_if_it_lets_the_socket_in() {
    let server = Setup::new().workers(1).example("operators").start();
    let mut socket = WebSocket::handshake(Raw::tcp(server.addr));
    for _ in 0..2 {
        write(&mut socket, &["40/guarded,{\"no\":true}"]);
        let refused = socket.read_text();
        assert!(refused.starts_with("44/guarded,"), "{refused}");
    }
    for _ in 0..2 {
        write(&mut socket, &["40/guarded,{}"]);
        joined(&mut socket, "/guarded");
        assert_eq!(socket.read_text(), "42/guarded,[\"rooms\",[\"early\"],1]");
        write(&mut socket, &["41/guarded,"]);
    }
}

#[test]
fn another_worker_makes_nobody_join_who_has_left() {
    let server = Setup::new().workers(2).example("operators").start();
    let mut observer = WebSocket::open(Raw::tcp(server.addr));
    let mut socket = WebSocket::open(Raw::tcp(server.addr));
    let mine = ask(&mut socket, "/", &json!(["whereami"]));
    let theirs = ask(&mut observer, "/", &json!(["whereami"]));
    assert_ne!(mine["worker"], theirs["worker"]);
    let one = json!({ "within": [mine["id"]] });
    let room = |name: &str| json!(["rooms", { "within": [name] }]);
    ask(&mut observer, "/", &json!(["joinAll", one, "before"]));
    assert_eq!(
        ask(&mut observer, "/", &room("before"))["rooms"],
        json!(["before"])
    );
    write(&mut socket, &["41"]);
    eventually("it has left", SOON, || {
        ask(&mut observer, "/", &room("before"))["rooms"] == json!([])
    });
    ask(&mut observer, "/", &json!(["joinAll", one, "after"]));
    // What one sends is in order: when this is answered, that was done.
    ask(&mut observer, "/", &room("after"));
    write(&mut socket, &["40"]);
    assert!(socket.read_text().starts_with("40{"));
    assert_eq!(ask(&mut observer, "/", &room("after"))["rooms"], json!([]));
}

#[test]
fn ten_thousand_joins_of_sockets_that_leave_meanwhile_leave_nothing_behind() {
    const ROUNDS: usize = 250;
    let server = Setup::new().workers(1).start();
    let worker = server.workers()[0];
    let races = || {
        let mut sockets: Vec<_> = (0..20)
            .map(|_| WebSocket::handshake(Raw::tcp(server.addr)))
            .collect();
        for (nth, socket) in sockets.iter_mut().enumerate() {
            for round in 0..ROUNDS {
                let room = format!("{:0>200}", format!("{nth}-{round}"));
                let join = format!("42/chat,[\"join\",\"{room}\"]");
                write(socket, &["40/chat,"]);
                joined(socket, "/chat");
                write(socket, &[&join, "41/chat,", "40/chat,"]);
                joined(socket, "/chat");
                write(socket, &[&join, "41/chat,"]);
            }
        }
        drop(sockets);
        server.wait_for_sessions(0, SOON);
    };
    races();
    let before = memory(worker).pss;
    races();
    let after = memory(worker).pss;
    saw("KiB more after ten thousand", after.saturating_sub(before));
    assert!(after < before + 1_024, "{before} KiB, then {after} KiB");
    let mut observer = WebSocket::handshake(Raw::tcp(server.addr));
    write(&mut observer, &["40/chat,"]);
    joined(&mut observer, "/chat");
    for room in ["0-0", "3-7", "19-249"].map(|name| format!("{name:0>200}")) {
        let who = ask(&mut observer, "/chat", &json!(["who", room]));
        assert_eq!(who["sockets"], json!([]));
    }
}
