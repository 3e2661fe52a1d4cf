//! Accepts connections, and begins with each.

use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::Router;
use super::connections::{Stage, Tracked};
use crate::master::listeners::Listener;
use crate::metrics;
use crate::wire::link::Origin;

/// After so many accepted connections the others have their turn.
const BURST: u32 = 64;
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same trouble is told once in this time.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

impl Router {
    pub(super) async fn accept(self: Rc<Self>, listener: Rc<Listener>) {
        // Until then whoever connects waits in the backlog, for as long as it likes.
        self.pool.all_ready(1).await;
        let mut accepted = 0_u32;
        loop {
            match listener.accept().await {
                Ok((conn, origin)) => {
                    metrics::ACCEPTED.count(origin.into());
                    let port_of = listener.port_of();
                    let mut tracked = self.track(conn, origin, port_of);
                    if !self.reserve.has_room_for(&*tracked.conn) {
                        self.complain(&"those that are left are for the workers");
                        tracked = self.wait_for_room(tracked).await;
                    }
                    let mut route = Box::pin(Rc::clone(&self).route(tracked));
                    // Most are on their way at once; only who has to wait needs a task.
                    let polled = poll_fn(|cx| Poll::Ready(route.as_mut().poll(cx))).await;
                    if polled.is_pending() {
                        spawn_local(route);
                    }
                    accepted = accepted.wrapping_add(1);
                    if accepted.is_multiple_of(BURST) {
                        yield_now().await;
                    }
                }
                Err(error) if is_exhaustion(&error) => {
                    self.complain(&error);
                    sleep(ACCEPT_PAUSE).await;
                }
                // A client that left between its connect and our accept (accept(2), "Error
                // handling"): nothing of ours is wrong.
                Err(error) => debug!(%error, "accept"),
            }
        }
    }

    fn track(&self, conn: OwnedFd, origin: Origin, port_of: Option<u16>) -> Tracked {
        let stage = Stage::Looking { too_many: None };
        self.connections
            .add(Rc::new(conn), origin, port_of, Instant::now(), stage)
    }

    /// Keeps a connection, and so the next ones from being accepted, until another has gone to its worker.
    async fn wait_for_room(&self, tracked: Tracked) -> Tracked {
        loop {
            sleep(ACCEPT_PAUSE).await;
            if let Some(conn) = self.reserve.renumber(&tracked.conn) {
                return self.track(conn, tracked.origin, tracked.port_of);
            }
        }
    }

    pub(super) fn complain(&self, error: &dyn Display) {
        if self.complaints.allows(COMPLAINT_PAUSE) {
            warn!(%error, "cannot accept connections; raise LimitNOFILE");
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
