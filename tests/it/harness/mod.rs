//! The tests' vocabulary.

mod client;
mod cluster;
mod control;
mod emitter;
mod figures;
mod flow;
mod holder;
mod jitter;
mod light;
mod machines;
mod network;
mod newcomers;
mod nginx;
mod process;
mod puppets;
mod raw;
mod replaced;
mod server;
mod servers;
mod socket;
mod stage;
mod still;

pub use client::{Held, node, node_fails, node_on, python, run};
pub use cluster::{
    GAP, PROMPT, ROOM, Stop, chat, counts_to, firsts, make_even, nobody_went, operators, pairs,
    sample, server_side_answers, shared_out, strings, wait_for_replacement,
};
pub use control::{Control, error};
pub use emitter::{Emitter, captured};
pub use figures::Figures;
pub use flow::{Flow, Sent, Times};
pub use jitter::Jitter;
pub use machines::{
    ADDRESS, Bus, Kind, Machine, Machines, NetSpace, Plan, Relay, Space, everybody, long_tests,
    present,
};
pub use network::{Break, Cut, Direction, Network};
pub use newcomers::{HANDSHAKE, Newcomers, Outcomes, handshake, number};
pub use nginx::Nginx;
pub use process::{Memory, alive, cpu_time, descriptors, memory, names};
pub use puppets::Puppets;
pub use raw::{Polling, Raw, Response, WebSocket};
pub use replaced::Replaceable;
pub use server::{Server, Setup, free_port, free_ports, program, signal_process};
pub use servers::{Certificates, Disk, PASSWORD, PgBouncer, Postgres, Redis, lower, redis_program};
pub use socket::{Answer, Answered, Asked, Client, Crowd, Heard, ids, ok};
pub use stage::{ALL, ALL_BUT_0, Stage};
pub use still::Still;

use std::time::{Duration, Instant};

/// How long anything may take that should be immediate, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; it is asked every few milliseconds.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// Prints a figure that a test saw, for whoever reads its output.
pub fn saw(what: &str, value: impl std::fmt::Display) {
    println!("    saw: {what}: {value}");
}
