//! Sessions that are on their way.
//!
//! The master counts a session for a worker before there is one: when it dispatches a connection whose
//! first request asks for it, and when a worker asks where it shall be opened. Whatever becomes of it,
//! the master is told once that this is known: an [`Opening`] tells it when it is dropped.

use std::sync::Arc;

use super::sessions::Sessions;
use crate::wire::link::Handoff;

/// How the master counts it.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// With the connection that was dispatched.
    Dispatched,
    /// Under this number.
    Reserved(u64),
}

/// While it lives, the master counts a session that may come to be.
#[derive(Debug)]
pub(crate) struct Opening {
    sessions: Arc<Sessions>,
    /// None: somebody else tells the master.
    counted: Option<Counted>,
}

impl Opening {
    /// The session that a connection opens which came with this, if it does.
    pub(crate) fn of(sessions: &Arc<Sessions>, handoff: &Handoff) -> Option<Self> {
        let reserved = handoff.reservation;
        let reserved = reserved.map(|number| Self::reserved(sessions, number));
        reserved.or_else(|| handoff.opens.then(|| Self::dispatched(sessions)))
    }

    /// A session for which a connection was dispatched to this worker.
    pub(crate) fn dispatched(sessions: &Arc<Sessions>) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            counted: Some(Counted::Dispatched),
        }
    }

    /// A session that the master has counted under a number, for this worker or another.
    pub(crate) fn reserved(sessions: &Arc<Sessions>, number: u64) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            counted: Some(Counted::Reserved(number)),
        }
    }

    /// The number under which it is reserved.
    pub(crate) fn reservation(&self) -> Option<u64> {
        match self.counted {
            Some(Counted::Reserved(number)) => Some(number),
            _ => None,
        }
    }

    /// The worker that opens it tells the master.
    pub(crate) fn hand_over(mut self) {
        self.counted = None;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        match self.counted {
            Some(Counted::Dispatched) => self.sessions.resolved(),
            Some(Counted::Reserved(number)) => self.sessions.released(number),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_becomes_of_a_session_is_told_once() {
        let sessions = Arc::<Sessions>::default();
        drop(Opening::dispatched(&sessions));
        assert_eq!(sessions.report().resolved, 1);
        drop(Opening::reserved(&sessions, 7));
        let passed_on = Opening::reserved(&sessions, 8);
        assert_eq!(passed_on.reservation(), Some(8));
        passed_on.hand_over();
        assert_eq!(sessions.take_released(), [7]);
        assert!(sessions.take_released().is_empty());
        assert_eq!(sessions.report().resolved, 1);
    }

    #[test]
    fn what_is_told_at_once_fits_into_a_message_and_the_rest_follows() {
        let sessions = Arc::<Sessions>::default();
        (0..5000).for_each(|number| drop(Opening::reserved(&sessions, u64::MAX - number)));
        let mut told = 0;
        loop {
            let released = sessions.take_released();
            if released.is_empty() {
                break;
            }
            told += released.len();
            // Ten bytes each at most.
            assert!(released.len() * 10 < crate::wire::link::MAX_HEAD);
        }
        assert_eq!(told, 5000);
    }
}
