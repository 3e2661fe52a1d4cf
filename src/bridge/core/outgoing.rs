//! What this bridge sends: numbers its batches, keeps them, and knows how far each reader is.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::repairs::Repairs;
use super::ring::{Entry, Ring};
use super::types::age;
use super::waiting::{Arrival, OVERHEAD, Target, Waiting};
use crate::wire::envelope::batch::Numbers;
use crate::wire::envelope::{Address, Mark, Position};

/// All that this bridge sends, but for what it says of itself.
#[derive(Debug)]
pub(super) struct Outgoing {
    me: Address,
    catch_up: Duration,
    limit: usize,
    pub(super) waiting: Waiting,
    pub(super) ring: Ring,
    readers: HashMap<u64, Reader>,
    /// Readers that had a batch of their own since the last batch for all.
    since_common: Vec<u64>,
    /// The number of the last batch for all.
    tail: u64,
    /// How many frames for all have a number or are lost.
    common: u64,
    /// The hub's number of the last frame that came.
    hub: u64,
    /// The next batch that may have to be published again.
    resend: u64,
    repairs: Repairs,
    /// Frames that were dropped before the server had taken them, and not told yet.
    pub(super) dropped: u64,
}

/// What a reader had for itself alone.
#[derive(Debug, Default)]
struct Reader {
    /// The number of the last batch.
    n: u64,
    /// How many frames.
    frames: u64,
    /// The batches that are in the ring: their numbers, and how many frames there were before.
    recent: VecDeque<(u64, u64)>,
}

/// A batch that is to be published now.
#[derive(Debug)]
pub(super) struct Ready {
    /// Where to.
    pub target: Target,
    /// Its number, if the server's answer is waited for.
    pub n: Option<u64>,
    /// What.
    pub payload: Bytes,
    /// Is it sent for the first time?
    pub is_new: bool,
}

impl Outgoing {
    /// Nothing was sent yet. `passed`: the hub's number of the last frame before.
    pub(super) fn new(me: Address, catch_up: Duration, limit: usize, passed: u64) -> Self {
        Self {
            me,
            catch_up,
            limit,
            waiting: Waiting::default(),
            ring: Ring::new(),
            readers: HashMap::new(),
            since_common: Vec::new(),
            tail: 0,
            common: passed,
            hub: passed,
            resend: 1,
            repairs: Repairs::default(),
            dropped: 0,
        }
    }

    /// A frame came from the hub. Answers whether it was taken: a volatile one is not if `volatile` may not wait now.
    pub(super) fn push(&mut self, now: Instant, mut arrival: Arrival<'_>, volatile: bool) -> bool {
        if arrival.hub > self.hub {
            arrival.lost_before = arrival.hub - self.hub - 1;
            self.hub = arrival.hub;
        } else {
            arrival.hub = self.hub;
        }
        if arrival.volatile && !volatile {
            self.waiting.lose(arrival.lost_before);
            return false;
        }
        self.waiting.push(now, &arrival);
        true
    }

    /// A frame came that is for nobody.
    pub(super) fn skip(&mut self, hub: u64) {
        if hub > self.hub {
            self.waiting.lose(hub - self.hub - 1);
            self.hub = hub;
        }
    }

    /// What is to be published next. What is new waits while `new` is false.
    pub(super) fn next(&mut self, now: Instant, new: bool) -> Option<Ready> {
        while self.resend < self.ring.next() {
            let n = self.resend.max(self.ring.first());
            self.resend = n + 1;
            let Some(entry) = self.ring.get(n).filter(|entry| !entry.answered) else {
                continue;
            };
            return Some(Ready {
                target: entry.target,
                n: Some(n),
                payload: entry.aged(now),
                is_new: false,
            });
        }
        if let Some((reader, payload)) = self.repairs.next(now, &self.ring) {
            return Some(Ready {
                target: Target::One(reader),
                n: None,
                payload,
                is_new: false,
            });
        }
        if new { self.cut(now) } else { None }
    }

    /// The first batch that waits, with its number.
    fn cut(&mut self, now: Instant) -> Option<Ready> {
        let item = self.waiting.pop()?;
        self.common += item.lost_before;
        let count = item.frames.count();
        let (n, cost) = (self.ring.next(), item.frames.cost() + OVERHEAD);
        let reader = match item.target {
            Target::All => None,
            Target::One(reader) => Some(reader),
        };
        let mut numbers = Numbers {
            n,
            after: self.tail,
            hub: item.last,
            common: self.common,
            directed: 0,
            reader,
            age: age(item.since, now),
        };
        let mut marks = Vec::new();
        if item.volatile {
            numbers.n = 0;
            numbers.after = 0;
        } else if let Some(id) = reader {
            let reader = self.readers.entry(id).or_default();
            numbers.after = reader.n.max(self.tail);
            numbers.directed = reader.frames;
            reader.recent.push_back((n, reader.frames));
            reader.frames += u64::from(count);
            reader.n = n;
            if !self.since_common.contains(&id) {
                self.since_common.push(id);
            }
        } else {
            marks = self.marks(&self.since_common);
            self.since_common.clear();
            self.tail = n;
            self.common += u64::from(count);
        }
        let payload = item.frames.finish(self.me, &numbers, &marks);
        if !item.volatile {
            self.ring.push(Entry {
                target: item.target,
                payload: payload.clone(),
                cost,
                count,
                floor: item.first.saturating_sub(1),
                common: numbers.common,
                since: item.since,
                answered: false,
            });
            self.resend = self.ring.next();
        }
        Some(Ready {
            target: item.target,
            n: Some(n).filter(|_| !item.volatile),
            payload,
            is_new: true,
        })
    }

    fn marks(&self, of: &[u64]) -> Vec<Mark> {
        let mark = |id: &u64| {
            let reader = self.readers.get(id)?;
            Some(Mark {
                reader: *id,
                n: reader.n,
                directed: reader.frames,
            })
        };
        of.iter().filter_map(mark).collect()
    }

    /// For a heartbeat: the readers whose own batches are still kept, or, `all`, that ever had any.
    pub(super) fn recent(&self, all: bool) -> Vec<Mark> {
        let recent = self.readers.iter();
        let recent = recent.filter(|(_, reader)| all || !reader.recent.is_empty());
        let mut ids: Vec<u64> = recent.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        self.marks(&ids)
    }

    /// How far a reader is that has all up to this number; no further back than what is kept.
    pub(super) fn position(&self, reader: u64, n: u64) -> Position {
        let n = n.clamp(self.ring.first() - 1, self.ring.next() - 1);
        let (common, hub) = match self.ring.get(n + 1) {
            Some(entry) => (entry.common, entry.floor),
            None => (self.common, self.floor()),
        };
        let directed = self.readers.get(&reader).map_or(0, |reader| {
            let later = reader.recent.iter().find(|(number, _)| *number > n);
            later.map_or(reader.frames, |(_, before)| *before)
        });
        Position {
            n,
            hub,
            common,
            directed,
        }
    }

    /// Of what is for all: the number of the last batch, and how many frames there were.
    pub(super) fn tail(&self) -> (u64, u64) {
        (self.tail, self.common)
    }

    /// The number of the last batch that this reader is to have.
    pub(super) fn tail_of(&self, reader: u64) -> u64 {
        let own = self.readers.get(&reader).map_or(0, |reader| reader.n);
        own.max(self.tail)
    }

    /// No frame up to this number of the hub still waits.
    pub(super) fn floor(&self) -> u64 {
        self.waiting.front().map_or(self.hub, |front| {
            front.first.saturating_sub(1 + front.lost_before)
        })
    }

    /// A reader misses what is between these numbers. Answers where it has to go on if not all of that is kept.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        reader: u64,
        have: u64,
        upto: u64,
    ) -> Option<Position> {
        let next = have.saturating_add(1);
        let no_more = (next < self.ring.first()).then(|| self.position(reader, have));
        let next = no_more.map_or(next, |at| at.n + 1);
        let upto = upto.min(self.ring.next() - 1);
        self.repairs.ask(now, reader, have, next..=upto);
        no_more
    }

    /// A reader is not known any more.
    pub(super) fn forget(&mut self, reader: u64) {
        self.readers.remove(&reader);
        self.since_common.retain(|id| *id != reader);
        self.repairs.forget(reader);
    }

    /// The connection is gone. What is volatile is lost: answers how many frames.
    pub(super) fn interrupted(&mut self) -> u64 {
        self.repairs.interrupted();
        self.waiting.drop_volatile()
    }

    /// There is a new connection: what the server has not taken comes first.
    pub(super) fn resume(&mut self) {
        self.resend = self.ring.first_unanswered();
    }

    /// Drops what is too old or too much, the oldest first. Answers how many volatile frames were among it.
    pub(super) fn trim(&mut self, now: Instant) -> u64 {
        let catch_up = self.catch_up;
        let is_old = |since: Instant| now.saturating_duration_since(since) > catch_up;
        let mut volatile = 0;
        loop {
            let is_over = self.ring.bytes() + self.waiting.bytes() > self.limit;
            if let Some(entry) = self.ring.front() {
                if !is_over && !is_old(entry.since) {
                    break;
                }
                let n = self.ring.first();
                if let Some(entry) = self.ring.pop() {
                    self.evicted(n, &entry);
                }
            } else if let Some(item) = self.waiting.front() {
                if !is_over && !is_old(item.since) {
                    break;
                }
                let Some(item) = self.waiting.pop() else {
                    break;
                };
                let count = u64::from(item.frames.count());
                self.common += item.lost_before;
                if item.volatile {
                    volatile += count;
                    continue;
                }
                match item.target {
                    Target::All => self.common += count,
                    Target::One(id) => {
                        // The next batch for all tells it, and heartbeats until that one is forgotten.
                        let reader = self.readers.entry(id).or_default();
                        reader.recent.push_back((self.ring.next(), reader.frames));
                        reader.frames += count;
                        if !self.since_common.contains(&id) {
                            self.since_common.push(id);
                        }
                    }
                }
                self.dropped += count;
            } else {
                break;
            }
        }
        volatile
    }

    fn evicted(&mut self, n: u64, entry: &Entry) {
        if !entry.answered {
            self.dropped += u64::from(entry.count);
        }
        if let Target::One(reader) = entry.target
            && let Some(reader) = self.readers.get_mut(&reader)
        {
            while reader.recent.front().is_some_and(|(kept, _)| *kept <= n) {
                reader.recent.pop_front();
            }
        }
    }
}
