//! A signal that comes while one program takes over from another is handled, in whichever moment it comes.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use super::reloads::{half_read_heads, reload, reloaded};

/// How long the sessions may take to end.
const STOP_DRAIN: Duration = Duration::from_millis(300);

/// Longer than the packing of all, and what comes before it.
const FREEZE: Duration = Duration::from_millis(10);

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
    let heads = half_read_heads(&server, HEADS);
    (server, heads)
}

/// Some time up to this.
fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(f64::from(getrandom::u32().unwrap()) / f64::from(u32::MAX))
}

/// Waits until the server says that another program takes over, which it does before it packs all. It may not come to
/// write that before it is the other one.
fn wait_for_freeze(server: &Server) {
    let began = Instant::now();
    while server.count_lines(" takes over") == 0 && began.elapsed() < Duration::from_secs(1) {
        thread::yield_now();
    }
}

/// Stops a server at some time of its reload, and tells how long it took.
fn stops(in_freeze: bool) -> Duration {
    let (mut server, _heads) = server();
    let (asked, (code, said)) = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let longest = if in_freeze {
                wait_for_freeze(&server);
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
    // It may have ended before it was asked for a reload, on a busy machine.
    let told = [
        "the server is stopping",
        "the server ended",
        "not running",
        "has closed the connection without an answer",
    ];
    assert!(
        code == 0 || told.iter().any(|words| said.contains(words)),
        "{said}"
    );
    took
}

#[test]
fn a_stop_at_any_time_of_a_reload_stops_the_server() {
    for nth in 0..10 {
        let took = stops(nth % 5 > 0);
        assert!(took < STOP_DRAIN + Duration::from_secs(8), "{took:?}");
    }
}

#[test]
fn a_reload_goes_on_when_whoever_asked_for_it_is_interrupted() {
    let program = Replaceable::new();
    let server = Setup::new().program(&program).start();
    let real = program.dir_copy();
    program.put_script(&format!("sleep 1; exec {} \"$@\"", real.display()));
    let mut command = Command::new(&real);
    command.args(["reload", "--socket"]);
    command.arg(&server.control().path);
    let mut asks = command.spawn().unwrap();
    let status = |name: &str| server.control().get("/status")[name].clone();
    eventually("it has begun", SOON, || status("reload") == "trying");
    // What is meant for the server may be sent to everybody in its unit.
    for signal in ["HUP", "USR1"] {
        signal_process(asks.id(), signal);
    }
    thread::sleep(Duration::from_millis(100));
    assert!(asks.try_wait().unwrap().is_none(), "it was ended");
    signal_process(asks.id(), "INT");
    assert_eq!(asks.wait().unwrap().code(), None);
    eventually("it is done", SOON, || {
        status("generation") == 1 && status("reload").is_null()
    });
    program.put(&real);
    reloaded(&server);
}

#[test]
fn what_a_worker_starts_gets_all_signals_before_a_reload_and_after_it() {
    let server = Setup::new().top("drain = \"0s\"").start();
    for _ in 0..2 {
        for worker in server.workers() {
            let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
            let blocked = status.lines().find(|line| line.starts_with("SigBlk:"));
            assert_eq!(blocked, Some("SigBlk:\t0000000000000000"));
        }
        reloaded(&server);
        eventually("the old workers have left", SOON, || {
            server.workers().len() == 2
        });
    }
}
