//! What happens to bridges: they are cut off, end, crash, and others follow them; the hub loses what it had for them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::member;
use super::{Event, Machine, World};
use crate::bridge::core::Core;

/// So long after it began a bridge is known to all.
const SETTLED: Duration = Duration::from_secs(2);

impl World {
    /// The hub loses a frame for all that it had for the bridge.
    pub(in crate::bridge::core::tests) fn hub_loses(&mut self, of: usize) {
        let machines = self.machines.len();
        let machine = &mut self.machines[of];
        machine.said += 1;
        machine.hub_number += 1;
        for reader in (0..machines).filter(|reader| *reader != of) {
            machine.sent.entry(reader).or_default().push(machine.said);
        }
    }

    /// Both connections of a bridge end. What is on its way to the server may arrive, or not.
    pub(in crate::bridge::core::tests) fn cut(&mut self, of: usize) {
        let old = self.machines[of].connection;
        let arrives = self.chance.below(1000);
        let mut kept = BTreeMap::new();
        for (key, event) in std::mem::take(&mut self.events) {
            let stays = match &event {
                Event::Publish { from, .. } if *from == of => self.chance.below(1000) < arrives,
                Event::Answer { to, connection, .. } | Event::Message { to, connection, .. } => {
                    *to != of || *connection != old
                }
                Event::Connect { of: other } => *other != of,
                _ => true,
            };
            if stays {
                kept.insert(key, event);
            }
        }
        self.events = kept;
        self.machines[of].connected = false;
        self.machines[of].core.disconnected(self.now);
        self.at(Duration::from_millis(100), Event::Connect { of });
    }

    /// The server ends and begins anew: what it had is lost.
    pub(in crate::bridge::core::tests) fn restart(&mut self) {
        for of in 0..self.machines.len() {
            self.cut(of);
        }
        self.events
            .retain(|_, event| matches!(event, Event::Connect { .. } | Event::Follow { .. }));
        for of in 0..self.machines.len() {
            self.work(of);
        }
    }

    /// The bridge ends by plan, and another one follows it. One at a time: two that begin at one time know nothing
    /// of each other.
    pub(in crate::bridge::core::tests) fn end(&mut self, of: usize) {
        let is_settled = |machine: &Machine| !machine.ends && machine.follows + SETTLED < self.now;
        if self.machines.iter().all(is_settled) {
            self.machines[of].ends = true;
            self.machines[of].core.goodbye(self.now);
            self.work(of);
        }
    }

    /// A slow worker holds the hub up for so long.
    pub(in crate::bridge::core::tests) fn hold_up(&mut self, of: usize, time: Duration) {
        self.machines[of].held_up_until = self.now + time;
        self.at(time, Event::Take { of });
    }

    /// The bridge dies, with a part of what its hub has not taken, and another one follows it.
    pub(in crate::bridge::core::tests) fn crash(&mut self, of: usize) {
        self.cut(of);
        self.machines[of].is_there = false;
        let stands = self.machines[of].pipe.len() as u64;
        let taken = self.chance.below(stands + 1);
        self.take(of, usize::try_from(taken).unwrap());
        self.machines[of].pipe.clear();
        let unsaid = std::mem::take(&mut self.machines[of].unsaid);
        self.machines[of].unsaid_before += unsaid;
        self.follow(of);
        self.at(Duration::from_millis(300), Event::Connect { of });
    }

    /// Another bridge takes the place of one that is gone.
    pub(super) fn follow(&mut self, of: usize) {
        let now = self.now;
        let machine = &mut self.machines[of];
        machine.lost_before += std::mem::take(&mut machine.lost);
        machine.settings.heard = machine.known.values().copied().collect();
        machine.settings.epoch += 1;
        machine.settings.passed = machine.hub_number - machine.queue.len() as u64;
        machine.core = Core::new(machine.settings.clone(), now);
        machine.core.members(now, vec![member(of)]);
        machine.is_there = true;
        machine.ends = false;
        machine.follows = now;
        for frame in std::mem::take(&mut machine.queue) {
            machine.core.local(now, &frame);
        }
    }
}
