//! What is told once.

use std::collections::{BTreeSet, VecDeque};

/// So much is remembered as told. Of more, which a stranger can make up, the oldest is told again when it is seen again.
const MOST: usize = 1024;

/// What was told.
#[derive(Debug)]
pub(super) struct Told<T> {
    all: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            all: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T: Ord + Clone> Told<T> {
    /// Is this to be told now?
    pub(super) fn is_new(&mut self, it: T) -> bool {
        if !self.all.insert(it.clone()) {
            return false;
        }
        self.order.push_back(it);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_told_again_only_behind_much_that_is_new() {
        let mut told = Told::default();
        assert!(told.is_new(0));
        assert!((1..MOST).all(|it| told.is_new(it)));
        assert!(!(0..MOST).any(|it| told.is_new(it)));
        assert!(told.is_new(MOST));
        assert!(told.is_new(0));
        assert!(!told.is_new(MOST));
    }
}
