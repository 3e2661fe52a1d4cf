//! The protocol between bridges: numbers, the ring, repair, membership. It does no I/O and has no clock of its own.

mod types;

use std::time::Instant;

use bytes::Bytes;

use crate::wire::frame::BusMember;

pub(in crate::bridge) use self::types::{
    CoreSettings, Figures, Inbound, Leaving, Notice, Output, RING_BYTES, Why,
};

/// The protocol between bridges, of one bridge. After each call of it, [`Core::poll`] until there is nothing, and
/// [`Core::tick`] at [`Core::next_deadline`].
pub(in crate::bridge) struct Core {}

impl Core {
    /// A bridge that is not connected.
    pub(in crate::bridge) fn new(_settings: CoreSettings, _now: Instant) -> Self {
        Self {}
    }

    /// The channels to subscribe to, with what [`Core::received`] is to be told of each.
    pub(in crate::bridge) fn channels(&self) -> [(String, Inbound); 3] {
        [(); 3].map(|()| (String::new(), Inbound::All))
    }

    /// This machine's workers (the hub's `Members`).
    pub(in crate::bridge) fn members(&mut self, _now: Instant, _members: Vec<BusMember>) {}

    /// A frame from the own hub: `to: None`, or to a member elsewhere.
    pub(in crate::bridge) fn local(&mut self, _now: Instant, _frame: &Bytes) {}

    /// Both connections are there, and all channels are subscribed to.
    pub(in crate::bridge) fn connected(&mut self, _now: Instant) {}

    /// One of the connections has ended. What was published and not answered is published again.
    pub(in crate::bridge) fn disconnected(&mut self, _now: Instant) {}

    /// A message came.
    pub(in crate::bridge) fn received(&mut self, _now: Instant, _on: Inbound, _payload: &Bytes) {}

    /// What became of an [`Output::Publish`]. One that is not known any more is ignored.
    pub(in crate::bridge) fn published(
        &mut self,
        _now: Instant,
        _id: u64,
        _result: Result<(), ()>,
    ) {
    }

    /// Time has passed.
    pub(in crate::bridge) fn tick(&mut self, _now: Instant) {}

    /// This bridge is to end: it publishes what waits, waits up to 1 s until the others have heard all, and says
    /// goodbye. Read no more from the hub before.
    pub(in crate::bridge) fn goodbye(&mut self, _now: Instant) {}

    /// After [`Core::goodbye`]: is all done? Nothing is delivered any more then.
    pub(in crate::bridge) fn is_gone(&self) -> bool {
        false
    }

    /// Does so much wait that nothing more should be read from the hub? Never while the link is down.
    pub(in crate::bridge) fn is_full(&self) -> bool {
        false
    }

    /// When [`Core::tick`] is to be called next.
    pub(in crate::bridge) fn next_deadline(&self) -> Instant {
        Instant::now()
    }

    /// What is to be done next, or nothing.
    pub(in crate::bridge) fn poll(&mut self, _now: Instant) -> Option<Output> {
        None
    }

    /// What was counted.
    pub(in crate::bridge) fn figures(&self) -> Figures {
        Figures::default()
    }
}
