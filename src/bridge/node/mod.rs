//! The wire of the classic Redis adapter for Node (`@socket.io/redis-adapter` 7 and 8), spoken with Node servers on the
//! same Redis.
//!
//! To them each of our machines is one server more. To the workers of this machine all Node servers together are one
//! member, called "node", of this machine's bus alone: what other machines of ours say they tell Node themselves, and
//! what Node says reaches each of them on its own subscription.
//!
//! It does no I/O and has no clock: time and what happened are handed in, and [`Node::poll`] says what is to be done.
//!
//! - [`namespaces`]: which ones the workers have; each has its channels
//! - [`read`], [`write`]: Node's messages
//! - [`asked`]: what Node servers ask our workers; everything is answered within [`PATIENCE`], with what is known by then:
//!   a Node server that misses one answer fails its caller, whatever the others said
//! - [`asking`]: what our workers ask Node servers
//! - [`stand_ins`]: the ids of Node's sockets, which do not fit into ours

mod asked;
mod asking;
mod channels;
mod namespaces;
mod read;
mod stand_ins;
mod types;
mod write;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions};
use socketioxide_core::{Sid, Str};

use self::asked::Asked;
use self::asking::Asking;
use self::channels::{Channels, Kind, MARK};
use self::namespaces::{Change, Namespaces};
use self::read::{ReadError, Target};
use self::stand_ins::StandIns;
pub(super) use self::types::{Figures, NodeSettings, Notice, Output};
use super::notepack;
use super::transport::Channel;
use crate::wire::frame::{Body, BusMember, Command, Frame};

/// Within this time everything is answered, and answers are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much longer than clients the servers may take to tell their acknowledgements.
const ACK_GRACE: Duration = Duration::from_secs(1);
/// For how long clients may acknowledge what is asked without a time.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions that are open at one time, of either side.
const MOST_QUESTIONS: usize = 4_096;
/// An answer grows no longer than this, in bytes: a larger message would cut every subscriber of the server.
const LONGEST_ANSWER: usize = 24 << 20;
/// When so much waits to be published, the hub is read no further, in bytes.
const FULL: usize = 32 << 20;
/// What is beyond this is neither published nor delivered, in bytes.
const MOST_WAITING: usize = 64 << 20;
/// The "node" member's machine.
const NAME: &str = "node";

/// The conversation with Node's servers.
#[derive(Debug)]
pub(super) struct Node {
    settings: NodeSettings,
    /// Who this machine is to Node servers, in all namespaces.
    uid: String,
    namespaces: Namespaces,
    /// The workers of this machine.
    workers: Vec<BusMember>,
    stand_ins: StandIns,
    asked: Asked,
    asking: Asking,
    is_connected: bool,
    outputs: VecDeque<Output>,
    /// What these keep, in bytes.
    waiting: usize,
    figures: Figures,
}

impl Node {
    /// Begins with what the hub has to say: to be made as soon as it has said Welcome.
    pub(super) fn new(settings: NodeSettings) -> Self {
        let uid: String = settings.id.as_str().chars().take(5).collect();
        let mut node = Self {
            uid: format!("{MARK}{uid}"),
            settings,
            namespaces: Namespaces::default(),
            workers: Vec::new(),
            stand_ins: StandIns::default(),
            asked: Asked::default(),
            asking: Asking::default(),
            is_connected: false,
            outputs: VecDeque::new(),
            waiting: 0,
            figures: Figures::default(),
        };
        node.missed();
        node
    }

    /// Not all that the workers said has come: which namespaces they have is asked for.
    pub(super) fn missed(&mut self) {
        self.deliver(None, Body::TellNamespaces);
    }

    /// The id of Node's servers on this machine's bus.
    pub(super) fn id(&self) -> Sid {
        self.settings.id
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    /// What is to be done next.
    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.waiting -= output.size();
        Some(output)
    }

    /// Does so much wait that the hub is to be read no further?
    pub(super) fn is_full(&self) -> bool {
        self.waiting >= FULL
    }

    /// The workers of this moment.
    pub(super) fn members(&mut self, now: Instant, members: &[BusMember]) {
        self.workers = members.to_vec();
        self.workers.sort_by_key(|member| member.slot);
        let ids: HashSet<Sid> = members.iter().map(|member| member.id).collect();
        let gone = self.namespaces.keep(&ids, &self.settings.key);
        for ns in gone {
            self.unsubscribe(&ns);
        }
        self.asking.keep(&ids);
        self.workers_left(now, &ids);
    }

    /// Both connections to the server are there.
    pub(super) fn connected(&mut self) {
        self.is_connected = true;
        let all: Vec<Str> = self.namespaces.all().cloned().collect();
        for ns in all {
            self.subscribe(&ns);
        }
        let member = BusMember {
            id: self.settings.id,
            slot: 0,
            pid: 0,
            machine: NAME.into(),
        };
        self.push(Output::Elsewhere(Some(member)));
    }

    /// The connections to the server are gone, and with them whatever was under way.
    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        self.asked = Asked::default();
        self.asking = Asking::default();
        self.outputs.retain(|output| {
            matches!(
                output,
                Output::Deliver(_) | Output::Elsewhere(_) | Output::Tell(_)
            )
        });
        self.waiting = self.outputs.iter().map(Output::size).sum();
        self.push(Output::Elsewhere(None));
    }

    /// This bridge ends: Node servers shall not count it any more. What is polled now is to be done first.
    pub(super) fn goodbye(&mut self) {
        let all: Vec<Str> = self.namespaces.all().cloned().collect();
        for ns in all {
            self.unsubscribe(&ns);
        }
        self.answer_all();
        self.is_connected = false;
        self.push(Output::Elsewhere(None));
    }

    /// A frame of a worker of this machine, for all or for Node's servers.
    pub(super) fn local(&mut self, now: Instant, frame: Frame) {
        let Frame { to, from, body } = frame;
        if to.is_some_and(|to| to != self.settings.id) {
            return;
        }
        match body {
            Body::Namespace { ns, is_here } => self.namespace(from, &ns, is_here),
            Body::Command { ns, opts, command } => self.command(&ns, &opts, &command),
            Body::ServerSide { event, data } => self.tell_applications(&event, &data),
            Body::Ask { ticket, question } => self.ask(now, from, ticket, &question),
            Body::Answer { ticket, answer } => self.answered(now, from, ticket, answer),
            _ => {}
        }
    }

    /// A message came. Is it one of Node's channels?
    pub(super) fn received(
        &mut self,
        now: Instant,
        channel: &str,
        pattern: Option<&str>,
        payload: &Bytes,
    ) -> bool {
        let kind = match pattern {
            Some(pattern) => self
                .namespaces
                .by_pattern(pattern)
                .cloned()
                .map(Kind::Broadcast),
            None => channels::read(&self.settings.key, channel),
        };
        let Some(kind) = kind else {
            return false;
        };
        let understood = match kind {
            Kind::Broadcast(ns) => self.broadcast(&ns, payload),
            Kind::Request(ns) => self.request(now, ns, payload),
            Kind::Response => self.response(now, payload),
        };
        if let Err(error) = understood {
            self.figures.garbled += 1;
            let channel = channel.chars().take(100).collect();
            let why = error.to_string();
            self.tell(Notice::Garbled { channel, why });
        }
        true
    }

    /// When [`Node::tick`] is to be called, if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.asked.next_deadline(), self.asking.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        self.answer_late(now);
        self.give_up(now);
    }

    fn namespace(&mut self, worker: Sid, ns: &Str, is_here: bool) {
        let key = &self.settings.key;
        let change = if is_here {
            self.namespaces.add(worker, ns, key)
        } else {
            self.namespaces.remove(worker, ns, key)
        };
        match change {
            Change::None => {}
            Change::New => self.subscribe(ns),
            Change::Gone => self.unsubscribe(ns),
            Change::TooMany => self.tell(Notice::TooManyNamespaces),
        }
    }

    /// The mark comes first and goes last, so that we are never taken for a Node server.
    fn subscribe(&mut self, ns: &str) {
        if !self.is_connected {
            return;
        }
        let channels = Channels::new(&self.settings.key, ns);
        self.push(Output::Subscribe(vec![
            Channel::Exact(channels.ours()),
            Channel::Pattern(channels.pattern()),
            Channel::Exact(channels.response()),
            Channel::Exact(channels.own_response(&self.uid)),
            Channel::Exact(channels.request()),
        ]));
    }

    fn unsubscribe(&mut self, ns: &str) {
        if !self.is_connected {
            return;
        }
        let channels = Channels::new(&self.settings.key, ns);
        self.push(Output::Unsubscribe(vec![
            Channel::Exact(channels.request()),
            Channel::Pattern(channels.pattern()),
            Channel::Exact(channels.response()),
            Channel::Exact(channels.own_response(&self.uid)),
            Channel::Exact(channels.ours()),
        ]));
    }

    /// What a worker does with the sockets of all.
    fn command(&mut self, ns: &Str, opts: &BroadcastOptions, command: &Command) {
        let Some(target) = write::Target::of(opts, &self.stand_ins) else {
            return;
        };
        let channels = Channels::new(&self.settings.key, ns);
        let order = |kind| write::Request::new(&self.uid, None, kind).with_target(&target);
        let (channel, payload) = match command {
            Command::Emit(value) => {
                let channel = match target.room() {
                    Some(room) => channels.room(room),
                    None => channels.base(),
                };
                match write::broadcast(&self.uid, ns, value, &target) {
                    Ok(payload) => (channel, payload),
                    Err(_) => return self.drop_one("an event that is no JSON"),
                }
            }
            Command::Join(rooms) => {
                let order = order(2).with_rooms(rooms, &self.stand_ins);
                (channels.request(), order.json())
            }
            Command::Leave(rooms) => {
                let order = order(3).with_rooms(rooms, &self.stand_ins);
                (channels.request(), order.json())
            }
            Command::Disconnect => (channels.request(), order(4).with_close(false).json()),
        };
        self.publish(channel, payload);
    }

    /// An event of Node's for sockets.
    fn broadcast(&mut self, ns: &Str, payload: &Bytes) -> Result<(), ReadError> {
        let read = read::broadcast(payload)?;
        if self.is_deaf_to(&read.uid) || read.ns != **ns {
            return Ok(());
        }
        let value = notepack::event(payload, read.data, self.settings.parser)?;
        let body = Body::Command {
            ns: ns.clone(),
            opts: options(read.target),
            command: Command::Emit(value),
        };
        self.deliver(None, body);
        Ok(())
    }

    /// Of our machines we hear over our own wire, and of emitters if they are to be heard.
    fn is_deaf_to(&self, uid: &str) -> bool {
        uid.starts_with(MARK) || (!self.settings.emitter && matches!(uid, "" | "emitter"))
    }

    /// Gives the own hub's workers, or one of them, something of Node's.
    fn deliver(&mut self, to: Option<Sid>, body: Body) {
        let from = self.settings.id;
        match (Frame { to, from, body }).encode() {
            // What comes does not wait for what the server is asked to do, which may take seconds.
            Ok(frame) if self.waiting + frame.len() > MOST_WAITING => {
                self.figures.dropped += 1;
                self.tell(Notice::Missed);
            }
            Ok(frame) => self.push(Output::Deliver(frame)),
            Err(_) => self.figures.garbled += 1,
        }
    }

    fn publish(&mut self, channel: String, payload: Bytes) {
        if !self.is_connected {
            self.figures.dropped += 1;
        } else if self.waiting + payload.len() > MOST_WAITING {
            self.drop_one("something, for too much waits to be sent");
        } else {
            self.push(Output::Publish { channel, payload });
        }
    }

    fn drop_one(&mut self, what: &'static str) {
        self.figures.dropped += 1;
        self.tell(Notice::Dropped { what });
    }

    /// Says it in the log, unless so much waits that nothing new would be learnt.
    fn tell(&mut self, notice: Notice) {
        if self.waiting < MOST_WAITING {
            self.push(Output::Tell(notice));
        }
    }

    fn push(&mut self, output: Output) {
        self.waiting += output.size();
        self.outputs.push_back(output);
    }
}

/// The sockets of this machine that Node means.
fn options(target: Target) -> BroadcastOptions {
    let mut opts = BroadcastOptions::default();
    if target.is_volatile {
        opts.add_flag(BroadcastFlags::Volatile);
    }
    if target.rooms.is_empty() {
        opts.add_flag(BroadcastFlags::Broadcast);
    }
    opts.rooms.extend(target.rooms);
    opts.except.extend(target.except);
    opts
}

#[cfg(test)]
mod tests;
