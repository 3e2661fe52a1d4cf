//! Frames that wait to be published, as the batches that they will be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::wire::envelope::batch::Builder;

/// How many batches back a place for a frame is looked for.
const LOOK_BACK: usize = 16;
/// So long a batch that waits takes frames: what is kept for `catch_up` goes a batch at a time, by its oldest frame.
const JOIN: Duration = Duration::from_millis(250);
/// What a batch costs beside its bytes, in bytes.
pub(super) const OVERHEAD: usize = 192;

/// For whom a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// All other machines.
    All,
    /// The machine of this incarnation.
    One(u64),
}

/// A batch that waits.
#[derive(Debug)]
pub(super) struct Item {
    /// For whom.
    pub target: Target,
    /// It has no number, and may be lost.
    pub volatile: bool,
    /// Its frames.
    pub frames: Builder,
    /// The hub's number of its first frame.
    pub first: u64,
    /// The hub's number of its last frame.
    pub last: u64,
    /// How many frames the hub lost directly before it.
    pub lost_before: u64,
    /// When its first frame came.
    pub since: Instant,
}

/// All that waits, in order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<Item>,
    bytes: usize,
    /// How many frames the hub lost behind all that waits.
    lost: u64,
}

/// A frame on its way into a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// For whom.
    pub target: Target,
    /// It may be lost.
    pub volatile: bool,
    /// The hub's number.
    pub hub: u64,
    /// How many frames the hub lost directly before it.
    pub lost_before: u64,
    /// The frame.
    pub frame: &'a [u8],
}

impl Item {
    /// How much memory it takes, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.frames.cost() + OVERHEAD
    }

    /// May a frame that came later go before this one? The order of what a reader gets stays.
    fn lets_pass(&self, later: &Arrival<'_>) -> bool {
        if self.volatile || later.volatile {
            return true;
        }
        match (self.target, later.target) {
            (Target::One(a), Target::One(b)) => a != b,
            _ => false,
        }
    }
}

impl Waiting {
    /// A frame, behind all that are for the same reader.
    pub(super) fn push(&mut self, now: Instant, arrival: &Arrival<'_>) {
        let lost_before = arrival.lost_before + std::mem::take(&mut self.lost);
        if lost_before == 0 {
            for item in self.queue.iter_mut().rev().take(LOOK_BACK) {
                if item.target == arrival.target && item.volatile == arrival.volatile {
                    let is_open = now.saturating_duration_since(item.since) < JOIN;
                    if is_open && item.frames.has_room(arrival.frame.len()) {
                        let before = item.cost();
                        item.frames.push(arrival.frame);
                        item.last = item.last.max(arrival.hub);
                        self.bytes = self.bytes + item.cost() - before;
                        return;
                    }
                    break;
                }
                if !item.lets_pass(arrival) {
                    break;
                }
            }
        }
        let item = Item {
            target: arrival.target,
            volatile: arrival.volatile,
            frames: Builder::new(arrival.frame),
            first: arrival.hub,
            last: arrival.hub,
            lost_before,
            since: now,
        };
        self.bytes += item.cost();
        self.queue.push_back(item);
    }

    /// Frames were lost behind all that waits.
    pub(super) fn lose(&mut self, frames: u64) {
        self.lost += frames;
    }

    /// The first.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.bytes -= item.cost();
        Some(item)
    }

    /// The first, left where it is.
    pub(super) fn front(&self) -> Option<&Item> {
        self.queue.front()
    }

    /// Takes out what is volatile; answers how many frames that was.
    pub(super) fn drop_volatile(&mut self) -> u64 {
        let Self { queue, bytes, lost } = self;
        let mut dropped = 0;
        let mut lost_before = 0;
        queue.retain_mut(|item| {
            if item.volatile {
                dropped += u64::from(item.frames.count());
                *bytes -= item.cost();
                lost_before += item.lost_before;
            } else {
                item.lost_before += std::mem::take(&mut lost_before);
            }
            !item.volatile
        });
        *lost += lost_before;
        dropped
    }

    /// Does more than one batch wait, or is the only one full?
    pub(super) fn is_dense(&self) -> bool {
        self.queue.len() > 1 || self.bytes > crate::wire::envelope::batch::MAX_BATCH
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
