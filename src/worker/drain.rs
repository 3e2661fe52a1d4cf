//! Ends the sessions of a worker at a set pace, at the transport.
//!
//! Never with a Socket.IO DISCONNECT packet: after that one clients do not come back. A WebSocket's
//! client sees a close frame (1001), a polling client's poll returns, and both connect anew.
//!
//! One mechanism for a stop, a reload and an operator's command: the time is cut into slices. At the beginning of each
//! the worker looks who is there, and ends them so that the pace, were it kept, would bring the last to their end with the
//! time. So those that end by themselves make the others last longer, and who comes meanwhile takes the last places.

use std::collections::HashSet;
use std::time::Duration;

use engineioxide::{EndReason, Engine};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::context::Worker;

/// How long what slow clients have not read yet may take to get away.
const GRACE: Duration = Duration::from_secs(1);
/// How long the last answers may take, and clients to close their connections.
const TO_CLOSE: Duration = Duration::from_millis(500);
/// For so long of it a client may poll for what is left, over a connection that it keeps, or answer a close frame.
const LINGER: Duration = Duration::from_millis(250);
/// So often it is looked who is there.
const SLICES: u32 = 16;

/// What becomes of sessions that begin meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newcomers {
    /// They stay: the worker goes on.
    Stay,
    /// They end last: the worker is to leave.
    Last,
}

/// That the worker is to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// The time over which its sessions are to end.
    pub(crate) over: Duration,
    /// Why they end.
    pub(crate) reason: EndReason,
}

/// Ends the sessions, the oldest first, spread evenly over `over`.
pub(crate) async fn spread(
    worker: &Worker,
    over: Duration,
    reason: EndReason,
    newcomers: Newcomers,
) {
    let offset = (worker.home.slot + 1, worker.config().workers + 1);
    spread_of(&worker.engine, offset, over, reason, newcomers).await;
}

/// Likewise; `offset` is a worker's part of a gap, see [`Pace`].
async fn spread_of(
    engine: &Engine,
    offset: (u16, u16),
    over: Duration,
    reason: EndReason,
    newcomers: Newcomers,
) {
    // By name: a session's age is of whole milliseconds, and tells not who was here before.
    let here = match newcomers {
        Newcomers::Stay => Some(engine.sids().into_iter().collect::<HashSet<_>>()),
        Newcomers::Last => None,
    };
    let begun = Instant::now();
    let mut pace = Pace {
        end: begun + over,
        next: None,
        offset,
    };
    for slice in 1..=SLICES {
        let until = begun + over * slice / SLICES;
        let mut sessions = engine.by_age();
        if let Some(here) = &here {
            sessions.retain(|(sid, _)| here.contains(sid));
        }
        if sessions.is_empty() {
            return;
        }
        let gap = pace.begin(sessions.len(), Instant::now());
        for (sid, _) in sessions {
            let Some(due) = pace.next.filter(|&due| due < until || slice == SLICES) else {
                break;
            };
            sleep_until(due).await;
            engine.end(sid, reason);
            pace.next = Some(due + gap);
        }
        sleep_until(until).await;
    }
}

/// When the next session is to end.
struct Pace {
    end: Instant,
    next: Option<Instant>,
    /// The part of a gap before the first one: that of another worker ends at another time.
    offset: (u16, u16),
}

impl Pace {
    /// So many are there now: the time between two of them.
    fn begin(&mut self, sessions: usize, now: Instant) -> Duration {
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX).max(1);
        let gap = self.end.saturating_duration_since(now) / sessions;
        let (part, whole) = (u32::from(self.offset.0), u32::from(self.offset.1.max(1)));
        // Who came meanwhile makes the pace faster.
        let next = match self.next {
            None => now + gap.saturating_mul(part) / whole,
            Some(next) => next.min(now + gap),
        };
        self.next = Some(next);
        // The last one leaves as much of a gap behind it as the first has before it, seen from the other side.
        let gaps = sessions.saturating_mul(whole).saturating_sub(part).max(1);
        let left = self.end.saturating_duration_since(next);
        left.saturating_mul(whole) / gaps
    }
}

/// Ends all sessions as the master told last, and waits for what is on its way to their clients.
///
/// A handshake whose connection was accepted before is served like any other: there is nobody else who could, and its
/// client would see an error instead of a short session.
pub(crate) async fn run(worker: &Worker, mut told: watch::Receiver<Option<Leave>>) {
    let mut leave = loop {
        if let Some(leave) = *told.borrow_and_update() {
            break leave;
        }
        if told.changed().await.is_err() {
            return;
        }
    };
    loop {
        tokio::select! {
            () = spread(worker, leave.over, leave.reason, Newcomers::Last) => break,
            // The time is another one now: the server stops while a generation drains.
            Ok(()) = told.changed() => leave = told.borrow_and_update().unwrap_or(leave),
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        for (sid, _) in worker.engine.by_age() {
            worker.engine.end(sid, leave.reason);
        }
        // At a stop nobody accepts: a client can fetch the rest only over a connection that it has.
        let owed = begun.elapsed() < LINGER && worker.engine.owed_polls() > 0;
        if !owed {
            worker.sessions.abort_idle();
        }
        let open = worker.sessions.open_connections() + worker.sessions.count();
        // Who has yet to answer a close frame may have yet to read what came before it. Some are gone and never will.
        let unanswered = worker.engine.unanswered();
        let patience = match leave.reason {
            EndReason::Stopped => LINGER,
            _ => GRACE,
        };
        let waits =
            open > 0 && begun.elapsed() < TO_CLOSE || unanswered > 0 && begun.elapsed() < patience;
        if !owed && !waits && worker.engine.closing() == 0 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use engineioxide::{Handshake, Head, ProtocolVersion};
    use socketioxide::SocketIo;
    use socketioxide::socket::Sid;

    use super::*;

    /// An engine without sessions.
    fn engine() -> Engine {
        let (_, io) = SocketIo::new_svc();
        io.config().engine_config.engine.clone()
    }

    fn open(engine: &Engine) -> Sid {
        let handshake = Handshake {
            protocol: ProtocolVersion::V4,
            base64: false,
            deflate: None,
            left: None,
            head: Head::new("/", std::iter::empty(), None, |_, _| {}),
        };
        engine.open_polling(handshake).unwrap().sid
    }

    async fn drain(engine: &Engine, over: Duration) {
        spread_of(engine, (1, 2), over, EndReason::Drain, Newcomers::Stay).await;
    }

    #[tokio::test]
    async fn who_came_in_the_millisecond_before_a_drain_is_ended_by_it() {
        let engine = engine();
        for over in [Duration::ZERO, Duration::from_millis(32)] {
            for _ in 0..10 {
                let _last = open(&engine);
                drain(&engine, over).await;
                assert!(engine.by_age().is_empty(), "over {over:?}");
            }
        }
    }

    #[tokio::test]
    async fn who_comes_after_a_drain_has_begun_stays() {
        let engine = engine();
        let first = open(&engine);
        let mut drains = Box::pin(drain(&engine, Duration::from_millis(200)));
        let begins = std::future::poll_fn(|cx| {
            assert!(drains.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        });
        begins.await;
        // In the same millisecond, mostly.
        let later = open(&engine);
        assert_eq!(engine.by_age().len(), 2, "{first} is ended in the middle");
        drains.await;
        let left: Vec<_> = engine.by_age().iter().map(|&(sid, _)| sid).collect();
        assert_eq!(left, [later]);
    }

    #[tokio::test]
    async fn a_worker_that_leaves_ends_those_who_came_meanwhile() {
        let engine = engine();
        let _first = open(&engine);
        let over = Duration::from_millis(100);
        let offset = (1, 2);
        let ends = spread_of(&engine, offset, over, EndReason::Drain, Newcomers::Last);
        let ((), _later) = tokio::join!(ends, async { open(&engine) });
        assert!(engine.by_age().is_empty());
    }

    /// When each of `sessions` ends, in milliseconds, if so many come during each slice.
    fn ends(sessions: usize, over: Duration, come: usize) -> Vec<u128> {
        let begun = Instant::now();
        let mut pace = Pace {
            end: begun + over,
            next: None,
            offset: (1, 2),
        };
        let mut left = sessions;
        let mut ends = Vec::new();
        for slice in 1..=SLICES {
            let until = begun + over * slice / SLICES;
            let gap = pace.begin(left, begun + over * (slice - 1) / SLICES);
            while left > 0 && pace.next.is_some_and(|due| due < until || slice == SLICES) {
                let due = pace.next.unwrap();
                ends.push((due - begun).as_millis());
                pace.next = Some(due + gap);
                left -= 1;
            }
            left += come;
        }
        ends
    }

    #[test]
    fn the_ends_are_spread_evenly_over_the_time() {
        assert_eq!(ends(4, Duration::from_secs(8), 0), [1000, 3000, 5000, 7000]);
        assert_eq!(ends(1, Duration::from_secs(8), 0), [4000]);
        assert!(ends(0, Duration::from_secs(8), 0).is_empty());
        assert_eq!(ends(3, Duration::ZERO, 0), [0, 0, 0]);
        for sessions in [100, 1000, 100_000] {
            let ends = ends(sessions, Duration::from_secs(100), 0);
            assert_eq!(ends.len(), sessions);
            for tenth in 0..10 {
                let within: std::ops::Range<u128> = tenth * 10_000..(tenth + 1) * 10_000;
                let share = ends.iter().filter(|&end| within.contains(end)).count();
                assert!(
                    share.abs_diff(sessions / 10) <= 1 + sessions / 1000,
                    "{share}"
                );
            }
        }
    }

    #[test]
    fn who_comes_meanwhile_ends_within_the_time_too() {
        let ends = ends(800, Duration::from_secs(16), 10);
        assert_eq!(ends.len(), 800 + 15 * 10);
        assert!(ends.is_sorted() && ends.last().is_some_and(|&end| end <= 16_000));
        let most = (0..16)
            .map(|slice| ends.iter().filter(|&end| end / 1000 == slice).count())
            .max();
        assert!(most.is_some_and(|most| most <= 95), "{most:?}");
    }
}
