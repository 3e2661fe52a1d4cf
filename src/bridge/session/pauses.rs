//! Who is elsewhere is told at once, and then again after a pause: each worker hears every change, and a stranger can make
//! up as many as he likes.

use std::time::Duration;

use tokio::time::Instant;

/// The pause.
const PAUSE: Duration = Duration::from_millis(50);

/// When it was told, and whether there is more to tell.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    told: Option<Instant>,
    waits: bool,
}

impl Pauses {
    /// There is something to tell. Is it to be told now? Else it waits for [`Pauses::due`].
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.waits = true;
        self.due().is_none_or(|due| due <= now)
    }

    /// It is told now.
    pub(super) fn told(&mut self, now: Instant) {
        self.told = Some(now);
        self.waits = false;
    }

    /// Is there something that was not told?
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// When what waits is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.told.filter(|_| self.waits).map(|told| told + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_all_that_follow_in_a_pause_are_told_at_its_end() {
        let mut pauses = Pauses::default();
        let now = Instant::now();
        assert!(pauses.is_over(now));
        pauses.told(now);
        assert_eq!(pauses.due(), None);
        for ms in [1, 2, 49] {
            assert!(!pauses.is_over(now + Duration::from_millis(ms)));
        }
        assert_eq!(pauses.due(), Some(now + PAUSE));
        assert!(pauses.waits());
        assert!(pauses.is_over(now + PAUSE));
        pauses.told(now + PAUSE);
        assert!(!pauses.waits());
        assert_eq!(pauses.due(), None);
        assert!(pauses.is_over(now + 3 * PAUSE));
    }
}
