//! How far bridges are in what other machines send, as they told behind what they brought: the next one goes on there.
//!
//! It holds for what workers have, and for nothing that stood between the bridge and the hub when the bridge died. So what
//! is missing is asked for once more, or counted, even when the other machine has no memory of it either.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::envelope::{Address, Position};

/// For so long it is kept: as long as bridges remember a machine that is gone.
const MEMORY: Duration = Duration::from_mins(5);
/// Of so many machines.
const MOST: usize = 1024;

/// How far bridges are in what each machine sends, by its incarnation, and when that was told.
#[derive(Debug, Default)]
pub(super) struct Heard(RefCell<HashMap<u64, (Address, Position, Instant)>>);

impl Heard {
    /// A bridge has told how far it is.
    pub(super) fn told(&self, all: Vec<(Address, Position)>) {
        let now = Instant::now();
        let mut heard = self.0.borrow_mut();
        for (of, at) in all {
            if heard.len() >= MOST && !heard.contains_key(&of.incarnation) {
                let oldest = heard.iter().min_by_key(|(_, (_, _, told))| *told);
                let oldest = oldest.map(|(of, _)| *of);
                oldest.map(|of| heard.remove(&of));
            }
            heard.insert(of.incarnation, (of, at, now));
        }
    }

    /// What the next bridge has to know.
    pub(super) fn recent(&self) -> Vec<(Address, Position)> {
        let mut heard = self.0.borrow_mut();
        heard.retain(|_, (_, _, told)| told.elapsed() < MEMORY);
        heard.values().map(|(of, at, _)| (*of, *at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(incarnation: u64, n: u64) -> (Address, Position) {
        let epoch = 1;
        let at = Position {
            n,
            ..Position::default()
        };
        (Address { incarnation, epoch }, at)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_about_each_machine_is_kept_for_five_minutes() {
        let all = Heard::default();
        all.told(vec![heard(1, 10), heard(2, 10)]);
        tokio::time::advance(MEMORY / 2).await;
        all.told(vec![heard(2, 20)]);
        let mut recent = all.recent();
        recent.sort_unstable_by_key(|(of, _)| *of);
        assert_eq!(recent, [heard(1, 10), heard(2, 20)]);
        tokio::time::advance(MEMORY / 2).await;
        assert_eq!(all.recent(), [heard(2, 20)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_machines_the_one_of_which_nothing_was_told_for_longest_is_forgotten() {
        let all = Heard::default();
        for incarnation in 0..=MOST as u64 {
            all.told(vec![heard(incarnation, 1)]);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let recent = all.recent();
        assert_eq!(recent.len(), MOST);
        assert!(!recent.contains(&heard(0, 1)));
        all.told(vec![heard(7, 2)]);
        assert_eq!(all.recent().len(), MOST);
    }
}
