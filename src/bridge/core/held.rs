//! What becomes of a batch that came, and what is asked for if one did not.

use std::time::Instant;

use crate::wire::envelope::Batch;

/// A batch, and when it came.
#[derive(Debug)]
pub(super) struct Held {
    /// The batch.
    pub batch: Batch,
    /// When it came.
    pub came: Instant,
}

/// What became of a batch that came.
#[derive(Debug)]
pub(super) enum Offered {
    /// It is the next one. [`Stream::next`] may have more.
    Next(Held),
    /// It waits for an earlier one.
    Held,
    /// It waits for nothing: there was no room. It will be asked for.
    NoRoom,
    /// It had come before.
    Duplicate,
}

/// What is to be asked of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Where does it begin?
    Join {
        /// What is behind this number, is wanted.
        since: u64,
    },
    /// What is missing.
    Ask {
        /// All up to this number are there.
        have: u64,
        /// All up to this number are wanted.
        upto: u64,
    },
}

/// How much memory a batch takes, in bytes.
pub(super) fn cost(batch: &Batch) -> usize {
    const OVERHEAD: usize = 256;
    batch.frames.len() + batch.marks.len() * 24 + OVERHEAD
}
