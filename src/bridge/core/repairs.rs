//! What is given once more to readers that missed it: to each at the pace of its line, and readers take turns.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Instant;

use bytes::Bytes;

use super::pace::Pace;
use super::ring::Ring;
use super::waiting::Target;

/// How much is sent to who asked before it has to ask again, in bytes.
const REPAIR: usize = 8 << 20;

/// What readers asked for, and how quickly it comes to each.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    jobs: VecDeque<Repair>,
    paces: HashMap<u64, Pace>,
}

/// What is given once more to a reader.
#[derive(Debug)]
struct Repair {
    reader: u64,
    next: u64,
    upto: u64,
    left: usize,
}

impl Repairs {
    /// A reader that has all up to `have` asks for the batches of these numbers.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        reader: u64,
        have: u64,
        wanted: RangeInclusive<u64>,
    ) {
        let (next, upto) = wanted.into_inner();
        match self.jobs.iter_mut().find(|job| job.reader == reader) {
            Some(job) => job.upto = job.upto.max(upto),
            None if next <= upto => {
                let pace = self.paces.entry(reader).or_insert_with(|| Pace::new(now));
                if let Some(left) = pace.ask(now, have, REPAIR) {
                    self.jobs.push_back(Repair {
                        reader,
                        next,
                        upto,
                        left,
                    });
                }
            }
            None => {}
        }
    }

    /// The next batch that a reader asked for, and the reader.
    pub(super) fn next(&mut self, now: Instant, ring: &Ring) -> Option<(u64, Bytes)> {
        while let Some(mut job) = self.jobs.pop_front() {
            job.next = job.next.max(ring.first());
            while job.next <= job.upto {
                let n = job.next;
                job.next += 1;
                let Some(entry) = ring.get(n) else { break };
                if !matches!(entry.target, Target::One(other) if other != job.reader) {
                    let (reader, payload) = (job.reader, entry.aged(now));
                    if let Some(pace) = self.paces.get_mut(&reader) {
                        pace.sent(n);
                    }
                    if let Some(left) = job.left.checked_sub(payload.len()).filter(|left| *left > 0)
                    {
                        job.left = left;
                        self.jobs.push_back(job);
                    }
                    return Some((reader, payload));
                }
            }
        }
        None
    }

    /// A reader is not known any more.
    pub(super) fn forget(&mut self, reader: u64) {
        self.jobs.retain(|job| job.reader != reader);
        self.paces.remove(&reader);
    }

    /// The connection is gone: nothing is on its way.
    pub(super) fn interrupted(&mut self) {
        self.jobs.clear();
        self.paces.values_mut().for_each(Pace::interrupted);
    }
}
