//! What comes for the sessions of workers that a reload has replaced, and programs that are not what they seem.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::harness::*;
use super::reloads::{refused, reload, reloaded};

/// What is said to a session that nobody has any more, in the words of Node's server.
const UNKNOWN: &str = "{\"code\":1,\"message\":\"Session ID unknown\"}";

/// Asks for a session in all ways, each over a connection of its own.
#[track_caller]
fn is_unknown(session: &Polling, connect: impl Fn() -> Raw) {
    let polled = session.poll(&mut connect());
    assert_eq!((polled.status, polled.body.as_str()), (400, UNKNOWN));
    let posted = session.post(&mut connect(), "40");
    assert_eq!((posted.status, posted.body.as_str()), (400, UNKNOWN));
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", session.sid);
    let mut upgrade = connect();
    upgrade.send(WebSocket::request(&target));
    assert_eq!(upgrade.response().status, 400);
}

fn used(addr: SocketAddr) -> Raw {
    let mut raw = Raw::tcp(addr);
    Polling::handshake(&mut raw);
    raw
}

#[test]
fn a_session_of_workers_that_are_gone_is_unknown_whoever_asks() {
    let server = Setup::new().unix().top("drain = \"100ms\"").start();
    let direct = || Raw::tcp(server.addr);
    let sessions: Vec<_> = (0..2).map(|_| Polling::open(&mut direct())).collect();
    reloaded(&server);
    eventually("the old workers are gone", SOON, || {
        let status = server.control().get("/status");
        status["earlier_workers"] == serde_json::json!([])
    });
    for session in &sessions {
        is_unknown(session, direct);
        is_unknown(session, || used(server.addr));
        is_unknown(session, || Raw::unix(&server.unix));
    }
}

#[test]
fn a_script_that_runs_the_program_may_take_its_place() {
    let program = Replaceable::new();
    let server = Setup::new().program(&program).start();
    let real = program.dir_copy();
    program.put_script(&format!("exec {} \"$@\"", real.display()));
    for _ in 0..2 {
        reloaded(&server);
    }
    WebSocket::open(Raw::tcp(server.addr)).echo("here");
}

#[test]
fn a_signal_between_two_programs_is_handled_by_the_second() {
    let server = Setup::new().top("drain = \"300ms\"").start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                for name in ["HUP", "USR1"] {
                    signal_process(server.pid, name);
                }
            }
        });
        for _ in 0..3 {
            reloaded(&server);
        }
        over.store(true, Relaxed);
    });
    WebSocket::open(Raw::tcp(server.addr)).echo("here");
}

#[test]
fn a_program_that_cannot_be_run_after_a_good_trial_changes_nothing() {
    let program = Replaceable::new();
    let server = Setup::new()
        .program(&program)
        .top("drain = \"1h\"")
        .systemd()
        .start();
    let crowd = chat(&server, 4);
    let flow = Flow::start(&crowd[0], 100, 100);
    let newcomers = Newcomers::come(server.addr, 2);
    let (workers, real) = (server.workers(), program.dir_copy());
    for (spoil, why) in [
        ("rm $0", "cannot be run: No such file or directory"),
        ("chmod 644 $0", "cannot be run: Permission denied"),
        (": > $0", "was replaced while it was tried; try again"),
    ] {
        let run = format!("exec {} \"$@\"", real.display());
        program.put_script(&format!("{{ [ $1 != trial ] || {spoil}; {run}; }}"));
        let path = program.path();
        refused(&server, &format!("{} {why}", path.display()));
        assert_eq!(server.workers(), workers);
        server.wait_for_notification("RELOADING=1");
        server.wait_for_notification("READY=1");
    }
    program.put(&real);
    reloaded(&server);
    let sent = flow.stop();
    saw("messages", sent.arrives_at(crowd.iter()));
    let outcomes = newcomers.stop();
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["101"], "{outcomes:?}");
    nobody_went(crowd.iter());
    assert_eq!(server.count_lines(" died"), 0);
}

#[test]
fn of_workers_with_another_version_of_the_bus_the_answer_says_what_they_do_not_hear() {
    let program = Replaceable::new();
    let server = Setup::new().program(&program).start();
    let mut client = WebSocket::open(Raw::tcp(server.addr));
    let real = program.dir_copy();
    let between = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/other_bus.py");
    let real = real.display();
    program.put_script(&format!(
        "case $1 in master) exec /usr/bin/python3 {between} {real} \"$@\";; *) exec {real} \"$@\";; esac"
    ));
    let (code, said) = reload(&server);
    assert_eq!(code, 0, "{said}\n{}", server.log().join("\n"));
    assert!(
        said.ends_with("; broadcasts do not reach the sessions of the workers before: their bus is of another version"),
        "{said}"
    );
    client.echo("still there");
    assert_eq!(server.count_lines(" died"), 0);
}
