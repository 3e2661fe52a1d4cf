//! What becomes of the answers to polls: whoever polls again has the one before, unless its connection has failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// So long after a client has polled again the failure of the connection with the answer before still means that
/// it was lost. The one may arrive before the other, over a network as within a busy kernel; later a connection fails
/// for reasons of its own.
const LATE: Duration = Duration::from_millis(500);

/// A connection that has an answer, and may have failed without anybody having noticed yet.
pub trait Delivery: Send + Sync {
    /// Has it failed? Called when the client polls again, over whatever connection.
    fn has_failed(&self) -> bool;
}

/// What became of an answer when the client polls again.
pub(crate) enum Last {
    /// It has it, or there was none.
    Delivered(Option<Box<Presumed>>),
    /// It has not left yet, or its connection has failed: what it does not deliver is about to come back.
    Open,
}

/// An answer that is taken for delivered.
pub(crate) struct Presumed {
    pub(crate) serial: u64,
    since: Instant,
    delivery: Arc<dyn Delivery>,
}

impl Presumed {
    /// A proxy's connection tells nothing of its client's.
    pub(crate) fn of(serial: u64, delivery: Option<Arc<dyn Delivery>>) -> Option<Box<Self>> {
        delivery.map(|delivery| {
            Box::new(Self {
                serial,
                since: Instant::now(),
                delivery,
            })
        })
    }

    pub(crate) fn may_be_lost(&self) -> bool {
        self.since.elapsed() < LATE
    }

    /// Has its connection failed, after all?
    pub(crate) fn is_lost(&self) -> bool {
        self.may_be_lost() && self.delivery.has_failed()
    }
}
