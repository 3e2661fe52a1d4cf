//! What is said of the link: one line when an outage begins, with the reason, and one when it ends, with its length
//! and what it cost.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::Instant;
use tracing::{info, warn};

use super::core::Figures;

/// How long after an outage what it has cost is known: what was missed is asked for and comes.
const SETTLE: Duration = Duration::from_secs(1);

/// Is the link up, since when, and why not.
#[derive(Debug)]
pub(super) struct Outage {
    url: String,
    is_up: bool,
    since: Instant,
    was_up: bool,
    /// Why it is down, as far as is known.
    reason: Option<String>,
    told: bool,
    /// An outage that is over, and not told yet: when it ended, and how long it was.
    ended: Option<(Instant, Duration)>,
    /// What there was when it began.
    before: Figures,
    count: u64,
}

impl Outage {
    /// Not connected yet.
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            is_up: false,
            since: Instant::now(),
            was_up: false,
            reason: None,
            told: false,
            ended: None,
            before: Figures::default(),
            count: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// How long it has been as it is.
    pub(super) fn since(&self) -> Duration {
        self.since.elapsed()
    }

    /// How often the link was lost.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Something failed. The first reason begins the outage's line; the last one is what the status tells.
    pub(super) fn failed(&mut self, why: String) {
        if !self.is_up && !self.told {
            self.told = true;
            let what = if self.was_up {
                "the link to the other machines is down"
            } else {
                "no link to other machines yet"
            };
            warn!("{what}: {why}; this machine serves on alone, trying again");
        }
        self.reason = Some(why);
    }

    /// The link is up, or down, as the core says.
    pub(super) fn set(&mut self, is_up: bool, now: &Figures) {
        if self.is_up == is_up {
            return;
        }
        let lasted = self.since.elapsed();
        (self.is_up, self.since) = (is_up, Instant::now());
        if is_up {
            if self.was_up {
                self.ended = Some((Instant::now(), lasted));
            } else {
                info!("connected to {}", self.url);
            }
            (self.was_up, self.told) = (true, false);
            self.reason = None;
        } else {
            self.tell_end(now);
            self.count += 1;
            self.before = *now;
            if let Some(why) = self.reason.take() {
                self.failed(why);
            }
        }
    }

    /// Tells of an outage that is over, once it is known what it has cost.
    pub(super) fn tell_cost(&mut self, now: &Figures) {
        if self.ended.is_some_and(|(at, _)| at.elapsed() >= SETTLE) {
            self.tell_end(now);
        }
    }

    fn tell_end(&mut self, now: &Figures) {
        let Some((_, lasted)) = self.ended.take() else {
            return;
        };
        let lasted = Duration::from_millis(lasted.as_millis().try_into().unwrap_or(u64::MAX));
        let (lasted, url) = (format_duration(lasted), &self.url);
        let repaired = now.repaired_in.saturating_sub(self.before.repaired_in);
        let lost = now.lost_in.saturating_sub(self.before.lost_in);
        let dropped = now.lost_out.saturating_sub(self.before.lost_out);
        info!(
            "the link to the other machines is up again after {lasted}, over {url}: {repaired} batches of theirs were \
             repaired, {lost} frames of theirs and {dropped} of this machine are lost"
        );
    }

    /// What is missing, in a sentence; nothing while the link is up.
    pub(super) fn missing(&self) -> Option<String> {
        if self.is_up {
            return None;
        }
        let why = match &self.reason {
            Some(why) => why.clone(),
            None => format!("connecting to {}", self.url),
        };
        Some(format!("{why}; trying again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_the_last_reason_and_nothing_while_the_link_is_up() {
        let none = Figures::default();
        let mut outage = Outage::new("redis://a".to_owned());
        assert_eq!(
            outage.missing().unwrap(),
            "connecting to redis://a; trying again"
        );
        outage.failed("refused".to_owned());
        outage.failed("no route".to_owned());
        assert_eq!(outage.missing().unwrap(), "no route; trying again");
        assert_eq!(outage.count(), 0, "there was no link yet");
        outage.set(true, &none);
        assert!(outage.is_up() && outage.missing().is_none());
        // The reason is known before the core says that the link is down.
        outage.failed("closed".to_owned());
        assert_eq!(outage.missing(), None);
        outage.set(false, &none);
        assert_eq!(outage.missing().unwrap(), "closed; trying again");
        outage.set(false, &none);
        assert_eq!(outage.count(), 1);
        outage.set(true, &none);
        outage.set(false, &none);
        assert_eq!(
            outage.missing().unwrap(),
            "connecting to redis://a; trying again"
        );
    }
}
