//! What one sender sends, as this reader sees it: what is missing, what is held back until it has come, what is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::held::{Held, Offered, Request, cost};
use super::types::after;
use crate::wire::envelope::{Batch, Earlier, Heartbeat, Position};

/// How much of one sender is held back, in bytes. What comes beyond is asked for again.
pub(super) const HOLD: usize = 16 << 20;
/// How long batches are held back without any of the missing ones coming.
const HOLD_TIME: Duration = Duration::from_secs(10);
/// How long to wait for an answer before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// More are never lost at once: so many are said in the 5 minutes for which a machine is remembered only by more than Redis
/// passes on. Who says more lies, and the counter is to stay of use.
const MOST_LOST: u64 = 1 << 28;

/// One sender's batches.
#[derive(Debug)]
pub(super) struct Stream {
    /// This reader's incarnation.
    me: u64,
    /// Is it known where it begins?
    started: bool,
    /// What was heard first, if it has not started.
    since: Option<u64>,
    at: Position,
    /// The sender has sent this to this reader.
    upto: u64,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// When it was asked for what is missing, and up to which number.
    asked: Option<(Instant, u64)>,
    /// The hub's number in the sender's last heartbeat.
    hub: u64,
    /// The first batch that is missing has been missing since, or the last one that was missing came then.
    missing: Option<Instant>,
    /// Frames that are lost, and not told yet.
    pub(super) lost: u64,
}

impl Stream {
    /// Of a sender that was never heard before.
    pub(super) fn new(me: u64) -> Self {
        Self {
            me,
            started: false,
            since: None,
            at: Position::default(),
            upto: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            asked: None,
            hub: 0,
            missing: None,
            lost: 0,
        }
    }

    /// Of a sender that was heard up to here by the bridge before this one.
    pub(super) fn restored(me: u64, at: Position) -> Self {
        Self {
            started: true,
            at,
            upto: at.n,
            ..Self::new(me)
        }
    }

    /// How far it is, if that is known.
    pub(super) fn at(&self) -> Option<Position> {
        self.started.then_some(self.at)
    }

    /// How far it is, if that is known, but for what is lost and not told yet: who goes on from there counts it.
    pub(super) fn position(&self) -> Option<Position> {
        let at = self.at()?;
        let common = self.lost.min(at.common);
        Some(Position {
            hub: at.hub.saturating_sub(self.lost),
            common: at.common - common,
            directed: at.directed.saturating_sub(self.lost - common),
            ..at
        })
    }

    /// All up to this number came, if that is known.
    pub(super) fn heard(&self) -> Option<u64> {
        self.started.then_some(self.at.n)
    }

    /// Has all come that the sender sent?
    pub(super) fn is_complete(&self) -> bool {
        self.started && self.held.is_empty() && self.at.n >= self.upto
    }

    /// How much is held back, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// A number was heard before anything else.
    pub(super) fn first_heard(&mut self, n: u64) {
        self.since.get_or_insert(n);
    }

    /// A batch came. `room`: how much may be held back for all senders together.
    pub(super) fn offer(&mut self, now: Instant, batch: Batch, room: usize) -> Offered {
        let needs = batch.after(self.me);
        self.first_heard(needs);
        if self.started && batch.n <= self.at.n || self.held.contains_key(&batch.n) {
            return Offered::Duplicate;
        }
        let held = Held { batch, came: now };
        if self.started && needs <= self.at.n {
            self.advance(now, &held.batch);
            return Offered::Next(held);
        }
        self.upto = self.upto.max(held.batch.n);
        self.missing.get_or_insert(now);
        let cost = cost(&held.batch);
        if self.held_bytes + cost > HOLD || cost > room {
            return Offered::NoRoom;
        }
        self.held_bytes += cost;
        self.held.insert(held.batch.n, held);
        Offered::Held
    }

    /// The next batch that waits for nothing any more.
    pub(super) fn next(&mut self, now: Instant) -> Option<Held> {
        if !self.started {
            return None;
        }
        while let Some((n, held)) = self.held.first_key_value() {
            if *n > self.at.n && held.batch.after(self.me) > self.at.n {
                break;
            }
            let (_, held) = self.held.pop_first()?;
            self.held_bytes -= cost(&held.batch);
            if held.batch.n > self.at.n {
                self.advance(now, &held.batch);
                return Some(held);
            }
        }
        self.settle();
        None
    }

    /// The next batch up to this number that is there, whatever is missing before it.
    pub(super) fn skip(&mut self, now: Instant, upto: u64) -> Option<Held> {
        self.held.first_key_value().filter(|(n, _)| **n <= upto)?;
        if !self.started {
            self.begin_with_held();
        }
        let (_, held) = self.held.pop_first()?;
        self.held_bytes -= cost(&held.batch);
        self.advance(now, &held.batch);
        self.settle();
        Some(held)
    }

    /// This batch is the next: what its numbers say is missing before it, is lost.
    fn advance(&mut self, now: Instant, batch: &Batch) {
        let count = u64::from(batch.count);
        self.common(batch.common);
        if batch.reader.is_some() {
            self.directed(batch.directed);
            self.at.directed = self.at.directed.max(batch.directed.saturating_add(count));
        } else {
            self.at.common = self.at.common.max(batch.common.saturating_add(count));
            if let Some(mark) = batch.mark(self.me) {
                self.directed(mark.directed);
            }
        }
        self.at.n = batch.n;
        self.at.hub = self.at.hub.max(batch.hub);
        if let Some(missing) = &mut self.missing {
            *missing = now;
        }
    }

    fn lose(&mut self, frames: u64) {
        self.lost = self.lost.saturating_add(frames.min(MOST_LOST));
    }

    /// There were so many frames for all. A heartbeat may have said already what the hub lost behind a batch that is
    /// still on its way.
    fn common(&mut self, frames: u64) {
        self.lose(frames.saturating_sub(self.at.common));
        self.at.common = self.at.common.max(frames);
    }

    /// There were so many frames for this reader alone.
    fn directed(&mut self, frames: u64) {
        self.lose(frames.saturating_sub(self.at.directed));
        self.at.directed = self.at.directed.max(frames);
    }

    /// Nothing is missing any more, or something else than before.
    fn settle(&mut self) {
        if self.is_complete() {
            self.missing = None;
            self.asked = None;
        }
    }

    /// The sender said how far it is.
    pub(super) fn tail(&mut self, now: Instant, beat: &Heartbeat) {
        self.first_heard(beat.tail);
        self.hub = self.hub.max(beat.hub);
        let mark = beat.mark(self.me);
        let tail = mark.map_or(beat.tail, |mark| mark.n.max(beat.tail));
        self.upto = self.upto.max(tail);
        if !self.started || self.at.n < tail {
            self.missing.get_or_insert(now);
            return;
        }
        self.common(beat.common);
        if let Some(mark) = mark {
            self.directed(mark.directed);
        }
        self.at.hub = self.at.hub.max(beat.hub);
        self.settle();
    }

    /// It begins here; or, `resume`, where the bridge before this one was, which may have been further than is known.
    /// Then [`Stream::next`] may have something.
    pub(super) fn start(
        &mut self,
        now: Instant,
        at: &Position,
        earlier: Option<&Earlier>,
        resume: bool,
    ) {
        if self.started {
            return;
        }
        self.started = true;
        self.asked = None;
        self.at = *at;
        self.upto = self.upto.max(at.n);
        match earlier {
            Some(earlier) if earlier.exact || resume => self.at = earlier.at,
            Some(Earlier { at: earlier, .. }) => {
                self.lose(at.common.saturating_sub(earlier.common));
                self.lose(at.directed.saturating_sub(earlier.directed));
            }
            None => {}
        }
        self.missing.get_or_insert(now);
        self.settle();
    }

    /// The sender has nothing up to here any more: what is missing before, is lost. Then [`Stream::next`] may have
    /// something.
    pub(super) fn no_more(&mut self, now: Instant, at: &Position) {
        if !self.started {
            return;
        }
        // What was held back may reach as far, and does not say how much of what was for this reader alone is missing.
        self.common(at.common);
        self.directed(at.directed);
        if at.n <= self.at.n {
            return;
        }
        self.at.n = at.n;
        self.at.hub = self.at.hub.max(at.hub);
        if let Some(missing) = &mut self.missing {
            *missing = now;
        }
        self.settle();
    }

    /// What is to be asked of the sender now.
    pub(super) fn request(&mut self, now: Instant) -> Option<Request> {
        let missing = self.missing?;
        let held = self.held.first_key_value();
        let upto = held.map_or(self.upto, |(_, held)| held.batch.after(self.me));
        if let Some((asked, of)) = self.asked
            && now < after(asked.max(missing), ASK_AGAIN)
            && (!self.started || self.at.n < of)
        {
            return None;
        }
        self.asked = Some((now, upto));
        Some(if self.started {
            let have = self.at.n;
            Request::Ask { have, upto }
        } else {
            let since = self.since.unwrap_or(0);
            Request::Join { since }
        })
    }

    /// Is something missing?
    pub(super) fn is_missing(&self) -> bool {
        self.missing.is_some()
    }

    /// For too long nothing came of what is missing: it goes on behind it. Then [`Stream::next`] may have something.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self
            .missing
            .is_none_or(|missing| now < after(missing, HOLD_TIME))
        {
            return;
        }
        if self.started {
            let held = self.held.first_key_value();
            let next = held.map(|(_, held)| held.batch.after(self.me));
            self.at.n = next.unwrap_or(self.upto).max(self.at.n);
        } else {
            self.begin_with_held();
        }
        self.missing = Some(now);
        self.asked = None;
        self.settle();
    }

    /// The sender never said where it begins: with what is there. What was before is not counted, for it is not known.
    fn begin_with_held(&mut self) {
        self.started = true;
        let first = self.held.first_key_value().map(|(_, held)| &held.batch);
        let directed = |held: &Held| match held.batch.reader {
            Some(_) => Some(held.batch.directed),
            None => held.batch.mark(self.me).map(|mark| mark.directed),
        };
        self.at = Position {
            n: first.map_or(self.since.unwrap_or(0), |batch| batch.after(self.me)),
            common: first.map_or(0, |batch| batch.common),
            directed: self.held.values().find_map(directed).unwrap_or(0),
            hub: first.map_or(self.hub, |batch| {
                batch.hub.saturating_sub(batch.count.into())
            }),
        };
    }

    /// The sender, or this machine, was not connected: the time does not count.
    pub(super) fn resume(&mut self, now: Instant) {
        self.asked = None;
        if let Some(missing) = &mut self.missing {
            *missing = now;
        }
    }

    /// Another bridge of the same master begins anew; `passed` frames had come from its hub before. What is held back is
    /// to be taken before, by [`Stream::skip`].
    pub(super) fn begin_anew(&mut self, passed: u64) {
        if self.started {
            self.lose(passed.saturating_sub(self.at.hub));
        }
        let (started, lost) = (self.started, self.lost);
        *self = Self::new(self.me);
        self.lost = lost;
        if started {
            self.started = true;
            self.at.hub = passed;
            self.at.common = passed;
        }
    }
}
