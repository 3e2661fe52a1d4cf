//! Starts the workers, hears them, and replaces those that die.
//!
//! Workers that were started together are a generation. One generation is the current one and gets what is new; those
//! before it end their sessions and leave, and are not replaced. One task looks after each slot of each generation; what
//! it knows stands in the slot, where all of it can be seen at any time.

mod care;
mod handover;
mod reconfigure;
mod slot;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

pub(super) use self::slot::Slot;
use self::slot::{State, Worker};
use super::drains::Whose;
use super::hub::Left;
use super::slots::SlotTable;
use super::{MasterError, Parts};
use crate::config::Config;
use crate::wire::session_id::{FIELD_LIMIT, Home};

/// So many generations may end their sessions at a time.
const MOST_DRAINING: usize = 8;

/// What a generation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve, and replace those that die.
    Serve,
    /// End the sessions until then, and leave; `stops`: with the whole server.
    Leave { until: Instant, stops: bool },
    /// End at once.
    Kill,
}

/// Workers that were started together.
pub(super) struct Generation {
    number: u16,
    /// Replaced by one that needs no new workers, of which they are told.
    config: watch::Sender<Rc<Config>>,
    table: Rc<SlotTable>,
    order: watch::Sender<Order>,
    slots: RefCell<Vec<Rc<Slot>>>,
    /// Which slot did not start, and why, if nobody ever served and all were tried several times.
    failure: RefCell<Option<(u16, String)>>,
}

/// A generation does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartError {
    /// Its workers end before they take connections.
    #[error("worker {slot} did not start: {why}")]
    Worker {
        /// Its number.
        slot: u16,
        /// How it ended, several times in a row.
        why: String,
    },
    /// Somebody has ended it.
    #[error("its workers were ended")]
    Ended,
}

/// All generations that have workers, in the order in which they were started.
pub(crate) struct Supervisor {
    parts: Parts,
    generations: RefCell<Vec<Rc<Generation>>>,
    /// The number of the one that was started last.
    last: Cell<u16>,
    /// All are to leave: there are no more generations.
    stops: Cell<bool>,
    /// A slot is doing something else, or a generation is gone.
    changed: Notify,
}

impl Supervisor {
    /// Starts all workers of the first generation.
    pub(super) fn start(parts: &Parts) -> Rc<Self> {
        let supervisor = Rc::new(Self::new(parts, 0));
        let number = parts.pool.current();
        supervisor.start_generation(number, Rc::clone(&parts.config));
        supervisor.make_current(number);
        supervisor
    }

    fn new(parts: &Parts, last: u16) -> Self {
        Self {
            parts: parts.clone(),
            generations: RefCell::default(),
            last: Cell::new(last),
            stops: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// A number that no generation has; that of the one before comes again last.
    pub(crate) fn next_generation(&self) -> u16 {
        let after = |number: u16| (number + 1) % FIELD_LIMIT;
        let mut number = after(self.last.get());
        // There are some thousand numbers, and a handful is in use.
        while self.generation(number).is_some() {
            number = after(number);
        }
        number
    }

    /// Starts workers with this configuration, unless all are to leave. They get nothing new until the generation is
    /// [made the current one](Self::make_current).
    pub(crate) fn start_generation(self: &Rc<Self>, number: u16, config: Rc<Config>) {
        self.last.set(number);
        if self.stops.get() {
            return;
        }
        let table = Rc::new(SlotTable::new(config.workers));
        let slots = 0..config.workers;
        let generation = self.add(number, config, table, Order::Serve);
        for slot in slots {
            let home = Home {
                generation: number,
                slot,
            };
            let state = State::Nobody {
                until: Instant::now(),
            };
            let slot = Slot::new(self, &generation, home, Duration::ZERO, state);
            generation.slots.borrow_mut().push(Rc::clone(&slot));
            spawn_local(slot.keep_filled(None));
        }
        self.ended(&generation);
    }

    fn add(
        &self,
        number: u16,
        config: Rc<Config>,
        table: Rc<SlotTable>,
        order: Order,
    ) -> Rc<Generation> {
        let generation = Rc::new(Generation {
            number,
            config: watch::Sender::new(config),
            table,
            order: watch::Sender::new(order),
            slots: RefCell::default(),
            failure: RefCell::default(),
        });
        let mut generations = self.generations.borrow_mut();
        generations.push(Rc::clone(&generation));
        generation
    }

    fn generation(&self, number: u16) -> Option<Rc<Generation>> {
        let generations = self.generations.borrow();
        generations.iter().find(|it| it.number == number).cloned()
    }

    /// Waits until all workers of a generation take connections.
    ///
    /// # Errors
    /// When it is clear that they do not start.
    pub(crate) async fn started(&self, number: u16) -> Result<(), StartError> {
        loop {
            let (changed, joined) = (self.changed.notified(), self.parts.pool.changed());
            let generation = self.generation(number).ok_or(StartError::Ended)?;
            if let Some((slot, why)) = generation.failure.borrow().clone() {
                return Err(StartError::Worker { slot, why });
            }
            if self.parts.pool.ready_of(number) >= usize::from(generation.config().workers) {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                () = joined => {}
            }
        }
    }

    /// From now on this generation gets what is new.
    pub(crate) fn make_current(&self, number: u16) {
        if let Some(generation) = self.generation(number) {
            self.parts.slots.set_current(&generation.table);
            self.parts.pool.set_current(number);
            self.changed.notify_waiters();
        }
    }

    /// Has a generation end its sessions, spread over `over`, and leave. If too many do, the oldest of them gets
    /// less time.
    pub(crate) fn drain_generation(&self, number: u16, over: Duration) {
        let Some(generation) = self.generation(number) else {
            return;
        };
        self.leave(&generation, over);
        let generations = self.generations.borrow().clone();
        let mut draining = generations.iter().filter(|it| it.is_leaving());
        if draining.clone().count() > MOST_DRAINING
            && let Some(oldest) = draining.next()
        {
            self.leave(oldest, self.parts.config.stop_drain);
        }
    }

    fn leave(&self, generation: &Generation, over: Duration) {
        if generation.leave(over, false) {
            let drains = &self.parts.drains;
            drains.begin(Whose::Generation(generation.number), over);
            self.ended(generation);
        }
    }

    /// Ends the workers of a generation at once.
    pub(crate) fn kill_generation(&self, number: u16) {
        if let Some(generation) = self.generation(number) {
            generation.order.send_replace(Order::Kill);
            self.ended(&generation);
        }
    }

    /// Waits until it is clear that the server cannot start.
    pub(crate) async fn failed(&self) -> MasterError {
        loop {
            let changed = self.changed.notified();
            let current = self.generation(self.parts.pool.current());
            let failure = current.and_then(|it| it.failure.borrow().clone());
            if let Some((slot, why)) = failure {
                return MasterError::Worker { slot, why };
            }
            changed.await;
        }
    }

    /// Tells all workers to end their sessions within `drain` and leave.
    pub(crate) fn stop(&self, drain: Duration) {
        self.stops.set(true);
        for generation in self.generations.borrow().clone() {
            generation.leave(drain, true);
            self.ended(&generation);
        }
    }

    /// Waits until all workers have left.
    pub(crate) async fn left(&self) {
        loop {
            let changed = self.changed.notified();
            if self.generations.borrow().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Ends all workers that there are yet, without waiting.
    pub(crate) fn kill(&self) {
        for generation in self.generations.borrow().iter() {
            generation.order.send_replace(Order::Kill);
            for slot in generation.slots.borrow().iter() {
                if let Some(worker) = slot.worker()
                    && let Err(error) = worker.process.kill()
                {
                    error!(%error, pid = worker.member.pid, "a worker could not be killed");
                }
            }
        }
    }

    /// The numbers of all generations that have workers, in the order in which they were started.
    pub(crate) fn numbers(&self) -> Vec<u16> {
        let generations = self.generations.borrow();
        generations.iter().map(|it| it.number).collect()
    }

    /// Is no slot between two workers? Only then can all be packed.
    pub(crate) fn is_settled(&self) -> bool {
        let generations = self.generations.borrow();
        let settled = |it: &Rc<Generation>| it.slots.borrow().iter().all(|slot| slot.is_settled());
        generations.iter().all(settled)
    }

    /// Waits until that is so; false: it was not by `deadline`.
    pub(crate) async fn settle(&self, deadline: Instant) -> bool {
        let settled = async {
            loop {
                let changed = self.changed.notified();
                if self.is_settled() {
                    return;
                }
                changed.await;
            }
        };
        timeout_at(deadline, settled).await.is_ok()
    }

    /// A slot is doing something else.
    fn moved(&self) {
        self.changed.notify_waiters();
    }

    /// A slot is left for good; its generation may have been the last.
    fn ended(&self, generation: &Generation) {
        let failed = generation.failure.borrow().is_some();
        // Why it failed is still to be heard.
        let heard = !failed || *generation.order.borrow() != Order::Serve;
        let all_left = generation.slots.borrow().iter().all(|slot| slot.has_left());
        if heard && all_left {
            let number = generation.number;
            let mut generations = self.generations.borrow_mut();
            generations.retain(|it| it.number != number);
            drop(generations);
            // They know their generation, as it knows them.
            generation.slots.take();
            self.parts.drains.end(Whose::Generation(number));
            let stops = matches!(*generation.order.borrow(), Order::Leave { stops: true, .. });
            if !stops {
                info!("Workers of generation {number} have left");
            }
        }
        self.changed.notify_waiters();
    }
}

impl Generation {
    fn config(&self) -> Rc<Config> {
        Rc::clone(&self.config.borrow())
    }

    fn is_leaving(&self) -> bool {
        matches!(*self.order.borrow(), Order::Leave { .. })
    }

    /// Its sessions end within `over`, or sooner if that was said before.
    fn leave(&self, over: Duration, stops: bool) -> bool {
        let until = Instant::now() + over;
        self.order.send_if_modified(|order| {
            let new = match *order {
                Order::Serve => Order::Leave { until, stops },
                Order::Leave {
                    until: before,
                    stops: stopped,
                } => Order::Leave {
                    until: until.min(before),
                    stops: stops || stopped,
                },
                Order::Kill => Order::Kill,
            };
            std::mem::replace(order, new) != new
        })
    }

    fn fail(&self, slot: u16, why: String) {
        self.failure.borrow_mut().get_or_insert((slot, why));
    }
}

/// What is adopted of a worker: the worker, and what serves it on the bus.
type Adopted = (Rc<Worker>, JoinHandle<Left>);

#[cfg(test)]
mod tests;
