//! What operators ask of the workers: each question has a number, and a deadline. A worker that dies is not waited for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::member::Member;
use crate::wire::control::{Answer, Question};
use crate::wire::link::ToWorker;

/// How long a worker may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The questions that are open.
#[derive(Debug)]
pub(crate) struct Questions {
    patience: Duration,
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// Of which worker it is asked.
    pid: u32,
    answer: oneshot::Sender<Answer>,
}

/// What became of a question.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) answers: Vec<Answer>,
    pub(crate) unanswered: Vec<Unanswered>,
}

/// A worker that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unanswered {
    slot: u16,
    pid: u32,
    why: &'static str,
}

impl Default for Questions {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl Questions {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            next: Cell::default(),
            open: RefCell::default(),
        }
    }

    /// The number of the next one.
    pub(crate) fn next(&self) -> u64 {
        self.next.get()
    }

    /// The next one has this number: those before it were another program's.
    pub(crate) fn go_on_from(&self, next: u64) {
        self.next.set(next);
    }

    /// Asks all of `members`, with a copy of the descriptor for each, and waits for all answers.
    pub(crate) async fn ask(
        &self,
        members: &[Rc<Member>],
        question: &Question,
        passed: Option<&OwnedFd>,
    ) -> Gathered {
        let asked = members
            .iter()
            .map(|member| self.ask_one(member, question, passed));
        let mut gathered = Gathered::default();
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) => gathered.answers.push(answer),
                Err(unanswered) => gathered.unanswered.push(unanswered),
            }
        }
        gathered
    }

    async fn ask_one(
        &self,
        member: &Member,
        question: &Question,
        passed: Option<&OwnedFd>,
    ) -> Result<Answer, Unanswered> {
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        let (sender, answer) = oneshot::channel();
        let open = Open {
            pid: member.pid,
            answer: sender,
        };
        self.open.borrow_mut().insert(ticket, open);
        let _open = Ticket {
            questions: self,
            ticket,
        };
        let message = ToWorker::Ask {
            ticket,
            question: question.clone(),
        };
        let asked = async {
            let passed = passed.map(AsFd::as_fd);
            if let Err(error) = member.link.send(&message, passed).await {
                debug!(%error, pid = member.pid, "a worker was not asked");
                return None;
            }
            answer.await.ok()
        };
        let why = match timeout(self.patience, asked).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "it ended",
            Err(_) => "it did not answer in time",
        };
        Err(Unanswered {
            slot: member.home.slot,
            pid: member.pid,
            why,
        })
    }

    /// A worker answers.
    pub(crate) fn answered(&self, ticket: u64, pid: u32, answer: Answer) {
        let mut open = self.open.borrow_mut();
        if open.get(&ticket).is_some_and(|open| open.pid == pid)
            && let Some(open) = open.remove(&ticket)
        {
            // Who asked may have gone.
            let _ = open.answer.send(answer);
        }
    }

    /// A worker is gone.
    pub(crate) fn gone(&self, pid: u32) {
        self.open.borrow_mut().retain(|_, open| open.pid != pid);
    }
}

/// An open question; forgotten with who asks.
struct Ticket<'a> {
    questions: &'a Questions,
    ticket: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.questions.open.borrow_mut().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::ipc::link::{self, Inbox, Link};
    use crate::wire::session_id::Home;

    const SHORT: Duration = Duration::from_millis(200);

    /// A worker as the master has it, and the other end of its link.
    fn worker(slot: u16) -> (Rc<Member>, Link) {
        let (ours, theirs) = link::pair().unwrap();
        let home = Home {
            generation: 0,
            slot,
        };
        let member = Member::new(home, 700 + u32::from(slot), Link::new(ours).unwrap());
        (Rc::new(member), Link::new(theirs).unwrap())
    }

    async fn ticket(link: &Link) -> u64 {
        match link.recv(&mut Inbox::default()).await.unwrap().0 {
            ToWorker::Ask { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn unanswered(slot: u16, why: &'static str) -> Unanswered {
        Unanswered {
            slot,
            pid: 700 + u32::from(slot),
            why,
        }
    }

    #[tokio::test]
    async fn who_answers_is_heard_and_the_others_are_named() {
        let workers: Vec<_> = (0..3).map(worker).collect();
        let members: Vec<_> = workers
            .iter()
            .map(|(member, _)| Rc::clone(member))
            .collect();
        let questions = Questions::new(SHORT);
        let asking = questions.ask(&members, &Question::Emit, None);
        let answering = async {
            for (member, link) in &workers {
                let ticket = ticket(link).await;
                match member.home.slot {
                    // Another's answer is nobody's.
                    0 => {
                        questions.answered(ticket, 999, Answer::Done(Ok(false)));
                        questions.answered(ticket, 700, Answer::Done(Ok(true)));
                    }
                    1 => questions.gone(701),
                    _ => {}
                }
            }
        };
        let (gathered, ()) = tokio::join!(asking, answering);
        assert_eq!(gathered.answers, [Answer::Done(Ok(true))]);
        let expected = [
            unanswered(1, "it ended"),
            unanswered(2, "it did not answer in time"),
        ];
        assert_eq!(gathered.unanswered, expected);
        assert!(questions.open.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_link_that_takes_nothing_is_waited_for_no_longer() {
        let (member, _link) = worker(0);
        let message = ToWorker::Ask {
            ticket: 0,
            question: Question::Emit,
        };
        while timeout(Duration::from_millis(1), member.link.send(&message, None))
            .await
            .is_ok()
        {}
        let began = Instant::now();
        let questions = Questions::new(SHORT);
        let gathered = questions.ask(&[member], &Question::Emit, None).await;
        assert_eq!(
            gathered.unanswered,
            [unanswered(0, "it did not answer in time")]
        );
        assert!(began.elapsed() < 10 * SHORT, "{:?}", began.elapsed());
    }
}
