//! Clients that come all the time, and what becomes of each.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::*;

pub const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=websocket";

/// One handshake on a connection of its own, and what came of it.
pub fn handshake(addr: SocketAddr) -> String {
    let attempt = || {
        let mut raw = Raw::try_tcp(addr)?.patiently();
        raw.try_send(WebSocket::request(HANDSHAKE))?;
        raw.try_response()
    };
    match attempt() {
        Ok(answer) => answer.status.to_string(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

pub type Outcomes = BTreeMap<String, usize>;

/// Handshakes without a pause, on several threads, until told to stop.
pub struct Newcomers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcomes>>,
}

impl Newcomers {
    pub fn come(addr: SocketAddr, threads: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..threads)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut outcomes = Outcomes::new();
                    while !stop.load(Relaxed) {
                        *outcomes.entry(handshake(addr)).or_default() += 1;
                        thread::sleep(Duration::from_millis(2));
                    }
                    outcomes
                })
            })
            .collect();
        Self { stop, threads }
    }

    pub fn stop(self) -> Outcomes {
        self.stop.store(true, Relaxed);
        let mut all = Outcomes::new();
        for thread in self.threads {
            for (outcome, count) in thread.join().unwrap() {
                *all.entry(outcome).or_default() += count;
            }
        }
        saw("new clients", format!("{all:?}"));
        all
    }
}

pub fn number(stats: &Value, name: &str) -> u64 {
    stats[name].as_u64().unwrap()
}
