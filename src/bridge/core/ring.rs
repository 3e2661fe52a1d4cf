//! What was published and is kept for who missed it: batches with consecutive numbers.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::types::age;
use super::waiting::Target;
use crate::wire::envelope::batch::aged;

/// A batch that was published, or is about to be.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// For whom.
    pub target: Target,
    /// The batch, as it was published first.
    pub payload: Bytes,
    /// How much memory it takes, in bytes.
    pub cost: usize,
    /// How many frames it has.
    pub count: u32,
    /// No frame with a lower number of the hub comes behind it.
    pub floor: u64,
    /// How many frames for all there were before it.
    pub common: u64,
    /// When its first frame came.
    pub since: Instant,
    /// Has the server taken it?
    pub answered: bool,
}

impl Entry {
    /// The batch, as it is published once more.
    pub(super) fn aged(&self, now: Instant) -> Bytes {
        aged(&self.payload, age(self.since, now))
    }
}

/// The batches, the oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    bytes: usize,
}

impl Ring {
    /// Without a batch; the first will have the number 1.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            bytes: 0,
        }
    }

    /// The number of the oldest batch, or of the next one if there is none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The next batch.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost;
        self.entries.push_back(entry);
    }

    /// The batch of this number.
    pub(super) fn get(&self, n: u64) -> Option<&Entry> {
        let at = n.checked_sub(self.first)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The server has taken the batch of this number.
    pub(super) fn answered(&mut self, n: u64) {
        let at = n
            .checked_sub(self.first)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.answered = true;
        }
    }

    /// The oldest batch.
    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Forgets the oldest batch.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.bytes -= entry.cost;
        Some(entry)
    }

    /// The number of the first batch that the server has not taken, or of the next one.
    pub(super) fn first_unanswered(&self) -> u64 {
        let taken = self.entries.iter().take_while(|entry| entry.answered);
        self.first + taken.count() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
