//! Who is let in, and who the server thinks they are.

use super::harness::*;

const TOKEN: &str = "/socket.io/?EIO=4&transport=polling&token=secret";

fn welcome(raw: &mut Raw, headers: &str) -> String {
    raw.send(format!(
        "GET {TOKEN} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    ));
    let sid = raw.response().body.split('"').nth(3).unwrap().to_owned();
    let session = Polling { sid };
    session.post(raw, "40");
    let packets = session.packets(raw);
    let welcome = packets
        .iter()
        .find(|packet| packet.contains("welcome"))
        .unwrap();
    welcome.split('"').nth(3).unwrap().to_owned()
}

#[track_caller]
fn is_forbidden(answer: &Response) {
    assert_eq!(answer.status, 403, "{answer:?}");
    let words = "the token is wrong";
    // A WebSocket's client is told in plain words, as by Node.
    let plain = answer.header("content-type") == Some("text/html");
    let expected = if plain {
        words.to_owned()
    } else {
        format!(r#"{{"code":4,"message":"{words}"}}"#)
    };
    assert_eq!(answer.body, expected);
}

#[test]
fn the_applications_refusal_holds_on_polling_on_websocket_and_at_an_upgrade() {
    let server = Setup::new().unix().example("guests").start();
    for connect in [
        |s: &Server| Raw::tcp(s.addr),
        |s: &Server| Raw::unix(&s.unix),
    ] {
        is_forbidden(&connect(&server).get("/socket.io/?EIO=4&transport=polling&token=no"));
        let mut direct = connect(&server);
        direct.send(WebSocket::request(
            "/socket.io/?EIO=4&transport=websocket&token=wrong",
        ));
        is_forbidden(&direct.response());

        let sid = connect(&server)
            .get(TOKEN)
            .body
            .split('"')
            .nth(3)
            .unwrap()
            .to_owned();
        let upgrade = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
        let mut refused = connect(&server);
        refused.send(WebSocket::request(&format!("{upgrade}&token=no")));
        is_forbidden(&refused.response());
        let mut upgraded = connect(&server);
        upgraded.send(WebSocket::request(&format!("{upgrade}&token=secret")));
        WebSocket::switched(upgraded);
    }
}

#[test]
fn a_client_that_knows_the_token_comes_in_by_either_transport() {
    let server = Setup::new().example("guests").start();
    let mut raw = Raw::tcp(server.addr);
    raw.send(WebSocket::request(
        "/socket.io/?EIO=4&transport=websocket&token=secret",
    ));
    let mut socket = WebSocket::switched(raw);
    assert!(socket.read_text().starts_with("0{"));
    assert_eq!(Raw::tcp(server.addr).get(TOKEN).status, 200);
}

#[test]
fn an_untrusted_peer_cannot_say_who_it_is() {
    let server = Setup::new().unix().example("guests").start();
    let forged = "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n";
    assert_eq!(welcome(&mut Raw::tcp(server.addr), forged), "127.0.0.1");
    assert_eq!(welcome(&mut Raw::tcp(server.addr), ""), "127.0.0.1");
    assert_eq!(welcome(&mut Raw::unix(&server.unix), forged), "203.0.113.9");
    assert_eq!(welcome(&mut Raw::unix(&server.unix), ""), "unknown");
}

#[test]
fn a_trusted_proxy_says_who_its_client_is() {
    let trusted = "[limits]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let server = Setup::new().config(trusted).example("guests").start();
    let hops = "X-Forwarded-For: 198.51.100.66, 203.0.113.9, 10.1.2.3\r\n";
    assert_eq!(welcome(&mut Raw::tcp(server.addr), hops), "203.0.113.9");
}

/// Sends a request with an Origin, and reads the answer.
fn from_origin(raw: &mut Raw, method: &str, target: &str, origin: &str) -> Response {
    raw.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a\r\n\r\n"
    ))
    .response()
}

#[test]
fn cors_headers_stand_on_answers_preflights_and_refusals_alike() {
    let cors = "[engine]\ncors_origins = [\"https://a.test\"]\ncors_credentials = true";
    let server = Setup::new().config(cors).start();
    let polling = "/socket.io/?EIO=4&transport=polling";
    let session = Polling::open(&mut Raw::tcp(server.addr));
    for (method, target, status) in [
        ("GET", polling.to_owned(), 200),
        ("OPTIONS", polling.to_owned(), 204),
        ("GET", format!("{polling}&sid=forged"), 400),
        ("GET", "/socket.io/?EIO=9&transport=polling".to_owned(), 400),
        // On both workers: one of them forwards it.
        ("GET", session.target(), 200),
    ] {
        let mut raw = Raw::tcp(server.addr);
        session.post(&mut raw, "42[\"something to poll\"]");
        let answer = from_origin(&mut raw, method, &target, "https://a.test");
        assert_eq!(answer.status, status, "{method} {target}");
        let header = |name| answer.header(name).unwrap_or_default();
        assert_eq!(
            header("access-control-allow-origin"),
            "https://a.test",
            "{method} {target}"
        );
        assert_eq!(header("access-control-allow-credentials"), "true");
        if method == "OPTIONS" {
            assert_eq!(header("access-control-allow-headers"), "x-a");
            assert_eq!(
                header("access-control-allow-methods"),
                "GET,HEAD,PUT,PATCH,POST,DELETE"
            );
        }
        let other = from_origin(&mut raw, method, polling, "https://b.test");
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
}

#[test]
fn a_forwarded_answer_has_its_cors_headers_once() {
    let server = Setup::new()
        .config("[engine]\ncors_origins = [\"https://a.test\"]")
        .start();
    let session = Polling::open(&mut Raw::tcp(server.addr));
    for _ in 0..4 {
        let mut raw = Raw::tcp(server.addr);
        assert_eq!(raw.get("/").status, 200);
        session.post(&mut raw, "42[\"e\"]");
        let answer = from_origin(&mut raw, "GET", &session.target(), "https://a.test");
        assert_eq!(
            answer.headers("access-control-allow-origin"),
            ["https://a.test"]
        );
    }
}

#[test]
fn a_websocket_of_a_foreign_page_is_refused() {
    let server = Server::start();
    let target = "/socket.io/?EIO=4&transport=websocket";
    let with = |origin: &str| {
        let mut raw = Raw::tcp(server.addr);
        let request = WebSocket::request(target);
        let origin = format!("Host: localhost\r\nOrigin: {origin}\r\n");
        raw.send(request.replace("Host: localhost\r\n", &origin));
        raw.response().status
    };
    assert_eq!(with("https://evil.test"), 403);
    assert_eq!(with("null"), 403);
    assert_eq!(with("http://localhost"), 101);
}

#[test]
fn whatever_the_spelling_a_foreign_page_opens_nothing() {
    let server = Server::start();
    for query in [
        "EIO=4=&transport=websocket",
        "EIO&EIO=4&transport=websocket",
        "EIO=4&transport=websocket=",
        "EIO=3=&transport=websocket",
        "EIO=4=&transport=polling",
        "EIO&EIO=4&transport=polling",
    ] {
        let target = format!("/socket.io/?{query}");
        let foreign = "Host: localhost\r\nOrigin: https://evil.test\r\n";
        let request = WebSocket::request(&target).replace("Host: localhost\r\n", foreign);
        let kept = || {
            let mut raw = Raw::tcp(server.addr);
            assert_eq!(raw.get("/").status, 200);
            raw
        };
        for mut raw in [Raw::tcp(server.addr), kept()] {
            let status = raw.send(&request).response().status;
            assert!([400, 403].contains(&status), "{status} {query}");
        }
        let origin = "https://evil.test";
        for mut raw in [Raw::tcp(server.addr), kept()] {
            let status = from_origin(&mut raw, "GET", &target, origin).status;
            assert!([400, 403].contains(&status), "{status} {query}");
        }
    }
    assert_eq!(server.sessions(), [0, 0]);
}
