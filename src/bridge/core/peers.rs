//! The machines that are heard, or were not long ago.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use socketioxide_core::{Sid, Str};

use super::stream::Stream;
use super::types::after;
use crate::wire::envelope::{Address, Earlier, Position};
use crate::wire::frame::BusMember;

/// A machine from which nothing came for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// For so long the numbers of a machine that is gone are kept.
pub(super) const MEMORY: Duration = Duration::from_mins(5);
/// So many machines are known at one time.
const MAX_PEERS: usize = 1024;
/// The hub, which forgets as well, is told so often how far a machine is heard that is there and says nothing new.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// For all senders together so much is held back, in bytes.
pub(super) const HOLD_ALL: usize = 64 << 20;

/// Another machine.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Peer {
    /// Its bridge.
    pub address: Address,
    /// Its name; empty until its first heartbeat.
    pub name: Str,
    /// Its number.
    pub machine: u16,
    /// Its workers.
    pub members: Vec<BusMember>,
    /// Has a heartbeat of this bridge come?
    pub introduced: bool,
    /// Is it there?
    pub alive: bool,
    /// Since when it is there, or is not.
    pub since: Instant,
    /// When something came from it.
    pub heard: Instant,
    /// It was there when this machine's connection ended.
    pub lost_by_link: bool,
    /// It waits for being told that all has come.
    pub leaving: bool,
    /// It said goodbye.
    pub left: bool,
    /// What it sends.
    pub stream: Stream,
    /// How far that was when it was said to have left, or to be followed by another bridge.
    pub before: Option<(Address, Position)>,
    /// Does it hear this machine?
    pub hears: bool,
    /// Was it told that it does not?
    pub told_one_sided: bool,
    /// How far it is in what this machine sends.
    pub position: Option<Position>,
    /// How far the bridge before it was.
    pub earlier: Option<Earlier>,
    /// When it was told what is lost.
    pub told_lost: Option<Instant>,
    /// What the hub was told last of how far its stream is, and when.
    pub told_heard: Option<(Address, Position, Instant)>,
}

/// All of them, and whose each member is.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<u64, Peer>,
    owners: HashMap<Sid, u64>,
}

impl Peer {
    fn new(address: Address, me: u64, now: Instant) -> Self {
        Self {
            address,
            name: Str::from(""),
            machine: 0,
            members: Vec::new(),
            introduced: false,
            alive: false,
            since: now,
            heard: now,
            lost_by_link: false,
            leaving: false,
            left: false,
            stream: Stream::new(me),
            before: None,
            hears: false,
            told_one_sided: false,
            position: None,
            earlier: None,
            told_lost: None,
            told_heard: None,
        }
    }

    /// Another bridge of the same master is there.
    pub(super) fn succeed(&mut self, epoch: u32) {
        let exact = self.left;
        self.earlier = match (self.position.take(), self.earlier) {
            (Some(at), _) => Some(Earlier { at, exact }),
            (None, earlier) => earlier.map(|earlier| Earlier {
                exact: false,
                ..earlier
            }),
        };
        self.address.epoch = epoch;
        self.introduced = false;
        self.left = false;
        self.leaving = false;
        self.hears = false;
    }

    /// How far its stream is, if the hub is to be told.
    pub(super) fn heard_anew(&mut self, now: Instant) -> Option<(Address, Position)> {
        let at = self.stream.position()?;
        let is_known = self.told_heard.is_some_and(|(of, told, when)| {
            (of, told) == (self.address, at) && (!self.alive || now < after(when, TELL_AGAIN))
        });
        if is_known {
            return None;
        }
        self.told_heard = Some((self.address, at, now));
        Some((self.address, at))
    }

    /// Somebody says that this is its end: it may not be true.
    pub(super) fn ends(&mut self) {
        let address = self.address;
        self.before = self.stream.at().map(|at| (address, at));
    }

    /// A heartbeat came from a bridge that has left, or is followed by another one. A true one is silent by then, and its
    /// successor is not. Answers whether what was said of it was not true; then it is as it was before.
    pub(super) fn is_still_there(&mut self, from: Address, me: u64, now: Instant) -> bool {
        let is_over = from.epoch < self.address.epoch || from == self.address && self.left;
        let before = self
            .before
            .filter(|(of, _)| *of == from && is_over && self.gone_at() <= now);
        let Some((_, at)) = before else {
            return false;
        };
        let lost = self.stream.lost;
        self.stream = Stream::restored(me, at);
        self.stream.lost = lost;
        self.address = from;
        self.left = false;
        self.before = None;
        true
    }

    /// When it will be gone if nothing comes.
    pub(super) fn gone_at(&self) -> Instant {
        after(self.heard, SILENCE)
    }
}

impl Peers {
    /// Those that the bridge before this one heard so far.
    pub(super) fn restored(heard: &[(Address, Position)], me: u64, now: Instant) -> Self {
        let heard = heard.iter().filter(|(of, _)| of.incarnation != me);
        let peers = heard.take(MAX_PEERS).map(|(of, at)| {
            let mut peer = Peer::new(*of, me, now);
            peer.stream = Stream::restored(me, *at);
            (of.incarnation, peer)
        });
        Self {
            peers: peers.collect(),
            owners: HashMap::new(),
        }
    }

    /// The machine of this incarnation, which is new if there is room.
    pub(super) fn entry(&mut self, from: Address, me: u64, now: Instant) -> Option<&mut Peer> {
        if !self.peers.contains_key(&from.incarnation) && self.peers.len() >= MAX_PEERS {
            let gone = self.peers.iter();
            let gone = gone.filter(|(_, peer)| !peer.alive && peer.stream.held_bytes() == 0);
            let oldest = gone.min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id);
            self.remove(oldest?);
        }
        let new = || Peer::new(from, me, now);
        Some(self.peers.entry(from.incarnation).or_insert_with(new))
    }

    pub(super) fn get(&self, incarnation: u64) -> Option<&Peer> {
        self.peers.get(&incarnation)
    }

    pub(super) fn get_mut(&mut self, incarnation: u64) -> Option<&mut Peer> {
        self.peers.get_mut(&incarnation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.values_mut()
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    /// The machine that has this member, or had it not long ago.
    pub(super) fn owner(&self, member: Sid) -> Option<u64> {
        self.owners.get(&member).copied()
    }

    /// Its members of this moment. Answers whether they are others than before.
    pub(super) fn set_members(&mut self, incarnation: u64, members: Vec<BusMember>) -> bool {
        let Some(peer) = self.peers.get_mut(&incarnation) else {
            return false;
        };
        if peer.members == members {
            return false;
        }
        for member in &peer.members {
            if self.owners.get(&member.id) == Some(&incarnation) {
                self.owners.remove(&member.id);
            }
        }
        for member in &members {
            self.owners.entry(member.id).or_insert(incarnation);
        }
        peer.members = members;
        true
    }

    /// A machine is not known any more.
    pub(super) fn remove(&mut self, incarnation: u64) {
        self.set_members(incarnation, Vec::new());
        self.peers.remove(&incarnation);
    }

    /// All members that are there.
    pub(super) fn elsewhere(&self) -> Vec<BusMember> {
        let there = self.peers.values().filter(|peer| peer.alive);
        there.flat_map(|peer| peer.members.clone()).collect()
    }
}
