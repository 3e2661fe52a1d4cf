//! How many sessions may be opened in a second, and who is asked to wait if more come. Pure.
//!
//! All together have a bucket that drains at the configured rate. It is twice as large as what one client may put
//! into it: a client may have no more in it, of what it opened lately, than there is room left. So one that opens
//! as much as it can has the whole rate while nobody else comes, and there is always room for as many that come
//! new; several that are greedy leave room as well, each of them having the less, the more of them there are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wire::client::ClientKey;
use crate::wire::link::NoPlace;

/// Clients that are remembered at a time. Only who opens sessions is, for a few seconds, so that only a very high
/// rate comes near it; who comes then has what is left, without being remembered.
const MAX_CLIENTS: usize = 65_536;

/// A client that has less in the bucket has nothing in it: after some four seconds.
const NOTHING: f64 = 0.02;

/// What a client has opened lately: it fades, to a third within a second.
#[derive(Debug, Clone, Copy)]
struct Lately {
    sessions: f64,
    at: Instant,
}

impl Lately {
    fn at(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        self.sessions * (-passed.as_secs_f64()).exp()
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    /// What is in the bucket.
    level: f64,
    at: Option<Instant>,
    clients: HashMap<ClientKey, Lately>,
    /// When there are so many, those that have nothing in the bucket are forgotten; not twice in a second.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl Rate {
    /// So many in a second; zero: as many as come.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.into(),
            level: 0.0,
            at: None,
            clients: HashMap::new(),
            sweep_at: 64,
            swept: None,
        }
    }

    /// Counts a session that is about to be opened. Of a client without a known address nothing can be said but
    /// that it is one of all.
    ///
    /// # Errors
    /// When there are too many: [`NoPlace::Rate`] if that is nobody's fault, [`NoPlace::ClientRate`] if anybody else
    /// would be let in.
    pub(crate) fn take(&mut self, client: Option<ClientKey>, now: Instant) -> Result<(), NoPlace> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let passed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.level = (self.level - passed.as_secs_f64() * self.per_second).max(0.0);
        let room = 2.0 * self.per_second - self.level;
        if room < 1.0 {
            return Err(NoPlace::Rate);
        }
        let Some(client) = client else {
            if self.level + 1.0 > self.per_second {
                return Err(NoPlace::Rate);
            }
            self.level += 1.0;
            return Ok(());
        };
        let lately = self.clients.get(&client);
        let lately = lately.map_or(0.0, |lately| lately.at(now)) + 1.0;
        if lately > room {
            return Err(NoPlace::ClientRate);
        }
        self.level += 1.0;
        self.sweep(now);
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&client) {
            let lately = Lately {
                sessions: lately,
                at: now,
            };
            self.clients.insert(client, lately);
        }
        Ok(())
    }

    fn sweep(&mut self, now: Instant) {
        const PAUSE: Duration = Duration::from_secs(1);
        let recently = self
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < PAUSE);
        if self.clients.len() < self.sweep_at || recently && self.sweep_at == MAX_CLIENTS {
            return;
        }
        self.swept = Some(now);
        self.clients.retain(|_, lately| lately.at(now) >= NOTHING);
        self.sweep_at = (2 * self.clients.len()).clamp(64, MAX_CLIENTS);
        self.clients.shrink_to(self.sweep_at);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::V4(Ipv4Addr::from_bits(number))
    }

    /// What happens at which millisecond: everybody asks as often as is said, the greedy first.
    struct Scene {
        rate: Rate,
        start: Instant,
        greedy: u32,
        innocents: u32,
        refused: u32,
    }

    impl Scene {
        fn new(per_second: u32) -> Self {
            Self {
                rate: Rate::new(per_second),
                start: Instant::now(),
                greedy: 0,
                innocents: 0,
                refused: 0,
            }
        }

        fn greedy(&mut self, at: u64, clients: u32) {
            let now = self.start + Duration::from_millis(at);
            for nth in 0..clients {
                while self.rate.take(Some(client(nth)), now).is_ok() {
                    self.greedy += 1;
                }
            }
        }

        fn innocent(&mut self, at: u64) {
            let now = self.start + Duration::from_millis(at);
            self.innocents += 1;
            let number = 1000 + self.innocents;
            self.refused += u32::from(self.rate.take(Some(client(number)), now).is_err());
        }
    }

    #[test]
    fn one_client_has_the_whole_rate_while_nobody_else_comes() {
        let mut scene = Scene::new(10);
        scene.greedy(0, 1);
        assert_eq!(scene.greedy, 10);
        (1..=10_000).for_each(|at| scene.greedy(at, 1));
        assert!((105..=115).contains(&scene.greedy), "{}", scene.greedy);
    }

    #[test]
    fn a_quiet_minute_saves_up_no_more_than_a_second() {
        let mut scene = Scene::new(10);
        scene.greedy(0, 1);
        scene.greedy(60_000, 1);
        assert_eq!(scene.greedy, 20);
    }

    #[test]
    fn who_comes_new_is_let_in_beside_a_greedy_one_while_the_rate_is_kept() {
        // All at once, or one after the other for ten seconds.
        for (per_second, pause, count) in [(60, 0, 60), (100, 0, 60), (25, 50, 200), (61, 17, 600)]
        {
            let mut scene = Scene::new(per_second);
            for at in 0..5000 {
                scene.greedy(at, 1);
            }
            for nth in 0..count {
                for at in nth * pause..(nth + 1) * pause {
                    scene.greedy(5000 + at, 1);
                }
                scene.innocent(5000 + nth * pause);
            }
            assert_eq!(scene.refused, 0, "{per_second} {pause} {count}");
        }
    }

    #[test]
    fn several_greedy_ones_leave_room_for_others() {
        for clients in [2, 5, 20] {
            let mut scene = Scene::new(100);
            for at in 0..10_000 {
                scene.greedy(at, clients);
                if at % 500 == 499 {
                    scene.innocent(at);
                }
            }
            assert_eq!(scene.refused, 0, "{clients}");
            assert!(scene.greedy > 900, "{}", scene.greedy);
        }
    }

    #[test]
    fn whatever_comes_the_rate_is_kept() {
        let mut rate = Rate::new(10);
        let start = Instant::now();
        let mut taken = 0;
        for at in 0..10_000_u32 {
            let now = start + Duration::from_millis(at.into());
            taken += u32::from(rate.take(Some(client(at)), now).is_ok());
        }
        assert!((115..=121).contains(&taken), "{taken}");
    }

    #[test]
    fn who_has_no_address_has_the_rate_alone() {
        let mut rate = Rate::new(10);
        let now = Instant::now();
        let taken = (0..40).filter(|_| rate.take(None, now).is_ok()).count();
        assert_eq!(taken, 10);
        assert!(matches!(rate.take(None, now), Err(NoPlace::Rate)));
        assert!(rate.take(Some(client(1)), now).is_ok());
    }

    #[test]
    fn the_one_that_asks_too_often_is_told_so_and_the_others_that_there_are_too_many() {
        let mut rate = Rate::new(10);
        let now = Instant::now();
        while rate.take(Some(client(1)), now).is_ok() {}
        assert!(matches!(
            rate.take(Some(client(1)), now),
            Err(NoPlace::ClientRate)
        ));
        let others = (2..40).filter(|&nth| rate.take(Some(client(nth)), now).is_ok());
        assert_eq!(others.count(), 10);
        assert!(matches!(
            rate.take(Some(client(99)), now),
            Err(NoPlace::Rate)
        ));
        assert!(matches!(
            rate.take(Some(client(1)), now),
            Err(NoPlace::Rate)
        ));
    }

    #[test]
    fn a_whole_ipv6_prefix_fills_no_table() {
        let mut rate = Rate::new(1_000_000);
        let start = Instant::now();
        let mut most = 0;
        for nth in 0..400_000_u32 {
            // So many in 4 s: more than are remembered.
            let now = start + Duration::from_micros(10 * u64::from(nth));
            rate.take(Some(ClientKey::V6(nth.into())), now).unwrap();
            most = most.max(rate.clients.capacity());
        }
        assert!(rate.clients.len() <= MAX_CLIENTS);
        assert!(most <= 2 * MAX_CLIENTS, "{most}");
        let later = start + Duration::from_mins(1);
        rate.take(Some(client(1)), later).unwrap();
        assert!(rate.clients.len() <= 64, "{}", rate.clients.len());
    }

    #[test]
    fn without_a_rate_nothing_is_remembered() {
        let mut rate = Rate::new(0);
        let now = Instant::now();
        assert!((0..1000).all(|nth| rate.take(Some(client(nth)), now).is_ok()));
        assert!(rate.clients.is_empty());
    }
}
