//! Starts the workers, hears them, and replaces those that die.
//!
//! One task looks after each slot.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use humantime::format_duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::child::Process;
use super::dialogue::{now_ms, tell};
use super::hub::{Hub, Left};
use super::log::Told;
use super::member::Member;
use super::{MasterError, Parts};
use crate::ipc::link::{self, Inbox, Link, LinkError};
use crate::wire::link::{ToMaster, ToWorker};
use crate::wire::session_id::Home;

/// How often a worker is asked whether it lives.
const PING: Duration = Duration::from_millis(250);
/// When it has been silent for this part of `watchdog`, no sender of broadcasts waits for it any more.
const SILENT_PART: u128 = 4;
/// After so many unanswered rounds it gets nothing new: one second.
const STALLED_AFTER: u32 = 4;
/// How long what a dead worker had sent over the bus, or over its link, may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A worker that lived for less died of something that will happen again.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// The pauses between attempts grow up to this.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A worker may take so many times `start_timeout` until it takes connections; then another is tried.
const START_PATIENCE: u32 = 10;

/// The task of each slot, and how all of them are told to stop.
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    failures: mpsc::Receiver<MasterError>,
    stop: watch::Sender<Option<Duration>>,
}

/// What one slot's task needs.
pub(super) struct Slot {
    pub(super) home: Home,
    pub(super) parts: Parts,
    pub(super) hub: Rc<Hub>,
    stop: watch::Receiver<Option<Duration>>,
    failed: mpsc::Sender<MasterError>,
}

/// How a worker ended.
struct Ended {
    pid: u32,
    was_ready: bool,
    why: String,
}

impl Supervisor {
    /// Starts all workers.
    pub(super) fn start(parts: &Parts) -> Self {
        let (failed, failures) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for slot in 0..parts.config.workers {
            let slot = Slot {
                home: Home {
                    generation: 0,
                    slot,
                },
                parts: parts.clone(),
                hub: Rc::clone(&parts.hub),
                stop: stopped.clone(),
                failed: failed.clone(),
            };
            tasks.spawn_local(slot.keep_filled());
        }
        Self {
            tasks,
            failures,
            stop,
        }
    }

    /// Waits until it is clear that the workers do not start.
    pub(crate) async fn failed(&mut self) -> MasterError {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Tells all workers to end their sessions within `drain` and leave.
    pub(crate) fn stop(&self, drain: Duration) {
        self.stop.send_replace(Some(drain));
    }

    /// Waits until all workers have left.
    pub(crate) async fn left(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "the task of a slot ended unexpectedly");
            }
        }
    }
}

impl Slot {
    async fn keep_filled(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            let ended = self.run_worker().await;
            if self.stop.borrow().is_some() {
                return;
            }
            let slot = self.home.slot;
            let what = match &ended {
                Ok(Ended { pid, why, .. }) => {
                    warn!(pid, why, "a worker ended");
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
            let why = ended.map_or_else(|error| error.to_string(), |ended| ended.why);
            if self.parts.slots.ended(slot, was_ready, &why) {
                // Somebody else may have said so already.
                let _ = self.failed.try_send(MasterError::Worker { slot, why });
                return;
            }
            pause = match began.elapsed() < SHORT_LIFE {
                false => Duration::ZERO,
                true if pause.is_zero() && was_ready => Duration::from_millis(1),
                true => (pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE),
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stop.wait_for(Option::is_some) => return,
            }
        }
    }

    /// Starts a worker and looks after it until it is gone.
    async fn run_worker(&mut self) -> io::Result<Ended> {
        let (ours, theirs) = link::pair()?;
        let child = Process::worker(self.home.slot, theirs)?;
        let pid = child.pid();
        self.parts.slots.started(self.home.slot, pid);
        self.parts.totals.started(self.home.slot, pid);
        let member = Rc::new(Member::new(self.home, pid, Link::new(ours)?));
        let (ours, theirs) = UnixStream::pair()?;
        let mut bus = self.serve_bus(pid, ours);
        let mut was_ready = false;
        let why = match self.welcome(&member, theirs).await {
            Ok(()) => {
                self.look_after(&member, &child, &mut bus, &mut was_ready)
                    .await
            }
            Err(error) => Some(format!("it did not take its configuration: {error}")),
        };
        self.parts.pool.remove(&member);
        self.parts.questions.gone(pid);
        // It may be alive still, and only its link broken.
        if let Err(error) = child.kill() {
            error!(%error, pid, "a worker could not be killed");
        }
        let status = child.wait().await;
        if timeout(LAST_WORDS, self.hear_last_words(&member))
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
            was_ready,
            why: why.unwrap_or_else(|| status.to_string()),
        })
    }

    /// Why the worker had to be ended, if it did not end by itself.
    async fn look_after(
        &mut self,
        member: &Rc<Member>,
        child: &Process,
        bus: &mut JoinHandle<Left>,
        was_ready: &mut bool,
    ) -> Option<String> {
        let mut inbox = Inbox::default();
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = |time: Duration| time.as_millis().div_ceil(PING.as_millis());
        // An application may take its time before its worker reads anything.
        let to_start = self.parts.config.start_timeout * START_PATIENCE;
        let patience = rounds(self.parts.config.watchdog);
        let silent_after = patience.div_ceil(SILENT_PART).max(2);
        let mut unanswered: u32 = 0;
        let mut told_to_stop = false;
        let mut told_log = Told::newly(&self.parts.log);
        loop {
            tokio::select! {
                heard = member.link.recv(&mut inbox) => match heard {
                    Ok((message, passed)) => {
                        match message {
                            ToMaster::Ready => {
                                *was_ready = true;
                                unanswered = 0;
                                self.parts.slots.ready(self.home.slot);
                                self.parts.pool.add(Rc::clone(member));
                            }
                            ToMaster::Pong => {
                                unanswered = 0;
                                member.set_stalled(false);
                                self.hub.set_silent(member.pid, false);
                            }
                            message => self.obey(member, message, passed),
                        }
                    }
                    // Its exit status tells more.
                    Err(LinkError::Closed) => return child.outlives("it closed its link").await,
                    Err(error) => return Some(error.to_string()),
                },
                left = &mut *bus => return match left {
                    Ok(Left::Closed) => child.outlives("it closed its end of the bus").await,
                    Ok(Left::GivenUp(why)) => Some(why),
                    Err(error) => Some(format!("its task on the bus ended: {error}")),
                },
                _ = child.wait() => return None,
                unheard = member.tell_reply() => if let Some(reply) = unheard {
                    self.unheard(member, reply);
                },
                Ok(drain) = async { self.stop.wait_for(Option::is_some).await.map(|d| *d) }, if !told_to_stop => {
                    // It has no sessions, and may not hear it for a while.
                    if !*was_ready {
                        return Some("it was not ready when the server stopped".to_owned());
                    }
                    told_to_stop = true;
                    let drain = drain.unwrap_or_default().as_millis();
                    let within_ms = u32::try_from(drain).unwrap_or(u32::MAX);
                    if let Err(error) = tell(member, &ToWorker::Stop { within_ms }).await {
                        return Some(error.to_string());
                    }
                }
                _ = ping.tick() => {
                    // Rounds are counted, not time: a machine that was suspended kills nobody.
                    if !*was_ready {
                        if u128::from(unanswered) >= rounds(to_start) {
                            return Some(format!("it was not ready within {}", format_duration(to_start)));
                        }
                        unanswered += 1;
                        continue;
                    }
                    if u128::from(unanswered) >= patience {
                        return Some(format!(
                            "it did not answer for {}",
                            format_duration(self.parts.config.watchdog)
                        ));
                    }
                    let waits = self.hub.waits_for(member.pid);
                    self.parts.totals.waits_in_hub(self.home.slot, waits);
                    member.set_stalled(unanswered >= STALLED_AFTER);
                    self.hub
                        .set_silent(member.pid, u128::from(unanswered) >= silent_after);
                    // A link that takes nothing more is as good as no answer.
                    let ask = ToWorker::Ping { taken_out: self.parts.pool.is_taken_out() };
                    let sent = timeout(PING, member.link.send(&ask, None)).await;
                    if matches!(sent, Ok(Err(LinkError::Closed))) {
                        continue;
                    }
                    unanswered += 1;
                    while let Some(command) = self.parts.log.news(&told_log) {
                        let message = ToWorker::Log(command.clone());
                        if !matches!(timeout(PING, member.link.send(&message, None)).await, Ok(Ok(()))) {
                            break;
                        }
                        told_log.heard(&self.parts.log, &command);
                    }
                }
            }
        }
    }
}
