//! What each slot is doing, and whether the server can start at all.
//!
//! A slot whose workers end before they take connections is tried again for ever, with pauses: its
//! trouble may pass, and the others serve. Only when that has happened to every slot, several times, and
//! nobody ever served, is it the server that cannot start.

use std::cell::RefCell;
use std::collections::BTreeMap;

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

#[derive(Debug, Default)]
struct Slot {
    vacancy: Option<Vacancy>,
    /// Workers in a row that ended before they were ready.
    failures: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Slots(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    slots: BTreeMap<u16, Slot>,
    ever_ready: bool,
}

impl Slots {
    /// So many slots, each with a worker on its way.
    pub(crate) fn new(count: u16) -> Self {
        let starting = || Slot {
            vacancy: Some(Vacancy::Starting),
            failures: 0,
        };
        Self(RefCell::new(Inner {
            slots: (0..count).map(|slot| (slot, starting())).collect(),
            ever_ready: false,
        }))
    }

    /// The slot's worker takes connections.
    pub(crate) fn ready(&self, slot: u16) {
        let mut inner = self.0.borrow_mut();
        inner.ever_ready = true;
        inner.slots.insert(slot, Slot::default());
    }

    /// The slot's worker has ended, and why if it was never ready. True: the server cannot start.
    pub(crate) fn ended(&self, slot: u16, failed: Option<&str>) -> bool {
        let mut inner = self.0.borrow_mut();
        let entry = inner.slots.entry(slot).or_default();
        match failed {
            None => entry.vacancy = Some(Vacancy::Died),
            Some(why) => {
                entry.vacancy = Some(Vacancy::Failed(why.to_owned()));
                entry.failures += 1;
            }
        }
        let mut all = inner.slots.values();
        !inner.ever_ready && all.all(|slot| slot.failures >= START_ATTEMPTS)
    }

    /// The slots without a worker that takes connections.
    pub(crate) fn vacant(&self) -> Vec<(u16, Vacancy)> {
        let inner = self.0.borrow();
        let vacant = inner.slots.iter();
        vacant
            .filter_map(|(&number, slot)| Some((number, slot.vacancy.clone()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_cannot_start_when_every_slot_has_failed_three_times() {
        let slots = Slots::new(2);
        for _ in 0..3 {
            assert!(!slots.ended(0, Some("exit code 1")));
        }
        // One that is slow is not one that fails.
        for _ in 0..10 {
            assert!(!slots.ended(0, Some("exit code 1")));
        }
        assert!(!slots.ended(1, Some("exit code 1")));
        assert!(!slots.ended(1, Some("exit code 1")));
        assert!(slots.ended(1, Some("exit code 1")));
    }

    #[test]
    fn a_server_that_has_served_can_start() {
        let slots = Slots::new(1);
        slots.ready(0);
        assert!(!slots.ended(0, None));
        for _ in 0..10 {
            assert!(!slots.ended(0, Some("exit code 1")));
        }
    }

    #[test]
    fn what_is_vacant_is_known_with_the_reason() {
        let slots = Slots::new(4);
        slots.ready(0);
        slots.ready(1);
        slots.ended(1, None);
        slots.ended(2, Some("exit code 101"));
        let failed = Vacancy::Failed("exit code 101".into());
        let expected = [(1, Vacancy::Died), (2, failed), (3, Vacancy::Starting)];
        assert_eq!(slots.vacant(), expected);
        slots.ready(2);
        assert_eq!(slots.vacant().len(), 2);
    }
}
