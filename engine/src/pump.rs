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
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use tokio::io::ReadBuf;

use crate::assembly::{Incoming, Rules};
use crate::core::Core;
use crate::frame::CloseCode;
use crate::handler::EngineIoHandler;
use crate::inflate::Inflater;
use crate::line::{Line, Transport};
use crate::socket::Socket;
use crate::upgrade::Probed;
use crate::wheel::{Millis, millis};
use crate::work::Key;
use crate::write::{Scratch, Written};

/// What is read, and what is handed on, in a turn, in bytes.
const TURN: usize = 32 * 1024;
/// A message costs its turn at least so many bytes.
pub(crate) const LEAST: usize = 64;

/// What the pump keeps from turn to turn: buffers that all sessions share.
pub(crate) struct Pump {
    scratch: Scratch,
    window: Box<[u8]>,
    inflater: Inflater,
    pub(crate) batch: Vec<Incoming>,
    keys: Vec<Key>,
    /// Ready sessions, in the order of their turns.
    ready: VecDeque<Key>,
}

impl Default for Pump {
    fn default() -> Self {
        Self {
            scratch: Scratch::default(),
            window: vec![0; TURN].into(),
            inflater: Inflater::default(),
            batch: Vec::new(),
            keys: Vec::new(),
            ready: VecDeque::new(),
        }
    }
}

/// What a look at a session used of the turn, and whether it is to be looked at again.
pub(crate) struct Looked {
    pub(crate) used: usize,
    pub(crate) again: bool,
}

impl<H: EngineIoHandler> Core<H> {
    /// One turn; is there more to do?
    pub(crate) fn pump_turn(&self, pump: &mut Pump) -> bool {
        self.work.begin_turn();
        let threshold = self.settings().compression_threshold;
        pump.scratch.deflater.begin_turn(threshold);
        let now = self.now();
        loop {
            let expired = self.wheel().expired(now);
            let Some(keys) = expired else { break };
            for key in keys {
                self.on_due(key, now);
            }
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
        pump.scratch.deflater.end_turn();
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
        if line.waits_to_write() && line.mark_dirty() {
            // There may be room again, or others had their turn.
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
            deflate: line.deflates(),
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
        let Pump {
            window,
            inflater,
            batch,
            ..
        } = pump;
        let buffers = (&mut window[..], inflater, batch);
        let times = (now, millis(self.config.ping_timeout));
        let probed = line.drive_probe(&self.work, times, rules, buffers, cx);
        let mut wrong = None;
        match probed {
            Probed::Waits => {}
            Probed::More => looked.again = true,
            Probed::Gone => {
                self.work.counts.upgrades_failed.one_more();
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
        looked.used += pump.inflater.take_inflated();
        self.hand_on_batch(socket, pump, now);
        if let Some(code) = wrong {
            self.on_read_end(socket, ReadEnd::Wrong(code));
        }
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
#[derive(Clone, Copy)]
pub(crate) enum ReadEnd {
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
        let inflater = &mut pump.inflater;
        if let Err(code) = self.assembly.feed(bytes, rules, inflater, &mut pump.batch) {
            read.end = Some(ReadEnd::Wrong(code));
        }
        read.used += inflater.take_inflated();
        read.again |= self.assembly.has_unread();
        read
    }
}
