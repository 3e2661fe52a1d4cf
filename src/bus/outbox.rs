//! What a worker sends to the hub: a queue whose bound slows the senders down.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::ipc::bus::{BusError, Queue};
use crate::metrics::{self, Direction};
use crate::wire::frame;

/// What may wait for the hub before senders must wait for room, in bytes.
const ROOM: usize = 4 << 20;
/// When more senders than this wait, clients are held back; when half as many do, they are not.
const MAX_WAITING: usize = 256;
/// How long a period is. In each, a client may still send a little (the engine counts what): whoever sends
/// little does not wait for whoever sends much.
const PERIOD: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Queue,
    /// How many frames were sent.
    sent: AtomicU64,
    /// Who waits for room, waits in a row: what one sender sends stays in order.
    turn: tokio::sync::Mutex<()>,
    wrote: Notify,
    gate: Arc<Gate>,
}

impl Outbox {
    /// Sends a frame; waits for room.
    pub(super) async fn send(&self, frame: Bytes) {
        let _waiting = self.gate.enter();
        if self.queue.bytes() >= ROOM {
            metrics::BUS_WAITS.inc();
        }
        let _turn = self.turn.lock().await;
        while self.queue.bytes() >= ROOM {
            self.wrote.notified().await;
        }
        self.push(frame);
    }

    /// Sends a frame that must not wait: an only answer, of which there are as many as questions.
    pub(super) fn push(&self, frame: Bytes) {
        let counter = self.sent.fetch_add(1, Relaxed) + 1;
        let frame = frame::number(frame, counter);
        metrics::BUS_FRAMES.count(Direction::Out);
        metrics::BUS_BYTES.count_many(Direction::Out, frame.len() as u64);
        self.queue.push(frame);
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    pub(super) async fn write_to(&self, stream: &mut (impl AsyncWrite + Unpin)) -> BusError {
        let wrote = || self.wrote.notify_one();
        self.queue.write_to(stream, wrote).await
    }

    /// Waits until everything is written.
    pub(super) async fn flushed(&self) {
        let _turn = self.turn.lock().await;
        while self.queue.bytes() > 0 {
            self.wrote.notified().await;
        }
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

/// Holds clients back while the bus does not take what their events made handlers send: a handler
/// that waits for room is a task, and who sends events faster than the bus takes them would make
/// any number of them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    waiting: AtomicUsize,
    closed: AtomicBool,
    /// The number of the present period.
    period: AtomicU32,
    held_back: Mutex<Vec<Waker>>,
}

/// Counts one sender.
pub(super) struct Waiting<'a>(&'a Gate);

impl Gate {
    pub(super) fn enter(&self) -> Waiting<'_> {
        if self.waiting.fetch_add(1, Relaxed) >= MAX_WAITING && !self.closed.swap(true, Relaxed) {
            self.period.fetch_add(1, Relaxed);
            metrics::BUS_GATE.inc();
        }
        Waiting(self)
    }

    /// While the gate is closed: the number of the present period.
    pub(crate) fn congestion(&self) -> Option<u32> {
        let closed = self.closed.load(Relaxed);
        closed.then(|| self.period.load(Relaxed))
    }

    /// Wakes somebody, once, when the gate is opened or a period begins.
    pub(crate) fn wake_when_open(&self, waker: Waker) {
        if !self.closed.load(Relaxed) {
            return waker.wake();
        }
        let held_back = self.held_back.lock();
        held_back
            .unwrap_or_else(PoisonError::into_inner)
            .push(waker);
    }

    /// Begins a period after the other while the gate is closed; never returns.
    pub(super) async fn renew<T>(&self) -> T {
        loop {
            sleep(PERIOD).await;
            if self.closed.load(Relaxed) {
                self.period.fetch_add(1, Relaxed);
                self.let_go();
            }
        }
    }

    fn let_go(&self) {
        let mut held_back = self
            .held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let held_back = std::mem::take(&mut *held_back);
        held_back.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(gate) = self;
        let left = gate.waiting.fetch_sub(1, Relaxed) - 1;
        if left <= MAX_WAITING / 2 && gate.closed.swap(false, Relaxed) {
            gate.let_go();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::bus::Reader;
    use crate::wire::frame::{Body, Frame};
    use socketioxide_core::Sid;
    use tokio::time::timeout;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl std::task::Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn frame(n: u32, bytes: usize) -> Bytes {
        let body = Body::ServerSide {
            event: n.to_string().into(),
            data: vec![0; bytes].into(),
        };
        let (to, from) = (None, Sid::ZERO);
        Frame { to, from, body }.encode().unwrap()
    }

    #[tokio::test]
    async fn a_full_outbox_makes_senders_wait_in_order() {
        let outbox = Arc::new(Outbox::default());
        outbox.send(frame(0, ROOM)).await;
        let senders: Vec<_> = (1..100)
            .map(|n| {
                let outbox = Arc::clone(&outbox);
                tokio::spawn(async move { outbox.send(frame(n, ROOM / 7)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(senders.iter().all(|sender| !sender.is_finished()));
        // An answer does not wait.
        outbox.push(frame(100, 1));

        let (mut near, far) = tokio::io::duplex(1 << 20);
        let mut reader = Reader::new(far);
        let mut seen = Vec::new();
        let read = async {
            while seen.len() < 101 {
                let Body::ServerSide { event, .. } =
                    Frame::decode(&reader.next().await.unwrap()).unwrap().body
                else {
                    panic!("another frame");
                };
                seen.push(event.parse::<u32>().unwrap());
            }
        };
        tokio::select! {
            error = outbox.write_to(&mut near) => panic!("{error}"),
            done = timeout(Duration::from_secs(10), read) => done.unwrap(),
        }
        assert_eq!(seen[..2], [0, 100]);
        assert!(seen[2..].is_sorted());
    }

    #[test]
    fn the_gate_closes_when_many_wait_and_each_time_begins_a_period() {
        let gate = Gate::default();
        assert_eq!(gate.congestion(), None);
        let mut waiting: Vec<_> = (0..=MAX_WAITING).map(|_| gate.enter()).collect();
        let first = gate.congestion();
        assert!(first.is_some());
        waiting.truncate(MAX_WAITING / 2 + 1);
        assert_eq!(gate.congestion(), first, "not yet");
        waiting.pop();
        assert_eq!(gate.congestion(), None);
        let again: Vec<_> = (0..MAX_WAITING).map(|_| gate.enter()).collect();
        assert!(gate.congestion() > first, "another period");
        drop(again);
    }

    #[test]
    fn whoever_waits_at_the_gate_is_woken() {
        let gate = Gate::default();
        let woken = Arc::new(Counter::default());
        let waits = || gate.wake_when_open(Arc::clone(&woken).into());
        waits();
        assert_eq!(woken.0.load(Relaxed), 1, "it is open");
        let waiting: Vec<_> = (0..=MAX_WAITING).map(|_| gate.enter()).collect();
        waits();
        assert_eq!(woken.0.load(Relaxed), 1);
        drop(waiting);
        assert_eq!(woken.0.load(Relaxed), 2);
    }
}
