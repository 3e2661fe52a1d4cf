//! The program and the configuration of now take over in the process of the server that runs, and nobody notices.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::drains::Announcer;
use super::drains_clients::missed_once;
use super::harness::*;

/// What `my-app reload` says, and its exit code.
pub fn reload(server: &Server) -> (i32, String) {
    let mut command = Command::new(program());
    command
        .args(["reload", "--socket"])
        .arg(&server.control().path);
    let ran = command.output().unwrap();
    let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    let said = said.trim().to_owned();
    saw("reload", format!("{:?}: {said}", ran.status.code()));
    (ran.status.code().unwrap(), said)
}

/// A reload that is done, and for how long nobody was accepted.
#[track_caller]
pub fn reloaded(server: &Server) -> Duration {
    let before = server.workers();
    let began = Instant::now();
    let (code, said) = reload(server);
    let took = began.elapsed();
    assert_eq!(code, 0, "{said}\n{}", server.log().join("\n"));
    saw("the reload took", format!("{took:?}"));
    assert!(said.starts_with("reloaded: "), "{said}");
    let pause = said.split(" after a pause of ").nth(1);
    let pause = pause.and_then(|it| it.split(" ms,").next()?.parse::<f64>().ok());
    let pause = Duration::from_secs_f64(pause.unwrap() / 1e3);
    assert!(!pause.is_zero() && pause < took, "{said}, after {took:?}");
    let after = server.workers();
    let new = after.iter().filter(|pid| !before.contains(pid)).count();
    assert_eq!(new, 2, "{before:?} and {after:?}");
    assert!(alive(server.pid));
    pause
}

/// A reload that is not done, and whose answer has this.
#[track_caller]
pub fn refused(server: &Server, reason: &str) {
    let (code, said) = reload(server);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(reason), "{said}");
    let faults = server.control().get("/status")["faults"].to_string();
    assert!(faults.contains("not reloaded"), "{faults}");
}

/// Connections that stand before the end of their first line, and are accepted.
pub fn half_read_heads(server: &Server, count: usize) -> Vec<Raw> {
    let heads = (0..count).map(|_| {
        let mut raw = Raw::patient(server.addr);
        raw.send("GET /socket.io/?EIO=4&trans");
        raw
    });
    let heads = heads.collect();
    eventually("all are accepted", SOON, || descriptors(server.pid) > count);
    heads
}

fn status(server: &Server, pointer: &str) -> Value {
    let status = server.control().get("/status");
    status.pointer(pointer).cloned().unwrap_or_default()
}

/// A polling client until its session is unknown: what ended it, and the numbers that it was sent. As HTTP has it, a
/// connection of which the answer says that it is closed is not used again.
fn poller(addr: SocketAddr, opened: &AtomicU64) -> (String, Vec<u64>) {
    let mut raw = Raw::patient(addr);
    let session = Polling::open(&mut raw);
    session.post(&mut raw, "40/chat,");
    opened.fetch_add(1, Relaxed);
    let mut heard = Vec::new();
    let mut ask = |request: String| {
        let answer = raw.try_send(request).and_then(|()| raw.try_response())?;
        if answer.header("connection") == Some("close") {
            raw = Raw::patient(addr);
        }
        io::Result::Ok(answer)
    };
    loop {
        let target = session.target();
        let answer = match ask(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")) {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return (answer.status.to_string(), heard),
            Err(error) => return (format!("{:?}", error.kind()), heard),
        };
        for packet in answer.body.split('\x1e') {
            if packet == "2" {
                let pong = format!(
                    "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n3"
                );
                // If it is not taken the next poll tells.
                let _ = ask(pong);
            } else if let Some(number) = packet.strip_prefix("42/chat,[\"n\",") {
                heard.push(number.trim_end_matches(']').parse().unwrap());
            }
        }
    }
}

#[test]
fn a_reload_under_traffic_refuses_nobody_and_everybody_is_back() {
    let program = Replaceable::new();
    let server = Setup::new()
        .program(&program)
        .systemd()
        .top("drain = \"4s\"")
        .start();
    let before = server.workers();
    let transports = ["--transports", "websocket,polling,upgrade", "--reconnect"];
    let official = Crowd::official(&server, "/chat", 12, &transports);
    let light = Crowd::light(&server, "/chat", 100);
    let opened = Arc::<AtomicU64>::default();
    let pollers: Vec<_> = (0..20)
        .map(|_| {
            let (addr, opened) = (server.addr, Arc::clone(&opened));
            thread::spawn(move || poller(addr, &opened))
        })
        .collect();
    eventually("the polling clients", SOON, || opened.load(Relaxed) == 20);
    let newcomers = Newcomers::come(server.addr, 2);
    let announcer = Announcer::start(&server);
    thread::sleep(Duration::from_millis(600));

    let begun = Instant::now();
    reloaded(&server);
    let later = Crowd::light(&server, "/chat", 20);
    assert!(later.iter().all(|client| !before.contains(&client.worker)));

    for client in official.iter() {
        client.connected(2, Duration::from_secs(20));
    }
    let mut ends = BTreeMap::<String, Vec<Duration>>::new();
    for client in light.iter() {
        let (at, how) = client.goes(Duration::from_secs(20));
        ends.entry(how).or_default().push(at - begun);
    }
    assert!(
        ends.keys().all(|how| how.contains("closed: [3, 233")),
        "{ends:?}"
    );
    let polled: Vec<_> = pollers.into_iter().map(|it| it.join().unwrap()).collect();
    eventually("the old workers have left", SOON, || {
        server.workers().len() == 2
    });
    thread::sleep(Duration::from_millis(300));
    announcer.stop();
    let outcomes = newcomers.stop();
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["101"], "{outcomes:?}");
    for (how, heard) in polled {
        assert_eq!(how, "400");
        assert_eq!(missed_once(&heard), 0);
    }
    let numbers = |client: &Client| -> Vec<u64> {
        let heard = client.payloads("n");
        heard.iter().filter_map(Value::as_u64).collect()
    };
    for client in light.iter().chain(later.iter()) {
        assert_eq!(missed_once(&numbers(client)), 0);
    }
    let missed: Vec<_> = official
        .iter()
        .map(|it| missed_once(&numbers(it)))
        .collect();
    saw("missed while away", format!("{missed:?}"));
    assert_eq!(status(&server, "/pid"), server.pid);
    assert_eq!(server.count_lines(" died"), 0, "{:?}", server.log());
    server.wait_for_notification("RELOADING=1");
    server.wait_for_notification("READY=1");
}

#[test]
fn a_reload_that_would_not_work_changes_nothing_and_says_why() {
    let program = Replaceable::new();
    let server = Setup::new()
        .program(&program)
        .top("start_timeout = \"3s\"")
        .start();
    let workers = server.workers();
    let mut client = WebSocket::open(Raw::tcp(server.addr));
    let good = program.dir_copy();
    for (script, reason) in [
        ("exit 7", "exit status: 7"),
        ("exit 0", "without an answer"),
        ("echo it is broken >&2; exit 1", "it is broken"),
        ("exec sleep 60", "no answer within 3s"),
        ("exit 64", "systemctl restart"),
    ] {
        program.put_script(script);
        refused(&server, reason);
    }
    program.remove();
    refused(&server, "cannot be run");
    program.put(&good);
    let config = server.dir.path().join("my-app.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("workerz = 3\n{text}")).unwrap();
    refused(&server, "workerz");
    fs::write(&config, text).unwrap();
    assert_eq!(server.workers(), workers);
    client.echo("still there");
    reloaded(&server);
    client.echo("still there");
}

#[test]
fn ten_reloads_leave_nothing_behind() {
    let program = Replaceable::new();
    let server = Setup::new().program(&program).top("drain = \"0s\"").start();
    let began = Instant::now();
    reloaded(&server);
    eventually("the old workers have left", SOON, || {
        server.workers().len() == 2
    });
    let (before, memory_before) = (descriptors(server.pid), memory(server.pid).dirty);
    let mut pauses: Vec<_> = (0..10).map(|_| reloaded(&server)).collect();
    saw("ten reloads took", format!("{:?}", began.elapsed()));
    let last = *pauses.last().unwrap();
    pauses.sort_unstable();
    // Not the longest: others run beside this.
    assert!(pauses[5] < Duration::from_secs(1), "{pauses:?}");
    eventually("the old workers have left", SOON, || {
        server.workers().len() == 2
    });
    let mut after = 0;
    eventually("no more descriptors than before", SOON, || {
        after = descriptors(server.pid);
        after <= before
    });
    let memory_after = memory(server.pid).dirty;
    saw("descriptors", format!("{before}, {after}"));
    saw("KiB", format!("{memory_before}, {memory_after}"));
    assert!(memory_after < memory_before + 2048);
    assert_eq!(server.count_lines(" died"), 0);
    let metrics = server.control().ask("GET", "/metrics", &[], "").body;
    let metric = |name: &str| {
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(it, _)| *it == name).map(|(_, value)| value);
        value.unwrap().parse::<f64>().unwrap()
    };
    assert!((metric("my_app_reloads_total") - 11.0).abs() < f64::EPSILON);
    let pause = Duration::from_secs_f64(metric("my_app_reload_pause_seconds"));
    assert!(
        last.abs_diff(pause) < Duration::from_millis(1),
        "{last:?} and {pause:?}"
    );
    assert_eq!(server.count_lines(" after a pause of "), 11);
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
}

#[test]
fn a_second_reload_waits_for_the_first() {
    let program = Replaceable::new();
    let server = Setup::new().program(&program).start();
    let said: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(|| reload(&server))).collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut generations: Vec<_> = said
        .iter()
        .map(|(code, said)| {
            assert_eq!(*code, 0, "{said}");
            let behind = said.split("generation ").nth(1).unwrap();
            behind.split(',').next().unwrap().to_owned()
        })
        .collect();
    generations.sort_unstable();
    assert_eq!(generations, ["1", "2", "3"]);
}

#[test]
fn a_worker_under_sigstop_keeps_what_it_has_over_a_reload() {
    let server = Setup::new().top("watchdog = \"4m\"").start();
    let crowd = chat(&server, 4);
    let stopped = server.workers()[0];
    signal_process(stopped, "STOP");
    let asked: Vec<_> = crowd
        .on(stopped)
        .into_iter()
        .map(|client| client.ask("whereami", json!([])))
        .collect();
    let others = crowd.not_on(stopped);
    let body = json!({"namespace": "/chat", "event": "n", "args": [7]});
    reloaded(&server);
    others[0]
        .ask("message", json!([ROOM, {"text": "during"}]))
        .answer();
    signal_process(stopped, "CONT");
    for asked in asked {
        assert_eq!(asked.answer().value["worker"], stopped);
    }
    server.control().post("/emit", &body);
    for client in crowd.iter() {
        client.hears("n", &json!(7));
        // Who says something does not hear it.
        let said = client.payloads("message").len();
        assert_eq!(said, usize::from(client.id() != others[0].id()));
    }
}

/// Ends every worker that is not among these as soon as it is there, until the value is dropped.
struct Killer(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Killer {
    fn start(server: &Server) -> Self {
        let (pid, kept) = (server.pid, server.workers());
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let children = format!("/proc/{pid}/task/{pid}/children");
                let children = fs::read_to_string(children).unwrap_or_default();
                for child in children.split_whitespace() {
                    let child: u32 = child.parse().unwrap();
                    if !kept.contains(&child) && names(child).starts_with("my-app: worker") {
                        // It may have ended already.
                        let mut kill = Command::new("kill");
                        let _ = kill.args(["-9", &child.to_string()]).output();
                    }
                }
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        let _ = self.1.take().unwrap().join();
    }
}

#[test]
fn when_the_new_workers_do_not_start_those_before_serve_on() {
    // They take their time, so that there is enough to kill them before they are ready.
    let server = Setup::new()
        .example("slow_start")
        .under(&["env", "SLOW_WORKERS=0,1", "SLOW_SECONDS=1"])
        .top("start_timeout = \"10s\"")
        .start();
    let before = server.workers();
    let mut client = WebSocket::open(Raw::tcp(server.addr));
    let newcomers = Newcomers::come(server.addr, 1);
    let killer = Killer::start(&server);
    let (code, said) = reload(&server);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("those before serve on"), "{said}");
    eventually("the old workers alone", SOON, || server.workers() == before);
    drop(killer);
    let outcomes = newcomers.stop();
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["101"], "{outcomes:?}");
    client.echo("still there");
    assert_eq!(status(&server, "/generation"), 0);
    // One that crashes is replaced.
    signal_process(before[0], "KILL");
    eventually("a replacement", SOON, || {
        server.workers().len() == 2 && status(&server, "/workers/0/state") == "ready"
    });
    reloaded(&server);
}

#[test]
fn without_descriptors_for_it_there_is_no_reload() {
    let server = Setup::new().top("limits.head_timeout = \"60s\"").start();
    let heads = half_read_heads(&server, 300);
    let limit = descriptors(server.pid) + 40;
    let set = |limit: usize| {
        let limit = format!("--nofile={limit}:");
        let mut command = Command::new("prlimit");
        let command = command.args(["--pid", &server.pid.to_string(), &limit]);
        assert!(command.status().unwrap().success());
    };
    set(limit);
    refused(&server, "too many open connections to pass on: of the ");
    WebSocket::open(Raw::tcp(server.addr)).echo("served");
    set(4096);
    reloaded(&server);
    for mut raw in heads {
        raw.send("port=polling HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.response().status, 200);
    }
}

#[test]
fn five_thousand_heads_that_are_half_read_are_read_to_their_end() {
    const HEADS: usize = 5_000;
    let server = Setup::new().top("limits.head_timeout = \"60s\"").start();
    let heads = half_read_heads(&server, HEADS);
    reloaded(&server);
    for mut raw in heads {
        raw.send("port=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(raw.response().status, 200);
    }
}

#[test]
fn what_waits_in_the_hub_arrives_over_a_reload_whole_and_in_order() {
    let server = Setup::new().top("watchdog = \"4m\"").start();
    let crowd = chat(&server, 4);
    let stopped = server.workers()[0];
    let (slow, sender) = (crowd.on(stopped), crowd.not_on(stopped)[0]);
    signal_process(stopped, "STOP");
    let flow = Flow::flood(sender, 900_000);
    let waits = || {
        let metrics = server.control().ask("GET", "/metrics", &[], "").body;
        let line = "my_app_hub_queue_bytes{worker=\"0\"} ";
        let line = metrics.lines().find_map(|it| it.strip_prefix(line));
        line.and_then(|it| it.parse::<u64>().ok())
            .unwrap_or_default()
    };
    eventually("the hub is full", 4 * SOON, || waits() > 30 << 20);
    saw("bytes in the hub", waits());
    reloaded(&server);
    signal_process(stopped, "CONT");
    thread::sleep(Duration::from_millis(500));
    let sent = flow.stop();
    saw("messages of 900 kB", sent.at.len());
    sent.arrives_at(slow);
}

#[test]
fn connections_on_the_way_to_a_worker_that_is_killed_in_the_gap_go_to_another() {
    const CONNECTIONS: usize = 200;
    let server = Setup::new().top("watchdog = \"4m\"").start();
    let victim = server.workers()[0];
    signal_process(victim, "STOP");
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut raw = Raw::patient(server.addr);
            raw.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n");
            raw
        })
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            server.wait_for_line("takes over");
            signal_process(victim, "KILL");
        });
        let (code, said) = reload(&server);
        assert_eq!(code, 0, "{said}");
    });
    for raw in &mut connections {
        assert_eq!(raw.response().status, 200);
    }
    eventually("it is known that it died", SOON, || {
        let told = [
            format!("Worker {victim} died"),
            format!("a worker that was to leave ended pid={victim}"),
        ];
        told.iter().any(|line| server.count_lines(line) == 1)
    });
}
