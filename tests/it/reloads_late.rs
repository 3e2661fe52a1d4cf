//! What comes for the sessions of workers that a reload has replaced, and programs that are not what they seem.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::harness::*;
use super::reloads::reloaded;

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
