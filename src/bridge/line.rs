//! The connection to the server between the machines, which ends and comes back: attempts with growing pauses, what is
//! to be published, and what the server says to it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::transport::{Event, Receipt, Transport, TransportError};

/// The first pause between two attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What ended sooner did not work.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// A server that leaves a message unanswered for so long hangs.
const UNANSWERED: Duration = Duration::from_secs(1);

/// The pauses between attempts: each about twice as long as the one before. A part of each is chance, so that many
/// machines that lost one server do not come back to it all at once.
#[derive(Debug, Default)]
pub(super) struct Pauses(Option<Duration>);

impl Pauses {
    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        let (first, longest) = PAUSES;
        let pause = self.0.map_or(first, |last| (last * 2).min(longest));
        self.0 = Some(pause);
        let chance = getrandom::u32().unwrap_or_default();
        pause / 2 + pause.mul_f64(0.5 * f64::from(chance) / f64::from(u32::MAX))
    }

    /// The next one, after something that lived for so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SHORT_LIFE {
            self.reset();
        }
        self.next()
    }

    /// It has worked: the next one is a first one.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }
}

/// What an attempt has: the server, subscribed to all that is needed; and what it refused of what is not.
pub(super) struct Arrived<T> {
    pub(super) server: T,
    pub(super) refused: Option<TransportError>,
}

type Attempt<T> = Pin<Box<dyn Future<Output = Result<Arrived<T>, TransportError>>>>;

/// What happens on the line.
pub(super) enum LineEvent {
    /// It is there.
    Connected(Option<TransportError>),
    /// An attempt failed, or what was there has ended.
    Lost(TransportError),
    /// A message came.
    Message {
        channel: String,
        pattern: Option<String>,
        payload: Bytes,
    },
    /// What became of what was published.
    Published(u64, Result<(), TransportError>),
}

enum State<T> {
    Pausing(Instant),
    Attempting(Attempt<T>),
    Up(Rc<T>),
}

/// See the module's text.
pub(super) struct Line<T, F> {
    attempt: F,
    state: State<T>,
    pauses: Pauses,
    /// To be published when there is room, with their numbers.
    outgoing: VecDeque<(u64, String, Bytes)>,
    /// What is published and not answered, in the order in which it is answered, and when it was.
    receipts: VecDeque<(u64, Instant, Receipt)>,
    /// Since the server arrived.
    has_worked: bool,
}

impl<T: Transport, F: Fn() -> Attempt<T>> Line<T, F> {
    /// Tries at once.
    pub(super) fn new(attempt: F) -> Self {
        Self {
            state: State::Attempting(attempt()),
            attempt,
            pauses: Pauses::default(),
            outgoing: VecDeque::new(),
            receipts: VecDeque::new(),
            has_worked: false,
        }
    }

    /// The server, while it is there.
    pub(super) fn server(&self) -> Option<Rc<T>> {
        match &self.state {
            State::Up(server) => Some(Rc::clone(server)),
            _ => None,
        }
    }

    /// Publishes when there is room; nothing, while the server is not there.
    pub(super) fn publish(&mut self, id: u64, channel: String, payload: Bytes) {
        if let State::Up(_) = self.state {
            self.outgoing.push_back((id, channel, payload));
            self.flush();
        }
    }

    /// Drops both connections, and tries again after a pause.
    pub(super) fn drop_server(&mut self) {
        self.outgoing.clear();
        self.receipts.clear();
        self.has_worked = false;
        self.state = State::Pausing(Instant::now() + self.pauses.next());
    }

    /// Has the server not answered for a second?
    pub(super) fn is_unanswered(&self) -> bool {
        let first = self.receipts.front();
        first.is_some_and(|(_, at, _)| at.elapsed() >= UNANSWERED)
    }

    /// The link works: after the next end the pauses begin anew.
    pub(super) fn works(&mut self) {
        self.pauses.reset();
        self.has_worked = true;
    }

    /// Has the link worked over this server's connections?
    pub(super) fn has_worked(&self) -> bool {
        self.has_worked
    }

    fn flush(&mut self) {
        let State::Up(server) = &self.state else {
            return;
        };
        while server.has_room()
            && let Some((id, channel, payload)) = self.outgoing.pop_front()
        {
            let receipt = server.publish(&channel, payload);
            self.receipts.push_back((id, Instant::now(), receipt));
        }
    }

    /// What happens next. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> LineEvent {
        loop {
            self.flush();
            let server = match &mut self.state {
                State::Pausing(until) => {
                    sleep_until(*until).await;
                    self.state = State::Attempting((self.attempt)());
                    continue;
                }
                State::Attempting(attempt) => match attempt.await {
                    Ok(Arrived { server, refused }) => {
                        self.state = State::Up(Rc::new(server));
                        return LineEvent::Connected(refused);
                    }
                    Err(error) => {
                        self.drop_server();
                        return LineEvent::Lost(error);
                    }
                },
                State::Up(server) => Rc::clone(server),
            };
            let waits = !self.outgoing.is_empty();
            let answer = async {
                match self.receipts.front_mut() {
                    Some((id, _, receipt)) => (*id, receipt.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (id, answer) = answer => {
                    self.receipts.pop_front();
                    return LineEvent::Published(id, answer.map(|_| ()));
                }
                event = server.event() => return match event {
                    Event::Message { channel, pattern, payload } => {
                        LineEvent::Message { channel, pattern, payload }
                    }
                    Event::Ended(error) => {
                        self.drop_server();
                        LineEvent::Lost(error)
                    }
                },
                () = server.room(), if waits => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_begin_anew_when_it_has_worked() {
        let mut pauses = Pauses::default();
        let mut expected = 100;
        for _ in 0..10 {
            let pause = pauses.next().as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause}");
            expected = (expected * 2).min(2000);
        }
        assert_eq!(expected, 2000);
        pauses.reset();
        assert!(pauses.next().as_millis() <= 100);
    }

    #[test]
    fn what_ends_soon_again_and_again_is_tried_ever_less_often() {
        let mut pauses = Pauses::default();
        let all: Duration = (0..20).map(|_| pauses.after(Duration::ZERO)).sum();
        assert!(all > Duration::from_secs(15), "{all:?}");
        assert!(pauses.after(SHORT_LIFE) <= Duration::from_millis(100));
    }
}
