//! What was counted goes on when another program takes over.

use std::rc::Rc;

use super::table::Table;
use super::{Slot, Totals, Worker, places};
use crate::metrics::{self, Kind};
use crate::wire::handover::control::{CountedState, SlotCounts, TotalsState};

impl Totals {
    /// All that was counted.
    pub(crate) fn pack(&self) -> TotalsState {
        let mut state = TotalsState {
            tables: vec![metrics::names()],
            own: metrics::values(),
            ..TotalsState::default()
        };
        let slots = self.slots.borrow();
        let slots: Vec<_> = slots
            .iter()
            .map(|(&number, slot)| slot.pack(number, &mut state.tables))
            .collect();
        state.slots = slots;
        state.bridge = self.bridge.borrow().pack(0, &mut state.tables);
        state
    }

    /// What a program before this one had counted goes on, in this process.
    pub(crate) fn adopt(&self, state: TotalsState) {
        restore_own(&state);
        self.adopt_slots(state);
    }

    pub(super) fn adopt_slots(&self, state: TotalsState) {
        let tables: Vec<_> = state
            .tables
            .into_iter()
            .map(Table::of)
            .map(Rc::new)
            .collect();
        let mut slots = self.slots.borrow_mut();
        for counts in state.slots {
            slots.insert(counts.slot, Slot::adopt(counts, &tables));
        }
        self.bridge.replace(Slot::adopt(state.bridge, &tables));
    }
}

/// What the master had counted. Gauges are as they are, but for the time of the start.
fn restore_own(state: &TotalsState) {
    let names = state.tables.first().cloned().unwrap_or_default();
    for ((_, kind, at), value) in
        places().zip(Table::of(names).read(&state.own).unwrap_or_default())
    {
        if kind != Kind::Gauge || at == metrics::START_TIME.0 {
            metrics::restore(at, value);
        }
    }
}

impl Slot {
    fn pack(&self, slot: u16, tables: &mut Vec<Vec<String>>) -> SlotCounts {
        let workers = self.workers.iter().map(|(&pid, worker)| CountedState {
            pid,
            values: worker.values.clone(),
            waits_in_hub: worker.waits_in_hub,
            table: worker.table.as_ref().map_or(0, |table| {
                let known = tables.iter().position(|it| *it == table.names);
                let place = known.unwrap_or_else(|| {
                    tables.push(table.names.clone());
                    tables.len() - 1
                });
                u32::try_from(place).unwrap_or_default()
            }),
        });
        SlotCounts {
            slot,
            generation: self.generation,
            workers: workers.collect(),
            kept: self.kept.clone(),
        }
    }

    fn adopt(state: SlotCounts, tables: &[Rc<Table>]) -> Self {
        let mut slot = Self {
            generation: state.generation,
            ..Self::default()
        };
        // These are in the order of the program before, whatever a worker's own is.
        let read = |values: &[u64]| tables.first().and_then(|table| table.read(values));
        if let Some(kept) = read(&state.kept) {
            slot.kept = kept;
        }
        for counted in state.workers {
            let table = usize::try_from(counted.table).ok();
            let mut worker = Worker {
                table: table.and_then(|at| tables.get(at)).cloned(),
                waits_in_hub: counted.waits_in_hub,
                ..Worker::default()
            };
            if let Some(values) = read(&counted.values) {
                worker.values = values;
            }
            worker.remember();
            slot.workers.insert(counted.pid, worker);
        }
        slot.remember();
        slot
    }
}
