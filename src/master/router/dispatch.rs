//! Finds a worker for a connection.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::Router;
use super::connections::{Entry, Stage, Tracked};
use super::decision::{Destination, Seen};
use super::refusal::{Refusal, answer_check, refuse};
use crate::master::member::{Member, Unacknowledged};
use crate::master::pool::{LOOK_AGAIN, NoTurn, WORKER_PATIENCE};
use crate::metrics;
use crate::wire::client::ClientKey;
use crate::wire::link::Handoff;

/// A connection that is one too many may still turn out to be a health check's for this long.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);
/// Who was given to workers that went for so long is given to no other.
const LONGEST: Duration = Duration::from_secs(10);

impl Router {
    /// Begins with a connection.
    pub(super) async fn route(self: Rc<Self>, entry: Tracked) {
        let too_many = self.is_one_too_many(&entry);
        entry.stage.replace(Stage::Looking { too_many });
        self.look_and_dispatch(entry).await;
    }

    fn is_one_too_many(&self, entry: &Entry) -> Option<Refusal> {
        let limits = &self.config.limits;
        let limit = u64::from(limits.max_connections);
        if limit > 0 && self.pool.connections() + self.counts.count() >= limit {
            return Some(Refusal::Full);
        }
        let limit = u64::from(limits.max_connections_per_address);
        let client = self.counted_client(entry)?;
        let has = self.pool.connections_of(client) + self.counts.count_of(client);
        (has >= limit).then_some(Refusal::AddressFull)
    }

    /// Whose connection it is, if there is a limit for each client.
    fn counted_client(&self, entry: &Entry) -> Option<ClientKey> {
        let limits = &self.config.limits;
        let client = limits.client_of(entry.origin);
        client.filter(|_| limits.max_connections_per_address > 0)
    }

    /// What few connections need is boxed: the rest of the future is small.
    pub(super) async fn look_and_dispatch(self: Rc<Self>, entry: Tracked) {
        if let Some(why) = entry.too_many() {
            return Box::pin(self.turn_away(&entry, why)).await;
        }
        let _counted = self.counts.add(self.counted_client(&entry));
        let deadline = entry.accepted + self.config.limits.head_timeout;
        let seen = match self.see(&entry, deadline).await {
            Ok(seen) => seen,
            Err(error) => return debug!(%error, "a connection was over before its dispatch"),
        };
        match seen {
            Some(Seen::Request(destination)) => self.dispatch(&entry, destination).await,
            Some(Seen::Check { check, head }) => {
                let answer = check.answer(self.pool.readiness());
                Box::pin(answer_check(&entry, answer, head)).await;
            }
            Some(Seen::Garbage) => Box::pin(refuse(&entry, Refusal::Malformed)).await,
            Some(Seen::TooLong) => Box::pin(refuse(&entry, Refusal::TooLong)).await,
            Some(Seen::Closed) => {}
            None => Box::pin(refuse(&entry, Refusal::HeadTimeout)).await,
        }
    }

    /// Refuses a connection that is one too many, unless it is a health check's: who looks after the server would
    /// take it for dead when it is full.
    async fn turn_away(&self, entry: &Entry, why: Refusal) {
        let deadline = Instant::now() + CHECK_PATIENCE;
        match self.see(entry, deadline).await {
            Ok(Some(Seen::Check { check, head })) => {
                let answer = check.answer(self.pool.readiness());
                answer_check(entry, answer, head).await;
            }
            Ok(_) => refuse(entry, why).await,
            Err(error) => debug!(%error, "a connection was over before its refusal"),
        }
    }

    async fn dispatch(&self, entry: &Entry, destination: Destination) {
        entry.stage.replace(Stage::Waiting);
        let opens = destination == Destination::NewSession;
        let mut home = match destination {
            Destination::Home(home) => Some(home),
            _ => None,
        };
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        let why = loop {
            let changed = self.pool.changed();
            let member = match home.and_then(|home| self.pool.at(home)) {
                Some(member) => member,
                None if opens => match self.turn(entry, &mut waited).await {
                    Ok(member) => member,
                    Err(why) => break why,
                },
                None => match self.pool.choose(false, entry.port_of) {
                    Some(member) => member,
                    None if began.elapsed() < WORKER_PATIENCE => {
                        // No worker, or none that answers.
                        let _ = timeout(LOOK_AGAIN, changed).await;
                        continue;
                    }
                    None => break Refusal::NoWorker,
                },
            };
            // What it waited here its head does not lose.
            let waited = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
            let handoff = Handoff {
                origin: entry.origin,
                port_of: entry.port_of,
                opens,
                reservation: None,
                admitted: None,
                age_ms: entry.age_ms().saturating_sub(waited),
                head: Vec::new(),
            };
            if member.take(&entry.conn, handoff).await.is_ok() {
                // It ends here, with its entry.
                return;
            }
            // Its worker is gone, and the session with it.
            home = None;
            if began.elapsed() >= LONGEST {
                break Refusal::NoWorker;
            }
        };
        Box::pin(refuse(entry, why)).await;
    }

    /// The worker that has room for a new session. Most have their turn at once.
    async fn turn(&self, entry: &Entry, waited: &mut Duration) -> Result<Rc<Member>, Refusal> {
        let admitted = match self.pool.admit(entry.port_of) {
            Err(NoTurn::Busy) if self.reserve.has_room_to_wait(&*entry.conn) => {
                let began = Instant::now();
                let admitted = Box::pin(self.pool.wait_for_turn(entry.port_of)).await;
                *waited += began.elapsed();
                admitted
            }
            admitted => admitted,
        };
        // Connections are counted where they are accepted, sessions here.
        admitted.map_err(|why| match why {
            NoTurn::Full => Refusal::Full,
            NoTurn::NoWorker => Refusal::NoWorker,
            NoTurn::Busy => Refusal::Busy,
        })
    }

    /// Gives connections that a worker took down with it to others, if that worker had not begun
    /// to read them.
    pub(crate) fn rescue(self: &Rc<Self>, lost: impl IntoIterator<Item = Unacknowledged>) {
        for Unacknowledged { conn, handoff } in lost {
            let age = Duration::from_millis(handoff.age_ms.into());
            let accepted = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            if handoff.is_new() && matches!(self.peek(conn.as_fd()), Ok(Seen::Request(_))) {
                metrics::RESCUED.inc();
                let Handoff {
                    origin, port_of, ..
                } = handoff;
                let stage = Stage::Looking { too_many: None };
                let entry = self.connections.add(conn, origin, port_of, accepted, stage);
                spawn_local(Rc::clone(self).route(entry));
            }
        }
    }
}
