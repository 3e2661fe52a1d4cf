//! Requests to the other workers, and their answers.
//!
//! The hub tells to whom a request went, and who has left since. So it is known, at every moment,
//! whose answer is still to come, and nobody waits for the dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socketioxide::AckError;
use socketioxide_core::Sid;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::acks::{self, Item};
use super::turns::Turn;
use crate::wire::frame::{Answer, BusMember, Failure};

/// All open requests of this worker.
#[derive(Debug, Default)]
pub(super) struct Requests {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    updates: mpsc::UnboundedSender<Update>,
    /// Whose answer is still to come.
    responders: Vec<BusMember>,
    turn: Arc<Turn>,
}

/// What becomes of a request. A responder has updates until its last answer, or until it is gone.
#[derive(Debug)]
pub(super) enum Update {
    /// The request went to these.
    Responders(Vec<BusMember>),
    /// An answer, or a part of one.
    Answer(BusMember, Answer),
    /// Acknowledgements, counted.
    Acks(BusMember, Vec<Item>),
    /// This one left without its last answer.
    Gone(BusMember),
}

/// One request that waits for its answers; it is closed when dropped.
#[derive(Debug)]
pub(super) struct Pending {
    requests: Arc<Requests>,
    pub(super) ticket: u64,
    /// As many as there are answers: one of each worker, or one for each socket.
    pub(super) updates: mpsc::UnboundedReceiver<Update>,
    /// To whom the hub will probably pass it.
    pub(super) expected: Vec<BusMember>,
}

/// All answers that came to a request.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) answers: Vec<(BusMember, Answer)>,
    /// Who left before it answered.
    pub(super) gone: Vec<BusMember>,
    /// Who did not answer in time.
    pub(super) late: Vec<BusMember>,
}

impl Requests {
    /// Opens a request, to be sent with its ticket. These are expected to answer it.
    pub(super) fn open(self: &Arc<Self>, turn: Arc<Turn>, expected: Vec<BusMember>) -> Pending {
        let ticket = self.next.fetch_add(1, Relaxed);
        let (sender, updates) = mpsc::unbounded_channel();
        let open = Open {
            updates: sender,
            responders: Vec::new(),
            turn,
        };
        self.all().insert(ticket, open);
        Pending {
            requests: Arc::clone(self),
            ticket,
            updates,
            expected,
        }
    }

    /// The hub has passed a request on.
    pub(super) fn set_responders(&self, ticket: u64, responders: Vec<BusMember>) {
        if let Some(open) = self.all().get_mut(&ticket) {
            open.responders.clone_from(&responders);
            open.update(Update::Responders(responders));
        }
    }

    /// An answer came. One that comes too late is for nobody.
    pub(super) fn answered(&self, ticket: u64, from: Sid, answer: Answer) {
        if let Some(open) = self.all().get_mut(&ticket)
            && let Some(at) = open.responders.iter().position(|member| member.id == from)
        {
            let member = match (answer.is_last(), open.responders.get(at)) {
                (false, Some(member)) => member.clone(),
                _ => open.responders.swap_remove(at),
            };
            open.update(match answer {
                Answer::Acks(acks) => {
                    let acks = acks.into_iter();
                    let acks = acks.map(|(id, ack)| (id, ack.map_err(AckError::from)));
                    let counted = acks.map(|ack| acks::counted(ack, &open.turn));
                    Update::Acks(member, counted.collect())
                }
                answer => Update::Answer(member, answer),
            });
        }
    }

    /// A member is gone. How many requests will not have its answer?
    pub(super) fn remove_member(&self, member: &BusMember) -> usize {
        let mut unanswered = 0;
        for open in self.all().values_mut() {
            if open.responders.contains(member) {
                open.responders.retain(|other| other != member);
                open.update(Update::Gone(member.clone()));
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
    fn update(&self, update: Update) {
        // Who asked may have gone; its entry goes with it.
        let _ = self.updates.send(update);
    }
}

impl Pending {
    /// Waits for the one answer of everybody who was asked.
    pub(super) async fn gather(&mut self, deadline: Instant) -> Gathered {
        let mut gathered = Gathered::default();
        let mut responders: Option<Vec<BusMember>> = None;
        while responders.as_ref().is_none_or(|left| !left.is_empty()) {
            let Ok(Some(update)) = timeout_at(deadline, self.updates.recv()).await else {
                gathered.late = responders.unwrap_or_else(|| std::mem::take(&mut self.expected));
                break;
            };
            let mut done = |member: &BusMember| {
                if let Some(responders) = &mut responders {
                    responders.retain(|other| other != member);
                }
            };
            match update {
                Update::Responders(all) => responders = Some(all),
                Update::Answer(from, answer) => {
                    done(&from);
                    gathered.answers.push((from, answer));
                }
                Update::Gone(member) => {
                    done(&member);
                    gathered.gone.push(member);
                }
                // Who gathers asks for none.
                Update::Acks(..) => {}
            }
        }
        gathered
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.requests.all().remove(&self.ticket);
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self::Other(why.to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::turns::{Responder, Turns};
    use super::*;

    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Longer than any test.
    fn long() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn member(slot: u16) -> BusMember {
        BusMember {
            id: format!("{slot:016}").parse().unwrap(),
            slot,
            pid: 100 + u32::from(slot),
            machine: "".into(),
        }
    }

    async fn open(requests: &Arc<Requests>, expected: Vec<BusMember>) -> Pending {
        let turn = Turns::default()
            .take(Responder::Worker, None)
            .await
            .unwrap();
        requests.open(turn, expected)
    }

    fn rooms(name: &'static str) -> Answer {
        Answer::Rooms(vec![name.into()])
    }

    #[tokio::test]
    async fn all_answers_end_the_wait_at_once() {
        let requests = Arc::<Requests>::default();
        let mut pending = open(&requests, vec![]).await;
        requests.set_responders(pending.ticket, vec![member(1), member(2)]);
        requests.answered(pending.ticket, member(2).id, rooms("b"));
        requests.answered(pending.ticket, member(1).id, rooms("a"));
        let gathered = pending.gather(long()).await;
        assert_eq!(gathered.answers.len(), 2);
        assert!(gathered.gone.is_empty() && gathered.late.is_empty());
    }

    #[tokio::test]
    async fn a_question_to_nobody_is_answered() {
        let requests = Arc::<Requests>::default();
        let mut pending = open(&requests, vec![]).await;
        requests.set_responders(pending.ticket, vec![]);
        let gathered = pending.gather(long()).await;
        assert!(gathered.answers.is_empty());
    }

    #[tokio::test]
    async fn the_dead_are_not_waited_for_and_named() {
        let requests = Arc::<Requests>::default();
        let mut pending = open(&requests, vec![]).await;
        requests.set_responders(pending.ticket, vec![member(1), member(2)]);
        requests.answered(pending.ticket, member(1).id, rooms("a"));
        assert_eq!(requests.remove_member(&member(1)), 0, "it had answered");
        assert_eq!(requests.remove_member(&member(2)), 1);
        let gathered = pending.gather(long()).await;
        assert_eq!(gathered.gone, [member(2)]);
        assert_eq!(gathered.answers.len(), 1);
    }

    #[tokio::test]
    async fn the_late_are_named_and_forgotten() {
        let requests = Arc::<Requests>::default();
        let mut pending = open(&requests, vec![]).await;
        let ticket = pending.ticket;
        requests.set_responders(ticket, vec![member(1)]);
        let gathered = pending.gather(Instant::now() + PATIENCE).await;
        assert_eq!(gathered.late, [member(1)]);
        drop(pending);
        requests.answered(ticket, member(1).id, rooms("late"));
        assert!(requests.all().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_did_not_get_through_names_those_it_was_meant_for() {
        let requests = Arc::<Requests>::default();
        let mut pending = open(&requests, vec![member(1)]).await;
        let gathered = pending.gather(Instant::now() + PATIENCE).await;
        assert_eq!(gathered.late, [member(1)]);
    }
}
