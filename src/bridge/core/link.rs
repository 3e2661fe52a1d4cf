//! The connection to the others: heartbeats, whose echo proves it; what happens when time passes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pace::Window;
use super::peers::MEMORY;
use super::types::after;
use super::waiting::Target;
use super::{Core, IN_FLIGHT, Leaving, Notice, Output, Why};
use crate::wire::envelope::{self, Heard, Heartbeat, Hello, Message, Phase};
use crate::wire::frame;

/// Heartbeats come so often.
const BEAT: Duration = Duration::from_secs(1);
/// A heartbeat because of a change comes no sooner behind the one before.
const BEAT_AGAIN: Duration = Duration::from_millis(100);
/// In this time the own heartbeat must come back.
const ECHO: Duration = Duration::from_secs(2);
/// So much longer it may take while others' words come instead.
const BEHIND: Duration = Duration::from_secs(8);
/// A hello comes so often.
const HELLO: Duration = Duration::from_secs(30);
/// A longer message may take longer to come back: its bytes at this rate, each second.
const LONG: usize = 1 << 20;
const SLOW: u32 = 4 << 20;
/// While something is missing, time is looked at so often.
const SOON: Duration = Duration::from_millis(50);

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    /// The number of the last heartbeat.
    beat: u64,
    last_beat: Instant,
    pub(super) next_beat: Instant,
    pub(super) next_hello: Instant,
    /// Heartbeats that have not come back.
    outstanding: VecDeque<(u64, Instant)>,
    /// When something of one's own came back.
    echoed: Instant,
    /// Long messages are on their way until then.
    long: Instant,
    /// When anything came.
    came: Instant,
    /// Since when it is as it is.
    pub(super) since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    /// Connected; the own heartbeat has not come back yet.
    Connected,
    Up,
}

impl Link {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Down,
            beat: 0,
            last_beat: now,
            next_beat: now,
            next_hello: now,
            outstanding: VecDeque::new(),
            echoed: now,
            long: now,
            came: now,
            since: now,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state != State::Down
    }

    /// A message of this length is on its way.
    pub(super) fn note_published(&mut self, now: Instant, len: usize) {
        if len >= LONG {
            let takes = Duration::from_secs(len as u64) / SLOW;
            self.long = after(self.long.max(now), takes).min(after(now, 5 * ECHO));
        }
    }

    /// Something of one's own came back. Answers whether it is the first.
    fn echo(&mut self, now: Instant, beat: u64) -> bool {
        self.echoed = now;
        while self.outstanding.front().is_some_and(|(n, _)| *n <= beat) {
            self.outstanding.pop_front();
        }
        let is_first = beat > 0 && self.state == State::Connected;
        if is_first {
            self.state = State::Up;
            self.since = now;
        }
        is_first
    }

    /// Something came, whoever sent it.
    pub(super) fn note_received(&mut self, now: Instant) {
        self.came = now;
    }

    /// When it is dead if nothing comes back. Over a thin line the echo is behind all that others send, and as long as that
    /// comes there is a line; but not for ever, for one's own words may be lost.
    fn echo_deadline(&self) -> Option<Instant> {
        let (_, sent) = self.outstanding.front()?;
        let echoed = (*sent).max(self.echoed).max(self.long);
        Some(after(
            echoed.max(self.came.min(after(echoed, BEHIND))),
            ECHO,
        ))
    }
}

impl Core {
    /// Both connections are there, and all channels are subscribed to.
    pub(in crate::bridge) fn connected(&mut self, now: Instant) {
        self.link_lost(now);
        self.link.state = State::Connected;
        self.link.since = now;
        self.link.echoed = now;
        self.link.long = now;
        self.outgoing.resume();
        self.hello(now);
        self.beat(now, Phase::Stays);
    }

    /// One of the connections has ended. What was published and not answered is published again.
    pub(in crate::bridge) fn disconnected(&mut self, now: Instant) {
        self.link_lost(now);
        self.end_step(now);
    }

    pub(super) fn reconnect(&mut self, now: Instant, why: Why) {
        if self.link.is_connected() {
            self.link_lost(now);
            self.outputs.push_back(Output::Reconnect(why));
        }
    }

    fn link_lost(&mut self, now: Instant) {
        if !self.link.is_connected() {
            return;
        }
        let was_up = self.link.is_up();
        self.link.state = State::Down;
        self.link.since = now;
        self.link.outstanding.clear();
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.window = Window::new(IN_FLIGHT);
        self.outputs
            .retain(|output| !matches!(output, Output::Publish { .. }));
        self.figures.volatile_dropped += self.outgoing.interrupted();
        for peer in self.peers.iter_mut().filter(|peer| peer.alive) {
            peer.alive = false;
            peer.lost_by_link = true;
            peer.since = now;
        }
        self.tell_elsewhere();
        if was_up {
            self.outputs.push_back(Output::Link(false));
            self.tell(Notice::LinkDown);
        }
    }

    /// Something that this bridge had published came back: a heartbeat of this number, or, zero, something else.
    pub(super) fn echo(&mut self, now: Instant, beat: u64) {
        if self.link.echo(now, beat) {
            self.outputs.push_back(Output::Link(true));
            self.tell(Notice::LinkUp);
        }
    }

    /// The number of the last heartbeat that was sent.
    pub(super) fn last_beat(&self) -> u64 {
        self.link.beat
    }

    /// Something changed: others are to know soon.
    pub(super) fn beat_soon(&mut self, now: Instant) {
        let soon = after(self.link.last_beat, BEAT_AGAIN).max(now);
        self.link.next_beat = self.link.next_beat.min(soon);
        self.wake = self.wake.min(self.link.next_beat);
    }

    /// Says a heartbeat to all.
    pub(super) fn beat(&mut self, now: Instant, phase: Phase) {
        self.link.beat += 1;
        let beat = self.link.beat;
        self.link.outstanding.push_back((beat, now));
        self.link.last_beat = now;
        self.link.next_beat = after(now, BEAT);
        let (tail, common) = self.outgoing.tail();
        let introduced = self.peers.iter().filter(|peer| peer.introduced);
        let heard = introduced.filter(|peer| peer.alive || phase == Phase::Left);
        let heard = heard.filter_map(|peer| {
            let (of, n) = (peer.address, peer.stream.heard()?);
            Some(Heard { of, n })
        });
        let message = Message::Heartbeat(Heartbeat {
            phase,
            beat,
            passed: self.settings.passed,
            tail,
            hub: self.outgoing.floor(),
            common,
            machine: self.settings.machine,
            name: self.settings.name.clone(),
            members: self.members.clone(),
            heard: heard.collect(),
            // Who misses what was for it alone hears of it now or never.
            marks: self.outgoing.recent(phase != Phase::Stays),
        });
        self.say(Target::All, message);
        let dropped = std::mem::take(&mut self.outgoing.dropped);
        if dropped > 0 {
            self.figures.lost_out += dropped;
            self.tell(Notice::Dropped { frames: dropped });
        }
    }

    fn hello(&mut self, now: Instant) {
        self.link.next_hello = after(now, HELLO);
        let hello = Hello {
            name: self.settings.name.to_string(),
            machine: self.settings.machine,
            incarnation: format!("{:016x}", self.me.incarnation),
            envelope: envelope::VERSION,
            frame: frame::VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let [_, _, (channel, _)] = self.channels();
        let mut output = self.publish(Target::All, hello.encode(), None, None);
        if let Output::Publish { channel: to, .. } = &mut output {
            *to = channel;
        }
        self.outputs.push_back(output);
    }

    /// Somebody unknown said hello: it is to know of this machine soon, too.
    pub(super) fn hello_soon(&mut self, now: Instant) {
        let soon = after(now, 5 * BEAT);
        self.link.next_hello = self.link.next_hello.min(soon);
    }

    /// Time has passed.
    pub(in crate::bridge) fn tick(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last_tick);
        self.last_tick = now;
        if passed > 2 * BEAT {
            self.slept(passed);
        }
        if self.link.is_connected() && self.link.echo_deadline().is_some_and(|at| at <= now) {
            self.reconnect(now, Why::NoEcho);
        }
        let mut is_missing = false;
        for id in self.peers.ids() {
            self.pass_time(now, id);
            is_missing |= self.peers.get(id).is_some_and(|p| p.stream.is_missing());
        }
        self.tell_elsewhere();
        self.trim(now);
        if self.link.is_connected() && self.ending.is_none() {
            if self.link.next_beat <= now {
                self.beat(now, Phase::Stays);
            }
            if self.link.next_hello <= now {
                self.hello(now);
            }
        }
        self.end_step(now);
        let gone = self.peers.iter().filter(|peer| peer.alive);
        let gone = gone.map(super::peers::Peer::gone_at).min();
        let soon = (is_missing || self.ending.is_some()).then(|| after(now, SOON));
        let beat = if self.link.is_connected() && self.ending.is_none() {
            self.link.next_beat
        } else {
            after(now, BEAT)
        };
        let times = [gone, soon, self.link.echo_deadline(), Some(beat)];
        self.wake = times.into_iter().flatten().min().unwrap_or(beat);
    }

    /// This process did not run: nobody else is to blame for the silence.
    fn slept(&mut self, passed: Duration) {
        for (_, sent) in &mut self.link.outstanding {
            *sent = after(*sent, passed);
        }
        for peer in self.peers.iter_mut() {
            peer.heard = after(peer.heard, passed);
        }
    }

    /// Time has passed for one of the others.
    fn pass_time(&mut self, now: Instant, id: u64) {
        let link_since = self.link.since;
        let is_up = self.link.is_up();
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.alive && peer.gone_at() <= now {
            peer.alive = false;
            peer.since = now;
            peer.stream.resume(now);
            let (name, how) = (peer.name.clone(), Leaving::Silence);
            self.tell(Notice::Left { name, how });
            self.beat_soon(now);
        } else if peer.lost_by_link && is_up && after(link_since, super::peers::SILENCE) <= now {
            peer.lost_by_link = false;
            let (name, how) = (peer.name.clone(), Leaving::Silence);
            self.tell(Notice::Left { name, how });
        } else if !peer.alive && after(peer.since.max(peer.heard), MEMORY) <= now {
            self.flush(now, id, u64::MAX);
            self.settled(now, id);
            self.peers.remove(id);
            self.outgoing.forget(id);
            return;
        }
        if let Some(peer) = self.peers.get_mut(id)
            && peer.alive
            && is_up
        {
            peer.stream.give_up(now);
        }
        self.settled(now, id);
    }

    /// When [`Core::tick`] is to be called next.
    pub(in crate::bridge) fn next_deadline(&self) -> Instant {
        self.wake
    }
}
