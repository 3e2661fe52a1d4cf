//! The worker's end of its link: what it asks the master, and the answers.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::opening::Opening;
use super::sessions::BareSid;
use crate::api::ClientAddr;
use crate::ipc::link::{Inbox, Link, LinkError};
use crate::wire::link::{Handoff, NoPlace, ToMaster, ToWorker};
use crate::wire::session_id::Home;

/// How long the master may take to answer. It answers within microseconds, or is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions at a time: the answers to so many always fit into the link.
const MAX_QUESTIONS: usize = 64;

/// The master gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The link is broken.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It took too long.
    #[error("the master did not answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// What the master answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Who has a revision 3 session.
    Eio3(Option<Home>),
    /// Where a session is to be opened, or why nowhere. If nobody waits for the answer any more, the place is
    /// given back.
    Home(Result<(Home, Opening), NoPlace>),
}

/// Numbers its questions, so that answers may come in any order.
#[derive(Debug)]
pub(crate) struct Master {
    link: Link,
    next: AtomicU64,
    turns: Semaphore,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Master {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            next: AtomicU64::new(0),
            turns: Semaphore::new(MAX_QUESTIONS),
            waiting: Mutex::default(),
        }
    }

    pub(crate) async fn tell(&self, message: &ToMaster) -> Result<(), LinkError> {
        self.link.send(message, None).await
    }

    pub(crate) async fn listen(
        &self,
        inbox: &mut Inbox,
    ) -> Result<(ToWorker, Option<std::os::fd::OwnedFd>), LinkError> {
        self.link.recv(inbox).await
    }

    /// Passes a connection on to the worker that it belongs to, with the number under which the session
    /// that it opens is reserved.
    pub(crate) async fn pass(
        &self,
        to: Home,
        handoff: Handoff,
        reservation: Option<u64>,
        conn: BorrowedFd<'_>,
    ) -> Result<(), AskError> {
        let message = ToMaster::Pass {
            to,
            handoff,
            reservation,
        };
        let sent = self.link.send(&message, Some(conn));
        Ok(timeout(PATIENCE, sent)
            .await
            .map_err(|_| AskError::Late)??)
    }

    /// Makes the id of a revision 3 session known. When this returns, requests that name it reach
    /// this worker.
    pub(crate) async fn open_eio3(&self, sid: BareSid) -> Result<(), AskError> {
        self.ask(|ticket| ToMaster::Eio3Open { ticket, sid })
            .await
            .map(drop)
    }

    /// Who has this revision 3 session?
    pub(crate) async fn find_eio3(&self, sid: BareSid) -> Result<Option<Home>, AskError> {
        match self
            .ask(|ticket| ToMaster::Eio3Find { ticket, sid })
            .await?
        {
            Answer::Eio3(home) => Ok(home),
            Answer::Home(_) => Err(AskError::Late),
        }
    }

    /// Which worker is to have a new session of this client, and may it be opened? If its connection was
    /// dispatched for it, it is this one; if it came to a worker's own port, that one.
    pub(crate) async fn reserve(
        &self,
        ClientAddr(client): ClientAddr,
        dispatched: bool,
        port_of: Option<u16>,
    ) -> Result<Result<(Home, Opening), NoPlace>, AskError> {
        let question = |ticket| ToMaster::Reserve {
            ticket,
            client,
            dispatched,
            port_of,
        };
        match self.ask(question).await? {
            Answer::Home(place) => Ok(place),
            Answer::Eio3(_) => Err(AskError::Late),
        }
    }

    /// An answer came.
    pub(crate) fn answered(&self, ticket: u64, answer: Answer) {
        if let Some(asker) = self.waiting().remove(&ticket) {
            // An asker that waited too long has gone.
            let _ = asker.send(answer);
        }
    }

    async fn ask(&self, question: impl FnOnce(u64) -> ToMaster) -> Result<Answer, AskError> {
        let asked = async {
            // It is never closed.
            let _turn = self.turns.acquire().await;
            let ticket = self.next.fetch_add(1, Relaxed);
            let (sender, answer) = oneshot::channel();
            self.waiting().insert(ticket, sender);
            let _waiting = Waiting {
                master: self,
                ticket,
            };
            self.tell(&question(ticket)).await?;
            answer.await.map_err(|_| AskError::Late)
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(AskError::Late))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open question; forgotten with its asker.
struct Waiting<'a> {
    master: &'a Master,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.master.waiting().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ipc::link;
    use crate::worker::sessions::Sessions;

    const HOME: Home = Home {
        generation: 0,
        slot: 3,
    };

    /// A worker's end of a link, and the master's.
    fn ends() -> (Master, Link) {
        let (ours, theirs) = link::pair().unwrap();
        let master = Master::new(Link::new(ours).unwrap());
        (master, Link::new(theirs).unwrap())
    }

    async fn asked(link: &Link) -> u64 {
        match link.recv(&mut Inbox::default()).await.unwrap().0 {
            ToMaster::Reserve { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_place_is_given_back_when_who_asked_for_it_has_gone() {
        let sessions = Arc::<Sessions>::default();
        let (master, link) = ends();
        let place = |number| Answer::Home(Ok((HOME, Opening::reserved(&sessions, number))));

        // It goes before the answer comes.
        let mut asking = Box::pin(master.reserve(ClientAddr(None), false, None));
        let ticket = tokio::select! {
            ticket = asked(&link) => ticket,
            _ = &mut asking => panic!("nobody has answered"),
        };
        drop(asking);
        master.answered(ticket, place(1));
        assert_eq!(sessions.take_released(), [1]);

        // It goes with the answer under way.
        let mut asking = Box::pin(master.reserve(ClientAddr(None), false, None));
        let ticket = tokio::select! {
            ticket = asked(&link) => ticket,
            _ = &mut asking => panic!("nobody has answered"),
        };
        master.answered(ticket, place(2));
        assert!(sessions.take_released().is_empty());
        drop(asking);
        assert_eq!(sessions.take_released(), [2]);
    }

    #[tokio::test]
    async fn who_asks_holds_the_place_until_it_is_done() {
        let sessions = Arc::<Sessions>::default();
        let (master, link) = ends();
        let answer = async {
            let ticket = asked(&link).await;
            let place = (HOME, Opening::reserved(&sessions, 7));
            master.answered(ticket, Answer::Home(Ok(place)));
        };
        let (reserved, ()) = tokio::join!(master.reserve(ClientAddr(None), false, None), answer);
        let (home, opening) = reserved.unwrap().unwrap();
        assert_eq!((home, opening.reservation()), (HOME, Some(7)));
        assert!(sessions.take_released().is_empty());
        drop(opening);
        assert_eq!(sessions.take_released(), [7]);
    }

    #[tokio::test]
    async fn a_master_that_does_not_answer_is_waited_for_no_longer_than_agreed() {
        let (master, _link) = ends();
        let asked = master.reserve(ClientAddr(None), false, None).await;
        assert!(matches!(asked, Err(AskError::Late)), "{asked:?}");
        assert!(master.waiting().is_empty());
    }
}
