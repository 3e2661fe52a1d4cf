//! A worker that takes connections, as the master sees it: what it has, and what is on its way to it.

mod handover;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::pace::Pace;
use crate::ipc::link::Link;
use crate::wire::client::ClientKey;
use crate::wire::handover::workers::Reply;
use crate::wire::link::{Change, Handoff, Report, ToWorker};
use crate::wire::session_id::Home;

/// Handoffs to one worker that it has not acknowledged yet.
const WINDOW: usize = 256;

/// How long a handoff may wait for a worker that has its window full.
const TAKE_PATIENCE: Duration = Duration::from_secs(3);

/// How long a worker may take to receive an answer. It waits no longer for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers that wait for a worker. It asks less at a time.
const MOST_REPLIES: usize = 1024;

/// A connection that was handed off and may still be lost with its worker.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) conn: Rc<OwnedFd>,
    pub(crate) handoff: Handoff,
}

/// A worker took no connection: it is gone, or reads nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotTaken;

/// A worker that takes connections.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) home: Home,
    pub(crate) pid: u32,
    pub(crate) link: Link,
    pub(super) report: Cell<Report>,
    /// Sessions of whose end it has told since its last report.
    told_ends: Cell<u64>,
    dispatched: Cell<u64>,
    /// Of those, how many have their connections here still.
    expected: Cell<u64>,
    pub(super) window: Semaphore,
    pub(super) unacknowledged: RefCell<VecDeque<Unacknowledged>>,
    /// What clients have here, if there is a limit for each.
    clients: RefCell<HashMap<ClientKey, Held>>,
    pub(super) stalled: Cell<bool>,
    /// How many new sessions may be on their way at once.
    pace: RefCell<Pace>,
    /// What it is to be told, the next one first, and until when.
    replies: RefCell<VecDeque<(Reply, Instant)>>,
    replied: Notify,
}

/// What one client has at one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) sessions: u32,
    pub(super) connections: u32,
}

impl Member {
    pub(crate) fn new(home: Home, pid: u32, link: Link) -> Self {
        Self {
            home,
            pid,
            link,
            report: Cell::default(),
            told_ends: Cell::new(0),
            dispatched: Cell::new(0),
            expected: Cell::new(0),
            window: Semaphore::new(WINDOW),
            unacknowledged: RefCell::default(),
            clients: RefCell::default(),
            stalled: Cell::new(false),
            pace: RefCell::default(),
            replies: RefCell::default(),
            replied: Notify::new(),
        }
    }

    pub(super) fn load(&self) -> u64 {
        let report = self.report.get();
        report.sessions + self.dispatched.get().saturating_sub(report.resolved)
    }

    /// May it be given one more new session now?
    pub(super) fn has_room(&self) -> bool {
        self.pace.borrow().has_room()
    }

    /// A new session is dispatched to it.
    pub(super) fn dispatches(&self) {
        self.expect_session();
        self.pace.borrow_mut().sent(Instant::now().into_std());
    }

    /// One session more is on its way.
    pub(super) fn count_up(&self) {
        self.dispatched.set(self.dispatched.get() + 1);
    }

    /// Likewise, for whose connection [`Member::take`] is next.
    pub(super) fn expect_session(&self) {
        self.count_up();
        self.expected.set(self.expected.get() + 1);
    }

    /// It does not come on that way.
    pub(super) fn count_down(&self) {
        self.dispatched.set(self.dispatched.get().saturating_sub(1));
    }

    /// Hands a connection off. The descriptor is kept until the worker has said that it took it. Until this returns,
    /// the connection is the caller's; then it is among the [unacknowledged](Unacknowledged): in the same poll the
    /// caller forgets it.
    ///
    /// # Errors
    /// When the worker is gone or does not take any.
    pub(crate) fn take<'a>(
        &'a self,
        conn: &'a Rc<OwnedFd>,
        handoff: Handoff,
    ) -> impl Future<Output = Result<(), NotTaken>> + 'a {
        let (opens, paced) = (handoff.opens, handoff.is_paced());
        // Once in the future, which each connection that waits has.
        let message = ToWorker::Take(handoff);
        async move {
            let sent = self.send(conn, &message).await;
            if opens {
                self.expected.set(self.expected.get().saturating_sub(1));
            }
            if let (Ok(()), ToWorker::Take(handoff)) = (sent, message) {
                // Nothing runs between the packet's departure and this, so that the order here is
                // the order of the acknowledgements.
                let conn = Rc::clone(conn);
                let sent = Unacknowledged { conn, handoff };
                self.unacknowledged.borrow_mut().push_back(sent);
                return Ok(());
            }
            // Until it answers again, or is replaced.
            self.stalled.set(true);
            if opens {
                self.count_down();
            }
            if paced {
                self.pace.borrow_mut().unsent();
            }
            Err(NotTaken)
        }
    }

    async fn send(&self, conn: &Rc<OwnedFd>, message: &ToWorker) -> Result<(), NotTaken> {
        match timeout(TAKE_PATIENCE, self.window.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            _ => return Err(NotTaken),
        }
        let sent = timeout(TAKE_PATIENCE, self.link.send(message, Some(conn.as_fd()))).await;
        if let Ok(Ok(())) = sent {
            return Ok(());
        }
        debug!(?sent, pid = self.pid, "a handoff failed");
        self.window.add_permits(1);
        Err(NotTaken)
    }

    /// Never waits, for a worker must be heard while it is told. What it may ask here is bounded by what it has asked
    /// and not heard yet.
    ///
    /// # Errors
    /// With the answer, when so much is not to be told.
    pub(crate) fn reply(&self, reply: Reply) -> Result<(), Reply> {
        let mut replies = self.replies.borrow_mut();
        if replies.len() >= MOST_REPLIES {
            return Err(reply);
        }
        replies.push_back((reply, Instant::now() + PATIENCE));
        self.replied.notify_one();
        Ok(())
    }

    /// Tells the worker the next of its answers; what is returned it has not heard in time. May be dropped meanwhile.
    pub(crate) async fn tell_reply(&self) -> Option<Reply> {
        let (reply, due) = loop {
            let next = self.replies.borrow().front().copied();
            match next {
                Some(next) => break next,
                None => self.replied.notified().await,
            }
        };
        let message = reply.message();
        let sent = timeout_at(due, self.link.send(&message, None)).await;
        // Nothing runs between its departure and this.
        self.replies.borrow_mut().pop_front();
        (!matches!(sent, Ok(Ok(())))).then_some(reply)
    }

    /// The worker told its counts.
    pub(crate) fn reported(&self, report: Report) {
        let took = report.taken.saturating_sub(self.report.get().taken);
        let mut unacknowledged = self.unacknowledged.borrow_mut();
        let took = usize::try_from(took).unwrap_or(0).min(unacknowledged.len());
        let began = unacknowledged.drain(..took);
        let paced = began.filter(|sent| sent.handoff.is_paced()).count();
        self.pace
            .borrow_mut()
            .acknowledged(paced, Instant::now().into_std());
        self.window.add_permits(took);
        self.report.set(report);
        self.told_ends.set(0);
    }

    /// The last that it told of its sessions, when it is gone.
    pub(crate) fn reported_sessions(&self, sessions: u64) {
        let report = self.report.get();
        self.report.set(Report { sessions, ..report });
        self.told_ends.set(0);
    }

    /// The worker told of so many sessions that have ended; its next report has counted them.
    pub(crate) fn told_ends(&self, count: usize) {
        self.told_ends.set(self.told_ends.get() + count as u64);
    }

    /// The sessions that it has, or had, and of whose end it has not told.
    pub(crate) fn untold(&self) -> u64 {
        let sessions = self.report.get().sessions;
        sessions.saturating_sub(self.told_ends.get())
    }

    /// The worker told by how much the counts of clients have changed.
    pub(crate) fn clients_changed(&self, changes: &[(ClientKey, Change)]) {
        let mut clients = self.clients.borrow_mut();
        for &(client, change) in changes {
            let held = clients.entry(client).or_default();
            held.sessions = held.sessions.saturating_add_signed(change.sessions);
            held.connections = held.connections.saturating_add_signed(change.connections);
            if *held == Held::default() {
                clients.remove(&client);
            }
        }
        if clients.capacity() > 64 && clients.len() < clients.capacity() / 8 {
            let room = 2 * clients.len();
            clients.shrink_to(room);
        }
    }

    pub(super) fn held(&self, client: ClientKey) -> Held {
        let mut held = self
            .clients
            .borrow()
            .get(&client)
            .copied()
            .unwrap_or_default();
        let on_their_way = self.unacknowledged.borrow();
        let on_their_way = on_their_way
            .iter()
            .filter(|sent| sent.handoff.origin.peer() == Some(client));
        held.connections = held
            .connections
            .saturating_add(on_their_way.count().try_into().unwrap_or(u32::MAX));
        held
    }

    /// Has the worker not answered for a second? Then it gets nothing new.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.set(stalled);
    }

    /// Has it not answered for a second?
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// The connections that go down with the worker unless somebody else takes them.
    pub(crate) fn take_unacknowledged(&self) -> VecDeque<Unacknowledged> {
        self.unacknowledged.take()
    }
}
