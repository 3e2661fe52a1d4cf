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
use crate::master::pool::WORKER_PATIENCE;
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
        let member = if entry.origin == Origin::Worker {
            // The other worker reads its end, and refuses the request.
            self.pool.at(to)
        } else {
            // A client's, whose worker has died: the one that takes its place answers. None does for one of an
            // earlier generation: then any does.
            let back = timeout(WORKER_PATIENCE, self.pool.back(to)).await;
            let any = || self.pool.choose(false, entry.port_of);
            back.ok().flatten().or_else(any)
        };
        let handoff = entry.passing(|it| it.handoff.clone());
        let opens = handoff.as_ref().is_some_and(|it| it.opens);
        let (Some(member), Some(mut handoff)) = (member, handoff) else {
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
}

/// Its worker is gone, and the session with it: what the client would hear from that worker, too. Another worker, which
/// waits for an answer, sees the end.
async fn gone(entry: &Entry, opens: bool) {
    if entry.origin == Origin::Worker {
        return debug!("a connection for a worker that is gone was closed");
    }
    let why = if opens {
        Refusal::NoWorker
    } else {
        Refusal::UnknownSession
    };
    Box::pin(refuse(entry, why)).await;
}
