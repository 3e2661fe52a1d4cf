//! Clients of one process that come back, in one epoll loop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::client::{Client, Loss, Stage};
use super::group::{Told, clock};
use crate::BenchError;
use crate::load::{LoadError, OF_ONE_ADDRESS, frame};

/// What a process of clients says when all have a session for the first time.
pub(super) const OPEN: &str = "open";

/// An attempt that takes longer is given up, as socket.io-client does.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Clients that come for the first time do so one after the other.
const FIRST_COME: Duration = Duration::from_micros(200);
/// A probe tries again, and asks again, after so long.
const PROBE_AGAIN: Duration = Duration::from_millis(50);
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Whoever has not come back so long after the first was lost does not come back.
const GIVE_UP: Duration = Duration::from_secs(90);
/// A client with jitter has no connection for `GONE` in every `EVERY`.
const EVERY: Duration = Duration::from_secs(15);
const GONE: Duration = Duration::from_secs(2);
/// What goes to all goes out so often.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
/// The last that was sent has arrived by then, or never.
const ARRIVED: Duration = Duration::from_secs(2);

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// They rest, and come back when they have lost their session.
    Rest,
    /// They come back at once, and echo ten times a second.
    Probe,
    /// As probes, but only what they hear in their first session counts.
    Stay,
    /// They drop their connection now and then, while the first of them announces.
    Jitter,
}

/// The clients of one process.
#[derive(Debug, Args)]
pub(crate) struct Crowding {
    #[arg(value_enum)]
    part: Part,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    source: Ipv4Addr,
    #[arg(long)]
    clients: usize,
    /// How long clients with jitter go on.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// What a client with jitter has heard.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// The first number that was sent since it joined.
    since: u64,
    /// The one that came last.
    last: u64,
}

struct Crowd<'a> {
    plan: &'a Crowding,
    epoll: OwnedFd,
    clients: Vec<Client>,
    heard: Vec<Heard>,
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    buffer: Vec<u8>,
    random: u64,
    /// They have a session.
    joined: usize,
    told: Told,
    began: Instant,
    /// When the first of them lost its session.
    first_lost: Option<Instant>,
    /// The number that was announced last.
    announced: u64,
    /// When the announcer ends.
    until: Option<Instant>,
    /// Nobody wants to hear more of probes.
    ended: Arc<AtomicBool>,
}

/// Opens the sessions, says so, and does its part; then tells in a line of JSON what became of them.
pub(crate) fn crowd(plan: &Crowding) -> Result<(), BenchError> {
    let mut crowd = Crowd::new(plan)?;
    crowd.go_on(|crowd| crowd.joined == plan.clients)?;
    say(OPEN)?;
    crowd.told = Told::default();
    let ended = Arc::clone(&crowd.ended);
    thread::spawn(move || {
        // Nothing is ever said there.
        let _ = io::stdin().read(&mut [0]);
        ended.store(true, Relaxed);
    });
    if plan.part == Part::Jitter {
        crowd.begin_jitter();
    }
    crowd.go_on(Crowd::is_over)?;
    crowd.count_up();
    let told = serde_json::to_string(&crowd.told).map_err(|e| BenchError::Clients(e.into()))?;
    say(&told)
}

fn say(line: &str) -> Result<(), BenchError> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(BenchError::Clients)
}

impl<'a> Crowd<'a> {
    fn new(plan: &'a Crowding) -> Result<Self, BenchError> {
        let began = Instant::now();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| LoadError::Epoll(error.into()))?;
        let mut crowd = Self {
            plan,
            epoll,
            clients: (0..plan.clients).map(|_| Client::new()).collect(),
            heard: vec![Heard::default(); plan.clients],
            timers: BinaryHeap::new(),
            buffer: vec![0; 64 * 1024],
            random: u64::from(std::process::id()) << 32 | 0x9e37_79b9,
            joined: 0,
            told: Told::default(),
            began,
            first_lost: None,
            announced: 0,
            until: None,
            ended: Arc::default(),
        };
        let mut at = began;
        for index in 0..plan.clients {
            crowd.timers.push(Reverse((at, index, 0)));
            at += FIRST_COME;
        }
        Ok(crowd)
    }

    /// From 0 to 1 (xorshift64).
    fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
        let random = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        random
    }

    fn is_over(&self) -> bool {
        if self.plan.part == Part::Jitter {
            return self
                .until
                .is_none_or(|until| Instant::now() > until + ARRIVED);
        }
        if matches!(self.plan.part, Part::Probe | Part::Stay) {
            return self.ended.load(Relaxed);
        }
        self.first_lost.is_some_and(|lost| {
            self.clients
                .iter()
                .all(|client| client.back.is_some() && client.stage == Stage::Joined)
                || lost.elapsed() > GIVE_UP
        })
    }

    fn count_up(&mut self) {
        let back = self.clients.iter().filter_map(|client| client.back);
        self.told.back = back
            .map(|away| u64::try_from(away.as_millis()).unwrap_or(u64::MAX))
            .collect();
        self.told.missing = self.clients.len() - self.told.back.len();
        // The announcer hears itself, but never leaves.
        let hearers = self.clients.len().saturating_sub(1) as u64;
        self.told.sent = self.announced * hearers;
    }

    /// Handles what happens until `over`.
    fn go_on(&mut self, over: impl Fn(&Self) -> bool) -> Result<(), BenchError> {
        let mut events = Vec::with_capacity(1024);
        let mut looked = Instant::now();
        while !(looked.elapsed() > Duration::from_millis(10) && {
            looked = Instant::now();
            over(self)
        }) {
            let next = self.timers.peek().map(|Reverse((at, ..))| *at);
            let wait = next.map_or(Duration::from_millis(20), |at| {
                at.saturating_duration_since(Instant::now())
                    .min(Duration::from_millis(20))
            });
            let wait = Timespec::try_from(wait).ok();
            epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref())
                .map_err(|error| LoadError::Epoll(error.into()))?;
            for event in events.drain(..) {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                self.ready(index)?;
            }
            let now = Instant::now();
            while let Some(&Reverse((at, index, turn))) = self.timers.peek()
                && at <= now
            {
                self.timers.pop();
                if self.clients[index].turn == turn {
                    self.is_due(index, at)?;
                }
            }
            if self.joined < self.clients.len()
                && self.first_lost.is_none()
                && self.began.elapsed() > GIVE_UP
            {
                let what = format!("{} of {} sessions", self.joined, self.clients.len());
                return Err(BenchError::Broken(format!("only {what} could be opened")));
            }
        }
        Ok(())
    }

    fn set_timer(&mut self, index: usize, after: Duration) {
        self.set_timer_at(index, Instant::now() + after);
    }

    fn set_timer_at(&mut self, index: usize, at: Instant) {
        let client = &mut self.clients[index];
        client.turn = client.turn.wrapping_add(1);
        self.timers.push(Reverse((at, index, client.turn)));
    }

    /// When a probe asks for the first time: each at a time of its own, evenly.
    fn first_question(&self, index: usize) -> Duration {
        let share = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        PROBE_EVERY * share(index) / share(self.clients.len()).max(1)
    }

    /// A client's timer, which was set to this time, has run off.
    fn is_due(&mut self, index: usize, at: Instant) -> Result<(), BenchError> {
        match (self.clients[index].stage, self.plan.part) {
            (Stage::Away, _) => self.connect(index),
            (Stage::Joined, Part::Rest) => Ok(()),
            (Stage::Joined, Part::Probe | Part::Stay) => {
                let event = format!("42[\"echo\",\"{}\"]", self.began.elapsed().as_micros());
                let sent = self.clients[index].send(&frame::client(&event));
                // Not from now on: those who are late together would ask together for ever after.
                self.set_timer_at(index, at + PROBE_EVERY);
                self.unless_lost(index, sent);
                Ok(())
            }
            (Stage::Joined, Part::Jitter) if index == 0 => {
                self.announce();
                Ok(())
            }
            (Stage::Joined, Part::Jitter) => {
                if self.until.is_some_and(|until| Instant::now() < until) {
                    self.clients[index].end();
                    self.joined -= 1;
                    self.set_timer(index, GONE);
                }
                Ok(())
            }
            // It has taken too long.
            _ => {
                self.unless_lost(index, Err(Loss::Ended));
                Ok(())
            }
        }
    }

    /// What goes to all, with its number.
    fn announce(&mut self) {
        if self.until.is_none_or(|until| Instant::now() > until) {
            return;
        }
        self.announced += 1;
        let event = format!("42/chat,[\"announce\",\"{}\"]", self.announced);
        let sent = self.clients[0].send(&frame::client(&event));
        for (client, heard) in self.clients.iter().zip(&mut self.heard).skip(1) {
            if client.stage == Stage::Joined {
                self.told.awaited += 1;
                if heard.since == 0 {
                    heard.since = self.announced;
                }
            }
        }
        self.set_timer(0, ANNOUNCE_EVERY);
        self.unless_lost(0, sent);
    }

    fn begin_jitter(&mut self) {
        self.until = Some(Instant::now() + Duration::from_secs(self.plan.seconds));
        self.set_timer(0, Duration::ZERO);
        for index in 1..self.clients.len() {
            // Each at a time of its own.
            let after = EVERY.mul_f64(self.random());
            self.set_timer(index, after);
        }
    }

    fn source(&self, index: usize) -> IpAddr {
        let further = u32::try_from(index / OF_ONE_ADDRESS).unwrap_or_default();
        Ipv4Addr::from_bits(self.plan.source.to_bits() + further).into()
    }

    fn connect(&mut self, index: usize) -> Result<(), BenchError> {
        let source = self.source(index);
        let fd = self.clients[index]
            .connect(&self.plan.to, source)
            .map_err(LoadError::Socket)?;
        let token = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, fd, token, EventFlags::OUT)
            .map_err(|error| LoadError::Epoll(error.into()))?;
        self.set_timer(index, ATTEMPT);
        Ok(())
    }

    /// Something has happened to a client's connection.
    fn ready(&mut self, index: usize) -> Result<(), BenchError> {
        let client = &mut self.clients[index];
        // An event of a connection that is over already.
        let Some(fd) = &client.fd else {
            return Ok(());
        };
        if client.stage == Stage::Connecting {
            let token = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, fd, token, EventFlags::IN)
                .map_err(|error| LoadError::Epoll(error.into()))?;
            let asked = client.connected();
            self.unless_lost(index, asked);
            return Ok(());
        }
        let before = client.stage;
        let namespace = match self.plan.part {
            Part::Jitter => "/chat,",
            Part::Rest | Part::Probe | Part::Stay => "",
        };
        let (heard, told) = (&mut self.heard[index], &mut self.told);
        let (began, part) = (self.began, self.plan.part);
        let is_first = client.back.is_none();
        let came = client.hear(&mut self.buffer, namespace, |event| {
            let text = String::from_utf8_lossy(event);
            let number = text.rsplit('"').nth(1).and_then(|text| text.parse().ok());
            let Some(number) = number else { return };
            if namespace.is_empty() && (part != Part::Stay || is_first) {
                let now = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                told.echoes.push(now.saturating_sub(number));
                if part == Part::Stay {
                    told.came.push(clock());
                }
            } else if part == Part::Jitter && index > 0 {
                if number <= heard.last {
                    told.misplaced += 1;
                    return;
                }
                heard.last = number;
                told.arrived += 1;
                told.arrived_awaited += u64::from(heard.since > 0 && number >= heard.since);
            }
        });
        if before != Stage::Joined && self.clients[index].stage == Stage::Joined {
            self.joined += 1;
            self.heard[index].since = 0;
            match self.plan.part {
                Part::Rest => self.clients[index].turn += 1,
                Part::Probe | Part::Stay => self.set_timer(index, self.first_question(index)),
                Part::Jitter => self.set_timer(index, EVERY.saturating_sub(GONE)),
            }
        }
        self.unless_lost(index, came);
        Ok(())
    }

    /// A client that has lost its connection tries again later.
    fn unless_lost(&mut self, index: usize, went: Result<(), Loss>) {
        let Err(loss) = went else { return };
        if self.clients[index].end() {
            self.joined -= 1;
            self.told.lost.push(clock());
            self.first_lost.get_or_insert_with(Instant::now);
        } else if loss == Loss::Refused {
            self.told.refused += 1;
        } else {
            self.told.failed += 1;
        }
        let random = self.random();
        let delay = match self.plan.part {
            Part::Probe | Part::Stay => PROBE_AGAIN,
            Part::Rest | Part::Jitter => self.clients[index].delay(random),
        };
        self.set_timer(index, delay);
    }
}
