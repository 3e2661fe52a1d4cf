//! What comes from other bridges.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::delivery::{Judgement, judge};
use super::held::{Held, Offered, Request};
use super::types::after;
use super::waiting::Target;
use super::{Core, Inbound, Notice, Output, peers};
use crate::wire::envelope::{
    self, Address, Batch, Earlier, Envelope, EnvelopeError, Hello, Message, Position,
};
use crate::wire::frame;

/// What is lost of a machine is told so often at most.
const TELL: Duration = Duration::from_secs(1);

impl Core {
    /// A message came.
    pub(in crate::bridge) fn received(&mut self, now: Instant, on: Inbound, payload: &Bytes) {
        if !self.link.is_connected() || self.is_mute() {
            return;
        }
        self.link.note_received(now);
        if on == Inbound::Hello {
            self.hello_came(now, payload);
            return;
        }
        let envelope = match Envelope::decode(payload) {
            Ok(envelope) => envelope,
            // Its hello says who it is.
            Err(EnvelopeError::FrameVersion(_)) => return,
            Err(_) => {
                self.figures.garbled += 1;
                return;
            }
        };
        let from = envelope.from;
        match envelope.message {
            message if from.incarnation == self.me.incarnation => {
                if from == self.me && on == Inbound::All {
                    self.own_came(now, &message);
                }
            }
            Message::Heartbeat(beat) if on == Inbound::All => self.heartbeat(now, from, beat),
            Message::Heartbeat(_) => self.figures.garbled += 1,
            message => self.message(now, from, message),
        }
        self.end_step(now);
    }

    /// This bridge's own message came back.
    fn own_came(&mut self, now: Instant, message: &Message) {
        match message {
            Message::Heartbeat(beat) if beat.beat > self.last_beat() => {
                let pair = (self.me.incarnation, self.me.incarnation);
                let names = [self.settings.name.clone(), beat.name.clone()];
                self.same_machine(pair, names, beat.machine);
            }
            Message::Heartbeat(beat) => self.echo(now, beat.beat),
            _ => self.echo(now, 0),
        }
    }

    fn hello_came(&mut self, now: Instant, payload: &[u8]) {
        let Ok(hello) = Hello::decode(payload) else {
            self.figures.garbled += 1;
            return;
        };
        let is_stranger = hello.envelope != envelope::VERSION || hello.frame != frame::VERSION;
        if is_stranger && self.strangers.is_new(hello.incarnation.clone()) {
            self.hello_soon(now);
            self.tell(Notice::Stranger {
                name: hello.name.into(),
                version: hello.version.into(),
                envelope: hello.envelope,
                frame: hello.frame,
            });
        }
    }

    /// Anything but a heartbeat.
    fn message(&mut self, now: Instant, from: Address, message: Message) {
        let me = self.me;
        let id = from.incarnation;
        let peer = match &message {
            Message::Batch(_) => self.peers.entry(from, me.incarnation, now),
            _ => self.peers.get_mut(id),
        };
        let Some(peer) = peer else { return };
        if !peer.introduced || peer.address != from || peer.left {
            // It is not known how its numbers begin, or it is over. What is missed here is asked for later.
            if let Message::Batch(batch) = &message
                && peer.address == from
                && batch.n != 0
                && batch.reader.is_none_or(|reader| reader == me.incarnation)
            {
                peer.stream.first_heard(batch.after(me.incarnation));
            }
            return;
        }
        peer.heard = now;
        self.revive(now, id);
        match message {
            Message::Batch(_) if self.is_deaf => {}
            Message::Batch(batch) => self.batch(now, id, batch),
            Message::Join { to, since } if to == me => self.join(from, since),
            Message::Start { to, at, earlier } if to == me => {
                self.start(now, id, &at, earlier.as_ref());
            }
            Message::Ask { to, have, upto } if to == me => {
                if let Some(at) = self.outgoing.ask(now, id, have, upto) {
                    self.say(Target::One(id), Message::NoMore { to: from, at });
                }
            }
            Message::NoMore { to, at } if to == me && !self.is_deaf => {
                self.flush(now, id, at.n);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.stream.no_more(now, &at);
                }
                self.drain(now, id);
            }
            Message::Heard { to, n } if to == me => {
                let at = self.outgoing.position(id, n);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.position = Some(at);
                }
            }
            // For a bridge that this one follows.
            _ => {}
        }
    }

    fn batch(&mut self, now: Instant, id: u64, batch: Batch) {
        if batch
            .reader
            .is_some_and(|reader| reader != self.me.incarnation)
        {
            self.figures.garbled += 1;
            return;
        }
        if batch.n == 0 {
            self.deliver(now, &Held { batch, came: now });
            return;
        }
        let room = peers::HOLD_ALL.saturating_sub(self.held);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let was_missing = peer.stream.is_missing();
        let held = peer.stream.held_bytes();
        match peer.stream.offer(now, batch, room) {
            Offered::Next(next) => {
                self.figures.repaired_in += u64::from(was_missing);
                self.deliver(now, &next);
            }
            Offered::Held => {
                self.held += peer.stream.held_bytes() - held;
                self.figures.held += 1;
            }
            Offered::NoRoom => {}
            Offered::Duplicate => self.figures.duplicates += 1,
        }
        self.drain(now, id);
    }

    /// Delivers what waits for nothing any more.
    pub(super) fn drain(&mut self, now: Instant, id: u64) {
        while let Some(next) = self.take(now, id, None) {
            self.deliver(now, &next);
        }
        self.settled(now, id);
    }

    /// Delivers what is held back up to this number, whatever is missing before it.
    pub(super) fn flush(&mut self, now: Instant, id: u64, upto: u64) {
        while let Some(next) = self.take(now, id, Some(upto)) {
            self.deliver(now, &next);
        }
    }

    fn take(&mut self, now: Instant, id: u64, skip: Option<u64>) -> Option<Held> {
        if self.is_deaf {
            return None;
        }
        let stream = &mut self.peers.get_mut(id)?.stream;
        let held = stream.held_bytes();
        let next = match skip {
            Some(upto) => stream.skip(now, upto),
            None => stream.next(now),
        };
        self.held -= held - stream.held_bytes();
        next
    }

    fn deliver(&mut self, now: Instant, held: &Held) {
        let waited = now.saturating_duration_since(held.came);
        let age = waited.saturating_add(Duration::from_millis(held.batch.age.into()));
        for frame in held.batch.each() {
            match judge(&frame, age, |id| self.own.contains(id)) {
                Judgement::Deliver => {
                    self.figures.delivered += 1;
                    self.outputs.push_back(Output::Deliver(frame));
                }
                Judgement::Garbled => self.figures.garbled += 1,
                Judgement::TooOld => self.figures.too_old += 1,
                Judgement::Unknown => self.figures.undeliverable += 1,
            }
        }
    }

    /// Something happened with what another bridge sends: asks for what is missing, tells what is lost.
    pub(super) fn settled(&mut self, now: Instant, id: u64) {
        let is_connected = self.link.is_connected();
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        self.unheard.insert(id);
        let to = peer.address;
        let mut say = None;
        if peer.introduced && peer.alive && is_connected {
            let request = peer.stream.request(now).filter(|_| !self.is_deaf);
            say = request.map(|request| match request {
                Request::Join { since } => Message::Join { to, since },
                Request::Ask { have, upto } => Message::Ask { to, have, upto },
            });
            if say.is_none() && peer.leaving && peer.stream.is_complete() {
                peer.leaving = false;
                let n = peer.stream.heard().unwrap_or(0);
                say = Some(Message::Heard { to, n });
            }
        }
        let is_told = peer.told_lost.is_some_and(|at| now < after(at, TELL));
        if peer.stream.lost > 0 && !is_told && (!peer.stream.is_missing() || !peer.alive) {
            peer.told_lost = Some(now);
            let frames = std::mem::take(&mut peer.stream.lost);
            let name = peer.name.clone();
            self.figures.lost_in = self.figures.lost_in.saturating_add(frames);
            self.tell(Notice::Gap { name, frames });
        }
        if let Some(message) = say {
            self.wake = now;
            self.say(Target::One(id), message);
        }
    }

    /// Another bridge wants to know where it begins.
    fn join(&mut self, from: Address, since: u64) {
        let at = self.outgoing.position(from.incarnation, since);
        let peer = self.peers.get(from.incarnation);
        let earlier = peer.and_then(|peer| peer.earlier);
        let (to, target) = (from, Target::One(from.incarnation));
        self.say(target, Message::Start { to, at, earlier });
    }

    fn start(&mut self, now: Instant, id: u64, at: &Position, earlier: Option<&Earlier>) {
        let resume = self.settings.hub_drops_repeats;
        if let Some(peer) = self.peers.get_mut(id) {
            peer.stream.start(now, at, earlier, resume);
        }
        self.drain(now, id);
    }
}
