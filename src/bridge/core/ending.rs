//! The end of a bridge: what waits is published, the others hear all, and goodbye is said.

use std::time::{Duration, Instant};

use super::Core;
use super::peers::Peer;
use super::types::after;
use crate::wire::envelope::Phase;

/// So long for the others to have heard all, and so long for the last word.
const LAST: Duration = Duration::from_secs(1);
const LAST_WORD: Duration = Duration::from_millis(250);

/// The end of this bridge.
#[derive(Debug, Default)]
pub(super) struct Ending {
    since: Option<Instant>,
    /// The others know that it will end, and how far they have to be.
    told: bool,
    /// The last word: its id, and when it was said.
    last: Option<(u64, Instant)>,
    gone: bool,
}

impl Core {
    /// Nothing can be delivered any more. What comes from now on counts as not heard: the next bridge asks for it.
    pub(in crate::bridge) fn deafen(&mut self) {
        self.is_deaf = true;
    }

    /// This bridge is to end: it publishes what waits, waits up to 1 s until the others have heard all, and says
    /// goodbye. Read no more from the hub before.
    pub(in crate::bridge) fn goodbye(&mut self, now: Instant) {
        let ending = self.ending.get_or_insert_default();
        ending.since.get_or_insert(now);
        self.wake = now;
        self.end_step(now);
    }

    /// After [`Core::goodbye`]: is all done? Nothing is delivered any more then.
    pub(in crate::bridge) fn is_gone(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.gone)
    }

    /// Was the last word said?
    pub(super) fn is_mute(&self) -> bool {
        let ending = self.ending.as_ref();
        ending.is_some_and(|ending| ending.gone || ending.last.is_some())
    }

    /// The server has taken this, which may be the last word.
    pub(super) fn goodbye_published(&mut self, id: u64) {
        if let Some(ending) = &mut self.ending {
            ending.gone |= ending.last.is_some_and(|(last, _)| last == id);
        }
    }

    /// The next step to the end, if it is time.
    pub(super) fn end_step(&mut self, now: Instant) {
        let is_connected = self.link.is_connected();
        let has_begun = self.last_beat() > 0;
        let has_said_all = self.outgoing.waiting.is_empty();
        let Some(ending) = &mut self.ending else {
            return;
        };
        let is_late = ending.since.is_none_or(|since| now >= after(since, LAST));
        if let Some((_, said)) = ending.last {
            ending.gone |= !is_connected || now >= after(said, LAST_WORD);
            return;
        }
        if !is_connected {
            ending.gone |= is_late || !has_begun;
            return;
        }
        if has_said_all && !ending.told {
            ending.told = true;
            self.beat(now, Phase::Leaving);
            return;
        }
        let is_told = ending.told;
        let has_heard = |peer: &Peer| {
            let tail = self.outgoing.tail_of(peer.address.incarnation);
            !peer.alive || !peer.hears || peer.position.is_some_and(|at| at.n >= tail)
        };
        let have_heard = is_told && self.peers.iter().all(has_heard);
        if have_heard || is_late {
            self.beat(now, Phase::Left);
            let id = self.next_id - 1;
            if let Some(ending) = &mut self.ending {
                ending.last = Some((id, now));
            }
        }
    }
}
