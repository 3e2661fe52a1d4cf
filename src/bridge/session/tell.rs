//! What the log, systemd, the hub and the metrics are told of the session.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Session;
use crate::bridge::core::{Figures, Leaving, Notice};
use crate::metrics::{self, Direction};
use crate::process;
use crate::wire::bridge::{Machine, Report};
use crate::wire::envelope::{Address, Position};
use crate::wire::frame::Body;

/// So many machines' numbers are known.
const MOST_MACHINES: usize = 4096;

impl Session {
    pub(super) fn log(&mut self, notice: &Notice) {
        if let Notice::Came { name, machine, .. } = notice
            && self.numbers.len() < MOST_MACHINES
        {
            self.numbers.insert(name.to_string(), *machine);
        }
        match notice {
            // The outage's lines say so, with more.
            Notice::LinkUp | Notice::LinkDown => debug!("{notice}"),
            _ if !self.lines.allow(Instant::now()) => {}
            Notice::Came { .. }
            | Notice::Left {
                how: Leaving::Goodbye,
                ..
            } => info!("{notice}"),
            _ => warn!("{notice}"),
        }
    }

    /// Tells the hub, behind what it was brought, how far this machine is in what others send, with what was lost by then.
    pub(super) fn tell_heard(&mut self, at: Vec<(Address, Position)>) {
        let lost = self.lost(&self.core.figures());
        if !at.is_empty() {
            let report = if lost == self.told_lost {
                Bytes::new()
            } else {
                self.report()
            };
            self.hub.say(Body::Heard { at, report });
        }
        if std::mem::take(&mut self.tell_soon) {
            self.tell();
        }
    }

    /// Frames of other machines that do not reach this one's workers.
    fn lost(&self, figures: &Figures) -> u64 {
        figures.lost_in.saturating_add(self.overflowed)
    }

    /// Tells the hub and systemd how it is.
    pub(super) fn tell(&mut self) {
        if let Some(lines) = self.lines.left_out(Instant::now()) {
            warn!(
                lines,
                "machines come and go faster than is logged: who else can publish at the bridge's server?"
            );
        }
        let report = self.report();
        if !report.is_empty() {
            self.hub.say(Body::Report(report));
        }
    }

    /// How it is, for the hub; systemd is told as well. Empty if that cannot be said.
    fn report(&mut self) -> Bytes {
        let figures = self.core.figures();
        self.outage.tell_cost(&figures);
        let report = self.describe(&figures);
        self.told_lost = self.lost(&figures);
        let mut status = report.missing.join("; ");
        if report.up {
            let others = report.machines.len();
            let plural = if others == 1 { "" } else { "s" };
            status = format!(
                "connected to {}; {others} other machine{plural}{}{status}",
                report.server,
                if status.is_empty() { "" } else { "; " }
            );
        }
        self.parts.notify.status(&status);
        match serde_json::to_vec(&report) {
            Ok(report) => report.into(),
            Err(error) => {
                debug!(%error, "a report");
                Bytes::new()
            }
        }
    }

    fn describe(&self, figures: &Figures) -> Report {
        let mut machines = BTreeMap::<&str, Machine>::new();
        for member in &self.elsewhere {
            let name = &*member.machine;
            let machine = machines.entry(name).or_insert_with(|| Machine {
                name: name.to_owned(),
                number: self.numbers.get(name).copied().unwrap_or_default(),
                workers: 0,
            });
            machine.workers += 1;
        }
        metrics::BRIDGE_UP.set(self.outage.is_up().into());
        metrics::BRIDGE_MACHINES.set(figures.machines);
        metrics::BRIDGE_REPAIRED.mirror(figures.repaired_in);
        metrics::BRIDGE_LOST.mirror_of(Direction::In, self.lost(figures));
        metrics::BRIDGE_LOST.mirror_of(Direction::Out, figures.lost_out);
        metrics::BRIDGE_OUTAGES.mirror(self.outage.count());
        let (emitted, refused) = match (&self.emitter, &self.node) {
            (Some(emitter), _) => (emitter.taken(), emitter.refused()),
            (None, Some(node)) => (0, node.figures().garbled),
            (None, None) => (0, 0),
        };
        metrics::BRIDGE_EMITTED.mirror(emitted);
        metrics::BRIDGE_GARBLED.mirror(figures.garbled + refused);
        metrics::BRIDGE_RING.set(figures.ring_bytes);
        metrics::BRIDGE_WAITING.set(figures.waiting_bytes);
        metrics::BRIDGE_MEMORY.set(process::resident());
        let mut missing: Vec<_> = self.outage.missing().into_iter().collect();
        missing.extend(self.refused.clone());
        Report {
            server: self.parts.url.to_string(),
            up: self.outage.is_up(),
            since_seconds: self.outage.since().as_secs_f64(),
            missing,
            machines: machines.into_values().collect(),
            values: metrics::values(),
        }
    }
}
