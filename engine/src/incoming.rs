//! What clients say: packets are judged, and handed on to the handler, or kept while their client is held back.

use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use bytes::Bytes;
use engineioxide_core::Str;

use crate::assembly::Incoming;
use crate::core::Core;
use crate::ending::Farewell;
use crate::guard::{Checked, Kind};
use crate::handler::{EngineIoHandler, guarded};
use crate::hooks::EndReason;
use crate::inbox::Message;
use crate::line::{Line, Out};
use crate::packet::Packet;
use crate::pump::{LEAST, Looked, Pump};
use crate::query;
use crate::socket::Socket;
use crate::wheel::{Millis, millis};

impl<H: EngineIoHandler> Core<H> {
    pub(crate) fn hand_on_batch(
        &self,
        socket: &Arc<Socket<H::Data>>,
        pump: &mut Pump,
        now: Millis,
    ) {
        let mut batch = std::mem::take(&mut pump.batch);
        for incoming in batch.drain(..) {
            self.on_incoming(socket, incoming, now);
        }
        pump.batch = batch;
    }

    fn on_incoming(&self, socket: &Arc<Socket<H::Data>>, incoming: Incoming, now: Millis) {
        match incoming {
            Incoming::Packet(packet) => self.on_packet(socket, packet, false, now),
            Incoming::Ping(data) => self.on_ws_ping(socket, data),
            Incoming::Close(payload) => {
                self.end_session(socket, EndReason::ClientLeft, Farewell::Frame(payload));
            }
            Incoming::Malformed => self.malformed(socket),
        }
    }

    /// Hands on what was kept, the packets of a post included, until the turn is used or the session is held back.
    pub(crate) fn hand_on_kept(
        &self,
        socket: &Arc<Socket<H::Data>>,
        budget: usize,
        looked: &mut Looked,
    ) {
        loop {
            let mut line = socket.line();
            if line.inbox.is_none() && !line.held || line.is_closed() {
                return;
            }
            let held = self.holds_back(socket, &line);
            if held && !line.held {
                self.work.counts.held_back.one_more();
            }
            line.held = held;
            if line.held {
                if self.hooks().is_held(socket.id) {
                    let waker = Waker::from(Arc::clone(socket));
                    self.hooks().wake_when_free(socket.id, waker);
                }
                if line.awaits_clear(self.hooks().congestion()) {
                    let waker = Waker::from(Arc::clone(socket));
                    self.hooks().wake_when_clear(waker);
                }
                // Behind the events of a post there may be acknowledgements, for which others wait.
                if !line.has_unread_posts() {
                    return;
                }
            }
            if line.inbox.is_none() {
                return;
            }
            if looked.used >= budget {
                looked.again = true;
                return;
            }
            let kept = if line.held {
                None
            } else {
                line.take_kept(&self.work)
            };
            if let Some(message) = kept {
                looked.used += message.cost().max(LEAST);
                let new = self.is_new(&mut line);
                drop(line);
                self.deliver(socket, new, message);
                continue;
            }
            let posted = line.next_posted(&self.work);
            let now = self.now();
            let Some(packet) = posted else {
                let early = line.inbox().early.pop_front();
                line.tidy_inbox();
                drop(line);
                let Some(incoming) = early else { return };
                self.on_incoming(socket, incoming, now);
                continue;
            };
            drop(line);
            match packet {
                Ok(packet) => {
                    looked.used += packet.data_len() + LEAST;
                    self.on_packet(socket, packet, true, now);
                }
                Err(_) => self.malformed(socket),
            }
        }
    }

    /// Do a session's events wait?
    pub(crate) fn holds_back(&self, socket: &Socket<H::Data>, line: &Line) -> bool {
        let hooks = self.hooks();
        line.holds_back(hooks.congestion()) || hooks.is_held(socket.id)
    }

    /// A packet of Engine.IO came.
    fn on_packet(&self, socket: &Arc<Socket<H::Data>>, packet: Packet, posted: bool, now: Millis) {
        let mut line = socket.line();
        if line.is_closed() {
            return;
        }
        if line.awaits_pong && !line.revision3 && !std::mem::replace(&mut line.extended, true) {
            // Whoever sends anything is alive: the time for the answer begins anew, once, as in Node.
            line.beat = now + millis(self.config.ping_timeout);
        }
        if let Packet::Message(_) | Packet::Binary(_) = &packet {
            self.work.counts.received.message(packet.data_len());
            line.count_in(packet.data_len());
        }
        match packet {
            Packet::Message(text) if self.settings().common_parser => {
                let sent = text.len();
                let Ok(checked) = line.guard.text(text, socket.revision3()) else {
                    drop(line);
                    return self.malformed(socket);
                };
                match checked.kind {
                    Kind::Connect => line.foreseen = None,
                    Kind::Disconnect if line.guard.is_outside() => {
                        line.foreseen = Some(EndReason::ClientLeft);
                    }
                    _ => {}
                }
                line.count_sent(self.hooks().congestion(), sent);
                let message = begin_message(checked);
                if line.guard.awaits() {
                    line.inbox().partial = Some(message);
                } else {
                    self.on_message(socket, line, message, posted);
                }
            }
            Packet::Binary(data) if self.settings().common_parser => {
                self.on_attachment(socket, line, data, posted);
            }
            Packet::Message(text) => {
                line.count_sent(self.hooks().congestion(), text.len());
                self.on_message(socket, line, Message::plain(Some(text), Vec::new()), posted);
            }
            Packet::Binary(data) => {
                line.count_sent(self.hooks().congestion(), data.len());
                self.on_message(socket, line, Message::plain(None, vec![data]), posted);
            }
            Packet::Pong(_) if !line.revision3 => {
                line.awaits_pong = false;
                line.beat = now + millis(self.config.ping_interval);
            }
            Packet::Ping(_) if line.revision3 => {
                line.beat = now + self.lifetime();
                line.queue_out(&self.work, Out::Packet(Packet::Pong(Str::default())));
                if line.mark_dirty() {
                    self.work.push_dirty(socket.key);
                }
            }
            // A heartbeat of the wrong direction.
            Packet::Ping(_) | Packet::Pong(_) => {
                drop(line);
                self.malformed(socket);
            }
            Packet::Close if posted => {
                drop(line);
                self.end_session(socket, EndReason::ClientLeft, Farewell::plain());
            }
            // Over a WebSocket it ends nothing, as in Node; what does will be its client's doing.
            Packet::Close => line.foreseen = Some(EndReason::ClientLeft),
            // Of the last kind is nothing that is read.
            Packet::Open(_) | Packet::Upgrade | Packet::Noop | Packet::Spliced(_) => {}
        }
    }

    fn on_attachment(
        &self,
        socket: &Arc<Socket<H::Data>>,
        mut line: MutexGuard<'_, Line>,
        data: Bytes,
        posted: bool,
    ) {
        let most = self.config.max_payload();
        let awaited = line.guard.binary(&data).is_ok();
        let congestion = self.hooks().congestion();
        line.count_sent(congestion, data.len());
        let whole = !line.guard.awaits();
        let inbox = line.inbox();
        inbox.attached += data.len();
        let fits = inbox.attached <= most;
        let Some(partial) = inbox.partial.as_mut().filter(|_| awaited && fits) else {
            drop(line);
            if awaited && !fits {
                return self.end_session(socket, EndReason::TooLarge, Farewell::plain());
            }
            return self.malformed(socket);
        };
        partial.attachments.push(data);
        if !whole {
            return;
        }
        inbox.attached = 0;
        let message = inbox.partial.take();
        line.tidy_inbox();
        if let Some(message) = message {
            self.on_message(socket, line, message, posted);
        }
    }

    /// A whole packet of Socket.IO came: it is handed on, or kept while its client is held back.
    fn on_message(
        &self,
        socket: &Arc<Socket<H::Data>>,
        mut line: MutexGuard<'_, Line>,
        message: Message,
        posted: bool,
    ) {
        if message.kind == Kind::Ignored {
            return;
        }
        let is_ack = matches!(message.kind, Kind::Ack | Kind::BinaryAck);
        if is_ack {
            self.work.counts.received.acks.one_more();
        }
        let inbox = line.inbox.as_ref();
        // What is posted comes before whatever waits, but for what was kept of the same post.
        let follows = !posted || line.held;
        let waits = follows && inbox.is_some_and(|inbox| inbox.has_messages());
        if !is_ack && (waits || self.holds_back(socket, &line)) {
            line.keep(&self.work, message);
            drop(line);
            // It is looked at again, and finds out what it waits for.
            socket.set_ready();
            return;
        }
        let new = self.is_new(&mut line);
        drop(line);
        self.deliver(socket, new, message);
    }

    /// `new`: the handler does not know the session yet.
    pub(crate) fn deliver(&self, socket: &Arc<Socket<H::Data>>, new: bool, message: Message) {
        let handler = &self.handler;
        if new {
            guarded(|| Arc::clone(handler).on_connect(Arc::clone(socket)));
        }
        if let Some(text) = message.text {
            guarded(|| handler.on_message(text, Arc::clone(socket)));
        }
        for data in message.attachments {
            guarded(|| handler.on_binary(data, Arc::clone(socket)));
        }
    }

    /// Does the session say something for the first time?
    pub(crate) fn is_new(&self, line: &mut Line) -> bool {
        if line.connected {
            return false;
        }
        if !self.settings().common_parser {
            // What it joins is not looked into; socketioxide has a deadline of its own from here on.
            line.join_by = 0;
        }
        line.connected = true;
        true
    }

    /// The handler learns of a session of revision 3 as soon as it is opened.
    pub(crate) fn connect(&self, socket: &Arc<Socket<H::Data>>) {
        socket.line().connected = true;
        guarded(|| Arc::clone(&self.handler).on_connect(Arc::clone(socket)));
    }

    fn on_ws_ping(&self, socket: &Arc<Socket<H::Data>>, data: Bytes) {
        let mut line = socket.line();
        if line.is_closed() {
            return;
        }
        // Of a client that does not read only the last ping needs an answer (RFC 6455 section 5.5.3).
        let replaces = line.stalled_since().is_some() && line.queue.len() > 1;
        if replaces && matches!(line.queue.back(), Some(Out::WsPong(_))) {
            line.pop_out_last(&self.work);
        }
        line.queue_out(&self.work, Out::WsPong(data));
        if line.mark_dirty() {
            self.work.push_dirty(socket.key);
        }
    }

    /// The client sent what no client may.
    fn malformed(&self, socket: &Arc<Socket<H::Data>>) {
        self.end_session(socket, EndReason::ProtocolError, Farewell::plain());
    }
}

/// The first part of a packet, or all of it.
fn begin_message(checked: Checked) -> Message {
    let Checked {
        message,
        kind,
        query,
    } = checked;
    let text = match query {
        Some(query) => query::into_auth(&message, &query),
        None => message,
    };
    Message {
        text: Some(text),
        kind,
        attachments: Vec::new(),
    }
}
