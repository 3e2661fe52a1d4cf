//! Members of several versions of the bus: after a reload there are workers of the program before it. The hub reads heads,
//! which are the same in all versions, and passes frames among members of one version only. Nobody hears of members of
//! another one, so that nobody asks them, or waits for them.

use std::collections::BTreeMap;

use tracing::warn;

use super::{Hub, Seat, encoded};
use crate::wire::frame::{Body, BusMember, as_version};

impl Hub {
    /// Tells everybody who is a member. In each worker's queue this stands behind all that came
    /// from a member that left, and before all that will come from one that joined.
    pub(super) fn tell_members(&self) {
        for version in self.versions().into_keys() {
            let mut members = self.near_members(version);
            if self.far.speaks(version) {
                members.extend(self.far.members());
            }
            if let Some(frame) = encoded(Body::Members(members)) {
                let frame = as_version(&frame, version);
                let seats = self.seats.borrow();
                let seats = seats.iter().filter(|seat| seat.version == version);
                seats.for_each(|seat| seat.push(frame.clone()));
            }
        }
    }

    pub(super) fn tell_bridge_members(&self) {
        let version = self.far.version();
        if let Some(frame) = encoded(Body::Members(self.near_members(version))) {
            self.far.tell(as_version(&frame, version));
        }
    }

    pub(super) fn near_members(&self, version: u8) -> Vec<BusMember> {
        let seats = self.seats.borrow();
        let seats = seats.iter().filter(|seat| seat.version == version);
        seats.map(|seat| seat.member.clone()).collect()
    }

    /// How many workers there are of each version.
    fn versions(&self) -> BTreeMap<u8, usize> {
        let mut versions = BTreeMap::new();
        for seat in &*self.seats.borrow() {
            *versions.entry(seat.version).or_default() += 1;
        }
        versions
    }

    /// What an operator should know of it, if there are workers of several versions.
    pub(crate) fn divided(&self) -> Option<String> {
        let versions = self.versions();
        let (latest, count) = versions.last_key_value()?;
        let others = versions.values().sum::<usize>() - count;
        (others > 0).then(|| {
            format!(
                "{count} workers speak version {latest} of the bus, and {others} an earlier one: broadcasts do not \
                 reach the others until those have ended"
            )
        })
    }

    /// Says it when it begins.
    pub(super) fn note_version(&self, seat: &Seat) {
        let versions = self.versions();
        if !versions.is_empty() && !versions.contains_key(&seat.version) {
            warn!(
                version = seat.version,
                "a worker speaks another version of the bus than those before it: broadcasts of the ones do not reach \
                 the others"
            );
        }
    }
}
