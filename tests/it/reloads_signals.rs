//! A signal that comes while one program takes over from another is handled, in whichever moment it comes.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use super::reloads::{reload, reloaded};

/// How long the sessions may take to end.
const STOP_DRAIN: Duration = Duration::from_millis(300);

/// Longer than the packing of all, and what comes before it.
const FREEZE: Duration = Duration::from_millis(15);

/// Longer than a whole reload, mostly.
const RELOAD: Duration = Duration::from_millis(500);

/// A server, and connections that are about to say what they want, so that it has something to pack.
fn server() -> (Server, Vec<Raw>) {
    const HEADS: usize = 1_000;
    let top = format!(
        "drain = \"0s\"\nstop_drain = \"{}ms\"",
        STOP_DRAIN.as_millis()
    );
    let server = Setup::new()
        .top(&top)
        .top("limits.head_timeout = \"60s\"")
        .start();
    let heads = (0..HEADS)
        .map(|_| {
            let mut raw = Raw::patient(server.addr);
            raw.send("GET /socket.io/?EIO=4&trans");
            raw
        })
        .collect();
    eventually("all are accepted", SOON, || descriptors(server.pid) > HEADS);
    (server, heads)
}

/// Some time up to this.
fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(f64::from(getrandom::u32().unwrap()) / f64::from(u32::MAX))
}

/// Waits until the server says for this time that another program takes over, which it does before it packs all.
fn wait_for_freeze(server: &Server, nth: usize) {
    let deadline = Instant::now() + SOON;
    while server.count_lines(" takes over") < nth {
        assert!(Instant::now() < deadline, "nobody takes over");
        thread::yield_now();
    }
}

#[test]
fn no_signal_is_lost_that_comes_while_a_program_takes_over() {
    let (server, _heads) = server();
    let mut delays = Vec::new();
    for nth in 1..=12 {
        let delay = up_to(FREEZE);
        delays.push(delay);
        thread::scope(|scope| {
            scope.spawn(|| {
                wait_for_freeze(&server, nth);
                thread::sleep(delay);
                signal_process(server.pid, "HUP");
            });
            reloaded(&server);
        });
        eventually("it was heard", SOON, || {
            server.count_lines("SIGHUP does nothing") == nth
        });
    }
    saw("after", format!("{delays:?}"));
    // What an application starts inherits what its worker blocks.
    for worker in server.workers() {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let blocked = status.lines().find(|line| line.starts_with("SigBlk:"));
        assert_eq!(blocked, Some("SigBlk:\t0000000000000000"));
    }
}

/// Stops a server at some time of its reload, and tells how long it took.
fn stops(in_freeze: bool) -> Duration {
    let (mut server, _heads) = server();
    let (asked, (code, said)) = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let longest = if in_freeze {
                wait_for_freeze(&server, 1);
                FREEZE
            } else {
                RELOAD
            };
            let delay = up_to(longest);
            thread::sleep(delay);
            signal_process(server.pid, "TERM");
            saw("a stop after", format!("{delay:?}"));
            Instant::now()
        });
        let said = reload(&server);
        (asked.join().unwrap(), said)
    });
    let status = server.ended(SOON);
    let took = asked.elapsed();
    saw("ended after", format!("{took:?}"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(server.count_lines("killed"), 0);
    let told = ["the server is stopping", "the server ended"];
    assert!(
        code == 0 || told.iter().any(|words| said.contains(words)),
        "{said}"
    );
    took
}

#[test]
fn a_stop_at_any_time_of_a_reload_stops_the_server() {
    for nth in 0..4 {
        let took = stops(nth % 2 == 0);
        assert!(took < STOP_DRAIN + Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn a_reload_goes_on_when_whoever_asked_for_it_is_interrupted() {
    let (server, _heads) = server();
    let mut command = Command::new(program());
    command.args(["reload", "--socket"]);
    command.arg(&server.control().path).stdout(Stdio::null());
    let mut asks = command.spawn().unwrap();
    server.wait_for_line(" is tried");
    signal_process(asks.id(), "INT");
    asks.wait().unwrap();
    server.wait_for_line(" reloaded: ");
    reloaded(&server);
}
