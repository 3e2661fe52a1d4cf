//! A bridge for as long as its connection to the hub lives: the hub, the core, the line, emitters and Node's servers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socketioxide_core::Sid;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use super::Parts;
use super::core::{Core, CoreSettings, Figures, Inbound, Leaving, Notice, Output, RING_BYTES};
use super::emitter::Emitter;
use super::hub::HubEnd;
use super::line::{Arrived, Line, LineEvent};
use super::node::{self, Node, NodeSettings};
use super::notepack;
use super::outage::Outage;
use super::transport::{Channel, Secrets, Server, Transport, TransportError};
use crate::config::Parser;
use crate::ipc::bus::BusError;
use crate::logging::RateLimit;
use crate::metrics::{self, Direction};
use crate::process;
use crate::wire::bridge::{Machine, Report};
use crate::wire::frame::{Body, BusMember, Frame, Head};

/// What may wait for the hub, in bytes. Beyond it frames from elsewhere are lost and counted: a machine that cannot keep
/// up slows nobody.
const CAP: usize = 64 << 20;
/// How often the hub and systemd are told how it is.
const REPORT: Duration = Duration::from_secs(1);
/// How long what waits for the hub may take at the end.
const FLUSH: Duration = Duration::from_millis(300);
/// How long the end may take.
const GOODBYE: Duration = Duration::from_millis(1200);
/// So many frames of the hub are read before all else has its turn.
const TURN: usize = 64;
/// The same trouble is logged once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The process is to stop.
    Stopped,
    /// The hub is gone.
    HubGone,
}

type Attempting = Pin<Box<dyn Future<Output = Result<Arrived<Server>, TransportError>>>>;
type Attempt = Box<dyn Fn() -> Attempting>;
type Job = Pin<Box<dyn Future<Output = Done>>>;

/// What something that the server had to do for Node's part has come to.
enum Done {
    Nothing,
    Failed(TransportError),
    Counted(u64, Option<u64>),
}

/// What happens next.
enum Event {
    Hub(Result<Bytes, BusError>),
    Line(LineEvent),
    Job(Done),
    Due,
    Report,
    Stop,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// What waits for the hub is written, until then at the latest.
    Flushing(Instant),
    /// What the hub has still sent is read.
    Draining,
    /// The others hear that it goes.
    Leaving,
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
    node_member: Option<BusMember>,
    /// The numbers of the machines that came, by name.
    numbers: BTreeMap<String, u16>,
    report: Interval,
    phase: Phase,
    deadline: Option<Instant>,
    end: End,
    /// Frames from elsewhere that the hub had no room for.
    overflowed: u64,
    refused: Option<String>,
    warnings: RateLimit,
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
            node_member: None,
            numbers: BTreeMap::new(),
            report,
            phase: Phase::Running,
            deadline: None,
            end: End::Stopped,
            overflowed: 0,
            refused: None,
            warnings: RateLimit::default(),
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
        if let Some(deadline) = self.deadline {
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

    /// What the hub says; and what it has said already, up to a turn.
    fn hear_hub(&mut self, frame: Result<Bytes, BusError>) {
        let mut next = Some(frame);
        for _ in 0..TURN {
            match next.take() {
                Some(Ok(frame)) => self.hear_frame(&frame),
                Some(Err(error)) => return self.hub_ended(&error),
                None => return,
            }
            let node_is_full = self.node.as_ref().is_some_and(Node::is_full);
            if self.core.is_full() || node_is_full {
                return;
            }
            next = self.hub.reader.buffered();
        }
        // The last one was not counted in the turn.
        match next {
            Some(Ok(frame)) => self.hear_frame(&frame),
            Some(Err(error)) => self.hub_ended(&error),
            None => {}
        }
    }

    fn hub_ended(&mut self, error: &BusError) {
        if self.phase == Phase::Running {
            debug!(%error, "the hub is gone");
            self.begin_end(End::HubGone);
        }
        self.say_goodbye();
    }

    fn hear_frame(&mut self, frame: &Bytes) {
        let now = std::time::Instant::now();
        let Ok(head) = Head::read(frame) else {
            return warn!("the hub sent what is no frame");
        };
        if head.hub_number > 0 {
            metrics::BRIDGE_FRAMES.count(Direction::Out);
            metrics::BRIDGE_BYTES.count_many(Direction::Out, frame.len() as u64);
            self.core.local(now, frame);
            if let Some(node) = &mut self.node
                && head.to.is_none_or(|to| to == node.id())
                && let Ok(frame) = Frame::decode(frame)
            {
                node.local(now, frame);
            }
            return;
        }
        match Frame::decode(frame) {
            Ok(Frame {
                body: Body::Members(members),
                ..
            }) => {
                if let Some(node) = &mut self.node {
                    node.members(now, &members);
                }
                self.core.members(now, members);
            }
            Ok(frame) => {
                if let Some(node) = &mut self.node {
                    node.local(now, frame);
                }
            }
            Err(error) => warn!(%error, "the hub sent what is no frame"),
        }
    }

    fn hear_line(&mut self, event: LineEvent) {
        let now = std::time::Instant::now();
        match event {
            LineEvent::Connected(refused) => {
                if let Some(error) = &refused {
                    warn!("emitters are not heard: {error}");
                }
                self.refused = refused.map(|error| format!("emitters are not heard: {error}"));
                self.core.connected(now);
                if let Some(node) = &mut self.node {
                    node.connected();
                }
            }
            LineEvent::Lost(error) => {
                self.outage.failed(error.to_string());
                self.line_lost(now);
            }
            LineEvent::Message {
                channel,
                pattern,
                payload,
            } => self.hear_message(now, &channel, pattern.as_deref(), &payload),
            LineEvent::Published(id, result) => {
                if let Err(error) = &result {
                    self.outage.failed(error.to_string());
                }
                self.core.published(now, id, result.map_err(|_| ()));
            }
        }
    }

    fn line_lost(&mut self, now: std::time::Instant) {
        self.core.disconnected(now);
        if let Some(node) = &mut self.node {
            node.disconnected();
        }
        self.job = None;
        self.counts.clear();
    }

    fn hear_message(
        &mut self,
        now: std::time::Instant,
        channel: &str,
        pattern: Option<&str>,
        payload: &Bytes,
    ) {
        if pattern.is_none()
            && let Some(inbound) = self.inbound.get(channel)
        {
            return self.core.received(now, *inbound, payload);
        }
        if let Some(node) = &mut self.node {
            node.received(now, channel, pattern, payload);
        } else if let Some(emitter) = &self.emitter
            && let Some(frame) = emitter.frame(self.hub.id, channel, payload)
        {
            self.deliver(frame);
        }
    }

    /// Gives the hub a frame for workers.
    fn deliver(&mut self, frame: Bytes) {
        metrics::BRIDGE_FRAMES.count(Direction::In);
        metrics::BRIDGE_BYTES.count_many(Direction::In, frame.len() as u64);
        if self.hub.queue.bytes() < CAP {
            return self.hub.queue.push(frame);
        }
        self.overflowed += 1;
        if self.warnings.allows(WARNING_INTERVAL) {
            let lost = self.overflowed;
            warn!(
                lost,
                "the workers do not take what comes from other machines: frames are lost"
            );
        }
    }

    /// Does what the core and Node's part want done.
    fn act(&mut self) {
        let now = std::time::Instant::now();
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
                Output::Reconnect(why) => {
                    let reason = match self.line.server() {
                        Some(_) if self.line.is_unanswered() => {
                            format!("{} does not answer", self.parts.url)
                        }
                        Some(server) => format!("{why}: {}", server.silence()),
                        None => why.to_string(),
                    };
                    self.outage.failed(reason);
                    self.line.drop_server();
                    self.line_lost(now);
                }
                Output::Tell(notice) => self.log(&notice),
            }
        }
        while self.job.is_none()
            && let Some(output) = self.node.as_mut().and_then(Node::poll)
        {
            self.act_for_node(output);
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
        let mut members = self.elsewhere.clone();
        members.extend(self.node_member.clone());
        self.hub.say(Body::Elsewhere(members));
    }

    fn link(&mut self, is_up: bool) {
        let figures = self.core.figures();
        self.outage.set(is_up, &figures);
        self.hub.say(Body::Link(is_up));
        if is_up {
            self.line.works();
        }
        self.tell();
    }

    /// Has the server do something for Node's part.
    fn begin_job(&mut self, server: Rc<Server>, output: node::Output) {
        match output {
            node::Output::Publish { channel, payload } => {
                drop(server.publish_whole(&channel, payload));
                if !server.has_room() {
                    self.job = Some(Box::pin(async move {
                        server.room().await;
                        Done::Nothing
                    }));
                }
            }
            node::Output::Subscribe(channels) => {
                self.job = Some(Box::pin(async move {
                    let subscribed = server.subscribe(&channels).await;
                    subscribed.map_or_else(Done::Failed, |()| Done::Nothing)
                }));
            }
            node::Output::Unsubscribe(channels) => {
                self.job = Some(Box::pin(async move {
                    let unsubscribed = server.unsubscribe(&channels).await;
                    unsubscribed.map_or_else(Done::Failed, |()| Done::Nothing)
                }));
            }
            node::Output::NumSub { id, channel } => {
                self.counts.push(Box::pin(async move {
                    Done::Counted(id, server.numsub(&channel).await.ok())
                }));
            }
            _ => {}
        }
    }

    fn done(&mut self, done: Done) {
        if !matches!(done, Done::Counted(..)) {
            self.job = None;
        }
        match done {
            Done::Nothing => {}
            Done::Failed(error) => {
                if self.warnings.allows(WARNING_INTERVAL) {
                    warn!("Node servers are not heard: {error}");
                }
                self.refused = Some(format!("Node servers are not heard: {error}"));
            }
            Done::Counted(id, subscribed) => {
                if let Some(node) = &mut self.node {
                    node.counted(std::time::Instant::now(), id, subscribed);
                }
            }
        }
    }

    fn log(&mut self, notice: &Notice) {
        match notice {
            // The outage's lines say so, with more.
            Notice::LinkUp | Notice::LinkDown => debug!("{notice}"),
            Notice::Came { name, machine, .. } => {
                if self.numbers.len() < 4096 {
                    self.numbers.insert(name.to_string(), *machine);
                }
                info!("{notice}");
            }
            Notice::Left {
                how: Leaving::Goodbye,
                ..
            } => info!("{notice}"),
            _ => warn!("{notice}"),
        }
    }

    /// Tells the hub and systemd how it is.
    fn tell(&mut self) {
        let figures = self.core.figures();
        self.outage.tell_cost(&figures);
        let report = self.describe(&figures);
        let mut status = report.missing.join("; ");
        if report.up {
            let others = report.machines.len();
            let plural = if others == 1 { "" } else { "s" };
            status = format!(
                "connected to {}; {others} other machine{plural}{}{status}",
                report.server,
                if status.is_empty() { "" } else { "; " }
            );
        }
        self.parts.notify.status(&status);
        match serde_json::to_vec(&report) {
            Ok(report) => self.hub.say(Body::Report(report.into())),
            Err(error) => debug!(%error, "a report"),
        }
    }

    fn describe(&self, figures: &Figures) -> Report {
        let mut machines = BTreeMap::<&str, Machine>::new();
        for member in &self.elsewhere {
            let name = &*member.machine;
            let machine = machines.entry(name).or_insert_with(|| Machine {
                name: name.to_owned(),
                number: self.numbers.get(name).copied().unwrap_or_default(),
                workers: 0,
            });
            machine.workers += 1;
        }
        metrics::BRIDGE_UP.set(self.outage.is_up().into());
        metrics::BRIDGE_MACHINES.set(figures.machines);
        metrics::BRIDGE_REPAIRED.mirror(figures.repaired_in);
        metrics::BRIDGE_LOST.mirror_of(Direction::In, figures.lost_in + self.overflowed);
        metrics::BRIDGE_LOST.mirror_of(Direction::Out, figures.lost_out);
        metrics::BRIDGE_OUTAGES.mirror(self.outage.count());
        let (emitted, refused) = match (&self.emitter, &self.node) {
            (Some(emitter), _) => (emitter.taken(), emitter.refused()),
            (None, Some(node)) => (0, node.figures().garbled),
            (None, None) => (0, 0),
        };
        metrics::BRIDGE_EMITTED.mirror(emitted);
        metrics::BRIDGE_GARBLED.mirror(figures.garbled + refused);
        metrics::BRIDGE_RING.set(figures.ring_bytes);
        metrics::BRIDGE_WAITING.set(figures.waiting_bytes);
        metrics::BRIDGE_MEMORY.set(process::resident());
        let mut missing: Vec<_> = self.outage.missing().into_iter().collect();
        missing.extend(self.refused.clone());
        Report {
            server: self.parts.url.to_string(),
            up: self.outage.is_up(),
            since_seconds: self.outage.since().as_secs_f64(),
            missing,
            machines: machines.into_values().collect(),
            values: metrics::values(),
        }
    }

    /// It is to end: nothing more is brought to the workers.
    fn begin_end(&mut self, end: End) {
        let now = Instant::now();
        self.end = end;
        self.phase = Phase::Flushing(now + FLUSH);
        self.deadline = Some(now + GOODBYE);
    }

    async fn go_on_ending(&mut self) {
        if let Phase::Flushing(until) = self.phase
            && (self.hub.queue.bytes() == 0 || Instant::now() >= until)
        {
            // What the hub has still sent comes before its end.
            self.phase = Phase::Draining;
            let _ = self.hub.write.shutdown().await;
        }
    }

    fn say_goodbye(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.phase = Phase::Leaving;
        let now = std::time::Instant::now();
        if self.end == End::HubGone {
            self.core.members(now, Vec::new());
        }
        self.core.goodbye(now);
        if let Some(node) = &mut self.node {
            node.goodbye();
        }
    }

    fn is_over(&mut self) -> bool {
        let is_late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        let is_alone = !self.outage.is_up();
        let node_is_done = self.job.is_none();
        is_late
            || (self.phase == Phase::Leaving && (is_alone || self.core.is_gone() && node_is_done))
    }
}

/// An attempt to be connected: the server, found and asked anew, subscribed to all channels.
fn attempt(
    parts: &Rc<Parts>,
    channels: &[(String, Inbound)],
    emitter: Option<&Emitter>,
) -> Attempt {
    let own = channels
        .iter()
        .map(|(name, _)| Channel::Exact(name.clone()));
    let own: Rc<[Channel]> = own.collect();
    let emitters = emitter.map(Emitter::channels);
    let secrets = Rc::new(Secrets::new(parts.config.bridge.secret_file.as_deref()));
    let parts = Rc::clone(parts);
    Box::new(move || {
        let (parts, own, secrets) = (Rc::clone(&parts), Rc::clone(&own), Rc::clone(&secrets));
        let emitters = emitters.clone();
        Box::pin(async move {
            let ca_file = parts.config.bridge.ca_file.as_deref();
            let server = Server::connect(&parts.url, &secrets, ca_file).await?;
            server.subscribe(&own).await?;
            let mut refused = None;
            if let Some(channels) = &emitters {
                match server.subscribe(channels).await {
                    Err(error) if error.is_refusal() => refused = Some(error),
                    subscribed => subscribed?,
                }
            }
            Ok(Arrived { server, refused })
        })
    })
}
