//! Black-box tests: the real binary, started by hand or as systemd would, and real clients.
//!
//! One binary, so that it is linked once. What a test needs is in [`harness`]; each file is one
//! capability, and each test a sentence.

// Nothing is outside of this binary, a test fails by panicking, and pedantry is for the program.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::pedantic
)]

mod admission;
mod advisories;
mod advisories_packets;
mod advisories_websocket;
mod balance;
mod balance_nginx;
mod bus_faults;
mod bus_hangs;
mod bus_load;
mod bus_renewal;
mod chat;
mod client_files;
mod clients;
mod command_line;
mod compression;
mod control;
mod control_workers;
mod deaths;
mod departed;
mod differential;
mod doctor;
mod documents;
mod drains;
mod drains_clients;
mod emitters;
mod ends;
mod fairness;
mod faults;
#[allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: each word is there for whoever needs it"
)]
mod harness;
mod health;
mod heartbeats;
mod hostile;
mod hostile_engine;
mod hostile_http;
mod hostile_packets;
mod hostile_websocket;
mod logs;
mod lost_answers;
mod machines_bridges;
mod machines_chat;
mod machines_cost;
mod machines_disks;
mod machines_harness;
mod machines_links;
mod machines_memory;
mod machines_operators;
mod machines_outages;
mod machines_reloads;
mod machines_servers;
mod memory;
mod messenger;
mod metrics;
mod neighbours;
mod network;
mod node_moves;
mod node_servers;
mod operators;
mod operators_acks;
mod operators_sockets;
mod page;
mod processes;
mod proxies;
mod questions;
mod reloads;
mod reloads_late;
mod reloads_live;
mod reloads_scarce;
mod reloads_signals;
mod reloads_workers;
mod repeats;
mod routing;
mod sample_page;
mod server_side;
mod session_ids;
mod several_machines;
mod starts;
mod stops;
mod storms;
mod streams;
mod transports;
mod upgrades;
mod worker_ports;
