//! What an engine counts: additions to atomics, which nothing waits for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::packet::Packet;
use crate::work::Work;

/// What an engine has, and what it has counted since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live sessions that poll.
    pub polling: u64,
    /// Live sessions that have a WebSocket.
    pub websockets: u64,
    /// Bytes that wait for clients, or of clients for handlers.
    pub waiting: u64,
    /// Engine.IO messages of clients, and their bytes, without frames and headers.
    pub received: Messages,
    /// Engine.IO messages for clients. They count when they are queued.
    pub sent: Messages,
    /// How often a polling session tried to go on by a `WebSocket`.
    pub upgrades_tried: u64,
    /// How often it did.
    pub upgrades_done: u64,
    /// How often it could not.
    pub upgrades_failed: u64,
    /// How often a WebSocket did not take what was written to it.
    pub slow: u64,
    /// How often a session's events began to wait.
    pub held_back: u64,
}

/// Messages of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Acknowledgements among them, where packets are looked into.
    pub acks: u64,
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one_more(&self) {
        self.add(1);
    }

    pub(crate) fn one_less(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a worker's sessions have counted together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Live sessions that have a WebSocket.
    pub(crate) websockets: Count,
    pub(crate) received: Way,
    pub(crate) sent: Way,
    pub(crate) upgrades_tried: Count,
    pub(crate) upgrades_done: Count,
    pub(crate) upgrades_failed: Count,
    pub(crate) slow: Count,
    pub(crate) held_back: Count,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Way {
    count: Count,
    bytes: Count,
    pub(crate) acks: Count,
}

impl Way {
    /// A message of so many bytes.
    pub(crate) fn message(&self, bytes: usize) {
        self.count.one_more();
        self.bytes.add(bytes);
    }

    /// A packet that goes to a client.
    pub(crate) fn packet(&self, packet: &Packet) {
        self.message(packet.data_len());
        if let Packet::Message(text) = packet
            && matches!(text.as_bytes().first(), Some(b'3' | b'6'))
        {
            self.acks.one_more();
        }
    }

    fn get(&self) -> Messages {
        Messages {
            count: self.count.get(),
            bytes: self.bytes.get(),
            acks: self.acks.get(),
        }
    }
}

impl Work {
    pub(crate) fn stats(&self) -> Stats {
        let counts = &self.counts;
        let sessions = self.sessions.load(Relaxed) as u64;
        let websockets = counts.websockets.get();
        Stats {
            polling: sessions.saturating_sub(websockets),
            websockets,
            waiting: self.waiting.load(Relaxed) as u64,
            received: counts.received.get(),
            sent: counts.sent.get(),
            upgrades_tried: counts.upgrades_tried.get(),
            upgrades_done: counts.upgrades_done.get(),
            upgrades_failed: counts.upgrades_failed.get(),
            slow: counts.slow.get(),
            held_back: counts.held_back.get(),
        }
    }
}
