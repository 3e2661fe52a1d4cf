//! The protocol between bridges: numbers, the ring, repair, membership. It does no I/O and has no clock of its own.
//!
//! | file | what |
//! |---|---|
//! | `types` | what goes in and what comes out |
//! | `waiting`, `ring`, `outgoing` | what this bridge sends: batches that wait, batches that are kept, their numbers |
//! | `repairs` | what others missed of it and are given once more |
//! | `pace` | how much of that is on its way at once |
//! | `stream`, `held` | what one other bridge sends: what is missing, held back, lost |
//! | `peers` | the machines that are known, and their members |
//! | `link` | the connection: the own echo, heartbeats, what happens when time passes |
//! | `ending` | the end: all is heard, and goodbye |
//! | `membership`, `told` | heartbeats of others: who came, who left, what is wrong; which of that was told |
//! | `incoming`, `delivery` | all else that comes from others, and whether a worker gets it |

mod delivery;
mod ending;
mod held;
mod incoming;
mod link;
mod membership;
mod outgoing;
mod pace;
mod peers;
mod repairs;
mod ring;
mod stream;
mod told;
mod types;
mod waiting;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use socketioxide_core::Sid;

use self::ending::Ending;
use self::link::Link;
use self::outgoing::Outgoing;
use self::pace::Window;
use self::peers::Peers;
use self::told::Told;
use self::waiting::{Arrival, Target};
use crate::wire::envelope::{Address, Envelope, Message};
use crate::wire::frame::{BusMember, Head};

pub(in crate::bridge) use self::types::{
    CoreSettings, Figures, Inbound, Leaving, Notice, Output, RING_BYTES, Why,
};

/// So much may be published and not answered, in bytes.
const IN_FLIGHT: usize = 4 << 20;
/// With so many messages unanswered, what is new waits for more to come with it.
const FEW: usize = 4;
/// When so much waits, nothing more is read from the hub, in bytes.
const FULL: usize = 32 << 20;
/// So many own members are told to others.
const MAX_MEMBERS: usize = 4096;

/// The protocol between bridges, of one bridge. After each call of it, [`Core::poll`] until there is nothing, and
/// [`Core::tick`] at [`Core::next_deadline`].
#[derive(Debug)]
pub(in crate::bridge) struct Core {
    settings: CoreSettings,
    me: Address,
    members: Vec<BusMember>,
    own: HashSet<Sid>,
    link: Link,
    ending: Option<Ending>,
    /// No batch is taken any more.
    is_deaf: bool,
    outgoing: Outgoing,
    peers: Peers,
    /// What the hub was told last.
    elsewhere: Vec<BusMember>,
    outputs: VecDeque<Output>,
    /// The hub may have to be told how far these are heard.
    unheard: BTreeSet<u64>,
    /// Published and not answered: the number of the batch, if there is one, the bytes, and when, of batches.
    in_flight: HashMap<u64, (Option<u64>, usize, Option<Instant>)>,
    in_flight_bytes: usize,
    window: Window,
    /// What is held back of all senders together, in bytes.
    held: usize,
    next_id: u64,
    same_machine: Told<(u64, u64)>,
    strangers: Told<String>,
    last_tick: Instant,
    wake: Instant,
    figures: Figures,
}

impl Core {
    /// A bridge that is not connected.
    pub(in crate::bridge) fn new(settings: CoreSettings, now: Instant) -> Self {
        let me = Address {
            incarnation: settings.incarnation,
            epoch: settings.epoch,
        };
        let peers = Peers::restored(&settings.heard, me.incarnation, now);
        let (catch_up, limit) = (settings.catch_up, settings.ring_bytes);
        Self {
            me,
            members: Vec::new(),
            own: HashSet::new(),
            link: Link::new(now),
            ending: None,
            is_deaf: false,
            outgoing: Outgoing::new(me, catch_up, limit, settings.passed),
            peers,
            elsewhere: Vec::new(),
            outputs: VecDeque::new(),
            unheard: BTreeSet::new(),
            in_flight: HashMap::new(),
            in_flight_bytes: 0,
            window: Window::new(IN_FLIGHT),
            held: 0,
            next_id: 1,
            same_machine: Told::default(),
            strangers: Told::default(),
            last_tick: now,
            wake: now,
            figures: Figures::default(),
            settings,
        }
    }

    /// The channels to subscribe to, with what [`Core::received`] is to be told of each.
    pub(in crate::bridge) fn channels(&self) -> [(String, Inbound); 3] {
        [
            (self.channel(Target::All), Inbound::All),
            (self.channel(Target::One(self.me.incarnation)), Inbound::Own),
            (format!("{}/hello", self.settings.prefix), Inbound::Hello),
        ]
    }

    fn channel(&self, target: Target) -> String {
        let prefix = &self.settings.prefix;
        match target {
            Target::All => format!("{prefix}/1/all"),
            Target::One(incarnation) => format!("{prefix}/1/to/{incarnation:016x}"),
        }
    }

    /// This machine's workers (the hub's `Members`).
    pub(in crate::bridge) fn members(&mut self, now: Instant, mut members: Vec<BusMember>) {
        members.truncate(MAX_MEMBERS);
        if members != self.members {
            self.own = members.iter().map(|member| member.id).collect();
            self.members = members;
            self.beat_soon(now);
        }
    }

    /// A frame from the own hub: `to: None`, or to a member elsewhere.
    pub(in crate::bridge) fn local(&mut self, now: Instant, frame: &Bytes) {
        let Ok(head) = Head::read(frame) else {
            self.figures.garbled += 1;
            return;
        };
        if head.len != frame.len() {
            self.outgoing.skip(head.hub_number);
            self.figures.garbled += 1;
            return;
        }
        // Whose a member is, a bridge that has just begun does not know yet; its own machine takes it from what all get.
        let owner = head.to.and_then(|to| self.peers.owner(to));
        let target = owner.map_or(Target::All, Target::One);
        let arrival = Arrival {
            target,
            volatile: head.volatile,
            hub: head.hub_number,
            lost_before: 0,
            frame,
        };
        let may_wait = self.link.is_up() && self.outgoing.waiting.bytes() < FULL;
        if !self.outgoing.push(now, arrival, may_wait) {
            self.figures.volatile_dropped += 1;
        }
        if self.outgoing.ring.bytes() + self.outgoing.waiting.bytes() > self.settings.ring_bytes {
            self.trim(now);
        }
    }

    /// What became of an [`Output::Publish`]. One that is not known any more is ignored.
    pub(in crate::bridge) fn published(&mut self, now: Instant, id: u64, result: Result<(), ()>) {
        let Some((n, bytes, at)) = self.in_flight.remove(&id) else {
            return;
        };
        self.in_flight_bytes -= bytes;
        if let (Ok(()), Some(at)) = (result, at) {
            self.window.answered(at, now, bytes);
        }
        match (result, n) {
            (Ok(()), Some(n)) => self.outgoing.ring.answered(n),
            (Ok(()), None) => self.goodbye_published(id),
            (Err(()), _) => self.reconnect(now, Why::Refused),
        }
    }

    /// Does so much wait that nothing more should be read from the hub? Never while the link is down.
    pub(in crate::bridge) fn is_full(&self) -> bool {
        self.link.is_up() && self.outgoing.waiting.bytes() >= FULL
    }

    /// What is to be done next, or nothing.
    pub(in crate::bridge) fn poll(&mut self, now: Instant) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.poll_publish(now).or_else(|| self.poll_heard(now))
    }

    /// The next message of this machine's frames, if it is time for one.
    fn poll_publish(&mut self, now: Instant) -> Option<Output> {
        if !self.link.is_connected()
            || self.in_flight_bytes >= self.window.bytes()
            || self.is_mute()
        {
            return None;
        }
        let new = self.in_flight.len() < FEW || self.outgoing.waiting.is_dense();
        let ready = self.outgoing.next(now, new)?;
        self.figures.batches_out += u64::from(ready.is_new);
        self.link.note_published(now, ready.payload.len());
        Some(self.publish(ready.target, ready.payload, ready.n, Some(now)))
    }

    /// How far this machine is in what another one sends, if the hub does not know: it has all that was delivered before.
    fn poll_heard(&mut self, now: Instant) -> Option<Output> {
        while let Some(id) = self.unheard.pop_first() {
            let peer = self.peers.get_mut(id);
            if let Some((of, at)) = peer.and_then(|peer| peer.heard_anew(now)) {
                return Some(Output::Heard(of, at));
            }
        }
        None
    }

    fn publish(
        &mut self,
        target: Target,
        payload: Bytes,
        n: Option<u64>,
        at: Option<Instant>,
    ) -> Output {
        let channel = self.channel(target);
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.insert(id, (n, payload.len(), at));
        self.in_flight_bytes += payload.len();
        Output::Publish {
            id,
            channel,
            payload,
        }
    }

    /// Says something to one other bridge, or to all.
    fn say(&mut self, target: Target, message: Message) {
        if self.link.is_connected() {
            let from = self.me;
            let payload = Envelope { from, message }.encode();
            let output = self.publish(target, payload, None, None);
            self.outputs.push_back(output);
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Tell(notice));
    }

    /// Tells the hub who is elsewhere, if that is others than before.
    fn tell_elsewhere(&mut self) {
        let elsewhere = self.peers.elsewhere();
        if elsewhere != self.elsewhere {
            self.elsewhere.clone_from(&elsewhere);
            self.outputs.push_back(Output::Elsewhere(elsewhere));
        }
    }

    /// Drops what is kept for too long or is too much.
    fn trim(&mut self, now: Instant) {
        self.figures.volatile_dropped += self.outgoing.trim(now);
    }

    /// What was counted.
    pub(in crate::bridge) fn figures(&self) -> Figures {
        let machines = self.peers.iter().filter(|peer| peer.alive).count();
        Figures {
            lost_out: self.figures.lost_out + self.outgoing.dropped,
            held_bytes: self.held as u64,
            ring_bytes: self.outgoing.ring.bytes() as u64,
            waiting_bytes: self.outgoing.waiting.bytes() as u64,
            machines: machines as u64,
            ..self.figures
        }
    }
}

#[cfg(test)]
mod tests;
