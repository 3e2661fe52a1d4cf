//! A bridge for as long as its connection to the hub lives: the hub, the core, the line, emitters and Node's servers.

mod ending;
mod hear;
mod lines;
mod pauses;
mod server;
mod tell;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socketioxide_core::Sid;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::warn;

pub(super) use self::ending::End;
use self::ending::Phase;
use self::lines::Lines;
use self::pauses::Pauses;
use self::server::{Attempt, Done, Job, attempt};
use super::Parts;
use super::core::{Core, CoreSettings, Inbound, Output, RING_BYTES, Why};
use super::emitter::Emitter;
use super::hub::HubEnd;
use super::line::{Line, LineEvent};
use super::node::{self, Node, NodeSettings};
use super::notepack;
use super::outage::Outage;
use super::transport::{Server, Transport};
use crate::config::Parser;
use crate::ipc::bus::BusError;
use crate::logging::RateLimit;
use crate::wire::frame::{Body, BusMember};

/// What may wait for the hub, in bytes. Beyond it frames from elsewhere are lost and counted: a machine that cannot keep
/// up slows nobody.
const CAP: usize = 64 << 20;
/// How often the hub and systemd are told how it is.
const REPORT: Duration = Duration::from_secs(1);
/// So many frames of the hub are read before all else has its turn.
const TURN: usize = 64;
/// So many workers of other machines are members: each local worker is told all of them at every change, and whoever can
/// publish can make them up.
const MOST_ELSEWHERE: usize = 16_384;
/// The same trouble is logged once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// What happens next.
enum Event {
    Hub(Result<Bytes, BusError>),
    Line(LineEvent),
    Job(Done),
    Due,
    Report,
    Stop,
}

/// See the module's text.
pub(super) struct Session {
    parts: Rc<Parts>,
    hub: HubEnd,
    core: Core,
    inbound: BTreeMap<String, Inbound>,
    line: Line<Server, Attempt>,
    emitter: Option<Emitter>,
    node: Option<Node>,
    /// What the server does for Node's part: one thing after the other. Meanwhile more waits there, which is bounded.
    job: Option<Job>,
    /// Only questions have no order.
    counts: FuturesUnordered<Job>,
    outage: Outage,
    elsewhere: Vec<BusMember>,
    /// Between what the hub is told of that.
    pauses: Pauses,
    node_member: Option<BusMember>,
    /// The numbers of the machines that came, by name.
    numbers: BTreeMap<String, u16>,
    report: Interval,
    phase: Phase,
    deadline: Option<Instant>,
    end: End,
    /// The last number that the hub gave.
    hub_number: u64,
    /// Frames from elsewhere that the hub had no room for.
    overflowed: u64,
    refused: Option<String>,
    warnings: RateLimit,
    lines: Lines,
    /// The hub is to be told how it is, behind how far it is.
    tell_soon: bool,
    /// What the hub was told last that is lost.
    told_lost: u64,
}

impl Session {
    pub(super) fn new(parts: &Rc<Parts>, hub: HubEnd) -> Self {
        let config = &parts.config.bridge;
        let settings = CoreSettings {
            prefix: config.prefix.clone(),
            name: hub.welcome.name.clone(),
            machine: hub.welcome.machine,
            incarnation: hub.welcome.incarnation,
            epoch: hub.welcome.epoch,
            passed: hub.welcome.passed,
            catch_up: config.catch_up,
            ring_bytes: RING_BYTES,
            hub_drops_repeats: true,
            heard: hub.welcome.heard.clone(),
        };
        let core = Core::new(settings, std::time::Instant::now());
        let parser = match parts.config.engine.parser {
            Parser::Common => notepack::Parser::Common,
            Parser::Msgpack => notepack::Parser::Msgpack,
        };
        let is_redis = parts.url.is_redis();
        // Node's part hears emitters as well.
        let emitter = (config.emitter && !config.node && is_redis)
            .then(|| Emitter::new(&config.emitter_prefix, parser));
        let node = (config.node && is_redis).then(|| {
            Node::new(NodeSettings {
                key: config.emitter_prefix.clone(),
                emitter: config.emitter,
                parser,
                id: Sid::new(),
            })
        });
        let channels = core.channels();
        let line = Line::new(attempt(parts, &channels, emitter.as_ref()));
        let mut report = interval(REPORT);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            outage: Outage::new(parts.url.to_string()),
            parts: Rc::clone(parts),
            hub,
            core,
            inbound: channels.into_iter().collect(),
            line,
            emitter,
            node,
            job: None,
            counts: FuturesUnordered::new(),
            elsewhere: Vec::new(),
            pauses: Pauses::default(),
            node_member: None,
            numbers: BTreeMap::new(),
            report,
            phase: Phase::Running,
            deadline: None,
            end: End::Stopped,
            hub_number: 0,
            overflowed: 0,
            refused: None,
            warnings: RateLimit::default(),
            lines: Lines::default(),
            tell_soon: false,
            told_lost: 0,
        }
    }

    /// Until the hub is gone or the process is to stop, and the others have heard of it.
    pub(super) async fn run(mut self) -> End {
        loop {
            self.act();
            if self.is_over() {
                return self.end;
            }
            match self.next().await {
                Event::Hub(frame) => self.hear_hub(frame),
                Event::Line(event) => self.hear_line(event),
                Event::Job(done) => self.done(done),
                Event::Due => {
                    self.core.tick(std::time::Instant::now());
                    if self.pauses.due().is_some_and(|due| due <= Instant::now()) {
                        self.say_elsewhere();
                    }
                    if let Some(node) = &mut self.node {
                        node.tick(std::time::Instant::now());
                    }
                }
                Event::Report => self.tell(),
                Event::Stop => self.begin_end(End::Stopped),
            }
            self.go_on_ending().await;
        }
    }

    /// The next thing that happens. A call that is dropped loses nothing.
    async fn next(&mut self) -> Event {
        let now = Instant::now();
        let node_is_full = self.node.as_ref().is_some_and(Node::is_full);
        let reads = self.phase != Phase::Leaving && !self.core.is_full() && !node_is_full;
        let mut due = Instant::from_std(self.core.next_deadline());
        if let Some(node) = self.node.as_ref().and_then(Node::next_deadline) {
            due = due.min(Instant::from_std(node));
        }
        for deadline in [self.deadline, self.pauses.due()].into_iter().flatten() {
            due = due.min(deadline);
        }
        let HubEnd {
            reader,
            write,
            queue,
            ..
        } = &mut self.hub;
        let job = async {
            match &mut self.job {
                Some(job) => job.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.line.next() => Event::Line(event),
            frame = reader.next(), if reads => Event::Hub(frame),
            done = job => Event::Job(done),
            Some(done) = self.counts.next() => Event::Job(done),
            _ = self.report.tick() => Event::Report,
            () = self.parts.stopped(), if self.phase == Phase::Running => Event::Stop,
            () = sleep_until(due.max(now)) => Event::Due,
            // At its end all that it had sent is still to be read.
            never = async { queue.write_to(write, || ()).await; std::future::pending().await },
                if !matches!(self.phase, Phase::Draining | Phase::Leaving) => never,
        }
    }

    /// Does what the core and Node's part want done.
    fn act(&mut self) {
        let now = std::time::Instant::now();
        let mut heard = Vec::new();
        while let Some(output) = self.core.poll(now) {
            match output {
                Output::Publish {
                    id,
                    channel,
                    payload,
                } => self.line.publish(id, channel, payload),
                Output::Deliver(frame) => self.deliver(frame),
                Output::Elsewhere(members) => {
                    self.elsewhere = members;
                    self.tell_elsewhere();
                }
                Output::Link(is_up) => self.link(is_up),
                Output::Heard(of, at) => heard.push((of, at)),
                Output::Reconnect(why) => {
                    // What was refused has been told with the server's words, or with the end of the connection.
                    if why != Why::Refused {
                        self.outage.failed(self.why_silent(why));
                    }
                    self.line.drop_server();
                    self.line_lost(now);
                }
                Output::Tell(notice) => self.log(&notice),
            }
        }
        self.tell_heard(heard);
        while self.job.is_none()
            && let Some(output) = self.node.as_mut().and_then(Node::poll)
        {
            self.act_for_node(output);
        }
    }

    fn why_silent(&self, why: Why) -> String {
        match self.line.server() {
            Some(_) if self.line.is_unanswered() => format!("{} does not answer", self.parts.url),
            Some(server) => format!("{why}: {}", server.silence(self.line.has_worked())),
            None => why.to_string(),
        }
    }

    fn act_for_node(&mut self, output: node::Output) {
        match output {
            node::Output::Deliver(frame) => self.deliver(frame),
            node::Output::Elsewhere(member) => {
                self.node_member = member;
                self.tell_elsewhere();
            }
            node::Output::Tell(notice) => {
                if self.warnings.allows(WARNING_INTERVAL) {
                    warn!("{notice}");
                }
            }
            // What is for a server that is gone came too late.
            job => {
                if let Some(server) = self.line.server() {
                    self.begin_job(server, job);
                }
            }
        }
    }

    fn tell_elsewhere(&mut self) {
        if self.pauses.is_over(Instant::now()) {
            self.say_elsewhere();
        }
    }

    /// What waits for the end of a pause is told before all that comes behind it.
    fn end_pause(&mut self) {
        if self.pauses.waits() {
            self.say_elsewhere();
        }
    }

    fn say_elsewhere(&mut self) {
        self.pauses.told(Instant::now());
        let members = self.elsewhere.iter().take(MOST_ELSEWHERE);
        let members = members.chain(&self.node_member).cloned().collect();
        self.hub.say(Body::Elsewhere(members));
    }

    fn link(&mut self, is_up: bool) {
        self.end_pause();
        let figures = self.core.figures();
        self.outage.set(is_up, &figures);
        self.hub.say(Body::Link(is_up));
        if is_up {
            self.line.works();
        }
        self.tell_soon = true;
    }
}
