use super::*;

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Fills the window; how many that were.
fn fill(pace: &mut Pace, now: Instant) -> usize {
    let mut sent = 0;
    while pace.has_room() {
        pace.sent(now);
        sent += 1;
    }
    sent
}

#[test]
fn the_window_grows_while_answers_come_in_time_and_is_halved_once_for_all_that_come_late() {
    // How long each round takes, in milliseconds, and how many may be on their way in the next.
    for (rounds, windows) in [
        (&[5, 5, 5, 5][..], &[64, 128, 192, 192][..]),
        (&[50, 51, 50, 50], &[64, 32, 32, 33]),
        (&[200, 200, 200, 200, 200], &[16, 8, 4, 4, 4]),
        (&[5, 200, 5, 5], &[64, 32, 32, 33]),
    ] {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert_eq!(fill(&mut pace, now), 32);
        for (nth, (took, window)) in rounds.iter().zip(windows).enumerate() {
            let sent = pace.sent.len();
            now = after(now, *took);
            pace.acknowledged(sent, now);
            assert_eq!(fill(&mut pace, now), *window, "round {nth} of {rounds:?}");
        }
    }
}

#[test]
fn who_has_little_to_do_gets_no_larger_window_by_that() {
    let mut pace = Pace::default();
    let now = Instant::now();
    for nth in 0..1000 {
        pace.sent(after(now, nth));
        pace.acknowledged(1, after(now, nth + 1));
    }
    assert_eq!(fill(&mut pace, now), 32);
}

#[test]
fn what_did_not_go_takes_no_room_and_what_nobody_sent_is_nobodys() {
    let mut pace = Pace::default();
    let now = Instant::now();
    let all = fill(&mut pace, now);
    pace.unsent();
    assert_eq!(fill(&mut pace, now), 1);
    // After a change of the master's program there are some that were sent before.
    pace.acknowledged(all + 7, now);
    assert!(pace.sent.is_empty());
    assert!(pace.has_room());
}

/// A worker that needs so long for each new session, and does one after the other; it reports each 5 ms, what it has
/// begun with. Somebody who is in already waits until it has done what it had.
struct Worker {
    pace: Pace,
    micros: u64,
    /// What it has begun with, and has not reported.
    begun: usize,
    /// What it has not begun with, and when it has done the one in hand.
    queue: usize,
    busy_until: u64,
    done: usize,
}

impl Worker {
    fn new(micros: u64) -> Self {
        Self {
            pace: Pace::default(),
            micros,
            begun: 0,
            queue: 0,
            busy_until: 0,
            done: 0,
        }
    }

    /// Until this time, in microseconds; `wanted` more are given if there is room.
    fn until(&mut self, start: Instant, micros: u64, wanted: &mut usize) {
        while self.queue > 0 && self.busy_until <= micros {
            self.queue -= 1;
            self.begun += 1;
            self.done += 1;
            self.busy_until += self.micros;
        }
        if self.queue == 0 {
            self.busy_until = self.busy_until.max(micros);
        }
        let now = start + Duration::from_micros(micros);
        if micros.is_multiple_of(5000) {
            self.pace.acknowledged(std::mem::take(&mut self.begun), now);
        }
        while *wanted > 0 && self.pace.has_room() {
            self.pace.sent(now);
            self.queue += 1;
            *wanted -= 1;
        }
    }

    /// How long somebody waits who is in.
    fn wait(&self) -> Duration {
        Duration::from_micros(self.queue as u64 * self.micros)
    }
}

#[test]
fn in_a_storm_a_worker_is_never_idle_and_those_who_are_in_never_wait_long() {
    // Of 60 us and of 10 ms for each session; both have enough to do for 10 s.
    for micros in [60, 300, 1000, 10_000] {
        let start = Instant::now();
        let mut worker = Worker::new(micros);
        let mut wanted = 1_000_000;
        let mut longest = Duration::ZERO;
        for at in (0..10_000_000).step_by(100) {
            worker.until(start, at, &mut wanted);
            // The first ones come before anything is known.
            if at > 1_000_000 {
                longest = longest.max(worker.wait());
            }
        }
        let could = 10_000_000 / micros;
        let did = worker.done as u64 * 100 / could;
        assert!(did >= 95, "{micros} us: {did} % of what it could");
        assert!(longest <= 2 * LATE, "{micros} us: {longest:?}");
    }
}

#[test]
fn a_fresh_worker_beside_a_loaded_one_gets_what_it_can_take_and_the_other_the_rest() {
    let start = Instant::now();
    let (mut fresh, mut loaded) = (Worker::new(1000), Worker::new(1000));
    // All that come choose the fresh one while it has room.
    let mut wanted = 0;
    for at in (0..2_000_000).step_by(100) {
        wanted += usize::from(at % 600 == 0);
        fresh.until(start, at, &mut wanted);
        loaded.until(start, at, &mut wanted);
        assert!(wanted < 2);
        assert!(fresh.wait() <= 2 * LATE, "{:?}", fresh.wait());
    }
    assert!(
        fresh.done > loaded.done && loaded.done > 500,
        "{} {}",
        fresh.done,
        loaded.done
    );
}
