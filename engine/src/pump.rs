//! The one task of an engine: what sessions sent is read and handed on, what waits for them is written, and time is
//! kept.
//!
//! ```text
//! a turn:  due times ─▶ closed by the application ─▶ ready: hand on what was kept, read, hand on ─▶ dirty: write
//! ```
//!
//! A turn hands on and reads a bounded number of bytes over all sessions; then everybody else runs, above all the
//! tasks of handlers, whose answers the next turn writes: once for each session, however many there are.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use engineioxide_core::Str;
use rustix::net::Shutdown;
use tokio::io::ReadBuf;

use crate::assembly::{Incoming, Rules};
use crate::closing::Rest;
use crate::engine::Core;
use crate::frame::CloseCode;
use crate::guard::{Checked, Kind};
use crate::handler::{EngineIoHandler, guarded};
use crate::hooks::{EndReason, Ended};
use crate::line::{Line, Message, Out, Phase, Transport};
use crate::packet::Packet;
use crate::query;
use crate::socket::Socket;
use crate::upgrade::Probed;
use crate::wheel::{Millis, millis};
use crate::work::Key;
use crate::write::{ASK, Scratch, Written};

/// What is read, and what is handed on, in a turn, in bytes.
const TURN: usize = 32 * 1024;
/// How long a polling session that has ended may be polled for what is left, in milliseconds.
const LEAVE: Millis = 2_000;
/// A message costs its turn at least so many bytes.
const LEAST: usize = 64;

/// What the pump keeps from turn to turn: buffers that all sessions share.
pub(crate) struct Pump {
    scratch: Scratch,
    window: Box<[u8]>,
    batch: Vec<Incoming>,
    keys: Vec<Key>,
    /// Ready sessions, in the order of their turns.
    ready: VecDeque<Key>,
}

impl Default for Pump {
    fn default() -> Self {
        Self {
            scratch: Scratch::default(),
            window: vec![0; TURN].into(),
            batch: Vec::new(),
            keys: Vec::new(),
            ready: VecDeque::new(),
        }
    }
}

/// How a session's client is told that it is over.
#[derive(Debug)]
enum Farewell {
    /// After what was queued: a WebSocket's close frame with this payload; a polling client's answer.
    Frame(Bytes),
    /// Not at all: the connection is broken, or is to be.
    None,
}

impl Farewell {
    /// A close frame with this code.
    fn code(code: CloseCode) -> Self {
        Self::Frame(Bytes::copy_from_slice(&code.payload()))
    }

    /// A close frame without a code, as Node's.
    fn plain() -> Self {
        Self::Frame(Bytes::new())
    }
}

/// What a look at a session used of the turn, and whether it is to be looked at again.
struct Looked {
    used: usize,
    again: bool,
}

impl<H: EngineIoHandler> Core<H> {
    /// One turn; is there more to do?
    pub(crate) fn pump_turn(&self, pump: &mut Pump) -> bool {
        self.work.begin_turn();
        let now = self.now();
        loop {
            let expired = self.wheel().expired(now);
            let Some(keys) = expired else { break };
            keys.into_iter().for_each(|key| self.on_due(key, now));
        }
        self.end_closed(pump);
        self.work.ready.take(&mut pump.keys);
        pump.ready.extend(pump.keys.drain(..));
        let mut left = TURN;
        for _ in 0..pump.ready.len() {
            if left == 0 {
                break;
            }
            let Some(key) = pump.ready.pop_front() else {
                break;
            };
            let found = self.table().get(key);
            let Some(socket) = found else {
                continue;
            };
            let looked = self.look(&socket, pump, left, now);
            left = left.saturating_sub(looked.used);
            if looked.again && !socket.ready.swap(true, Relaxed) {
                pump.ready.push_back(key);
            }
        }
        self.end_closed(pump);
        self.write_dirty(pump, now);
        self.work.end_turn() || !pump.ready.is_empty()
    }

    fn end_closed(&self, pump: &mut Pump) {
        while !self.work.closed.is_empty() {
            self.work.closed.take(&mut pump.keys);
            let keys = std::mem::take(&mut pump.keys);
            for &key in &keys {
                let found = self.table().get(key);
                if let Some(socket) = found {
                    self.on_closed(&socket);
                }
            }
            pump.keys = keys;
            pump.keys.clear();
        }
    }

    fn write_dirty(&self, pump: &mut Pump, now: Millis) {
        while !self.work.dirty.is_empty() {
            self.work.dirty.take(&mut pump.keys);
            let keys = std::mem::take(&mut pump.keys);
            for &key in &keys {
                let found = self.table().get(key);
                if let Some(socket) = found {
                    self.write(&socket, &mut pump.scratch, now);
                }
            }
            pump.keys = keys;
            pump.keys.clear();
        }
    }

    /// Writes what waits for a session, or answers its poll.
    fn write(&self, socket: &Arc<Socket<H::Data>>, scratch: &mut Scratch, now: Millis) {
        let waker = Waker::from(Arc::clone(socket));
        let mut line = socket.line();
        line.dirty = false;
        if let Transport::Polling(polling) = &mut line.transport {
            polling.wake_poll();
            return;
        }
        let wrote = line.write(&self.work, now, scratch, &mut Context::from_waker(&waker));
        let mut again = line.held && !self.holds_back(socket, &line);
        match wrote {
            Written::All => {}
            Written::Waits => self.arm(socket.key, &mut line),
            // The look at what is ready goes on with it.
            Written::More | Written::Broken => again = true,
        }
        drop(line);
        if again {
            socket.set_ready();
        }
    }

    /// Looks at a session: hands on what was kept, reads what has come, and hands that on.
    fn look(
        &self,
        socket: &Arc<Socket<H::Data>>,
        pump: &mut Pump,
        budget: usize,
        now: Millis,
    ) -> Looked {
        socket.ready.store(false, Relaxed);
        let mut looked = Looked {
            used: 0,
            again: false,
        };
        self.hand_on_kept(socket, budget, &mut looked);
        let waker = Waker::from(Arc::clone(socket));
        let mut cx = Context::from_waker(&waker);
        let mut line = socket.line();
        if looked.again || line.is_closed() {
            return looked;
        }
        if line.probe.is_some() {
            drop(line);
            self.look_at_probe(socket, pump, now, &mut cx, &mut looked);
            return looked;
        }
        let rules = self.rules(&line);
        let stuffed = line.is_stuffed();
        if line.is_stalled() && line.mark_dirty() {
            // There may be room again.
            self.work.push_dirty(socket.key);
        }
        let read = match &mut line.transport {
            Transport::WebSocket(websocket) if !stuffed || websocket.broken => {
                websocket.read(pump, rules, &mut cx)
            }
            _ => Read::default(),
        };
        drop(line);
        looked.used += read.used;
        looked.again |= read.again;
        self.hand_on_batch(socket, pump, now);
        if let Some(end) = read.end {
            self.on_read_end(socket, end);
        }
        looked
    }

    /// How this session's bytes are read.
    fn rules(&self, line: &Line) -> Rules {
        Rules {
            max_payload: self.config.max_payload(),
            revision3: line.revision3,
        }
    }

    fn on_read_end(&self, socket: &Arc<Socket<H::Data>>, end: ReadEnd) {
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

    fn look_at_probe(
        &self,
        socket: &Arc<Socket<H::Data>>,
        pump: &mut Pump,
        now: Millis,
        cx: &mut Context<'_>,
        looked: &mut Looked,
    ) {
        let mut line = socket.line();
        let rules = self.rules(&line);
        let buffers = (&mut pump.window[..], &mut pump.batch);
        let times = (now, millis(self.config.ping_timeout));
        let probed = line.drive_probe(&self.work, times, rules, buffers, cx);
        let mut wrong = None;
        match probed {
            Probed::Waits => {}
            Probed::More => looked.again = true,
            Probed::Gone => {
                line.probe = None;
                pump.batch.clear();
            }
            Probed::Refused(payload) => {
                self.close_probe(&mut line, &payload);
                pump.batch.clear();
            }
            Probed::Moved(code) => {
                // What waited for a poll goes out by the WebSocket now.
                if line.mark_dirty() {
                    self.work.push_dirty(socket.key);
                }
                looked.again = true;
                wrong = code;
                let posts = line.inbox.as_mut().filter(|inbox| !inbox.posts.is_empty());
                if let Some(inbox) = posts {
                    inbox.early.extend(pump.batch.drain(..));
                }
            }
        }
        self.arm(socket.key, &mut line);
        drop(line);
        self.hand_on_batch(socket, pump, now);
        if let Some(code) = wrong {
            self.on_read_end(socket, ReadEnd::Wrong(code));
        }
    }

    /// Ends an upgrade that was not done. Its session polls on.
    fn close_probe(&self, line: &mut Line, payload: &[u8]) {
        if let Some((conn, pending)) = line.take_probe() {
            let rest = Rest::of_conn(conn, pending, &self.work, payload);
            tokio::spawn(rest.close(self.settings().write_stall_timeout));
        }
    }

    fn hand_on_batch(&self, socket: &Arc<Socket<H::Data>>, pump: &mut Pump, now: Millis) {
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
    fn hand_on_kept(&self, socket: &Arc<Socket<H::Data>>, budget: usize, looked: &mut Looked) {
        loop {
            let mut line = socket.line();
            if line.inbox.is_none() && !line.held || line.is_closed() {
                return;
            }
            line.held = self.holds_back(socket, &line);
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
                    looked.used += packet.data().len() + LEAST;
                    self.on_packet(socket, packet, true, now);
                }
                Err(_) => self.malformed(socket),
            }
        }
    }

    /// Do a session's events wait?
    fn holds_back(&self, socket: &Socket<H::Data>, line: &Line) -> bool {
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
        match packet {
            Packet::Message(text) if self.settings().common_parser => {
                let sent = text.len();
                match line.guard.text(text, socket.revision3()) {
                    Ok(checked) => {
                        line.count_sent(self.hooks().congestion(), sent);
                        let message = begin_message(checked);
                        if line.guard.awaits() {
                            line.inbox().partial = Some(message);
                        } else {
                            self.on_message(socket, line, message, posted);
                        }
                    }
                    Err(_) => {
                        drop(line);
                        self.malformed(socket);
                    }
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
            Packet::Open(_) | Packet::Close | Packet::Upgrade | Packet::Noop => {}
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
    fn deliver(&self, socket: &Arc<Socket<H::Data>>, new: bool, message: Message) {
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
    fn is_new(&self, line: &mut Line) -> bool {
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
        // Only the last ping needs an answer (RFC 6455 section 5.5.3).
        if line.queue.len() > 1 && matches!(line.queue.back(), Some(Out::WsPong(_))) {
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

    /// Something is due.
    fn on_due(&self, key: Key, now: Millis) {
        let found = self.table().get(key);
        let Some(socket) = found else { return };
        let mut line = socket.line();
        if line.armed > now {
            // Its time has moved, or this is another session.
            return;
        }
        line.armed = Millis::MAX;
        if line.is_closed() {
            drop(line);
            return self.remove(&socket);
        }
        if line.probe.as_ref().is_some_and(|probe| now >= probe.until) {
            self.close_probe(&mut line, &[]);
        }
        line.nudge_poll(&self.work, now);
        let stalled_for = line.stalled_since().map(|since| now.saturating_sub(since));
        let ends = if line.join_by != 0 && now >= line.join_by {
            Some((EndReason::ConnectTimeout, Farewell::plain()))
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
    fn on_beat(
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
    fn on_closed(&self, socket: &Arc<Socket<H::Data>>) {
        let phase = socket.line().phase;
        let Phase::Closing(reason) = phase else {
            return;
        };
        let farewell = match reason {
            EndReason::Drain => Farewell::code(CloseCode::Away),
            EndReason::WriteStall | EndReason::Memory | EndReason::TransportClosed => {
                Farewell::None
            }
            _ => Farewell::plain(),
        };
        self.end_session(socket, reason, farewell);
    }

    /// Ends a session: once.
    fn end_session(&self, socket: &Arc<Socket<H::Data>>, reason: EndReason, farewell: Farewell) {
        let mut line = socket.line();
        if line.phase == Phase::Closed {
            return;
        }
        let reason = match line.phase {
            Phase::Closing(first) => first,
            _ => reason,
        };
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
        let mut rest = None;
        let mut leaves = false;
        match (&mut line.transport, farewell) {
            (Transport::Polling(polling), Farewell::Frame(_)) => {
                polling.wake_poll();
                // Who is to be told, or to have what was emitted before the end. Who left, or broke a protocol, is
                // unknown at once, as in Node.
                let owed = matches!(reason, EndReason::Application | EndReason::Drain);
                leaves = polling.is_waiting() || owed && !line.queue.is_empty();
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
            protocol: socket.protocol,
            transport,
            began_polling: line.began_polling,
            reason,
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
            guarded(|| self.handler.on_disconnect(Arc::clone(socket), told));
        }
        self.work.sessions.fetch_sub(1, Relaxed);
        self.hooks().ended(&ended);
        if !leaves {
            self.remove(socket);
        }
    }

    /// Nothing is left of a session.
    fn remove(&self, socket: &Arc<Socket<H::Data>>) {
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

/// What reading a connection came to.
#[derive(Default)]
struct Read {
    used: usize,
    again: bool,
    end: Option<ReadEnd>,
}

/// Why a connection is read no further.
enum ReadEnd {
    /// It has ended.
    Gone,
    /// The client broke the protocol.
    Wrong(CloseCode),
}

impl crate::line::WebSocket {
    /// Reads what there is into the batch, as much as the window has room for.
    fn read(&mut self, pump: &mut Pump, rules: Rules, cx: &mut Context<'_>) -> Read {
        let mut read = Read::default();
        let mut unread = self.assembly.take_unread();
        let mut buf = ReadBuf::new(&mut pump.window);
        let bytes = if unread.is_empty() {
            match self.conn.poll_read(cx, &mut buf) {
                Poll::Pending => {
                    // A write has failed, and there is nothing left to read.
                    read.end = self.broken.then_some(ReadEnd::Gone);
                    return read;
                }
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => {
                    read.end = Some(ReadEnd::Gone);
                    return read;
                }
            }
            // Where there is less than there was room for, there is no more.
            read.again = buf.remaining() == 0 || self.conn.poll_readable(cx).is_ready();
            buf.filled_mut()
        } else {
            read.again = true;
            &mut unread
        };
        read.used = bytes.len();
        if let Err(code) = self.assembly.feed(bytes, rules, &mut pump.batch) {
            read.end = Some(ReadEnd::Wrong(code));
        }
        read
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
