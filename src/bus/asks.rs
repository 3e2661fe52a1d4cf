//! Questions to the other workers, and their answers.
//!
//! The hub tells to whom a question went, and who has left since: so it is known, at every moment,
//! from whom an answer is still to come, and nobody waits for the dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socketioxide_core::Sid;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::wire::frame::{Answer, Failure, Member};

/// Questions of one worker that wait for answers at one time; more wait for their turn. Those whose
/// answers clients give, and which may take long, have as many for themselves.
const MAX_OPEN: usize = 1024;

/// All open questions of this worker.
#[derive(Debug)]
pub(super) struct Asks {
    next: AtomicU64,
    turns: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    heard: mpsc::UnboundedSender<Heard>,
    /// Whose answer is still to come.
    of: Vec<Member>,
}

/// What is heard of a question. A member is heard of until its last answer, or until it is gone.
#[derive(Debug)]
pub(super) enum Heard {
    /// It went to these.
    Asked(Vec<Member>),
    /// An answer, or a part of one.
    Answer(Member, Answer),
    /// This one left without its last answer.
    Gone(Member),
}

/// One question; it is closed when dropped.
#[derive(Debug)]
pub(super) struct Asking {
    asks: Arc<Asks>,
    pub(super) ticket: u64,
    /// As many as there are answers: one of each worker, or one for each socket.
    pub(super) heard: mpsc::UnboundedReceiver<Heard>,
    /// Whom the hub will probably ask.
    pub(super) meant: Vec<Member>,
    _turn: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// All answers that came to a question.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) answers: Vec<(Member, Answer)>,
    /// Who left before it answered.
    pub(super) gone: Vec<Member>,
    /// Who did not answer in time.
    pub(super) late: Vec<Member>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            turns: Arc::new(Semaphore::new(MAX_OPEN)),
            streams: Arc::new(Semaphore::new(MAX_OPEN)),
            open: Mutex::default(),
        }
    }
}

impl Asks {
    /// Opens a question that is meant for these, to be sent with its ticket.
    pub(super) async fn open(self: &Arc<Self>, of_clients: bool, meant: Vec<Member>) -> Asking {
        let turns = if of_clients {
            &self.streams
        } else {
            &self.turns
        };
        // It is never closed.
        let turn = Arc::clone(turns).acquire_owned().await.ok();
        let ticket = self.next.fetch_add(1, Relaxed);
        let (sender, heard) = mpsc::unbounded_channel();
        let open = Open {
            heard: sender,
            of: Vec::new(),
        };
        self.all().insert(ticket, open);
        Asking {
            asks: Arc::clone(self),
            ticket,
            heard,
            meant,
            _turn: turn,
        }
    }

    /// The hub has passed a question on.
    pub(super) fn asked(&self, ticket: u64, of: Vec<Member>) {
        if let Some(open) = self.all().get_mut(&ticket) {
            open.of.clone_from(&of);
            open.hear(Heard::Asked(of));
        }
    }

    /// An answer came. One that comes too late is for nobody.
    pub(super) fn answered(&self, ticket: u64, from: Sid, answer: Answer) {
        if let Some(open) = self.all().get_mut(&ticket)
            && let Some(at) = open.of.iter().position(|member| member.id == from)
        {
            let member = match (answer.is_last(), open.of.get(at)) {
                (false, Some(member)) => *member,
                _ => open.of.swap_remove(at),
            };
            open.hear(Heard::Answer(member, answer));
        }
    }

    /// A member is gone. How many questions will not have its answer?
    pub(super) fn left(&self, member: Member) -> usize {
        let mut unanswered = 0;
        for open in self.all().values_mut() {
            if open.of.contains(&member) {
                open.of.retain(|other| *other != member);
                open.hear(Heard::Gone(member));
                unanswered += 1;
            }
        }
        unanswered
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn hear(&self, heard: Heard) {
        // Who asked may have gone; its entry goes with it.
        let _ = self.heard.send(heard);
    }
}

impl Asking {
    /// Waits for the one answer of everybody who was asked.
    pub(super) async fn gather(&mut self, deadline: Instant) -> Gathered {
        let mut gathered = Gathered::default();
        let mut of = None;
        while of.as_ref().is_none_or(|of: &Vec<Member>| !of.is_empty()) {
            let Ok(Some(heard)) = timeout_at(deadline, self.heard.recv()).await else {
                gathered.late = of.unwrap_or_else(|| std::mem::take(&mut self.meant));
                break;
            };
            let mut done = |member| {
                if let Some(of) = &mut of {
                    of.retain(|other| *other != member);
                }
            };
            match heard {
                Heard::Asked(all) => of = Some(all),
                Heard::Answer(from, answer) => {
                    done(from);
                    gathered.answers.push((from, answer));
                }
                Heard::Gone(member) => {
                    done(member);
                    gathered.gone.push(member);
                }
            }
        }
        gathered
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.asks.all().remove(&self.ticket);
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self::Other(why.to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Longer than any test.
    fn long() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn member(slot: u16) -> Member {
        Member {
            id: format!("{slot:016}").parse().unwrap(),
            slot,
            pid: 100 + u32::from(slot),
        }
    }

    fn rooms(name: &'static str) -> Answer {
        Answer::Rooms(vec![name.into()])
    }

    #[tokio::test]
    async fn all_answers_end_the_wait_at_once() {
        let asks = Arc::<Asks>::default();
        let mut asking = asks.open(false, vec![]).await;
        asks.asked(asking.ticket, vec![member(1), member(2)]);
        asks.answered(asking.ticket, member(2).id, rooms("b"));
        asks.answered(asking.ticket, member(1).id, rooms("a"));
        let gathered = asking.gather(long()).await;
        assert_eq!(gathered.answers.len(), 2);
        assert!(gathered.gone.is_empty() && gathered.late.is_empty());
    }

    #[tokio::test]
    async fn a_question_to_nobody_is_answered() {
        let asks = Arc::<Asks>::default();
        let mut asking = asks.open(false, vec![]).await;
        asks.asked(asking.ticket, vec![]);
        let gathered = asking.gather(long()).await;
        assert!(gathered.answers.is_empty());
    }

    #[tokio::test]
    async fn the_dead_are_not_waited_for_and_named() {
        let asks = Arc::<Asks>::default();
        let mut asking = asks.open(false, vec![]).await;
        asks.asked(asking.ticket, vec![member(1), member(2)]);
        asks.answered(asking.ticket, member(1).id, rooms("a"));
        assert_eq!(asks.left(member(1)), 0, "it had answered");
        assert_eq!(asks.left(member(2)), 1);
        let gathered = asking.gather(long()).await;
        assert_eq!(gathered.gone, [member(2)]);
        assert_eq!(gathered.answers.len(), 1);
    }

    #[tokio::test]
    async fn the_late_are_named_and_forgotten() {
        let asks = Arc::<Asks>::default();
        let mut asking = asks.open(false, vec![]).await;
        let ticket = asking.ticket;
        asks.asked(ticket, vec![member(1)]);
        let gathered = asking.gather(Instant::now() + PATIENCE).await;
        assert_eq!(gathered.late, [member(1)]);
        drop(asking);
        asks.answered(ticket, member(1).id, rooms("late"));
        assert!(asks.all().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_did_not_get_through_names_those_it_was_meant_for() {
        let asks = Arc::<Asks>::default();
        let mut asking = asks.open(false, vec![member(1)]).await;
        let gathered = asking.gather(Instant::now() + PATIENCE).await;
        assert_eq!(gathered.late, [member(1)]);
    }

    #[tokio::test]
    async fn questions_take_turns() {
        let asks = Arc::<Asks>::default();
        let mut open = Vec::new();
        for _ in 0..MAX_OPEN {
            open.push(asks.open(false, vec![]).await);
        }
        assert!(
            tokio::time::timeout(PATIENCE, asks.open(false, vec![]))
                .await
                .is_err()
        );
        open.pop();
        assert!(
            tokio::time::timeout(PATIENCE, asks.open(false, vec![]))
                .await
                .is_ok()
        );
    }
}
