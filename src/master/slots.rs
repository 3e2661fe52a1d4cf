//! What each slot is doing, and whether the server can start at all.
//!
//! A slot whose workers end before they take connections is tried again for ever, with pauses: its
//! trouble may pass, and the others serve. Only when that has happened to every slot, several times, and
//! nobody ever served, is it the server that cannot start.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::wire::handover::workers::{GenerationState, Occupant};

/// So many workers of one slot may end before they take connections; then the slot is given up, as far
/// as the start is concerned.
const START_ATTEMPTS: u32 = 3;

/// Why a slot has no worker that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// Its worker has not said yet that it is ready.
    Starting,
    /// Its last worker ended before it was ready.
    Failed(String),
    /// Its last worker was ready and ended.
    Died,
}

/// A slot without a worker that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vacant {
    pub(crate) slot: u16,
    pub(crate) vacancy: Vacancy,
    /// When another worker is started, if that is waited for.
    pub(crate) next: Option<Duration>,
}

/// A slot, for who asks.
#[derive(Debug, Clone)]
pub(crate) struct SlotState {
    pub(crate) number: u16,
    /// Why no worker of it takes connections, if none does.
    pub(crate) vacancy: Option<Vacancy>,
    /// Its worker, whether it is ready or not.
    pub(crate) pid: Option<u32>,
    /// How long that has been running.
    pub(crate) uptime: Option<Duration>,
    /// Why its last worker ended.
    pub(crate) why: Option<String>,
    /// When another worker is started, if that is waited for.
    pub(crate) next: Option<Duration>,
}

#[derive(Debug, Default)]
struct Slot {
    vacancy: Option<Vacancy>,
    /// Workers in a row that ended before they were ready.
    failures: u32,
    worker: Option<(u32, Instant)>,
    why: Option<String>,
    /// Did that take connections?
    had_served: bool,
    /// When its next worker is started.
    next: Option<Instant>,
}

impl Slot {
    fn next(&self) -> Option<Duration> {
        let next = self.next?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}

/// The workers that a slot had.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In a row, that ended before they took connections.
    pub(crate) failures: u32,
    /// Why the last one ended.
    pub(crate) why: Option<String>,
    /// Did that take connections?
    pub(crate) had_served: bool,
}

/// Those of the generation that gets what is new.
#[derive(Debug, Default)]
pub(crate) struct Slots(RefCell<Rc<SlotTable>>);

/// See the module's text. Each generation has its own.
#[derive(Debug, Default)]
pub(crate) struct SlotTable(RefCell<Inner>);

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<u16, Slot>,
    ever_ready: bool,
}

impl Slots {
    /// From now on it is another generation.
    pub(crate) fn set_current(&self, table: &Rc<SlotTable>) {
        self.0.replace(Rc::clone(table));
    }

    /// All slots.
    pub(crate) fn states(&self) -> Vec<SlotState> {
        self.0.borrow().states()
    }

    /// The slots without a worker that takes connections.
    pub(crate) fn vacant(&self) -> Vec<Vacant> {
        self.0.borrow().vacant()
    }
}

impl SlotTable {
    /// So many slots, each with a worker on its way.
    pub(crate) fn new(count: u16) -> Self {
        let starting = || Slot {
            vacancy: Some(Vacancy::Starting),
            ..Slot::default()
        };
        Self(RefCell::new(Inner {
            slots: (0..count).map(|slot| (slot, starting())).collect(),
            ever_ready: false,
        }))
    }

    /// The slots of a generation that the program before this one has started.
    pub(crate) fn adopt(state: &GenerationState) -> Self {
        let slots = state.slots.iter().map(|it| {
            let (worker, is_ready) = match &it.occupant {
                Occupant::Worker(worker) => {
                    let age = Duration::from_millis(worker.age_ms);
                    let now = Instant::now();
                    let since = now.checked_sub(age).unwrap_or(now);
                    (Some((worker.child.pid, since)), worker.ready)
                }
                Occupant::Nobody { .. } | Occupant::Left => (None, false),
            };
            let slot = Slot {
                vacancy: match &it.why {
                    _ if is_ready => None,
                    Some(_) if it.had_served => Some(Vacancy::Died),
                    Some(why) => Some(Vacancy::Failed(why.clone())),
                    None => Some(Vacancy::Starting),
                },
                failures: it.failures,
                had_served: it.had_served,
                worker,
                why: it.why.clone(),
                next: None,
            };
            (it.slot, slot)
        });
        Self(RefCell::new(Inner {
            slots: slots.collect(),
            ever_ready: state.ever_ready,
        }))
    }

    /// What is known of the workers that a slot had.
    pub(crate) fn history(&self, slot: u16) -> History {
        let inner = self.0.borrow();
        let slot = inner.slots.get(&slot);
        slot.map_or_else(History::default, |slot| History {
            failures: slot.failures,
            why: slot.why.clone(),
            had_served: slot.had_served,
        })
    }

    /// Did ever a worker of them take connections?
    pub(crate) fn ever_ready(&self) -> bool {
        self.0.borrow().ever_ready
    }

    /// A worker was started for the slot.
    pub(crate) fn started(&self, slot: u16, pid: u32) {
        let mut inner = self.0.borrow_mut();
        let entry = inner.slots.entry(slot).or_default();
        entry.worker = Some((pid, Instant::now()));
        entry.next = None;
    }

    /// The slot's worker takes connections.
    pub(crate) fn ready(&self, slot: u16) {
        let mut inner = self.0.borrow_mut();
        inner.ever_ready = true;
        let entry = inner.slots.entry(slot).or_default();
        (entry.vacancy, entry.failures) = (None, 0);
    }

    /// The slot's worker has ended, and why; or it could not be started. True: the server cannot start.
    pub(crate) fn ended(&self, slot: u16, was_ready: bool, why: &str) -> bool {
        let mut inner = self.0.borrow_mut();
        let entry = inner.slots.entry(slot).or_default();
        entry.worker = None;
        entry.why = Some(why.to_owned());
        entry.had_served = was_ready;
        if was_ready {
            entry.vacancy = Some(Vacancy::Died);
        } else {
            entry.vacancy = Some(Vacancy::Failed(why.to_owned()));
            entry.failures += 1;
        }
        let mut all = inner.slots.values();
        !inner.ever_ready && all.all(|slot| slot.failures >= START_ATTEMPTS)
    }

    /// The slot's next worker is started after this time.
    pub(crate) fn pauses(&self, slot: u16, pause: Duration) {
        let mut inner = self.0.borrow_mut();
        inner.slots.entry(slot).or_default().next = Some(Instant::now() + pause);
    }

    /// All slots.
    fn states(&self) -> Vec<SlotState> {
        let inner = self.0.borrow();
        let states = inner.slots.iter().map(|(&number, slot)| SlotState {
            number,
            vacancy: slot.vacancy.clone(),
            pid: slot.worker.map(|(pid, _)| pid),
            uptime: slot.worker.map(|(_, since)| since.elapsed()),
            why: slot.why.clone(),
            next: slot.next(),
        });
        states.collect()
    }

    /// The slots without a worker that takes connections.
    fn vacant(&self) -> Vec<Vacant> {
        let inner = self.0.borrow();
        let vacant = inner.slots.iter();
        vacant
            .filter_map(|(&number, slot)| {
                Some(Vacant {
                    slot: number,
                    vacancy: slot.vacancy.clone()?,
                    next: slot.next(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_cannot_start_when_every_slot_has_failed_three_times() {
        let slots = SlotTable::new(2);
        for _ in 0..3 {
            assert!(!slots.ended(0, false, "exit code 1"));
        }
        // One that is slow is not one that fails.
        for _ in 0..10 {
            assert!(!slots.ended(0, false, "exit code 1"));
        }
        assert!(!slots.ended(1, false, "exit code 1"));
        assert!(!slots.ended(1, false, "exit code 1"));
        assert!(slots.ended(1, false, "exit code 1"));
    }

    #[test]
    fn a_server_that_has_served_can_start() {
        let slots = SlotTable::new(1);
        slots.ready(0);
        assert!(!slots.ended(0, true, "killed by signal 9"));
        for _ in 0..10 {
            assert!(!slots.ended(0, false, "exit code 1"));
        }
    }

    #[test]
    fn a_slot_tells_its_worker_and_why_the_last_one_ended() {
        let slots = SlotTable::new(1);
        slots.started(0, 7);
        slots.ready(0);
        slots.ended(0, true, "killed by signal 9");
        let state = &slots.states()[0];
        assert_eq!(state.pid, None);
        assert_eq!(state.vacancy, Some(Vacancy::Died));
        slots.started(0, 8);
        slots.ready(0);
        let state = &slots.states()[0];
        assert_eq!(state.pid, Some(8));
        assert_eq!(state.vacancy, None);
        assert_eq!(state.why.as_deref(), Some("killed by signal 9"));
    }

    #[test]
    fn when_the_next_attempt_is_made_is_known_until_it_is() {
        let slots = SlotTable::new(1);
        slots.ended(0, false, "exit code 101");
        slots.pauses(0, Duration::from_secs(30));
        let next = || slots.vacant().first().and_then(|vacant| vacant.next);
        assert!(
            next().is_some_and(|next| next.as_secs() >= 29),
            "{next:?}",
            next = next()
        );
        assert_eq!(next().is_some(), slots.states()[0].next.is_some());
        slots.started(0, 7);
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_vacant_is_known_with_the_reason() {
        let slots = SlotTable::new(4);
        slots.ready(0);
        slots.ready(1);
        slots.ended(1, true, "killed by signal 9");
        slots.ended(2, false, "exit code 101");
        let failed = Vacancy::Failed("exit code 101".into());
        let expected = [(1, Vacancy::Died), (2, failed), (3, Vacancy::Starting)];
        let vacant = slots.vacant().into_iter();
        let vacant: Vec<_> = vacant.map(|it| (it.slot, it.vacancy)).collect();
        assert_eq!(vacant, expected);
        slots.ready(2);
        assert_eq!(slots.vacant().len(), 2);
    }
}
