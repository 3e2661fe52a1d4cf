//! What is said of the link: one line when an outage begins, with the reason, and one when it ends, with its length
//! and what it cost.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::Instant;
use tracing::{info, warn};

use super::core::Figures;

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
            match self.was_up {
                true => warn!("the link to the other machines is down: {why}; this machine serves on alone, trying again"),
                false => warn!("no link to other machines yet: {why}; this machine serves on alone, trying again"),
            }
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
            let lasted = format_duration(Duration::from_millis(
                lasted.as_millis().try_into().unwrap_or(u64::MAX),
            ));
            if self.was_up {
                info!(
                    "the link to the other machines is up again after {lasted} ({})",
                    self.url
                );
            } else {
                info!("connected to {}", self.url);
            }
            (self.was_up, self.told) = (true, false);
            self.reason = None;
        } else {
            self.count += 1;
            self.before = *now;
            if let Some(why) = self.reason.take() {
                self.failed(why);
            }
        }
    }

    /// What an outage that is over has cost, once that is known.
    pub(super) fn cost(&self, now: &Figures) -> Option<(u64, u64)> {
        let before = &self.before;
        let repaired = now.repaired_in - before.repaired_in;
        let lost = now.lost_in - before.lost_in;
        (self.is_up && self.count > 0).then_some((repaired, lost))
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
