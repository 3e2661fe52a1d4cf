//! Chooses a worker for a connection, or for a session. Pure but for the random method.

use crate::config::Balance;
use crate::wire::session_id::Home;

/// A worker as the balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) home: Home,
    /// Its sessions, those that are on their way included.
    pub(crate) load: u64,
}

#[derive(Debug)]
pub(crate) struct Balancer {
    method: Balance,
    last: Option<Home>,
}

impl Balancer {
    pub(crate) fn new(method: Balance) -> Self {
        Self::after(method, None)
    }

    /// One that has chosen this one last.
    pub(crate) fn after(method: Balance, last: Option<Home>) -> Self {
        Self { method, last }
    }

    /// Whom it has chosen last.
    pub(crate) fn last(&self) -> Option<Home> {
        self.last
    }

    /// One of `candidates`, which are in the order of their slots.
    pub(crate) fn choose(&mut self, candidates: &[Candidate]) -> Option<Home> {
        // The one after the last choice, and round again: equal loads take turns.
        let start = candidates
            .iter()
            .position(|c| self.last.is_some_and(|last| c.home > last));
        let (before, after) = candidates.split_at(start.unwrap_or(0));
        let mut turns = after.iter().chain(before);
        let chosen = match self.method {
            Balance::RoundRobin => turns.next(),
            Balance::LeastConnection => turns.min_by_key(|candidate| candidate.load),
            Balance::Random => {
                let count = u32::try_from(candidates.len())
                    .ok()
                    .filter(|&count| count > 0)?;
                // Without entropy it is round-robin.
                let nth = getrandom::u32().map_or(0, |random| random % count);
                turns.nth(usize::try_from(nth).ok()?)
            }
        };
        self.last = chosen.map(|candidate| candidate.home);
        self.last
    }

    /// The worker that is to have a session for which the worker `asker` asks; none if it would be one too
    /// many. While nobody else answers, who asks has it itself.
    pub(crate) fn place(
        &mut self,
        room: Room,
        candidates: &[Candidate],
        asker: Home,
    ) -> Option<Home> {
        if room.is_full() {
            return None;
        }
        Some(self.choose(candidates).unwrap_or(asker))
    }
}

/// Whom the method chooses from: who connects to a worker's own port has chosen it, as long as it answers.
pub(crate) fn preferred(mut candidates: Vec<Candidate>, port_of: Option<u16>) -> Vec<Candidate> {
    if candidates.iter().any(|it| Some(it.home.slot) == port_of) {
        candidates.retain(|it| Some(it.home.slot) == port_of);
    }
    candidates
}

/// How many sessions there may be, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Zero: no limit.
    pub(crate) limit: u64,
    /// Those that are on their way included.
    pub(crate) sessions: u64,
}

impl Room {
    pub(crate) fn is_full(self) -> bool {
        self.limit > 0 && self.sessions >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(slot: u16) -> Home {
        Home {
            generation: 3,
            slot,
        }
    }

    fn candidates(loads: &[u64]) -> Vec<Candidate> {
        (0..)
            .zip(loads)
            .map(|(slot, &load)| Candidate {
                home: home(slot),
                load,
            })
            .collect()
    }

    fn choices(method: Balance, loads: &[u64], count: usize) -> Vec<u16> {
        let mut balancer = Balancer::new(method);
        (0..count)
            .filter_map(|_| balancer.choose(&candidates(loads)))
            .map(|home| home.slot)
            .collect()
    }

    #[test]
    fn round_robin_takes_turns_whatever_the_loads() {
        assert_eq!(choices(Balance::RoundRobin, &[9, 0, 5], 5), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn least_connection_takes_the_least_and_turns_among_equals() {
        assert_eq!(
            choices(Balance::LeastConnection, &[3, 1, 1], 4),
            [1, 2, 1, 2]
        );
        assert_eq!(choices(Balance::LeastConnection, &[0, 0], 3), [0, 1, 0]);
    }

    #[test]
    fn random_takes_everybody_in_the_end() {
        let chosen = choices(Balance::Random, &[0; 4], 400);
        for slot in 0..4 {
            let share = chosen.iter().filter(|&&c| c == slot).count();
            assert!((50..150).contains(&share), "{share} of 400 for {slot}");
        }
    }

    #[test]
    fn a_session_goes_where_the_method_says_unless_it_is_one_too_many() {
        for (limit, sessions, loads, expected) in [
            (0, 0, &[0, 0][..], Some(0)),
            (0, 9, &[5, 4], Some(1)),
            (0, u64::MAX, &[u64::MAX, 0], Some(1)),
            (10, 9, &[5, 4], Some(1)),
            (10, 10, &[5, 5], None),
            (10, 11, &[6, 5], None),
            // Another worker has sessions and does not answer.
            (10, 10, &[0], None),
            (10, 9, &[0], Some(0)),
            // Nobody answers but the one that asks.
            (10, 9, &[], Some(7)),
            (10, 10, &[], None),
            (0, 0, &[], Some(7)),
        ] {
            let mut balancer = Balancer::new(Balance::LeastConnection);
            let room = Room { limit, sessions };
            assert_eq!(
                balancer.place(room, &candidates(loads), home(7)),
                expected.map(home),
                "{limit} {sessions} {loads:?}"
            );
        }
    }

    #[test]
    fn who_has_chosen_a_worker_gets_it_unless_it_does_not_answer() {
        let loads = [9, 0, 5];
        for (port_of, expected) in [(None, 1), (Some(0), 0), (Some(2), 2), (Some(3), 1)] {
            let mut balancer = Balancer::new(Balance::LeastConnection);
            let candidates = preferred(candidates(&loads), port_of);
            let chosen = balancer.choose(&candidates);
            assert_eq!(chosen, Some(home(expected)), "{port_of:?}");
        }
        assert_eq!(preferred(Vec::new(), Some(0)), []);
    }

    #[test]
    fn nobody_is_chosen_of_nobody() {
        for method in [
            Balance::RoundRobin,
            Balance::LeastConnection,
            Balance::Random,
        ] {
            assert_eq!(choices(method, &[], 1), [0; 0]);
        }
    }
}
