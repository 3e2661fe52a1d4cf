//! What the control socket has the workers do, or tell.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::harness::*;

/// Longer than workers are waited for, on a busy machine.
const NOT_LATE: Duration = Duration::from_secs(5);

fn found(answer: &Json) -> Vec<&str> {
    let sessions = answer["sessions"].as_array().unwrap();
    let ids = sessions.iter().map(|session| &session["socket_id"]);
    ids.map(|id| id.as_str().unwrap()).collect()
}

#[test]
fn a_session_is_found_by_its_id_its_address_and_its_room() {
    let server = Server::start();
    let crowd = chat(&server, 4);
    let control = server.control();
    let client = &crowd[0];
    client.call("join", json!(["a room"]));
    let answer = control.get(&format!("/search?id={}", client.id()));
    assert_eq!(found(&answer), [client.id()]);
    assert_eq!(
        (&answer["more"], &answer["unanswered"]),
        (&json!(false), &json!([]))
    );
    let session = &answer["sessions"][0];
    assert_eq!(session["address"], "127.0.0.1");
    assert_eq!(session["transport"], "websocket");
    assert_eq!(session["namespaces"], json!({"/chat": ["a room", ROOM]}));
    assert!(session["open_seconds"].as_f64().unwrap() > 0.0);
    assert!(session["bytes_in"].as_u64().unwrap() > 0, "{session:#}");
    assert!(session["messages_out"].as_u64().unwrap() > 0, "{session:#}");
    let pid = session["worker"]["pid"].as_u64().unwrap();
    let slot = session["worker"]["slot"].as_u64().unwrap();
    assert_eq!(
        u64::from(server.workers()[usize::try_from(slot).unwrap()]),
        pid
    );

    let answer = control.get("/search?room=a%20room&namespace=/chat");
    assert_eq!(found(&answer), [client.id()]);
    let answer = control.get("/search?address=127.0.0.1");
    assert_eq!(found(&answer).len(), 4);
    for nobody in [
        "id=AAAAAAAAAAAAAAAA",
        "id=x",
        "address=192.0.2.1",
        "room=a%20room",
        "room=b&namespace=/none",
    ] {
        let answer = control.get(&format!("/search?{nobody}"));
        assert_eq!(found(&answer), [""; 0], "{nobody}");
    }
}

#[test]
fn a_search_tells_a_hundred_sessions_at_most() {
    let server = Server::start();
    let crowd = chat(&server, 130);
    crowd.all_call("join", &json!(["all"]));
    for search in ["address=127.0.0.1", "room=all&namespace=/chat"] {
        let answer = server.control().get(&format!("/search?{search}"));
        assert_eq!(
            (found(&answer).len(), &answer["more"]),
            (100, &json!(true)),
            "{search}"
        );
    }
}

#[test]
fn an_operator_disconnects_a_session_and_why_says_so() {
    let server = Server::start();
    let crowd = chat(&server, 2);
    let control = server.control();
    let id = crowd[0].id();
    let answer = control.post(&format!("/disconnect?id={id}"), &json!({}));
    assert_eq!(answer, json!({"disconnected": 1, "unanswered": []}));
    crowd[0].goes(SOON);
    let of = format!("/why?of={id}");
    eventually("the end is known", SOON, || {
        !control.get(&of)["ends"].as_array().unwrap().is_empty()
    });
    let end = &control.get(&of)["ends"][0];
    assert_eq!(
        (&end["reason"], &end["by"]),
        (&json!("application"), &json!("operator"))
    );
    assert_eq!(crowd[1].gone(), None);
    for nobody in [&id, "nobody"] {
        let refused = control.try_post(&format!("/disconnect?id={nobody}"), "");
        let (status, words) = error(&refused);
        assert_eq!(
            (status, words),
            (404, format!("no session has the socket id {nobody}"))
        );
    }
}

#[test]
fn an_event_reaches_every_client_of_the_machine_once() {
    let server = Setup::new().workers(3).start();
    let crowd = chat(&server, 9);
    let mut elsewhere = WebSocket::open(Raw::tcp(server.addr));
    let control = server.control();
    let emit = json!({"namespace": "/chat", "event": "news", "args": [{"b": 1, "a": "é"}, 2]});
    let answer = control.post("/emit", &emit);
    assert_eq!(answer, json!({"workers": 3, "unanswered": []}));
    crowd[0].call("join", json!(["x"]));
    crowd[8].call("join", json!(["x"]));
    crowd[8].call("join", json!(["y"]));
    let rooms =
        json!({"namespace": "/chat", "rooms": ["x", "y"], "event": "rooms", "args": ["in"]});
    assert_eq!(control.post("/emit", &rooms)["workers"], 3);
    // Behind both.
    control.post(
        "/emit",
        &json!({"namespace": "/chat", "event": "last", "args": [1]}),
    );
    for (nth, client) in crowd.iter().enumerate() {
        client.hears("last", &json!(1));
        assert_eq!(
            client.payloads("news"),
            [json!({"b": 1, "a": "é"})],
            "{nth}"
        );
        let in_a_room = [0, 8].contains(&nth);
        assert_eq!(
            client.payloads("rooms").len(),
            usize::from(in_a_room),
            "{nth}"
        );
    }
    control.post("/emit", &json!({"event": "last", "args": [2]}));
    assert_eq!(elsewhere.read_text(), "42[\"last\",2]");
    // As much as fits into a body.
    let large = "x".repeat(900_000);
    control.post(
        "/emit",
        &json!({"namespace": "/chat", "event": "large", "args": [large]}),
    );
    eventually("the large event", SOON, || {
        crowd.iter().all(|client| client.heard("large").len() == 1)
    });
}

#[test]
fn what_cannot_be_emitted_is_refused_in_words() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let too_deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (body, status, part) in [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        ("null", 400, "expected"),
        (r#"{"event": "a"}"#, 400, "args"),
        (r#"{"args": []}"#, 400, "event"),
        (r#"{"event": 1, "args": []}"#, 400, "string"),
        (r#"{"event": "a", "args": {}}"#, 400, "sequence"),
        (r#"{"event": "a", "args": [], "to": 1}"#, 400, "to"),
        (r#"{"event": "disconnect", "args": []}"#, 400, "reserved"),
        (
            r#"{"namespace": "chat", "event": "a", "args": []}"#,
            400,
            "begins with",
        ),
        (
            r#"{"namespace": "/none", "event": "a", "args": []}"#,
            404,
            "/none",
        ),
        (
            &format!(r#"{{"event": "a", "args": [{too_deep}]}}"#),
            400,
            "recursion",
        ),
        (
            &format!(r#"{{"event": "a", "args": ["{}"]}}"#, "x".repeat(1 << 20)),
            413,
            "1 MiB",
        ),
    ] {
        let (was, words) = error(&control.try_post("/emit", body));
        let shown = &body[..body.len().min(60)];
        assert_eq!(
            (was, words.contains(part)),
            (status, true),
            "{shown}: {words}"
        );
    }
    assert_eq!(control.get("/status")["state"], "healthy");
}

#[test]
fn commands_with_wrong_bodies_change_nothing() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    for (target, body) in [
        ("/log", "{}"),
        ("/log", r#"{"level": "loud"}"#),
        ("/log", r#"{"level": "debug", "reopen": true}"#),
        ("/log", r#"{"level": "debug", "for_seconds": 0}"#),
        ("/log", r#"{"level": "debug", "for_seconds": -1}"#),
        ("/log", r#"{"level": "debug", "for_seconds": 1e300}"#),
        ("/log", r#"{"for_seconds": 1}"#),
        ("/log", r#"{"reopen": 1}"#),
        ("/drain", "{}"),
        ("/drain", r#"{"over_seconds": "1m"}"#),
        ("/drain", r#"{"over_seconds": -1}"#),
        ("/drain", r#"{"over_seconds": 1, "undo": true}"#),
        ("/drain", r#"{"undo": false}"#),
        ("/disconnect", ""),
        ("/disconnect?id=", ""),
    ] {
        assert_eq!(
            error(&control.try_post(target, body)).0,
            400,
            "{target} {body}"
        );
    }
    for target in [
        "/search",
        "/search?id=a&room=b",
        "/search?id=a&namespace=/",
        "/search?address=a",
        "/why",
    ] {
        assert_eq!(
            error(&control.ask("GET", target, &[], "")).0,
            400,
            "{target}"
        );
    }
    let status = control.get("/status");
    assert_eq!(
        (&status["log"]["level"], &status["taken_out"]),
        (&json!("info"), &json!(false))
    );
}

#[test]
fn the_level_of_the_log_changes_everywhere_and_returns() {
    let server = Server::start();
    let control = server.control();
    let visit = || {
        let mut raw = Raw::tcp(server.addr);
        let session = Polling::open(&mut raw);
        session.post(&mut raw, "1");
        session.sid[..16].to_owned()
    };
    let told = |id: &str| {
        server
            .log_file()
            .lines()
            .filter(|line| line.contains(id))
            .count()
    };
    let quiet = visit();
    let answer = control.post("/log", &json!({"level": "debug", "for_seconds": 3600}));
    assert_eq!(answer["level"], "debug");
    assert!(answer["until"].as_str().unwrap().ends_with('Z'));
    let log = control.get("/status")["log"].clone();
    assert_eq!(
        (&log["level"], &log["until"]),
        (&answer["level"], &answer["until"])
    );
    eventually("both workers tell of sessions", SOON, || {
        let both = [visit(), visit()];
        both.iter().all(|id| told(id) >= 2)
    });
    // A new worker, too.
    let killed = server.workers()[0];
    signal_process(killed, "KILL");
    eventually("it is replaced", SOON, || {
        let workers = server.workers();
        workers.len() == 2 && !workers.contains(&killed)
    });
    eventually("the new worker, too", SOON, || {
        let both = [visit(), visit()];
        both.iter().all(|id| told(id) >= 2)
    });
    control.post("/log", &json!({"level": "debug", "for_seconds": 1}));
    eventually("the configured level again", SOON, || {
        control.get("/status")["log"] == json!({"level": "info", "until": null, "lines_lost": 0})
    });
    server.wait_for_line("the log is at its configured level, info, again");
    eventually("in the workers, too", SOON, || {
        let both = [visit(), visit()];
        both.iter().all(|id| told(id) == 0)
    });
    assert_eq!(told(&quiet), 0);
}

#[test]
fn all_processes_open_the_log_file_anew() {
    let server = Server::start();
    let (path, rotated) = (
        server.dir.path().join("app.log"),
        server.dir.path().join("app.log.1"),
    );
    std::fs::rename(&path, &rotated).unwrap();
    assert_eq!(
        server.control().post("/log", &json!({"reopen": true})),
        json!({"reopened": true})
    );
    eventually("lines of each worker in the new file", SOON, || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        server
            .workers()
            .iter()
            .all(|pid| text.contains(&format!("Worker {pid}: ")))
    });
}

#[test]
fn a_machine_that_is_taken_out_ends_its_sessions_over_the_time() {
    let server = Server::start();
    let crowd = chat(&server, 20);
    let control = server.control();
    eventually("all are counted", SOON, || {
        control.get("/status")["sessions"]["websocket"] == 20
    });
    let began = Instant::now();
    let answer = control.post("/drain", &json!({"over_seconds": 2}));
    assert_eq!(answer, json!({"taken_out": true, "sessions": 20}));
    assert_eq!(control.get("/status")["taken_out"], true);
    eventually("health checks are told", SOON, || {
        Raw::tcp(server.addr).get("/readyz").status == 503
    });
    // Who comes now is served, and stays.
    let late = Crowd::light(&server, "/chat", 1);
    let mut gone: Vec<_> = crowd
        .iter()
        .map(|client| client.goes(SOON).0 - began)
        .collect();
    gone.sort_unstable();
    let (early, middle, last) = (gone[1], gone[10], gone[19]);
    saw("gone after", format!("{early:?}, {middle:?}, {last:?}"));
    assert!(early < Duration::from_millis(800) && last > Duration::from_millis(1200));
    let reason = control.get(&format!("/why?of={}", crowd[0].id()))["ends"][0].clone();
    assert_eq!(
        (&reason["reason"], &reason["by"]),
        (&json!("drain"), &json!("operator"))
    );
    assert_eq!(late[0].gone(), None);
    eventually("status tells how many are left", SOON, || {
        let sessions = control.get("/status")["sessions"].clone();
        sessions == json!({"polling": 0, "websocket": 1})
    });
    assert_eq!(
        control.post("/drain", &json!({"undo": true}))["taken_out"],
        false
    );
    eventually("health checks are told", SOON, || {
        Raw::tcp(server.addr).get("/readyz").status == 200
    });
}

#[test]
fn a_drain_that_is_undone_ends_no_more_sessions() {
    let server = Server::start();
    let crowd = chat(&server, 10);
    let control = server.control();
    control.post("/drain", &json!({"over_seconds": 4}));
    eventually("the first goes", SOON, || {
        crowd.iter().any(|client| client.gone().is_some())
    });
    control.post("/drain", &json!({"undo": true}));
    // Longer than the next one would take.
    let before = || {
        crowd
            .iter()
            .filter(|client| client.gone().is_none())
            .count()
    };
    let left = before();
    assert!(left > 0);
    thread::sleep(Duration::from_secs(2));
    assert!(before() + 1 >= left, "{} of {left}", before());
}

#[test]
fn a_worker_that_is_stopped_is_named_and_not_waited_for() {
    let server = Server::start();
    let crowd = chat(&server, 4);
    let control = server.control();
    let stopped = server.workers()[1];
    signal_process(stopped, "STOP");
    let began = Instant::now();
    let answer = control.get("/search?address=127.0.0.1");
    let took = began.elapsed();
    assert_eq!(found(&answer).len(), 2, "{answer:#}");
    let expected = json!([{"slot": 1, "pid": stopped, "why": "it did not answer in time"}]);
    assert_eq!(answer["unanswered"], expected);
    assert!(took < NOT_LATE, "{took:?}");
    let answer = control.post(
        "/emit",
        &json!({"namespace": "/chat", "event": "news", "args": [1]}),
    );
    assert_eq!(
        (&answer["workers"], &answer["unanswered"]),
        (&json!(1), &expected)
    );
    let answer = control.post("/disconnect?id=nobody", &json!({}));
    assert_eq!(answer, json!({"disconnected": 0, "unanswered": expected}));
    signal_process(stopped, "CONT");
    // It had been asked, and does it late, once.
    for client in &*crowd {
        client.hears("news", &json!(1));
        assert_eq!(client.heard("news").len(), 1);
    }
}

#[test]
fn a_worker_that_dies_while_it_is_asked_is_not_waited_for() {
    let server = Server::start();
    let control = server.control();
    let killed = server.workers()[0];
    signal_process(killed, "STOP");
    let killer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        signal_process(killed, "KILL");
    });
    let answer = control.get("/search?room=a");
    killer.join().unwrap();
    let expected = json!([{"slot": 0, "pid": killed, "why": "it ended"}]);
    assert_eq!(answer["unanswered"], expected);
}

#[test]
fn the_seventeenth_question_at_once_is_refused_in_words() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let stopped = server.workers()[0];
    signal_process(stopped, "STOP");
    let mut busy: Vec<_> = (0..16).map(|_| control.raw()).collect();
    for raw in &mut busy {
        raw.send("GET /search?room=a HTTP/1.1\r\n\r\n");
    }
    eventually("all places are taken", SOON, || {
        let answer = control.ask("GET", "/status", &[], "");
        answer.status == 503 && error(&answer).1 == "16 requests are being answered; try again"
    });
    for mut raw in busy {
        assert_eq!(raw.response().status, 200);
    }
    signal_process(stopped, "CONT");
    assert_eq!(control.get("/status")["pid"], server.pid);
}

#[test]
fn a_server_that_stops_still_answers() {
    let mut server = Setup::new().top("stop_drain = \"3s\"").start();
    let crowd = chat(&server, 6);
    server.signal("TERM");
    let control = server.control();
    eventually("it says that it stops", SOON, || {
        control.get("/status")["state"] == "stopping"
    });
    crowd[0].goes(SOON);
    assert_eq!(control.get("/status")["state"], "stopping");
    assert_eq!(
        control.get("/search?address=192.0.2.1")["sessions"],
        json!([])
    );
    assert!(server.ended(SOON).success());
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let began = Instant::now();
    let mut slow = control.raw();
    slow.send("POST /emit HTTP/1.1\r\nX-Requested-With: my-app\r\nContent-Length: 10\r\n\r\n{");
    let mut endless = control.raw();
    endless.send(
        "POST /emit HTTP/1.1\r\nX-Requested-With: my-app\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // It may be closed while more is on its way.
    while endless.try_send(&chunk).is_ok() {
        if began.elapsed() > SOON {
            break;
        }
    }
    assert!(began.elapsed() < SOON, "a body without an end is refused");
    let answer = loop {
        // Longer than a connection of the tests waits.
        match slow.try_response() {
            Ok(answer) => break answer,
            Err(_) => assert!(began.elapsed() < 2 * SOON),
        }
    };
    assert_eq!(error(&answer).0, 408);
    assert_eq!(control.get("/status")["state"], "healthy");
}

#[test]
fn the_metrics_are_the_same_on_both_sockets() {
    let server = Setup::new().metrics().start();
    let over_tcp = Raw::tcp(server.metrics.unwrap()).get("/metrics");
    let answer = server.control().ask("GET", "/metrics", &[], "");
    for answer in [over_tcp, answer] {
        assert_eq!(answer.status, 200);
        let content_type = answer.header("content-type").unwrap();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        assert!(
            answer.body.contains("# TYPE my_app_sessions gauge\n"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn a_client_that_reads_no_answer_is_closed() {
    let server = Setup::new().workers(1).start();
    let control = server.control();
    let mut deaf = control.raw();
    let began = Instant::now();
    let many = "GET /metrics HTTP/1.1\r\n\r\n".repeat(1000);
    // First it waits, because the server does not read on, and then it is told that nobody listens.
    while deaf
        .try_send(&many)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        || began.elapsed() < Duration::from_secs(1)
    {
        assert!(began.elapsed() < 3 * SOON, "it is not closed");
        assert_eq!(control.get("/status")["pid"], server.pid);
    }
    saw("closed after", format!("{:?}", began.elapsed()));
}
