//! What has come from the server and was not taken yet. It is bounded: while it is full, nothing is read from the
//! server, which then waits or ends the connection, as it is set to do with slow readers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pieces::Joiner;
use super::{Event, TransportError};

/// Bytes that may wait before nothing more is read.
const FULL: usize = 16 * 1024 * 1024;
/// The same while an answer is awaited that comes by the same connection, behind what waits. More than Redis itself
/// keeps for a subscriber (32 MiB) before it cuts it off.
const FULL_FOR_ANSWERS: usize = 64 * 1024 * 1024;
/// What a waiting message costs beside its bytes.
const EACH: usize = 128;

/// Messages that wait, and the end.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Calls that wait for an answer by this connection.
    asked: usize,
    reader: Option<Waker>,
    joiner: Joiner,
    end: End,
}

/// Whether it is over.
#[derive(Debug, Default)]
enum End {
    #[default]
    No,
    Is(TransportError),
    Told,
}

#[derive(Debug)]
struct Message {
    channel: String,
    pattern: Option<String>,
    payload: Bytes,
}

impl Message {
    fn cost(&self) -> usize {
        EACH + self.channel.len() + self.payload.len()
    }
}

/// More is read while this lives.
#[derive(Debug)]
pub(super) struct Asked<'a>(&'a Inbox);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.state().asked -= 1;
    }
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was published.
    pub(super) fn push(&self, channel: String, pattern: Option<String>, payload: Bytes) {
        let message = Message {
            channel,
            pattern,
            payload,
        };
        let mut state = self.state();
        state.bytes += message.cost();
        state.messages.push_back(message);
        drop(state);
        self.filled.notify_one();
    }

    /// The transport is of no more use. The first reason counts.
    pub(super) fn end(&self, error: TransportError) {
        let mut state = self.state();
        if matches!(state.end, End::No) {
            state.end = End::Is(error);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Why something failed. What was said when the connection ended says more than that an answer did not come.
    pub(super) fn reason(&self, error: TransportError) -> TransportError {
        match (&error, &self.state().end) {
            (TransportError::Lost(_), End::Is(said)) => said.clone(),
            _ => error,
        }
    }

    /// The next message, or the end: behind all messages, once.
    pub(super) async fn next(&self) -> Event {
        loop {
            let filled = self.filled.notified();
            if let Some(event) = self.take() {
                return event;
            }
            filled.await;
        }
    }

    fn take(&self) -> Option<Event> {
        let mut state = self.state();
        while let Some(message) = state.messages.pop_front() {
            state.bytes -= message.cost();
            if let Some(waker) = state.reader.take() {
                waker.wake();
            }
            // A pattern is what strangers publish on; they cut nothing.
            let payload = if message.pattern.is_some() {
                Some(message.payload)
            } else {
                state.joiner.join(Instant::now(), message.payload)
            };
            if let Some(payload) = payload {
                return Some(Event::Message {
                    channel: message.channel,
                    pattern: message.pattern,
                    payload,
                });
            }
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::Is(error) => Some(Event::Ended(error)),
            was => {
                state.end = was;
                None
            }
        }
    }

    /// Whether more may be read.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let full = if state.asked > 0 {
            FULL_FOR_ANSWERS
        } else {
            FULL
        };
        if state.bytes < full {
            return Poll::Ready(());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// An answer is awaited that comes by the connection that fills this.
    pub(super) fn asked(&self) -> Asked<'_> {
        let mut state = self.state();
        state.asked += 1;
        if let Some(waker) = state.reader.take() {
            waker.wake();
        }
        Asked(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(inbox: &Inbox, payload: Vec<u8>) {
        inbox.push("a".to_owned(), None, payload.into());
    }

    fn has_room(inbox: &Inbox) -> bool {
        let context = Context::from_waker(Waker::noop());
        inbox.poll_room(&context).is_ready()
    }

    #[tokio::test]
    async fn messages_come_in_order_and_the_first_end_behind_them() {
        let inbox = Inbox::default();
        push(&inbox, vec![1]);
        inbox.end(TransportError::Closed);
        inbox.end(TransportError::Unsupported("x"));
        push(&inbox, vec![2]);
        for payload in [[1], [2]] {
            let event = inbox.next().await;
            let Event::Message { payload: came, .. } = event else {
                panic!("{event:?}");
            };
            assert_eq!(came, payload.as_slice());
        }
        let event = inbox.next().await;
        assert!(matches!(event, Event::Ended(TransportError::Closed)));
        assert!(inbox.take().is_none());
    }

    #[test]
    fn a_full_one_reads_no_more_but_for_an_answer() {
        let inbox = Inbox::default();
        while has_room(&inbox) {
            push(&inbox, vec![0; 1024 * 1024]);
        }
        assert!(inbox.state().bytes < FULL + 2 * 1024 * 1024);
        let asked = inbox.asked();
        assert!(has_room(&inbox));
        drop(asked);
        assert!(!has_room(&inbox));
        while inbox.take().is_some() {}
        assert!(has_room(&inbox));
        assert_eq!(inbox.state().bytes, 0);
    }
}
