//! One slot of a generation: kept filled while that serves.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::super::Parts;
use super::super::child::{Process, Status};
use super::super::dialogue::now_ms;
use super::super::hub::Left;
use super::super::log::Told;
use super::super::member::Member;
use super::{Adopted, Generation, Order, Supervisor};
use crate::config::Config;
use crate::ipc::link::{self, Link, LinkError};
use crate::wire::session_id::Home;

/// How long what a dead worker had sent over the bus, or over its link, may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A worker that lived for less died of something that will happen again.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// The pauses between attempts grow up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What a slot is doing.
pub(super) enum State {
    /// It has no worker; one is started then.
    Nobody { until: Instant },
    /// Its worker is being started, or is dead and not yet buried.
    Between,
    /// It has a worker.
    Worker(Rc<Worker>),
    /// It has none, for good.
    Left,
}

/// A worker, whether it takes connections or not.
pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) since: Instant,
    pub(super) member: Rc<Member>,
    /// It takes connections, or did.
    pub(super) ready: Cell<bool>,
    /// How many rounds it has been waited for until then.
    pub(super) rounds: Cell<u32>,
    /// Pings in a row that it has not answered.
    pub(super) unanswered: Cell<u32>,
    /// It has been told to leave.
    pub(super) told_to_leave: Cell<bool>,
    /// What it has been told of the log.
    pub(super) told_log: RefCell<Told>,
    /// The configuration that it has; none: another one than its generation's.
    pub(super) told_config: RefCell<Option<Rc<Config>>>,
}

/// A slot of a generation.
pub(crate) struct Slot {
    pub(crate) home: Home,
    pub(crate) parts: Parts,
    pub(super) generation: Rc<Generation>,
    supervisor: Weak<Supervisor>,
    /// How long it was waited before the last attempt.
    pub(super) pause: Cell<Duration>,
    pub(super) state: RefCell<State>,
}

/// Why a worker is gone.
#[derive(Debug)]
pub(super) enum EndReason {
    /// By itself.
    Exit(Status),
    /// It has closed its link, or its end of the bus, and lived on.
    Closed(&'static str),
    /// Its link broke.
    Link(LinkError),
    /// It did not take its configuration.
    Welcome(LinkError),
    /// It cannot stay on the bus.
    Bus(String),
    /// It was not ready in time.
    NotReady(Duration),
    /// It did not answer for so long.
    Silent(Duration),
    /// It was not ready when it was to leave.
    Unneeded,
    /// It was to leave and did not.
    Overdue,
    /// All of its generation were.
    Killed,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        match self {
            Self::Exit(status) => status.fmt(f),
            Self::Closed(what) => f.write_str(what),
            Self::Link(error) => error.fmt(f),
            Self::Welcome(error) => write!(f, "it did not take its configuration: {error}"),
            Self::Bus(why) => f.write_str(why),
            Self::NotReady(within) => write!(f, "it was not ready within {}", time(*within)),
            Self::Silent(patience) => write!(f, "it did not answer for {}", time(*patience)),
            Self::Unneeded => f.write_str("it was not ready when it was to leave"),
            Self::Overdue => f.write_str("it did not leave in time"),
            Self::Killed => f.write_str("its generation was ended"),
        }
    }
}

/// How a worker ended.
struct Ended {
    pid: u32,
    was_ready: bool,
    why: EndReason,
}

impl Slot {
    pub(super) fn new(
        supervisor: &Rc<Supervisor>,
        generation: &Rc<Generation>,
        home: Home,
        pause: Duration,
        state: State,
    ) -> Rc<Self> {
        Rc::new(Self {
            home,
            parts: supervisor.parts.clone(),
            generation: Rc::clone(generation),
            supervisor: Rc::downgrade(supervisor),
            pause: Cell::new(pause),
            state: RefCell::new(state),
        })
    }

    /// What its workers are told to be like.
    pub(crate) fn config(&self) -> Rc<Config> {
        self.generation.config()
    }

    pub(super) fn worker(&self) -> Option<Rc<Worker>> {
        match &*self.state.borrow() {
            State::Worker(worker) => Some(Rc::clone(worker)),
            _ => None,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        !matches!(*self.state.borrow(), State::Between)
    }

    pub(super) fn has_left(&self) -> bool {
        matches!(*self.state.borrow(), State::Left)
    }

    pub(super) fn set(&self, state: State) {
        self.state.replace(state);
        self.moved();
    }

    /// Who waits for something of a slot looks again.
    pub(super) fn moved(&self) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.moved();
        }
    }

    /// Until its generation is to leave.
    pub(super) async fn keep_filled(self: Rc<Self>, mut adopted: Option<Adopted>) {
        let _leaving = Leaving(&self);
        let mut orders = self.generation.order.subscribe();
        loop {
            if adopted.is_none() && !self.wait_for_turn(&mut orders).await {
                return;
            }
            let began = Instant::now();
            let (began, ended) = match adopted.take() {
                Some((worker, bus)) => (
                    worker.since,
                    self.run_worker(worker, bus, &mut orders).await,
                ),
                None => (began, self.start_worker(&mut orders).await),
            };
            if *orders.borrow() != Order::Serve {
                return self.has_left_with(ended);
            }
            let slot = self.home.slot;
            let what = match &ended {
                Ok(Ended { pid, why, .. }) => {
                    warn!(pid, %why, "a worker ended");
                    info!("Worker {pid} died");
                    format!("worker {slot} (pid {pid}) ended: {why}")
                }
                Err(error) => {
                    error!(%error, slot, "a worker cannot be started");
                    format!("worker {slot} cannot be started: {error}")
                }
            };
            self.parts.faults.record(what);
            let was_ready = ended.as_ref().is_ok_and(|ended| ended.was_ready);
            let why = ended.map_or_else(|error| error.to_string(), |ended| ended.why.to_string());
            if self.generation.table.ended(slot, was_ready, &why) {
                return self.generation.fail(slot, why);
            }
            let pause = self.pause.get();
            let pause = match began.elapsed() < SHORT_LIFE {
                false => Duration::ZERO,
                true if pause.is_zero() && was_ready => Duration::from_millis(1),
                true => (pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE),
            };
            self.pause.set(pause);
            let until = Instant::now() + pause;
            self.set(State::Nobody { until });
        }
    }

    /// Waits until another worker is to be started; false: it is not.
    async fn wait_for_turn(&self, orders: &mut watch::Receiver<Order>) -> bool {
        let until = match *self.state.borrow() {
            State::Nobody { until } => until,
            _ => Instant::now(),
        };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            self.generation.table.pauses(self.home.slot, left);
        }
        tokio::select! {
            biased;
            _ = orders.wait_for(|order| *order != Order::Serve) => false,
            () = sleep_until(until) => true,
        }
    }

    /// Its generation leaves, and it is not filled again.
    fn has_left_with(&self, ended: io::Result<Ended>) {
        let slot = self.home.slot;
        if let Ok(Ended { pid, why, .. }) = ended
            && !matches!(
                why,
                EndReason::Exit(Status::Code(0)) | EndReason::Unneeded | EndReason::Killed
            )
        {
            warn!(pid, %why, "a worker that was to leave ended");
            let what = format!("worker {slot} (pid {pid}), which was to leave, ended: {why}");
            self.parts.faults.record(what);
        }
    }

    /// Starts a worker and looks after it until it is gone.
    async fn start_worker(&self, orders: &mut watch::Receiver<Order>) -> io::Result<Ended> {
        self.set(State::Between);
        let slot = self.home.slot;
        let (ours, theirs) = link::pair()?;
        let link = Link::new(ours)?;
        let (near, far) = UnixStream::pair()?;
        let process = Process::worker(slot, theirs)?;
        let config = self.config();
        let pid = process.pid();
        self.generation.table.started(slot, pid);
        self.parts.totals.started(self.home, pid);
        let hub = Rc::clone(&self.parts.hub);
        let bus = tokio::task::spawn_local(async move { hub.serve(slot, pid, near).await });
        let worker = Rc::new(Worker {
            process,
            since: Instant::now(),
            member: Rc::new(Member::new(self.home, pid, link)),
            ready: Cell::new(false),
            rounds: Cell::new(0),
            unanswered: Cell::new(0),
            told_to_leave: Cell::new(false),
            told_log: RefCell::new(Told::newly(&self.parts.log)),
            told_config: RefCell::new(Some(Rc::clone(&config))),
        });
        match self.welcome(&worker.member, &config, far).await {
            Ok(()) => {
                self.set(State::Worker(Rc::clone(&worker)));
                self.run_worker(worker, bus, orders).await
            }
            Err(error) => {
                self.bury(&worker, bus, Some(EndReason::Welcome(error)))
                    .await
            }
        }
    }

    /// Looks after a worker until it is gone.
    async fn run_worker(
        &self,
        worker: Rc<Worker>,
        mut bus: JoinHandle<Left>,
        orders: &mut watch::Receiver<Order>,
    ) -> io::Result<Ended> {
        let why = self.look_after(&worker, &mut bus, orders).await;
        self.set(State::Between);
        self.bury(&worker, bus, why).await
    }

    async fn bury(
        &self,
        worker: &Worker,
        mut bus: JoinHandle<Left>,
        why: Option<EndReason>,
    ) -> io::Result<Ended> {
        let Worker {
            process, member, ..
        } = worker;
        let pid = member.pid;
        self.parts.pool.remove(member);
        self.parts.questions.gone(pid);
        // It may be alive still, and only its link broken.
        if let Err(error) = process.kill() {
            error!(%error, pid, "a worker could not be killed");
        }
        let status = process.wait().await;
        if timeout(LAST_WORDS, self.hear_last_words(member))
            .await
            .is_err()
        {
            warn!(pid, "a worker is gone, and somebody holds its link");
        }
        self.parts.totals.gone(self.home.slot, pid);
        self.parts
            .ends
            .worker_gone(self.home.slot, pid, now_ms(), member.untold());
        // What it had sent to the others is still on its way.
        if !bus.is_finished() && timeout(LAST_WORDS, &mut bus).await.is_err() {
            warn!(pid, "the last broadcasts of a worker that ended are lost");
            bus.abort();
        }
        // Now nobody reads from them any more.
        self.parts.router.rescue(member.take_unacknowledged());
        let status = status?;
        Ok(Ended {
            pid,
            was_ready: worker.ready.get(),
            why: why.unwrap_or(EndReason::Exit(status)),
        })
    }
}

/// However its task ends, its slot is left.
struct Leaving<'a>(&'a Slot);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Self(slot) = self;
        slot.state.replace(State::Left);
        if let Some(supervisor) = slot.supervisor.upgrade() {
            supervisor.ended(&slot.generation);
        }
    }
}
