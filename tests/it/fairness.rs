//! One greedy client address does not use up what others need.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A handshake of the client that a proxy names, over a connection of that proxy.
fn handshake(proxy: &mut Raw, client: &str, websocket: bool) -> Response {
    let request = if websocket {
        WebSocket::request(WEBSOCKET)
    } else {
        format!("GET {POLLING} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    let named = format!("Host: localhost\r\nX-Forwarded-For: {client}\r\n");
    proxy.send(request.replacen("Host: localhost\r\n", &named, 1));
    proxy.response()
}

/// Clients of one address, each of which asks for sessions as fast as it can, over a connection of its own or over
/// one that a proxy keeps.
struct Greedy {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Response>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Greedy {
    fn start(unix: &Path, clients: &[&str]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let answers = Arc::<Mutex<Vec<_>>>::default();
        let threads = (0..4).map(|nth| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            let unix = PathBuf::from(unix);
            let clients: Vec<_> = clients.iter().map(ToString::to_string).collect();
            thread::spawn(move || {
                let mut kept = Raw::unix(&unix);
                for client in clients.iter().cycle() {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let websocket = nth % 2 == 0;
                    let answer = if websocket {
                        handshake(&mut Raw::unix(&unix), client, websocket)
                    } else {
                        handshake(&mut kept, client, websocket)
                    };
                    answers.lock().unwrap().push(answer);
                    thread::sleep(Duration::from_millis(2));
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            answers,
        }
    }

    fn stop(self) -> Vec<Response> {
        self.stop.store(true, Relaxed);
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        Arc::into_inner(self.answers).unwrap().into_inner().unwrap()
    }
}

fn is_open(answer: &Response) -> bool {
    [200, 101].contains(&answer.status)
}

/// Sixty clients that arrive one after the other while others are greedy, each over a connection of its own or over
/// one that its proxy keeps, by either transport: how many were refused.
fn innocents(server: &Server, pause: Duration) -> usize {
    let mut kept = Raw::unix(&server.unix);
    let refused = (1..=60).filter(|nth| {
        let began = Instant::now();
        let client = format!("198.51.100.{nth}");
        let websocket = nth % 2 == 0;
        let answer = if nth % 3 == 0 && !websocket {
            handshake(&mut kept, &client, websocket)
        } else {
            handshake(&mut Raw::unix(&server.unix), &client, websocket)
        };
        thread::sleep(pause.saturating_sub(began.elapsed()));
        !is_open(&answer)
    });
    refused.count()
}

#[test]
fn sixty_clients_come_in_beside_one_that_is_greedy() {
    let limit = "[limits]\nnew_sessions_per_second = 30";
    for (greedy, what) in [
        (&["203.0.113.9"][..], "one address"),
        (
            &[
                "2001:db8:1:1::1",
                "2001:db8:1:1:2::2",
                "2001:db8:1:1:ffff::",
            ],
            "one IPv6 network",
        ),
    ] {
        let server = Setup::new().unix().config(limit).start();
        let began = Instant::now();
        let greedy = Greedy::start(&server.unix, greedy);
        thread::sleep(Duration::from_secs(1));
        let refused = innocents(&server, Duration::from_millis(50));
        let answers = greedy.stop();
        let took = began.elapsed().as_secs_f64();
        let opened = answers.iter().filter(|answer| is_open(answer)).count();
        saw(what, format!("{opened} of {} opened", answers.len()));
        saw("refused of 60 others", refused);
        assert_eq!(refused, 0);
        // All together they kept to the rate.
        let most = 30.0 * (took + 2.0);
        assert!((opened + 60) as f64 <= most, "{opened} in {took} s");
        assert!(opened > 30, "{opened}");
        for answer in answers.iter().filter(|answer| !is_open(answer)) {
            assert!([429, 503].contains(&answer.status), "{answer:?}");
            assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
            assert!(answer.body.contains("too many new sessions"), "{answer:?}");
        }
        let blamed = answers.iter().filter(|answer| answer.status == 429);
        assert!(blamed.count() > 0);
        assert_eq!(server.count_lines("name it in trusted_proxies"), 1);
    }
}

#[test]
fn what_a_peer_says_of_its_clients_makes_it_no_less_greedy_unless_it_is_trusted() {
    let opened = |trusted: &str| {
        let limits = format!("[limits]\nnew_sessions_per_second = 10\n{trusted}");
        let server = Setup::new().config(&limits).start();
        let began = Instant::now();
        let statuses: Vec<_> = (0..100)
            .map(|nth| {
                let client = format!("203.0.113.{nth}");
                handshake(&mut Raw::tcp(server.addr), &client, nth % 2 == 0).status
            })
            .collect();
        let opened = statuses
            .iter()
            .filter(|&status| [200, 101].contains(status));
        let opened = opened.count() as f64 - 10.0 * began.elapsed().as_secs_f64();
        (opened, statuses.contains(&503), statuses.contains(&429))
    };
    let (spoofed, machine, address) = opened("");
    saw("opened at once by one that says it is a hundred", spoofed);
    assert!((spoofed < 12.0) && !machine && address);
    let (real, machine, address) = opened("trusted_proxies = [\"127.0.0.1\"]");
    saw("by a hundred", real);
    assert!((real < 22.0) && machine && !address);
}

#[test]
fn an_address_has_no_more_sessions_than_it_may_whatever_worker_has_them() {
    let limit = "[limits]\nmax_connections_per_address = 5";
    let server = Setup::new().workers(3).unix().config(limit).start();
    let greedy = "203.0.113.9";
    // As fast as they come, by either transport, over connections that are kept or not.
    let mut kept = Raw::unix(&server.unix);
    let mut sockets = Vec::new();
    let mut refused = 0;
    for nth in 0..60 {
        let mut fresh = Raw::unix(&server.unix);
        let proxy = if nth % 3 == 0 { &mut kept } else { &mut fresh };
        let answer = handshake(proxy, greedy, nth % 3 == 1);
        match answer.status {
            101 => sockets.push(fresh),
            200 => {}
            429 => {
                refused += 1;
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert!(answer.body.contains("this address"), "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(refused, 55);
    assert_eq!(server.sessions().iter().sum::<u64>(), 5);
    // Others come in.
    for nth in 0..9 {
        let other = format!("198.51.100.{nth}");
        assert_eq!(handshake(&mut kept, &other, false).status, 200);
    }
    // And so does it, as far as its sessions end.
    assert_eq!(handshake(&mut kept, greedy, false).status, 429);
    sockets.pop();
    eventually("a place is free", SOON, || {
        handshake(&mut kept, greedy, false).status == 200
    });
    assert_eq!(handshake(&mut kept, greedy, false).status, 429);
}

#[test]
fn an_address_has_no_more_connections_than_it_may_and_its_sessions_go_with_a_worker() {
    let limit = "[limits]\nmax_connections_per_address = 6";
    let server = Setup::new().unix().config(limit).start();
    // Some have sent nothing yet, some are idle with a worker.
    let silent: Vec<_> = (0..3).map(|_| Raw::tcp(server.addr)).collect();
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::tcp(server.addr);
        let answer = raw.get("/");
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("1"));
        } else {
            idle.push(raw);
        }
    }
    assert_eq!(idle.len(), 3);
    // A proxy's connections are not its own.
    let proxied: Vec<_> = (0..20)
        .map(|_| Raw::unix(&server.unix).get("/").status)
        .collect();
    assert!(proxied.iter().all(|&status| status == 200));
    drop((silent, idle));
    // The workers tell of what has ended one after the other.
    let mut sockets = Vec::new();
    let mut opens = |places: usize| {
        let mut opened = 0;
        eventually("its places are free", SOON, || {
            let mut raw = Raw::tcp(server.addr);
            let answer = raw.send(WebSocket::request(WEBSOCKET)).response();
            if answer.status == 101 {
                opened += 1;
                sockets.push(raw);
            }
            opened == places
        });
        let mut raw = Raw::tcp(server.addr);
        let answer = raw.send(WebSocket::request(WEBSOCKET)).response();
        assert_eq!(answer.status, 429);
    };
    opens(6);
    let victim = server.workers()[0];
    signal_process(victim, "KILL");
    eventually("the worker is replaced", SOON, || {
        let workers = server.workers();
        workers.len() == 2 && !workers.contains(&victim)
    });
    opens(3);
}
