//! Who is there: what heartbeats say, who came, who left, and what is wrong with the fleet.

use std::time::{Duration, Instant};

use socketioxide_core::Str;

use super::types::after;
use super::{Core, Leaving, Notice, peers};
use crate::wire::envelope::{Address, Heartbeat, Phase, Position};

/// Two machines of one number are told if both are there for so long.
const OVERLAP: Duration = Duration::from_secs(2);

impl Core {
    /// Something came from a machine that is known. If it was gone, it is there again.
    pub(super) fn revive(&mut self, now: Instant, id: u64) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.alive) else {
            return;
        };
        peer.alive = true;
        peer.since = now;
        peer.stream.resume(now);
        if !std::mem::take(&mut peer.lost_by_link) {
            let (name, machine) = (peer.name.clone(), peer.machine);
            let workers = peer.members.len();
            self.tell(Notice::Came {
                name,
                machine,
                workers,
            });
        }
        self.tell_elsewhere();
        self.beat_soon(now);
    }

    pub(super) fn heartbeat(&mut self, now: Instant, from: Address, mut beat: Heartbeat) {
        let me = self.me;
        let id = from.incarnation;
        let Some(peer) = self.peers.entry(from, me.incarnation, now) else {
            self.figures.garbled += 1;
            return;
        };
        if peer.is_still_there(from, me.incarnation, now) {
            let name = peer.name.clone();
            self.tell(Notice::StillThere { name });
        }
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        if from.epoch < peer.address.epoch || (from == peer.address && peer.left) {
            return;
        }
        if from.epoch > peer.address.epoch {
            self.flush(now, id, u64::MAX);
            let Some(peer) = self.peers.get_mut(id) else {
                return;
            };
            peer.ends();
            peer.stream.begin_anew(beat.passed);
            peer.succeed(from.epoch);
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.introduced = true;
        peer.heard = now;
        peer.machine = beat.machine;
        peer.name = beat.name.clone();
        peer.leaving = beat.phase == Phase::Leaving;
        let heard = beat.heard.iter().find(|heard| heard.of == me);
        peer.hears = heard.is_some();
        // What is further back than the ring was its position before.
        if let Some(heard) =
            heard.filter(|heard| heard.n.saturating_add(1) >= self.outgoing.ring.first())
        {
            peer.position = Some(self.outgoing.position(id, heard.n));
        }
        let members = std::mem::take(&mut beat.members);
        self.peers.set_members(id, members);
        self.revive(now, id);
        self.tell_elsewhere();
        if let Some(peer) = self.peers.get_mut(id) {
            peer.stream.tail(now, &beat);
        }
        self.drain(now, id);
        if beat.phase == Phase::Left {
            self.left(now, id, &beat);
        } else {
            self.look_at(now, id);
        }
    }

    /// Another bridge said goodbye.
    fn left(&mut self, now: Instant, id: u64, beat: &Heartbeat) {
        self.flush(now, id, u64::MAX);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let mark = beat.mark(self.me.incarnation);
        peer.ends();
        peer.stream.no_more(
            now,
            &Position {
                n: mark.map_or(beat.tail, |mark| mark.n.max(beat.tail)),
                hub: beat.hub,
                common: beat.common,
                directed: mark.map_or(0, |mark| mark.directed),
            },
        );
        peer.left = true;
        peer.leaving = false;
        peer.alive = false;
        peer.since = now;
        let (name, how) = (peer.name.clone(), Leaving::Goodbye);
        self.settled(now, id);
        self.tell(Notice::Left { name, how });
        self.tell_elsewhere();
        self.beat_soon(now);
    }

    /// Is there a fault in the fleet that this heartbeat shows?
    fn look_at(&mut self, now: Instant, id: u64) {
        let is_up = self.link.is_up();
        let link_since = self.link.since;
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let since = peer.since.max(link_since);
        let (name, machine) = (peer.name.clone(), peer.machine);
        if peer.hears {
            peer.told_one_sided = false;
        } else if is_up && !peer.told_one_sided && after(since, peers::SILENCE) <= now {
            peer.told_one_sided = true;
            let name = name.clone();
            self.tell(Notice::OneSided { name });
        }
        let mut found = Vec::new();
        if is_up && machine == self.settings.machine && after(since, OVERLAP) <= now {
            found.push((self.me.incarnation, self.settings.name.clone()));
        }
        for other in self.peers.iter() {
            let both = since.max(other.since);
            if other.alive
                && other.address.incarnation != id
                && other.machine == machine
                && after(both, OVERLAP) <= now
                && other.heard > both
            {
                found.push((other.address.incarnation, other.name.clone()));
            }
        }
        for (other, other_name) in found {
            let pair = (id.min(other), id.max(other));
            self.same_machine(pair, [other_name, name.clone()], machine);
        }
    }

    pub(super) fn same_machine(&mut self, pair: (u64, u64), names: [Str; 2], machine: u16) {
        if self.same_machine.is_new(pair) {
            let [name, other] = &names;
            let names = if name == other && pair.0 != pair.1 {
                let mark = |incarnation: u64| format!("{name} ({:04x})", incarnation >> 48).into();
                [mark(pair.0), mark(pair.1)]
            } else {
                names
            };
            self.tell(Notice::SameMachine { names, machine });
        }
    }
}
