//! A post that nginx sends twice, because the worker that passed it on has died, is handled once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::harness::*;

/// The slot of its worker, of which there are few.
fn slot(session: &Polling) -> usize {
    usize::from(session.slot().as_bytes()[1] - b'A')
}

/// How often a session has echoed this since it was looked at last.
fn echoes(session: &Polling, raw: &mut Raw, text: &str) -> usize {
    // The last of what was posted is there when this is.
    session.post(raw, "42[\"end\"]");
    let mut seen = 0;
    loop {
        let packets = session.packets(raw);
        seen += packets.iter().filter(|p| p.contains(text)).count();
        if packets.iter().any(|packet| packet.contains("\"end\"")) {
            return seen;
        }
    }
}

/// A post, as a proxy sends it.
fn post(raw: &mut Raw, session: &Polling, id: &str, body: &str) -> Response {
    raw.send(format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
        session.target(),
        body.len()
    ));
    raw.response()
}

#[test]
fn a_post_whose_worker_dies_is_handled_once_behind_nginx() {
    let server = Setup::new().workers(3).unix().start();
    let nginx = Nginx::shipped(&server.unix, 1);
    let large = |event: &str| format!("42[\"{event}\",\"{}\"]", "x".repeat(900_000));
    let mut again = 0;
    let mut rounds = 0;
    while again < 3 {
        rounds += 1;
        assert!(rounds <= 20, "no post went through another worker");
        let session = Polling::open(&mut Raw::tcp(nginx.addr));
        let home = server.workers()[slot(&session)];
        // A client that has so much to take is not answered before it polls.
        for _ in 0..2 {
            let answer = session.post(&mut Raw::tcp(nginx.addr), &large("before"));
            assert_eq!(answer.body, "ok");
        }
        let mut client = Raw::tcp(nginx.addr);
        let body = large("once");
        client.send(format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            session.target(),
            body.len()
        ));
        thread::sleep(Duration::from_millis(500));
        let complaints = || nginx.complaints().matches("prematurely").count();
        let before = complaints();
        // Its home has the post; whoever has passed it on dies.
        for worker in server.workers() {
            if worker != home {
                signal_process(worker, "KILL");
            }
        }
        eventually("the workers are replaced", SOON, || {
            server.workers().len() == 3
        });
        // nginx has noticed, and sends it once more.
        thread::sleep(Duration::from_millis(200));
        let repeated = complaints() > before;
        let mut raw = Raw::tcp(nginx.addr);
        let first = session.packets(&mut raw);
        let answer = client.response();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let first = first.iter().filter(|packet| packet.contains("once"));
        let seen = first.count() + echoes(&session, &mut raw, "once");
        assert_eq!(seen, 1, "sent again by nginx: {repeated}");
        again += usize::from(repeated);
    }
    saw("posts, of which 3 were sent twice", rounds);
}

/// What is between nginx and the server, and breaks connections that are in use.
struct Breaking {
    /// Where nginx finds the server.
    path: PathBuf,
    posts: AtomicUsize,
    /// Of these, broken before the server's answer, and with it.
    broken: [AtomicUsize; 2],
}

impl Breaking {
    /// Breaks every `nth` post of those that come over a connection which has carried a request: such a post nginx
    /// sends again.
    fn start(path: PathBuf, server: &Path, nth: usize) -> Arc<Self> {
        let listener = UnixListener::bind(&path).unwrap();
        let breaking = Arc::new(Self {
            path,
            posts: AtomicUsize::new(0),
            broken: Default::default(),
        });
        let (it, server) = (Arc::clone(&breaking), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (it, server) = (Arc::clone(&it), UnixStream::connect(&server).unwrap());
                thread::spawn(move || it.carry(client.unwrap(), server, nth));
            }
        });
        breaking
    }

    fn carry(&self, nginx: UnixStream, mut server: UnixStream, nth: usize) {
        let close = |ends: [&UnixStream; 2]| {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        };
        let ends = [nginx.try_clone().unwrap(), server.try_clone().unwrap()];
        // The next byte of the server's is not passed on.
        let breaks = Arc::new(AtomicUsize::new(0));
        let (mut from, mut to) = (server.try_clone().unwrap(), nginx.try_clone().unwrap());
        let with_answer = Arc::clone(&breaks);
        thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if with_answer.load(Relaxed) != 0 || to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            close([&from, &to]);
        });
        let mut nginx = BufReader::new(nginx);
        for request in 0.. {
            let Some((head, length)) = head(&mut nginx) else {
                break;
            };
            let mut whole = head.into_bytes();
            let at = whole.len();
            whole.resize(at + length, 0);
            if nginx.read_exact(&mut whole[at..]).is_err() {
                break;
            }
            let posts = self.posts.fetch_add(usize::from(length > 0), Relaxed) + 1;
            let broken = length > 0 && request > 0 && posts.is_multiple_of(nth);
            let how = posts / nth % 2;
            breaks.store(usize::from(broken && how == 1), Relaxed);
            if server.write_all(&whole).is_err() {
                break;
            }
            if broken {
                self.broken[how].fetch_add(1, Relaxed);
                if how == 0 {
                    break;
                }
            }
        }
        close([&ends[0], &ends[1]]);
    }
}

/// The next request's head, and the length of its body.
fn head(from: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let at = head.len();
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[at..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    Some((head, length))
}

#[test]
fn a_polling_clients_events_are_handled_once_when_nginx_sends_posts_again() {
    let server = Setup::new().workers(3).unix().start();
    let scratch = tempfile::tempdir().unwrap();
    let breaking = Breaking::start(scratch.path().join("sock"), &server.unix, 3);
    let nginx = Nginx::shipped(&breaking.path, 1);
    // It sends all kinds of data and numbered events, and wants each back once and in order.
    let figures = node(
        "echo.mjs",
        &nginx.url(),
        &[
            "--transport",
            "polling",
            "--events",
            "4000",
            "--acks",
            "100",
        ],
    );
    assert_eq!(figures["events"].as_u64().unwrap() / 1000, 4, "{figures}");
    let [before, with] = breaking.broken.each_ref().map(|count| count.load(Relaxed));
    saw(
        "events that came back once; posts; broken before their answer, and with it",
        format!(
            "{}; {}; {before}, {with}",
            figures["events"],
            breaking.posts.load(Relaxed)
        ),
    );
    assert!(
        before >= 5 && with >= 5,
        "{before} before, {with} with the answer"
    );
    let failed: Vec<_> = nginx
        .answers()
        .into_iter()
        .filter(|line| !line.contains("\" 200 "))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_proxys_post_is_known_again_by_its_id_and_its_body() {
    let server = Setup::new().unix().start();
    let session = Polling::open(&mut Raw::unix(&server.unix));
    let (once, other) = ("42[\"once\",1]", "42[\"other\",1]");
    // Over whatever worker they come.
    let mut raws: Vec<_> = (0..4).map(|_| Raw::unix(&server.unix)).collect();
    for raw in &mut raws {
        assert_eq!(raw.get("/").status, 200);
        let answer = post(raw, &session, "a", once);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    // A proxy that calls several posts the same loses none.
    assert_eq!(post(&mut raws[0], &session, "a", other).body, "ok");
    assert_eq!(post(&mut raws[1], &session, "b", other).body, "ok");
    let mut raw = Raw::unix(&server.unix);
    assert_eq!(echoes(&session, &mut raw, "\"once\""), 1);
    for id in ["c", "d"] {
        post(&mut raws[2], &session, id, other);
        post(&mut raws[3], &session, id, other);
    }
    assert_eq!(echoes(&session, &mut raw, "\"other\""), 2);
}

#[test]
fn what_a_client_calls_its_posts_itself_changes_nothing() {
    for (trusted, expected) in [("", 3), ("[limits]\ntrusted_proxies = [\"127.0.0.1\"]", 1)] {
        let server = Setup::new().config(trusted).start();
        let session = Polling::open(&mut Raw::tcp(server.addr));
        for _ in 0..3 {
            // By either worker.
            let mut raw = Raw::tcp(server.addr);
            assert_eq!(raw.get("/").status, 200);
            assert_eq!(post(&mut raw, &session, "a", "42[\"x\"]").body, "ok");
        }
        let seen = echoes(&session, &mut Raw::tcp(server.addr), "[\"x\"]");
        assert_eq!(seen, expected, "{trusted}");
    }
}

#[test]
fn a_post_that_breaks_off_with_a_worker_leaves_its_session() {
    let server = Setup::new().workers(3).unix().start();
    for _ in 0..6 {
        let session = Polling::open(&mut Raw::unix(&server.unix));
        let slot = slot(&session);
        let mut raw = Raw::unix(&server.unix);
        assert_eq!(raw.get("/").status, 200);
        raw.send(format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\nContent-Length: 12\r\n\r\n42[\"on",
            session.target()
        ));
        thread::sleep(Duration::from_millis(50));
        let workers = server.workers();
        for (nth, &worker) in workers.iter().enumerate() {
            if nth != slot {
                signal_process(worker, "KILL");
            }
        }
        eventually("the workers are replaced", SOON, || {
            let now = server.workers();
            now.len() == 3 && now.iter().filter(|pid| workers.contains(pid)).count() == 1
        });
        // It went through the session's own worker, which is still waiting for the rest, or through another.
        let direct = raw.try_send("ce\",1]").is_ok() && raw.try_response().is_ok();
        if !direct {
            let mut raw = Raw::unix(&server.unix);
            assert_eq!(post(&mut raw, &session, "a", "42[\"once\",1]").body, "ok");
        }
        assert_eq!(echoes(&session, &mut Raw::unix(&server.unix), "once"), 1);
    }
}
