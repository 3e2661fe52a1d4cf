//! How sessions end: because of time, of their client, of the application, or of the server; each of them once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use engineioxide_core::TransportType;
use rustix::net::Shutdown;

use crate::closing::Rest;
use crate::core::Core;
use crate::frame::CloseCode;
use crate::handler::{EngineIoHandler, guarded, told_why};
use crate::hooks::{EndReason, Ended};
use crate::line::{Line, Phase, Transport};
use crate::pump::ReadEnd;
use crate::socket::Socket;
use crate::wheel::{Millis, millis};
use crate::work::Key;
use crate::write::ASK;

/// How long a polling session that has ended may be polled for what is left, in milliseconds.
const LEAVE: Millis = 2_000;

/// How a session's client is told that it is over.
#[derive(Debug)]
pub(crate) enum Farewell {
    /// After what was queued: a WebSocket's close frame with this payload; a polling client's answer.
    Frame(Bytes),
    /// Not at all: the connection is broken, or is to be.
    None,
}

impl Farewell {
    /// A close frame with this code.
    pub(crate) fn code(code: CloseCode) -> Self {
        Self::Frame(Bytes::copy_from_slice(&code.payload()))
    }

    /// A close frame without a code, as Node's.
    pub(crate) fn plain() -> Self {
        Self::Frame(Bytes::new())
    }
}

impl<H: EngineIoHandler> Core<H> {
    pub(crate) fn on_read_end(&self, socket: &Arc<Socket<H::Data>>, end: ReadEnd) {
        match end {
            ReadEnd::Gone => self.end_session(socket, EndReason::TransportClosed, Farewell::None),
            ReadEnd::Wrong(code) => {
                let reason = if code == CloseCode::TooBig {
                    EndReason::TooLarge
                } else {
                    EndReason::ProtocolError
                };
                self.end_session(socket, reason, Farewell::code(code));
            }
        }
    }

    /// Ends an upgrade that was not done. Its session polls on.
    pub(crate) fn close_probe(&self, line: &mut Line, payload: &[u8]) {
        if let Some((conn, pending)) = line.take_probe() {
            self.work.counts.upgrades_failed.one_more();
            let rest = Rest::of_conn(conn, pending, &self.work, payload);
            tokio::spawn(rest.close(self.settings().write_stall_timeout));
        }
    }

    /// Something is due.
    pub(crate) fn on_due(&self, key: Key, now: Millis) {
        let found = self.table().get(key);
        let Some(socket) = found else { return };
        let mut line = socket.line();
        if line.armed > now {
            // Its time has moved, or this is another session.
            return;
        }
        line.armed = Millis::MAX;
        if line.is_closed() {
            let leaves = matches!(&line.transport, Transport::Polling(polling) if polling.leaves);
            drop(line);
            // One that was closed a moment ago, by a request, has yet to end.
            return if leaves {
                self.remove(&socket);
            } else {
                self.on_closed(&socket);
            };
        }
        if line.probe.as_ref().is_some_and(|probe| now >= probe.until) {
            self.close_probe(&mut line, &[]);
        }
        line.nudge_poll(&self.work, now);
        let stalled_for = line.stalled_since().map(|since| now.saturating_sub(since));
        let ends = if line.join_by != 0 && now >= line.join_by {
            Some((EndReason::ConnectTimeout, Farewell::plain()))
        } else if line.until != 0 && now >= line.until {
            Some((EndReason::Until, Farewell::plain()))
        } else if stalled_for >= Some(millis(self.settings().write_stall_timeout)) {
            Some((EndReason::WriteStall, Farewell::None))
        } else if now >= line.beat {
            self.on_beat(&socket, &mut line, now)
        } else {
            None
        };
        if let Some((reason, farewell)) = ends {
            drop(line);
            return self.end_session(&socket, reason, farewell);
        }
        if let Transport::WebSocket(websocket) = &mut line.transport {
            websocket.ask = now + ASK;
        }
        if (stalled_for.is_some() || !line.queue.is_empty()) && line.mark_dirty() {
            self.work.push_dirty(key);
        }
        self.arm(key, &mut line);
    }

    /// The heartbeat is due: a ping, or an answer that has not come.
    pub(crate) fn on_beat(
        &self,
        socket: &Socket<H::Data>,
        line: &mut Line,
        now: Millis,
    ) -> Option<(EndReason, Farewell)> {
        if !line.awaits_pong {
            line.awaits_pong = true;
            line.extended = false;
            line.beat = now + millis(self.config.ping_timeout);
            line.queue_ping(&self.work);
            return None;
        }
        let hooks = self.hooks();
        let is_held = hooks.is_held(socket.id) || line.is_over_allowance(hooks.congestion());
        if line.is_stuffed() && is_held {
            // It may have answered: it is we who do not read.
            line.beat = now + millis(self.config.ping_timeout);
            return None;
        }
        Some((EndReason::PingTimeout, Farewell::plain()))
    }

    /// The application closed a session, or a request ended it; or one that had ended is polled empty.
    pub(crate) fn on_closed(&self, socket: &Arc<Socket<H::Data>>) {
        let phase = socket.line().phase;
        let Phase::Closing(reason) = phase else {
            return;
        };
        let farewell = match reason {
            EndReason::Drain | EndReason::Stopped => Farewell::code(CloseCode::Away),
            EndReason::WriteStall | EndReason::Memory | EndReason::TransportClosed => {
                Farewell::None
            }
            _ => Farewell::plain(),
        };
        self.end_session(socket, reason, farewell);
    }

    /// Ends a session: once.
    pub(crate) fn end_session(
        &self,
        socket: &Arc<Socket<H::Data>>,
        reason: EndReason,
        farewell: Farewell,
    ) {
        let mut line = socket.line();
        if line.phase == Phase::Closed {
            return;
        }
        let reason = match line.phase {
            Phase::Closing(first) => first,
            _ => reason,
        };
        let reason = line
            .foreseen
            .filter(|_| reason.is_silence())
            .unwrap_or(reason);
        if let Transport::Polling(polling) = &mut line.transport
            && polling.leaves
        {
            // Its handler knows already; now its client does.
            if polling.is_waiting() || !line.queue.is_empty() {
                return;
            }
            drop(line);
            return self.remove(socket);
        }
        let transport = line.transport_type();
        line.phase = Phase::Closing(reason);
        self.close_probe(&mut line, &[]);
        let kept = line.take_messages(&self.work);
        let owed = reason.owes_the_rest() && !line.queue.is_empty();
        let mut rest = None;
        let mut leaves = false;
        match (&mut line.transport, farewell) {
            (Transport::Polling(polling), Farewell::Frame(_)) => {
                polling.wake_poll();
                // Who is to be told, or to have what was emitted before the end. Who left, or broke a protocol, is
                // unknown at once, as in Node.
                leaves = polling.is_waiting() || owed;
            }
            (Transport::Polling(polling), Farewell::None) => {
                polling.wake_poll();
                line.transport = Transport::Gone;
            }
            (Transport::WebSocket(_), Farewell::Frame(payload)) => {
                rest = Rest::of(&mut line, &self.work, &payload);
            }
            (Transport::WebSocket(websocket), Farewell::None) => {
                websocket.conn.shut(Shutdown::Both);
                line.transport = Transport::Gone;
            }
            (Transport::Gone, _) => {}
        }
        if let (true, Transport::Polling(polling)) = (leaves, &mut line.transport) {
            polling.leaves = true;
            let until = self.now() + LEAVE;
            line.leave_by(until);
            line.clear_inbox(&self.work);
            self.arm(socket.key, &mut line);
        } else {
            line.clear(&self.work);
        }
        let mut new = !kept.is_empty() && self.is_new(&mut line);
        let connected = line.connected;
        let ended = Ended {
            sid: socket.id,
            client: socket.req_parts.address(),
            protocol: socket.protocol,
            transport,
            began_polling: line.began_polling,
            reason,
            by_operator: line.by_operator,
            lived: Duration::from_millis(self.now().saturating_sub(line.opened)),
            traffic: line.traffic,
        };
        drop(line);
        if let Some(rest) = rest {
            tokio::spawn(rest.close(self.settings().write_stall_timeout));
        }
        for message in kept {
            self.deliver(socket, std::mem::take(&mut new), message);
        }
        if connected {
            let told = reason.to_handlers();
            told_why(reason, || {
                guarded(|| self.handler.on_disconnect(Arc::clone(socket), told));
            });
        }
        self.work.sessions.fetch_sub(1, Relaxed);
        if transport == TransportType::Websocket {
            self.work.counts.websockets.one_less();
        }
        self.hooks().ended(&ended);
        if !leaves {
            self.remove(socket);
        }
    }

    /// Nothing is left of a session.
    pub(crate) fn remove(&self, socket: &Arc<Socket<H::Data>>) {
        let mut line = socket.line();
        line.phase = Phase::Closed;
        if let Transport::Polling(polling) = &mut line.transport {
            polling.wake_poll();
        }
        line.transport = Transport::Gone;
        line.clear(&self.work);
        let wakers = line.take_closed_wakers();
        drop(line);
        self.table().remove(socket);
        wakers.into_iter().for_each(Waker::wake);
    }
}
