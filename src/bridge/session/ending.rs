//! How a session ends, so that nothing is lost that can be kept: what the bridge has for the workers is written, what the
//! hub had sent already is read, the others are given it, and hear goodbye.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::Session;

/// How long what waits for the hub may take at the end.
const FLUSH: Duration = Duration::from_millis(300);
/// How long the end may take.
const GOODBYE: Duration = Duration::from_millis(1200);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum End {
    /// The process is to stop.
    Stopped,
    /// The hub is gone.
    HubGone,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What waits for the hub is written, until then at the latest.
    Flushing(Instant),
    /// What the hub has still sent is read.
    Draining,
    /// The others hear that it goes.
    Leaving,
}

impl Session {
    /// It is to end: nothing more is brought to the workers.
    pub(super) fn begin_end(&mut self, end: End) {
        let now = Instant::now();
        self.end = end;
        self.phase = Phase::Flushing(now + FLUSH);
        self.deadline = Some(now + GOODBYE);
    }

    pub(super) async fn go_on_ending(&mut self) {
        if matches!(self.phase, Phase::Flushing(_)) {
            // What has been heard is delivered.
            self.act();
        }
        if let Phase::Flushing(until) = self.phase
            && (self.hub.queue.bytes() == 0 || Instant::now() >= until)
        {
            // What the hub has still sent comes before its end.
            self.phase = Phase::Draining;
            self.core.deafen();
            let _ = self.hub.write.shutdown().await;
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.phase = Phase::Leaving;
        let now = std::time::Instant::now();
        if self.end == End::HubGone {
            self.core.members(now, Vec::new());
        }
        self.core.goodbye(now);
        if let Some(node) = &mut self.node {
            node.goodbye();
        }
    }

    pub(super) fn is_over(&mut self) -> bool {
        let is_late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        let is_alone = !self.outage.is_up();
        let node_is_done = self.job.is_none();
        is_late
            || (self.phase == Phase::Leaving && (is_alone || self.core.is_gone() && node_is_done))
    }
}
