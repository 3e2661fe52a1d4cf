//! What travels of the workers, their slots and their generations.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;
use tracing::warn;

use super::super::Parts;
use super::super::child::Process;
use super::super::drains::Whose;
use super::super::hub::Left;
use super::super::log::Told;
use super::super::member::Member;
use super::super::slots::SlotTable;
use super::slot::{Slot, State, Worker};
use super::{Generation, Order, Supervisor};
use crate::config::Config;
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::wire::handover::workers::{
    ChildState, GenerationState, Occupant, SlotState, WorkerState, WorkersState,
};
use crate::wire::session_id::Home;

impl Supervisor {
    /// All workers; nothing is changed. The [bridge](super::super::bridge::Bridges::pack) is somebody else's.
    ///
    /// # Errors
    /// When the descriptors cannot be put in, or a slot is [between two workers](Supervisor::is_settled).
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<WorkersState> {
        let generations = self.generations.borrow();
        let generations = generations.iter().map(|it| it.pack(carrier));
        Ok(WorkersState {
            generations: generations.collect::<io::Result<_>>()?,
            last: self.last.get(),
            next_question: self.parts.questions.next(),
            bridge: None,
        })
    }

    /// Goes on looking after the workers, as they were. `parts`: the pool has [been adopted](super::super::pool::Pool::adopt)
    /// and has no members yet. `bus`: what goes on serving the worker of this process id on the bus.
    ///
    /// # Errors
    /// When a descriptor is missing, or cannot be watched.
    pub(crate) fn adopt(
        parts: &Parts,
        state: WorkersState,
        luggage: &mut Luggage,
        mut bus: impl FnMut(u32) -> JoinHandle<Left>,
    ) -> Result<Rc<Self>, CarrierError> {
        let supervisor = Rc::new(Self::new(parts, state.last));
        parts.questions.go_on_from(state.next_question);
        for generation in state.generations {
            supervisor.adopt_generation(generation, luggage, &mut bus)?;
        }
        supervisor.make_current(parts.pool.current());
        Ok(supervisor)
    }

    fn adopt_generation(
        self: &Rc<Self>,
        state: GenerationState,
        luggage: &mut Luggage,
        bus: &mut impl FnMut(u32) -> JoinHandle<Left>,
    ) -> Result<(), CarrierError> {
        let number = state.number;
        let config = serde_json::from_slice(&state.config).map(Rc::new);
        let config: Rc<Config> = config.unwrap_or_else(|error| {
            // Of a version that knows other keys: who takes the place of one that dies gets the new one.
            warn!(%error, "the configuration of earlier workers cannot be read");
            Rc::clone(&self.parts.config)
        });
        let table = Rc::new(SlotTable::adopt(&state));
        let order = state.drains_ms.map_or(Order::Serve, |left| {
            let left = Duration::from_millis(left.into());
            self.parts.drains.begin(Whose::Generation(number), left);
            let until = Instant::now() + left;
            let stops = false;
            Order::Leave { until, stops }
        });
        let generation = self.add(number, config, table, order);
        for state in state.slots {
            let home = Home {
                generation: number,
                slot: state.slot,
            };
            let pause = Duration::from_millis(state.pause_ms.into());
            let (state, adopted) = match state.occupant {
                Occupant::Worker(worker) => {
                    let worker = Rc::new(Worker::adopt(worker, &generation.config(), luggage)?);
                    if worker.ready.get() {
                        self.parts.pool.add(Rc::clone(&worker.member));
                    }
                    let served = bus(worker.member.pid);
                    (State::Worker(Rc::clone(&worker)), Some((worker, served)))
                }
                Occupant::Nobody { wait_ms } => {
                    let until = Instant::now() + Duration::from_millis(wait_ms.into());
                    (State::Nobody { until }, None)
                }
                Occupant::Left => (State::Left, None),
            };
            let has_left = matches!(state, State::Left);
            let slot = Slot::new(self, &generation, home, pause, state);
            generation.slots.borrow_mut().push(Rc::clone(&slot));
            if !has_left {
                spawn_local(slot.keep_filled(adopted));
            }
        }
        self.ended(&generation);
        Ok(())
    }
}

impl Generation {
    fn pack(&self, carrier: &mut Carrier) -> io::Result<GenerationState> {
        let slots = self.slots.borrow();
        let slots = slots.iter().map(|slot| slot.pack(carrier));
        let now = Instant::now();
        Ok(GenerationState {
            number: self.number,
            config: serde_json::to_vec(&*self.config())?,
            drains_ms: match *self.order.borrow() {
                Order::Serve => None,
                Order::Leave { until, .. } => {
                    Some(milliseconds(until.saturating_duration_since(now)))
                }
                Order::Kill => Some(0),
            },
            ever_ready: self.table.ever_ready(),
            slots: slots.collect::<io::Result<_>>()?,
        })
    }
}

impl Slot {
    fn pack(&self, carrier: &mut Carrier) -> io::Result<SlotState> {
        let history = self.generation.table.history(self.home.slot);
        let occupant = match &*self.state.borrow() {
            State::Worker(worker) => {
                let knows = worker.knows(&self.config());
                Occupant::Worker(worker.pack(carrier, knows)?)
            }
            State::Nobody { until } => Occupant::Nobody {
                wait_ms: milliseconds(until.saturating_duration_since(Instant::now())),
            },
            State::Left => Occupant::Left,
            // For a copy that is only looked at.
            State::Between if carrier.only_counts() => Occupant::Nobody { wait_ms: 0 },
            State::Between => {
                return Err(io::Error::other(
                    "a worker is being replaced at this moment; try again",
                ));
            }
        };
        Ok(SlotState {
            slot: self.home.slot,
            pause_ms: milliseconds(self.pause.get()),
            failures: history.failures,
            why: history.why,
            had_served: history.had_served,
            occupant,
        })
    }
}

impl Worker {
    fn pack(&self, carrier: &mut Carrier, knows_config: bool) -> io::Result<WorkerState> {
        let (log_level, log_reopened) = self.told_log.borrow().pack();
        let age = self.since.elapsed().as_millis();
        Ok(WorkerState {
            child: self.process.pack(carrier)?,
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            ready: self.ready.get(),
            rounds: self.rounds.get(),
            unanswered: self.unanswered.get(),
            told_to_leave: self.told_to_leave.get(),
            log_level,
            log_reopened,
            knows_config,
            member: self.member.pack(carrier)?,
        })
    }

    fn adopt(
        state: WorkerState,
        config: &Rc<Config>,
        luggage: &mut Luggage,
    ) -> Result<Self, CarrierError> {
        let process = Process::unpack(&state.child, luggage)?;
        let age = Duration::from_millis(state.age_ms);
        let now = Instant::now();
        Ok(Self {
            member: Rc::new(Member::adopt(state.member, process.pid(), luggage)?),
            process,
            since: now.checked_sub(age).unwrap_or(now),
            ready: state.ready.into(),
            rounds: state.rounds.into(),
            unanswered: state.unanswered.into(),
            told_to_leave: state.told_to_leave.into(),
            told_log: Told::adopt(state.log_level.as_deref(), state.log_reopened).into(),
            told_config: state.knows_config.then(|| Rc::clone(config)).into(),
        })
    }
}

impl Process {
    /// A child, which stays one.
    ///
    /// # Errors
    /// When its descriptor cannot be put in.
    pub(in crate::master) fn pack(&self, carrier: &mut Carrier) -> io::Result<ChildState> {
        Ok(ChildState {
            pid: self.pid(),
            pidfd: carrier.put(self.as_fd())?,
        })
    }

    /// The child as it was.
    ///
    /// # Errors
    /// When its descriptor is missing, or cannot be watched.
    pub(in crate::master) fn unpack(
        state: &ChildState,
        luggage: &mut Luggage,
    ) -> Result<Self, CarrierError> {
        Ok(Self::adopt(state.pid, luggage.take(state.pidfd)?)?)
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
