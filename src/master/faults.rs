//! What went wrong lately, for who asks: the last few faults, with their times.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many are kept.
const KEPT: usize = 20;
/// Of each, so much is kept, in bytes.
const LONGEST: usize = 500;

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: SystemTime,
    pub(crate) what: String,
}

/// The last faults of the server.
#[derive(Debug, Default)]
pub(crate) struct Faults(RefCell<VecDeque<Fault>>);

impl Faults {
    /// This went wrong now.
    pub(crate) fn record(&self, mut what: String) {
        let cut = (0..=LONGEST).rev().find(|&at| what.is_char_boundary(at));
        what.truncate(cut.unwrap_or(0));
        let mut faults = self.0.borrow_mut();
        faults.truncate(KEPT - 1);
        let at = SystemTime::now();
        faults.push_front(Fault { at, what });
    }

    /// All that are kept, for the program that takes over: when, in milliseconds since 1970, and what.
    pub(crate) fn pack(&self) -> Vec<(u64, String)> {
        let faults = self.list().into_iter();
        let ms = |at: SystemTime| {
            at.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis()
        };
        let packed = faults.map(|Fault { at, what }| (u64::try_from(ms(at)).unwrap_or(0), what));
        packed.collect()
    }

    /// Those of the program before.
    pub(crate) fn adopt(packed: Vec<(u64, String)>) -> Self {
        let faults = packed.into_iter().map(|(ms, what)| Fault {
            at: UNIX_EPOCH + Duration::from_millis(ms),
            what,
        });
        Self(RefCell::new(faults.take(KEPT).collect()))
    }

    /// All that are kept, the newest first.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.borrow().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_faults_are_kept_and_the_newest_is_the_first() {
        let faults = Faults::default();
        (0..50).for_each(|number| faults.record(number.to_string()));
        let kept: Vec<_> = faults.list().into_iter().map(|fault| fault.what).collect();
        let expected: Vec<_> = (30..50).rev().map(|number| number.to_string()).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_long_fault_is_cut_between_characters() {
        let faults = Faults::default();
        faults.record("é".repeat(LONGEST));
        assert_eq!(faults.list()[0].what, "é".repeat(LONGEST / 2));
    }
}
