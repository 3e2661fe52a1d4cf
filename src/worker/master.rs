//! The worker's end of its link: what it asks the master, and the answers.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::sessions::BareSid;
use crate::ipc::link::{Inbox, Link, LinkError};
use crate::wire::link::{Handoff, ToMaster, ToWorker};
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

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Master {
    link: Link,
    next: AtomicU64,
    turns: Semaphore,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Option<Home>>>>,
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

    /// Passes a connection on to the worker that it belongs to.
    pub(crate) async fn pass(
        &self,
        to: Home,
        handoff: Handoff,
        conn: BorrowedFd<'_>,
    ) -> Result<(), AskError> {
        let message = ToMaster::Pass { to, handoff };
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
        self.ask(|ticket| ToMaster::Eio3Find { ticket, sid }).await
    }

    /// An answer came.
    pub(crate) fn answered(&self, ticket: u64, home: Option<Home>) {
        if let Some(asker) = self.waiting().remove(&ticket) {
            // An asker that waited too long has gone.
            let _ = asker.send(home);
        }
    }

    async fn ask(&self, question: impl FnOnce(u64) -> ToMaster) -> Result<Option<Home>, AskError> {
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

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Option<Home>>>> {
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
