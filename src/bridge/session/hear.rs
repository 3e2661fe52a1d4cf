//! What the session hears: of the hub, and of the other machines.

use bytes::Bytes;
use tracing::{debug, warn};

use super::ending::{End, Phase};
use super::{CAP, Session, TURN, WARNING_INTERVAL};
use crate::bridge::line::LineEvent;
use crate::bridge::node::Node;
use crate::ipc::bus::BusError;
use crate::metrics::{self, Direction};
use crate::wire::frame::{Body, Frame, Head};

impl Session {
    /// What the hub says; and what it has said already, up to a turn.
    pub(super) fn hear_hub(&mut self, frame: Result<Bytes, BusError>) {
        let mut next = Some(frame);
        for _ in 0..TURN {
            match next.take() {
                Some(Ok(frame)) => self.hear_frame(&frame),
                Some(Err(error)) => return self.hub_ended(&error),
                None => return,
            }
            let node_is_full = self.node.as_ref().is_some_and(Node::is_full);
            if self.core.is_full() || node_is_full {
                return;
            }
            next = self.hub.reader.buffered();
        }
        // The last one was not counted in the turn.
        match next {
            Some(Ok(frame)) => self.hear_frame(&frame),
            Some(Err(error)) => self.hub_ended(&error),
            None => {}
        }
    }

    fn hub_ended(&mut self, error: &BusError) {
        if self.phase == Phase::Running {
            debug!(%error, "the hub is gone");
            self.begin_end(End::HubGone);
        }
        self.say_goodbye();
    }

    fn hear_frame(&mut self, frame: &Bytes) {
        let now = std::time::Instant::now();
        let Ok(head) = Head::read(frame) else {
            return warn!("the hub sent what is no frame");
        };
        if head.hub_number > 0 {
            metrics::BRIDGE_FRAMES.count(Direction::Out);
            metrics::BRIDGE_BYTES.count_many(Direction::Out, frame.len() as u64);
            self.core.local(now, frame);
            // What the hub had no room for may have been a namespace.
            let last = std::mem::replace(&mut self.hub_number, head.hub_number);
            if let Some(node) = &mut self.node
                && last > 0
                && head.hub_number > last + 1
            {
                node.missed();
            }
            if let Some(node) = &mut self.node
                && head.to.is_none_or(|to| to == node.id())
                && let Ok(frame) = Frame::decode(frame)
            {
                node.local(now, frame);
            }
            return;
        }
        match Frame::decode(frame) {
            Ok(Frame {
                body: Body::Members(members),
                ..
            }) => {
                if let Some(node) = &mut self.node {
                    node.members(now, &members);
                }
                self.core.members(now, members);
            }
            Ok(frame) => {
                if let Some(node) = &mut self.node {
                    node.local(now, frame);
                }
            }
            Err(error) => warn!(%error, "the hub sent what is no frame"),
        }
    }

    pub(super) fn hear_line(&mut self, event: LineEvent) {
        let now = std::time::Instant::now();
        match event {
            LineEvent::Connected(refused) => {
                if let Some(error) = &refused {
                    warn!("emitters are not heard: {error}");
                }
                self.refused = refused.map(|error| format!("emitters are not heard: {error}"));
                self.core.connected(now);
                if let Some(node) = &mut self.node {
                    node.connected();
                }
            }
            LineEvent::Lost(error) => {
                self.outage.failed(error.to_string());
                self.line_lost(now);
            }
            LineEvent::Message {
                channel,
                pattern,
                payload,
            } => self.hear_message(now, &channel, pattern.as_deref(), &payload),
            LineEvent::Published(id, result) => {
                if let Err(error) = &result {
                    self.outage.failed(error.to_string());
                }
                self.core.published(now, id, result.map_err(|_| ()));
            }
        }
    }

    pub(super) fn line_lost(&mut self, now: std::time::Instant) {
        self.core.disconnected(now);
        if let Some(node) = &mut self.node {
            node.disconnected();
        }
        self.job = None;
        self.counts.clear();
    }

    fn hear_message(
        &mut self,
        now: std::time::Instant,
        channel: &str,
        pattern: Option<&str>,
        payload: &Bytes,
    ) {
        if pattern.is_none()
            && let Some(inbound) = self.inbound.get(channel)
        {
            return self.core.received(now, *inbound, payload);
        }
        if let Some(node) = &mut self.node {
            node.received(now, channel, pattern, payload);
        } else if let Some(emitter) = &self.emitter
            && let Some(frame) = emitter.frame(self.hub.id, channel, payload)
        {
            self.deliver(frame);
        }
    }

    /// Gives the hub a frame for workers.
    pub(super) fn deliver(&mut self, frame: Bytes) {
        self.end_pause();
        metrics::BRIDGE_FRAMES.count(Direction::In);
        metrics::BRIDGE_BYTES.count_many(Direction::In, frame.len() as u64);
        if self.hub.queue.bytes() < CAP {
            return self.hub.queue.push(frame);
        }
        self.overflowed += 1;
        if self.warnings.allows(WARNING_INTERVAL) {
            let lost = self.overflowed;
            warn!(
                lost,
                "the workers do not take what comes from other machines: frames are lost"
            );
        }
    }
}
