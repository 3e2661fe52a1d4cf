//! Bridges that are joined by a server, which passes on at once what a test does not keep away.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Core, CoreSettings, Notice, Output};
use super::{MS, SECOND, member, numbered, said, settings};
use crate::wire::envelope::{Envelope, Message};

/// Does what one bridge says reach another one? From, to, message.
pub(super) type Passes = Box<dyn FnMut(usize, usize, &Message) -> bool>;

/// Bridges and what they wanted done, but for what is published.
pub(super) struct Fleet {
    pub now: Instant,
    pub cores: Vec<Core>,
    pub outputs: Vec<Vec<Output>>,
    /// What is published; it is passed on if this says so.
    pub passes: Passes,
    /// Does the server answer?
    pub answers: bool,
    /// The hub's number of each one's last frame.
    pub next: Vec<u64>,
}

impl Fleet {
    /// Connected bridges that know each other.
    pub(super) fn of(all: impl IntoIterator<Item = CoreSettings>) -> Self {
        let now = Instant::now();
        let cores: Vec<Core> = all.into_iter().map(|s| Core::new(s, now)).collect();
        let mut fleet = Self {
            now,
            outputs: cores.iter().map(|_| Vec::new()).collect(),
            next: vec![0; cores.len()],
            cores,
            passes: Box::new(|_, _, _| true),
            answers: true,
        };
        for nth in 0..fleet.cores.len() {
            fleet.cores[nth].members(now, vec![member(nth)]);
            fleet.cores[nth].connected(now);
        }
        fleet.run(SECOND);
        fleet
    }

    /// So many, all with the usual settings.
    pub(super) fn new(machines: usize) -> Self {
        Self::of((0..machines).map(settings))
    }

    /// Does all that can be done at this moment.
    pub(super) fn settle(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in 0..self.cores.len() {
                while let Some(output) = self.cores[from].poll(self.now) {
                    moved = true;
                    let Output::Publish {
                        id,
                        channel,
                        payload,
                    } = output
                    else {
                        self.outputs[from].push(output);
                        continue;
                    };
                    for to in 0..self.cores.len() {
                        let channels = self.cores[to].channels();
                        let on = channels.into_iter().find(|(name, _)| *name == channel);
                        let message = Envelope::decode(&payload).ok().map(|e| e.message);
                        let passes = message.is_none_or(|m| (self.passes)(from, to, &m));
                        if let Some((_, on)) = on.filter(|_| passes) {
                            self.cores[to].received(self.now, on, &payload);
                        }
                    }
                    if self.answers {
                        self.cores[from].published(self.now, id, Ok(()));
                    }
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            self.now += 10 * MS;
            for core in &mut self.cores {
                if core.next_deadline() <= self.now {
                    core.tick(self.now);
                }
            }
            self.settle();
        }
    }

    /// A worker of this machine says something.
    pub(super) fn say(&mut self, from: usize, frame: &Bytes) {
        self.next[from] += 1;
        let frame = numbered(frame, self.next[from]);
        self.cores[from].local(self.now, &frame);
        self.settle();
    }

    /// The numbers that this machine's workers heard.
    pub(super) fn heard(&self, of: usize) -> Vec<u64> {
        let frames = self.outputs[of].iter().filter_map(|output| match output {
            Output::Deliver(frame) => Some(said(frame).1),
            _ => None,
        });
        frames.collect()
    }

    /// What this bridge told.
    pub(super) fn notices(&self, of: usize) -> Vec<&Notice> {
        let notices = self.outputs[of].iter().filter_map(|output| match output {
            Output::Tell(notice) => Some(notice),
            _ => None,
        });
        notices.collect()
    }

    /// How many members elsewhere this machine was told last.
    pub(super) fn elsewhere(&self, of: usize) -> usize {
        let told = self.outputs[of]
            .iter()
            .rev()
            .find_map(|output| match output {
                Output::Elsewhere(members) => Some(members.len()),
                _ => None,
            });
        told.unwrap_or(0)
    }
}
