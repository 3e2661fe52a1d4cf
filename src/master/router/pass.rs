//! Passes connections from one worker on to another.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::Router;
use super::connections::{Entry, Passing, Stage, Tracked};
use super::refusal::{Refusal, refuse};
use crate::master::member::Member;
use crate::master::pool::{LOOK_AGAIN, WORKER_PATIENCE};
use crate::metrics;
use crate::wire::link::{Handoff, Origin};
use crate::wire::session_id::Home;

impl Router {
    /// Passes a connection from one worker on to another, where a place may be reserved for the session
    /// that it opens.
    pub(crate) fn pass(
        self: &Rc<Self>,
        to: Home,
        conn: OwnedFd,
        handoff: Handoff,
        reservation: Option<u64>,
    ) {
        if !self.reserve.has_room_for_handoff(&conn) {
            if let Some(number) = reservation {
                self.pool.release(number);
            }
            return self.complain(&"those that are left are for the workers");
        }
        let age = Duration::from_millis(handoff.age_ms.into());
        let accepted = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let (origin, port_of) = (handoff.origin, handoff.port_of);
        let passing = Box::new(Passing {
            to,
            handoff,
            reservation,
        });
        let stage = Stage::Passing(passing);
        let entry = self
            .connections
            .add(Rc::new(conn), origin, port_of, accepted, stage);
        spawn_local(Rc::clone(self).pass_on(entry));
    }

    pub(super) async fn pass_on(self: Rc<Self>, entry: Tracked) {
        let Some((to, reservation)) = entry.passing(|it| (it.to, it.reservation)) else {
            return;
        };
        // Another worker would be taken for the one that is gone, whose place the next one gets.
        if entry.origin == Origin::Worker && self.pool.at(to).is_none() {
            return gone(&entry, false).await;
        }
        let member = timeout(WORKER_PATIENCE, self.at_or_any(to, entry.port_of)).await;
        let handoff = entry.passing(|it| it.handoff.clone());
        let opens = handoff.as_ref().is_some_and(|it| it.opens);
        let (Ok(member), Some(mut handoff)) = (member, handoff) else {
            // What was reserved went with the worker.
            return gone(&entry, opens).await;
        };
        if handoff.opens {
            handoff.reservation = self.pool.redeem(reservation, &member);
            handoff.opens = handoff.reservation.is_none();
        }
        let reservation = handoff.reservation;
        metrics::PASSED.inc();
        if member.take(&entry.conn, handoff).await.is_err() {
            if let Some(number) = reservation {
                self.pool.release(number);
            }
            gone(&entry, opens).await;
        }
    }

    /// The worker of this place. If it is gone its sessions are, too: whoever takes connections says so, or opens the
    /// new one.
    async fn at_or_any(&self, home: Home, port_of: Option<u16>) -> Rc<Member> {
        loop {
            let changed = self.pool.changed();
            let member = self.pool.at(home);
            if let Some(member) = member.or_else(|| self.pool.choose(false, port_of)) {
                return member;
            }
            // None, or none that answers.
            let _ = timeout(LOOK_AGAIN, changed).await;
        }
    }
}

/// No worker takes it: the client hears what it would hear from one. Another worker, which waits for an answer, sees the
/// end.
async fn gone(entry: &Entry, opens: bool) {
    if entry.origin == Origin::Worker {
        return debug!("a connection was closed, for no worker takes it");
    }
    let why = if opens {
        Refusal::NoWorker
    } else {
        Refusal::UnknownSession
    };
    Box::pin(refuse(entry, why)).await;
}
