//! A world in a box: bridges, the server between them, a clock that jumps from event to event, and faults.

mod trouble;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Core, CoreSettings, Inbound, Notice, Output};
use super::chance::Chance;
use super::{frame, member, numbered, said, settings};
use crate::wire::envelope::{Address, Position};

/// Which machine says which number.
fn said_by(frame: &Bytes) -> (usize, u64) {
    let (from, number) = said(frame);
    let from = (0..100).find(|nth| member(*nth).id == from).unwrap();
    (from, number)
}

enum Event {
    /// A message is at the server.
    Publish {
        from: usize,
        connection: u64,
        id: u64,
        channel: String,
        payload: Bytes,
    },
    /// The server has taken it.
    Answer { to: usize, connection: u64, id: u64 },
    /// A message is at a bridge.
    Message {
        to: usize,
        connection: u64,
        on: Inbound,
        payload: Bytes,
    },
    /// A bridge tries to connect.
    Connect { of: usize },
    /// A bridge whose planned end is over is followed by another one.
    Follow { of: usize },
    /// A hub is not held up any more.
    Take { of: usize },
}

/// What a bridge says to its hub.
enum ToHub {
    Frame(Bytes),
    /// How far it is, and how much it has counted as lost.
    Heard(Vec<(Address, Position)>, u64),
}

/// Faults, each in so many of a thousand messages.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub late: u64,
}

pub(super) struct Machine {
    pub core: Core,
    settings: CoreSettings,
    connection: u64,
    connected: bool,
    /// While it is away nobody is connected.
    pub away_until: Instant,
    /// What the hub has for the bridge while there is none.
    queue: VecDeque<Bytes>,
    is_there: bool,
    ends: bool,
    follows: Instant,
    hub_number: u64,
    said: u64,
    /// For each machine, what it is to hear, in order.
    pub sent: BTreeMap<usize, Vec<u64>>,
    /// Of each machine, what was heard, in order.
    pub heard: BTreeMap<usize, Vec<u64>>,
    /// What stands between the bridge and the hub. It dies with the bridge.
    pipe: VecDeque<ToHub>,
    /// What the hub has of that without the word behind it of how far that is; and had so when bridges crashed.
    unsaid: u64,
    pub unsaid_before: u64,
    /// A slow worker holds the hub up until then.
    held_up_until: Instant,
    /// How far the hub knows bridges to be.
    known: BTreeMap<u64, (Address, Position)>,
    /// What the bridge has counted, as the hub knows, and what those before it had.
    lost: u64,
    lost_before: u64,
    pub elsewhere: usize,
    pub notices: Vec<Notice>,
}

pub(super) struct World {
    pub now: Instant,
    pub chance: Chance,
    pub machines: Vec<Machine>,
    pub faults: Faults,
    /// The server does nothing until then.
    pub hangs_until: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    order: u64,
    /// When the last message of a connection arrives.
    last: HashMap<(usize, u64, bool), Instant>,
}

impl World {
    pub(super) fn new(seed: u64, machines: usize, ring_bytes: usize) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            chance: Chance::new(seed),
            machines: Vec::new(),
            faults: Faults::default(),
            hangs_until: now,
            events: BTreeMap::new(),
            order: 0,
            last: HashMap::new(),
        };
        for nth in 0..machines {
            let settings = CoreSettings {
                ring_bytes,
                hub_drops_repeats: true,
                ..settings(nth)
            };
            world.machines.push(Machine {
                core: Core::new(settings.clone(), now),
                settings,
                connection: 0,
                connected: false,
                away_until: now,
                queue: VecDeque::new(),
                is_there: true,
                ends: false,
                follows: now,
                hub_number: 0,
                said: 0,
                sent: BTreeMap::new(),
                heard: BTreeMap::new(),
                pipe: VecDeque::new(),
                unsaid: 0,
                unsaid_before: 0,
                held_up_until: now,
                known: BTreeMap::new(),
                lost: 0,
                lost_before: 0,
                elsewhere: 0,
                notices: Vec::new(),
            });
            world.machines[nth].core.members(now, vec![member(nth)]);
            world.at(Duration::ZERO, Event::Connect { of: nth });
        }
        world
    }

    fn at(&mut self, delay: Duration, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    /// In order within a connection and a direction.
    fn travel(&mut self, of: usize, connection: u64, out: bool, event: Event) {
        let mut delay = Duration::from_micros(100 + self.chance.below(2000));
        if self.chance.happens(self.faults.late) {
            delay += Duration::from_millis(self.chance.below(400));
        }
        let last = self.last.entry((of, connection, out)).or_insert(self.now);
        let at = (self.now + delay).max(*last);
        *last = at;
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// A worker of this machine says something to all, or to one machine.
    pub(super) fn say(&mut self, from: usize, to: Option<usize>) {
        let machines = self.machines.len();
        let machine = &mut self.machines[from];
        machine.said += 1;
        machine.hub_number += 1;
        let frame = numbered(&frame(from, to, machine.said), machine.hub_number);
        for reader in (0..machines).filter(|reader| *reader != from) {
            if to.is_none_or(|to| to == reader) {
                machine.sent.entry(reader).or_default().push(machine.said);
            }
        }
        if machine.is_there && !machine.ends {
            machine.core.local(self.now, &frame);
        } else {
            machine.queue.push_back(frame);
        }
        self.work(from);
    }

    /// Does what a core wants done.
    fn work(&mut self, of: usize) {
        let mut all_heard = Vec::new();
        while let Some(output) = self.machines[of].core.poll(self.now) {
            let machine = &mut self.machines[of];
            match output {
                Output::Publish {
                    id,
                    channel,
                    payload,
                } => {
                    let connection = machine.connection;
                    let from = of;
                    let event = Event::Publish {
                        from,
                        connection,
                        id,
                        channel,
                        payload,
                    };
                    self.travel(of, connection, true, event);
                }
                Output::Deliver(frame) => machine.pipe.push_back(ToHub::Frame(frame)),
                Output::Heard(of, at) => all_heard.push((of, at)),
                Output::Elsewhere(members) => machine.elsewhere = members.len(),
                Output::Link(_) => {}
                Output::Reconnect(_) => self.cut(of),
                Output::Tell(notice) => machine.notices.push(notice),
            }
        }
        let machine = &mut self.machines[of];
        if !all_heard.is_empty() {
            let lost = machine.core.figures().lost_in;
            machine.pipe.push_back(ToHub::Heard(all_heard, lost));
        }
        let is_gone = machine.is_there && machine.core.is_gone();
        if machine.held_up_until <= self.now || is_gone {
            self.take(of, usize::MAX);
        }
        if is_gone {
            self.machines[of].is_there = false;
            self.machines[of].connected = false;
            self.at(Duration::from_millis(300), Event::Follow { of });
        }
    }

    /// The hub takes so much of what its bridge said.
    fn take(&mut self, of: usize, most: usize) {
        let machine = &mut self.machines[of];
        let most = most.min(machine.pipe.len());
        for said in machine.pipe.drain(..most) {
            match said {
                ToHub::Frame(frame) => {
                    machine.unsaid += 1;
                    let (from, number) = said_by(&frame);
                    let heard = machine.heard.entry(from).or_default();
                    // As the hub does: see `CoreSettings::hub_drops_repeats`.
                    let repeats = machine.settings.hub_drops_repeats && machine.settings.epoch > 1;
                    if !repeats || heard.last().is_none_or(|last| *last < number) {
                        heard.push(number);
                    }
                }
                ToHub::Heard(all, lost) => {
                    let all = all.into_iter().map(|(of, at)| (of.incarnation, (of, at)));
                    machine.known.extend(all);
                    machine.lost = lost;
                    machine.unsaid = 0;
                }
            }
        }
    }

    /// What this machine's bridges have counted as lost, as its hub knows.
    pub(super) fn lost(&self, of: usize) -> u64 {
        self.machines[of].lost_before + self.machines[of].lost
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadlines = self.machines.iter().filter(|machine| machine.is_there);
            let deadline = deadlines.map(|m| m.core.next_deadline()).min();
            let next = event.into_iter().chain(deadline).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happens(event);
            } else {
                for of in 0..self.machines.len() {
                    let machine = &mut self.machines[of];
                    if machine.is_there && machine.core.next_deadline() <= self.now {
                        machine.core.tick(self.now);
                        assert!(machine.core.next_deadline() > self.now, "it stands still");
                        self.work(of);
                    }
                }
            }
        }
        self.now = end;
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Publish { .. } if self.now < self.hangs_until => {
                let wait = self.hangs_until - self.now;
                self.at(wait, event);
            }
            Event::Publish {
                from,
                connection,
                id,
                channel,
                payload,
            } => {
                for to in 0..self.machines.len() {
                    if !self.machines[to].connected {
                        continue;
                    }
                    let channels = self.machines[to].core.channels();
                    let Some((_, on)) = channels.into_iter().find(|(name, _)| *name == channel)
                    else {
                        continue;
                    };
                    let copies = match self.chance.below(1000) {
                        dice if dice < self.faults.lost => 0,
                        dice if dice < self.faults.lost + self.faults.doubled => 2,
                        _ => 1,
                    };
                    for _ in 0..copies {
                        let event = Event::Message {
                            to,
                            connection: self.machines[to].connection,
                            on,
                            payload: payload.clone(),
                        };
                        self.travel(to, self.machines[to].connection, false, event);
                    }
                }
                let event = Event::Answer {
                    to: from,
                    connection,
                    id,
                };
                self.travel(from, connection, false, event);
            }
            Event::Answer { to, connection, id } => {
                if self.machines[to].connection == connection && self.machines[to].connected {
                    self.machines[to].core.published(self.now, id, Ok(()));
                    self.work(to);
                }
            }
            Event::Message {
                to,
                connection,
                on,
                payload,
            } => {
                if self.machines[to].connection == connection && self.machines[to].connected {
                    self.machines[to].core.received(self.now, on, &payload);
                    self.work(to);
                }
            }
            Event::Connect { of } => {
                let ready = self.machines[of].away_until.max(self.hangs_until);
                if self.now < ready {
                    let wait = ready - self.now;
                    self.at(wait, Event::Connect { of });
                } else if self.machines[of].is_there {
                    self.machines[of].connection += 1;
                    self.machines[of].connected = true;
                    self.machines[of].core.connected(self.now);
                    self.work(of);
                }
            }
            Event::Take { of } => self.work(of),
            Event::Follow { of } => {
                self.follow(of);
                self.at(Duration::ZERO, Event::Connect { of });
            }
        }
    }
}
