//! What is to be published: cut, in order, and counted until the server has answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::pieces::{Cutter, Piece};
use super::{IN_FLIGHT, Receipt, TransportError};

/// Unanswered bytes beyond which a message is refused. A message of the largest size may come when there was room.
const FULL: usize = IN_FLIGHT + 64 * 1024 * 1024;
/// What a message costs beside its bytes.
const EACH: usize = 64;

/// Where an answer goes.
type Answer = oneshot::Sender<Result<u64, TransportError>>;

/// What waits to be published, and what is under way.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    answered: Notify,
}

#[derive(Debug)]
struct State {
    cutter: Cutter,
    waiting: VecDeque<Outgoing>,
    /// Waiting and under way.
    bytes: usize,
    /// No more is taken.
    end: Option<TransportError>,
}

/// One piece, with what its message needs when the last one is answered.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Where it goes.
    pub(super) channel: Arc<str>,
    /// What goes.
    pub(super) piece: Piece,
    /// With the last piece of a message.
    answer: Option<Answer>,
}

impl Outgoing {
    /// Bytes that it counts for.
    pub(super) fn cost(&self) -> usize {
        EACH + self.channel.len() + self.piece.len()
    }
}

impl Outbox {
    /// For a server that is to get `largest` bytes at once; `who` tells our pieces from others'.
    pub(super) fn new(who: u64, largest: usize) -> Self {
        Self {
            state: Mutex::new(State {
                cutter: Cutter::new(who, largest),
                waiting: VecDeque::new(),
                bytes: 0,
                end: None,
            }),
            filled: Notify::new(),
            answered: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message, whole or to be cut.
    pub(super) fn publish(&self, channel: &str, payload: Bytes, whole: bool) -> Receipt {
        let (answer, receipt) = oneshot::channel();
        let receipt = Receipt(receipt);
        let mut state = self.state();
        let refused = match &state.end {
            Some(error) => Some(error.clone()),
            None if state.bytes + payload.len() > FULL => Some(TransportError::Full),
            None => None,
        };
        if let Some(error) = refused {
            // Whether somebody waits for it or not.
            let _ = answer.send(Err(error));
            return receipt;
        }
        let channel: Arc<str> = channel.into();
        let pieces: Vec<_> = if whole {
            let head = Bytes::new();
            vec![Piece {
                head,
                body: payload,
            }]
        } else {
            state.cutter.cut(payload).collect()
        };
        for piece in pieces {
            let channel = Arc::clone(&channel);
            let outgoing = Outgoing {
                channel,
                piece,
                answer: None,
            };
            state.bytes += outgoing.cost();
            state.waiting.push_back(outgoing);
        }
        if let Some(last) = state.waiting.back_mut() {
            last.answer = Some(answer);
        }
        drop(state);
        self.filled.notify_one();
        receipt
    }

    /// Whether more should be given.
    pub(super) fn has_room(&self) -> bool {
        self.state().bytes < IN_FLIGHT
    }

    /// Waits until there is room.
    pub(super) async fn room(&self) {
        loop {
            let answered = self.answered.notified();
            if self.has_room() {
                return;
            }
            answered.await;
        }
    }

    /// What is next to be published: at least one piece, and of more no more than these bytes. A call that is
    /// dropped loses nothing.
    pub(super) async fn batch(&self, bytes: usize) -> Vec<Outgoing> {
        loop {
            let filled = self.filled.notified();
            let batch = self.state().take(bytes);
            if !batch.is_empty() {
                return batch;
            }
            filled.await;
        }
    }

    /// The server has answered this one.
    pub(super) fn answer(&self, outgoing: Outgoing, answer: Result<u64, TransportError>) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(outgoing.cost());
        let has_room = state.bytes < IN_FLIGHT;
        drop(state);
        if has_room {
            self.answered.notify_one();
        }
        if let Some(waits) = outgoing.answer {
            // It may not wait any more.
            let _ = waits.send(answer);
        }
    }

    /// Nothing more goes to this server. What waits is answered with the reason.
    pub(super) fn end(&self, error: &TransportError) {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(error.clone());
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for outgoing in waiting {
            self.answer(outgoing, Err(error.clone()));
        }
    }
}

impl State {
    fn take(&mut self, bytes: usize) -> Vec<Outgoing> {
        let mut batch = Vec::new();
        let mut taken = 0;
        while let Some(next) = self.waiting.front() {
            taken += next.cost();
            if taken > bytes && !batch.is_empty() {
                break;
            }
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_answered_when_its_last_piece_is() {
        let outbox = Outbox::new(1, 100);
        let mut receipt = outbox.publish("a", vec![0; 250].into(), false);
        let batch = outbox.batch(usize::MAX).await;
        assert_eq!(batch.len(), 4);
        let waits = |receipt: &mut Receipt| receipt.0.try_recv().is_err();
        for (receivers, outgoing) in (1..).zip(batch) {
            assert!(waits(&mut receipt));
            outbox.answer(outgoing, Ok(receivers));
        }
        assert_eq!(receipt.await.unwrap(), 4);
        assert_eq!(outbox.state().bytes, 0);
    }

    #[tokio::test]
    async fn a_batch_is_bounded_but_has_at_least_one() {
        let outbox = Outbox::new(1, 1000);
        for _ in 0..3 {
            let _receipt = outbox.publish("a", vec![0; 400].into(), false);
        }
        assert_eq!(outbox.batch(1).await.len(), 1);
        assert_eq!(outbox.batch(1000).await.len(), 2);
    }

    #[tokio::test]
    async fn there_is_room_below_the_bound_and_a_refusal_far_beyond_it() {
        let outbox = Outbox::new(1, 256 * 1024);
        let message = Bytes::from(vec![0; 32 * 1024 * 1024]);
        let first = outbox.publish("a", message.clone(), true);
        assert!(!outbox.has_room());
        let _second = outbox.publish("a", message.clone(), true);
        let third = outbox.publish("a", message, true);
        assert!(matches!(third.await, Err(TransportError::Full)));
        for outgoing in outbox.batch(usize::MAX).await {
            outbox.answer(outgoing, Ok(0));
        }
        outbox.room().await;
        assert_eq!(first.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_end_answers_all_that_waits_and_all_that_comes() {
        let outbox = Outbox::new(1, 100);
        let before = outbox.publish("a", Bytes::from_static(b"x"), false);
        outbox.end(&TransportError::Closed);
        let after = outbox.publish("a", Bytes::from_static(b"x"), false);
        assert!(matches!(before.await, Err(TransportError::Closed)));
        assert!(matches!(after.await, Err(TransportError::Closed)));
    }
}
