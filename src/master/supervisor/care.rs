//! What is said to a worker and heard of it while it lives.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::super::dialogue::tell;
use super::super::hub::Left;
use super::Order;
use super::slot::{EndReason, Slot, Worker};
use crate::ipc::link::{Inbox, LinkError};
use crate::wire::link::{ToMaster, ToWorker};

/// How often a worker is asked whether it lives.
pub(super) const PING: Duration = Duration::from_millis(250);
/// When it has been silent for this part of `watchdog`, no sender of broadcasts waits for it any more.
const SILENT_PART: u128 = 4;
/// After so many unanswered rounds it gets nothing new: one second.
const STALLED_AFTER: u32 = 4;
/// A worker may take so many times `start_timeout` until it takes connections; then another is tried.
const START_PATIENCE: u32 = 10;
/// How much longer than it was told a worker may take to leave.
const GRACE: Duration = Duration::from_secs(5);

impl Slot {
    /// Why the worker had to be ended, if it did not end by itself.
    pub(super) async fn look_after(
        &self,
        worker: &Worker,
        bus: &mut JoinHandle<Left>,
        orders: &mut watch::Receiver<Order>,
    ) -> Option<EndReason> {
        let Worker {
            process, member, ..
        } = worker;
        let mut inbox = Inbox::default();
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut config = self.generation.config.subscribe();
        let closed = async |what| {
            let outlived = process.outlives(what).await;
            outlived.map(|_| EndReason::Closed(what))
        };
        loop {
            let overdue = self.overdue();
            tokio::select! {
                heard = member.link.recv(&mut inbox) => match heard {
                    Ok((ToMaster::Ready, _)) => {
                        worker.ready.set(true);
                        worker.unanswered.set(0);
                        self.generation.table.ready(self.home.slot);
                        self.tell_config(worker).await;
                        self.parts.pool.add(Rc::clone(member));
                    }
                    // With the next ping.
                    Ok((ToMaster::Unconfigured, _)) => drop(worker.told_config.take()),
                    Ok((ToMaster::Pong, _)) => {
                        worker.unanswered.set(0);
                        member.set_stalled(false);
                        self.parts.hub.set_silent(member.pid, false);
                    }
                    Ok((message, passed)) => self.obey(member, message, passed),
                    // Its exit status tells more.
                    Err(LinkError::Closed) => return closed("it closed its link").await,
                    Err(error) => return Some(EndReason::Link(error)),
                },
                left = &mut *bus => return match left {
                    Ok(Left::Closed) => closed("it closed its end of the bus").await,
                    Ok(Left::GivenUp(why)) => Some(EndReason::Bus(why)),
                    Err(error) => Some(EndReason::Bus(format!("its task on the bus ended: {error}"))),
                },
                _ = process.wait() => return None,
                unheard = member.tell_reply() => if let Some(reply) = unheard {
                    self.unheard(member, reply);
                },
                order = next_order(orders, worker.told_to_leave.get()) => {
                    if let Err(reason) = self.command(worker, order).await {
                        return Some(reason);
                    }
                }
                () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => {
                    return Some(EndReason::Overdue);
                }
                Ok(()) = config.changed() => self.tell_config(worker).await,
                _ = ping.tick() => {
                    if let Err(reason) = self.look_at(worker).await {
                        return Some(reason);
                    }
                }
            }
        }
    }

    /// When it should have left at last, if it is to.
    fn overdue(&self) -> Option<Instant> {
        match *self.generation.order.borrow() {
            Order::Leave { until, .. } => Some(until + GRACE),
            Order::Serve | Order::Kill => None,
        }
    }

    async fn command(&self, worker: &Worker, order: Order) -> Result<(), EndReason> {
        let Order::Leave { until, stops } = order else {
            return Err(EndReason::Killed);
        };
        // It has no sessions, and may not hear it for a while.
        if !worker.ready.get() {
            return Err(EndReason::Unneeded);
        }
        let left = until.saturating_duration_since(Instant::now());
        let left = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        let message = if stops {
            ToWorker::Stop { within_ms: left }
        } else {
            ToWorker::Retire { over_ms: left }
        };
        let told = tell(&worker.member, &message).await;
        worker.told_to_leave.set(true);
        told.map_err(EndReason::Link)
    }

    /// A round of questions. Rounds are counted, not time: a machine that was suspended kills nobody.
    async fn look_at(&self, worker: &Worker) -> Result<(), EndReason> {
        let (config, member) = (self.config(), &worker.member);
        let rounds = |time: Duration| time.as_millis().div_ceil(PING.as_millis());
        if !worker.ready.get() {
            // An application may take its time before its worker reads anything.
            let to_start = config.start_timeout * START_PATIENCE;
            if u128::from(worker.rounds.get()) >= rounds(to_start) {
                return Err(EndReason::NotReady(to_start));
            }
            worker.rounds.set(worker.rounds.get() + 1);
            return Ok(());
        }
        let patience = rounds(config.watchdog);
        let silent_after = patience.div_ceil(SILENT_PART).max(2);
        let unanswered = worker.unanswered.get();
        if u128::from(unanswered) >= patience {
            return Err(EndReason::Silent(config.watchdog));
        }
        let hub = &self.parts.hub;
        let waits = hub.waits_for(member.pid);
        self.parts
            .totals
            .waits_in_hub(self.home.slot, member.pid, waits);
        member.set_stalled(unanswered >= STALLED_AFTER);
        hub.set_silent(member.pid, u128::from(unanswered) >= silent_after);
        // A link that takes nothing more is as good as no answer.
        let ask = ToWorker::Ping {
            taken_out: self.parts.pool.is_taken_out(),
        };
        let sent = timeout(PING, member.link.send(&ask, None)).await;
        if matches!(sent, Ok(Err(LinkError::Closed))) {
            return Ok(());
        }
        worker.unanswered.set(unanswered + 1);
        if matches!(sent, Ok(Ok(()))) {
            self.tell_config(worker).await;
            self.tell_log(worker).await;
        }
        Ok(())
    }

    async fn tell_log(&self, worker: &Worker) {
        let log = &self.parts.log;
        loop {
            let news = log.news(&worker.told_log.borrow());
            let Some(command) = news else {
                return;
            };
            let message = ToWorker::Log(command.clone());
            let sent = timeout(PING, worker.member.link.send(&message, None)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            worker.told_log.borrow_mut().heard(log, &command);
        }
    }
}

/// What the worker is to be told next. One that has been told hears only what is new.
async fn next_order(orders: &mut watch::Receiver<Order>, told: bool) -> Order {
    if told && orders.changed().await.is_err() {
        return std::future::pending().await;
    }
    let order = orders.wait_for(|order| *order != Order::Serve).await;
    order.map_or(Order::Kill, |order| *order)
}
