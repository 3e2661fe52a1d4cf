//! A session's state: its transport, what waits for its client, and what its client sent that waits.
//!
//! It stands under one lock, which is held for a moment and never while a handler runs.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};

use bytes::Bytes;
use engineioxide_core::{Str, TransportType};

use crate::assembly::Assembly;
use crate::conn::Conn;
use crate::extensions::Deflate;
use crate::guard::Guard;
use crate::hooks::{EndReason, Traffic};
use crate::inbox::Inbox;
use crate::packet::Packet;
use crate::polling::Polling;
use crate::upgrade::Probe;
use crate::wheel::Millis;
use crate::work::Work;

/// What a packet costs beside its bytes, roughly, in bytes.
pub(crate) const PACKET_COST: usize = 48;

/// Volatile messages are for who keeps up.
const VOLATILE: usize = 64 * 1024;

/// One piece of what is written to a WebSocket.
#[derive(Debug)]
pub(crate) enum Out {
    Packet(Packet),
    /// The answer to a WebSocket's ping.
    WsPong(Bytes),
    /// Bytes as they are: the answer to the handshake.
    Raw(Bytes),
}

impl Out {
    pub(crate) fn cost(&self) -> usize {
        PACKET_COST
            + match self {
                Self::Packet(packet) => packet.data_len(),
                Self::WsPong(data) | Self::Raw(data) => data.len(),
            }
    }
}

/// A WebSocket that carries the session.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) conn: Conn,
    pub(crate) assembly: Assembly,
    /// May messages be deflated?
    pub(crate) deflate: Option<Deflate>,
    /// How much of the first piece is written already.
    pub(crate) written: usize,
    /// Since when a write has waited for the client.
    pub(crate) stalled: Option<Millis>,
    /// When the socket is asked again whether it has room: of a slow reader's it tells late.
    pub(crate) ask: Millis,
    /// Writing failed; the reader will find out why.
    pub(crate) broken: bool,
}

impl WebSocket {
    pub(crate) fn new(conn: Conn, assembly: Assembly, deflate: Option<Deflate>) -> Self {
        Self {
            conn,
            assembly,
            deflate,
            written: 0,
            stalled: None,
            ask: 0,
            broken: false,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Transport {
    Polling(Box<Polling>),
    WebSocket(WebSocket),
    /// The session has ended.
    Gone,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// It is over for whoever emits; its client is to be told.
    Closing(EndReason),
    Closed,
}

/// One for each session; small, for there are very many of them at rest.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they share a word of every session"
)]
pub(crate) struct Line {
    pub(crate) phase: Phase,
    pub(crate) transport: Transport,
    pub(crate) queue: VecDeque<Out>,
    /// What [`Line::queue`] costs, in bytes.
    pub(crate) waiting: usize,
    pub(crate) inbox: Option<Box<Inbox>>,
    pub(crate) probe: Option<Box<Probe>>,
    pub(crate) guard: Guard,
    /// When the heartbeat is due: a ping of ours, or the client's answer.
    pub(crate) beat: Millis,
    /// Must it have joined a namespace by then? Zero: it has.
    pub(crate) join_by: Millis,
    /// The poll that was answered last, until it is known that its client has the answer.
    pub(crate) answered: u64,
    /// For when a look at the session stands in the wheel.
    pub(crate) armed: Millis,
    pub(crate) opened: Millis,
    /// Until when is its client admitted? Zero: for ever.
    pub(crate) until: Millis,
    pub(crate) traffic: Traffic,
    /// What its end will have been for, should nothing more come from its client.
    pub(crate) foreseen: Option<EndReason>,
    /// Was it closed by an operator?
    pub(crate) by_operator: bool,
    /// Does the beat wait for the client?
    pub(crate) awaits_pong: bool,
    /// Has the time for the client's answer begun anew?
    pub(crate) extended: bool,
    /// Is it in the list of who is to be written?
    pub(crate) dirty: bool,
    /// Is it read no further, for now?
    pub(crate) held: bool,
    /// Does its handler know of it?
    pub(crate) connected: bool,
    pub(crate) began_polling: bool,
    pub(crate) revision3: bool,
    /// Its binary packets go as text.
    pub(crate) base64: bool,
    /// The period of congestion that `sent` counts for.
    pub(crate) period: u32,
    pub(crate) sent: u32,
    /// The period whose end wakes it.
    pub(crate) awaited: u32,
    #[expect(
        clippy::box_collection,
        reason = "most sessions have none, and hold a pointer for it instead of three words"
    )]
    closed_wakers: Option<Box<Vec<Waker>>>,
}

impl Line {
    pub(crate) fn new(transport: Transport, revision3: bool) -> Self {
        Self {
            phase: Phase::Open,
            began_polling: matches!(transport, Transport::Polling(_)),
            transport,
            queue: VecDeque::new(),
            waiting: 0,
            inbox: None,
            probe: None,
            guard: Guard::default(),
            beat: 0,
            join_by: 0,
            answered: 0,
            armed: Millis::MAX,
            opened: 0,
            until: 0,
            traffic: Traffic::default(),
            foreseen: None,
            by_operator: false,
            awaits_pong: false,
            extended: false,
            dirty: false,
            held: false,
            connected: false,
            revision3,
            base64: false,
            period: 0,
            sent: 0,
            awaited: 0,
            closed_wakers: None,
        }
    }

    pub(crate) fn transport_type(&self) -> TransportType {
        match self.transport {
            Transport::Polling(_) => TransportType::Polling,
            Transport::WebSocket(_) | Transport::Gone => TransportType::Websocket,
        }
    }

    /// May its client deflate what it sends?
    pub(crate) fn deflates(&self) -> bool {
        matches!(&self.transport, Transport::WebSocket(socket) if socket.deflate.is_some())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.is_open()
    }

    /// Queues packets of the application; is the session to be put into the list of who is to be written?
    pub(crate) fn push(&mut self, work: &Work, packets: impl Iterator<Item = Packet>) -> bool {
        if self.is_closed() {
            return false;
        }
        for packet in packets {
            if let Packet::Message(text) = &packet {
                if text.as_bytes().first() == Some(&b'0') {
                    self.join_by = 0;
                }
                if self.guard.sent(text) {
                    self.foreseen = self.guard.is_outside().then_some(EndReason::Application);
                }
            }
            work.counts.sent.packet(&packet);
            self.traffic.messages_out += 1;
            self.traffic.bytes_out += packet.data_len() as u64;
            self.queue_out(work, Out::Packet(packet));
        }
        self.mark_dirty()
    }

    /// Queues something; nothing is marked.
    pub(crate) fn queue_out(&mut self, work: &Work, out: Out) {
        let cost = out.cost();
        self.waiting += cost;
        work.waiting.fetch_add(cost, Relaxed);
        self.queue.push_back(out);
    }

    /// Queues something before all others.
    pub(crate) fn queue_out_first(&mut self, work: &Work, out: Out) {
        let cost = out.cost();
        self.waiting += cost;
        work.waiting.fetch_add(cost, Relaxed);
        self.queue.push_front(out);
    }

    /// Queues a ping before all that waits: a client that has much to take shall not miss it.
    pub(crate) fn queue_ping(&mut self, work: &Work) {
        let begun = match &self.transport {
            Transport::WebSocket(socket) if socket.written > 0 => self.queue.pop_front(),
            _ => None,
        };
        self.queue_out_first(work, Out::Packet(Packet::Ping(Str::default())));
        // What has gone out in part goes on first.
        if let Some(begun) = begun {
            self.queue.push_front(begun);
        }
    }

    /// Puts packets back that were taken and did not arrive.
    pub(crate) fn put_back(&mut self, work: &Work, packets: Vec<Packet>) {
        for packet in packets.into_iter().rev() {
            self.queue_out_first(work, Out::Packet(packet));
        }
    }

    /// A piece of the queue has another form now.
    pub(crate) fn change_cost(&mut self, work: &Work, before: usize, after: usize) {
        self.waiting = self.waiting.saturating_sub(before) + after;
        work.waiting.fetch_add(after, Relaxed);
        work.waiting.fetch_sub(before, Relaxed);
    }

    /// Takes the first piece.
    pub(crate) fn pop_out(&mut self, work: &Work) -> Option<Out> {
        let out = self.queue.pop_front()?;
        let cost = out.cost();
        self.waiting = self.waiting.saturating_sub(cost);
        work.waiting.fetch_sub(cost, Relaxed);
        if self.queue.is_empty() {
            // A session at rest holds no bytes.
            self.queue = VecDeque::new();
        }
        Some(out)
    }

    /// Takes the last piece.
    pub(crate) fn pop_out_last(&mut self, work: &Work) {
        if let Some(out) = self.queue.pop_back() {
            let cost = out.cost();
            self.waiting = self.waiting.saturating_sub(cost);
            work.waiting.fetch_sub(cost, Relaxed);
        }
    }

    /// Drops all that waits.
    pub(crate) fn clear(&mut self, work: &Work) {
        while self.pop_out(work).is_some() {}
        self.clear_inbox(work);
    }

    /// Drops what the client sent and nobody has got. Whoever waits for a post is let go.
    pub(crate) fn clear_inbox(&mut self, work: &Work) {
        if let Some(mut inbox) = self.inbox.take() {
            work.waiting.fetch_sub(inbox.bytes, Relaxed);
            inbox.posts.drain(..).for_each(crate::posts::Post::done);
        }
    }

    /// Since when has a write waited for the client?
    pub(crate) fn stalled_since(&self) -> Option<Millis> {
        match &self.transport {
            Transport::WebSocket(socket) => socket.stalled,
            _ => None,
        }
    }

    /// Is there something that a WebSocket may be able to take?
    pub(crate) fn waits_to_write(&self) -> bool {
        let broken = match &self.transport {
            Transport::WebSocket(socket) => socket.broken,
            _ => true,
        };
        !broken && !self.queue.is_empty()
    }

    /// When the session is to be looked at next.
    pub(crate) fn due(&self) -> Millis {
        let set = |due| if due == 0 { Millis::MAX } else { due };
        let (join_by, until) = (set(self.join_by), set(self.until));
        let probe = self.probe_due().unwrap_or(Millis::MAX);
        let ask = match &self.transport {
            Transport::WebSocket(socket) if socket.stalled.is_some() => socket.ask,
            _ => Millis::MAX,
        };
        let own = self.beat.min(join_by).min(until);
        own.min(probe).min(ask)
    }

    /// The session has ended, and may be polled until then for what is left.
    pub(crate) fn leave_by(&mut self, until: Millis) {
        self.beat = until;
        (self.join_by, self.until) = (0, 0);
    }

    /// Is it new in the list of who is to be written?
    pub(crate) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Does the client keep up with what it is sent?
    pub(crate) fn takes_volatile(&self) -> bool {
        self.is_open()
            && match &self.transport {
                Transport::Polling(polling) => polling.is_waiting() && self.queue.is_empty(),
                Transport::WebSocket(socket) => socket.stalled.is_none() && self.waiting < VOLATILE,
                Transport::Gone => false,
            }
    }

    /// A message came from the client.
    pub(crate) fn count_in(&mut self, bytes: usize) {
        self.traffic.messages_in += 1;
        self.traffic.bytes_in += bytes as u64;
        // It took notice of what was too large, and goes on.
        if self.foreseen == Some(EndReason::TooLarge) {
            self.foreseen = None;
        }
    }

    /// From now on nobody emits to it; is that new?
    pub(crate) fn begin_close(&mut self, reason: EndReason) -> bool {
        let open = self.is_open();
        if open {
            self.phase = Phase::Closing(reason);
        }
        open
    }

    /// Is the session over? If not, its end wakes `cx`.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> bool {
        let closed = self.phase == Phase::Closed;
        if !closed {
            let wakers = self.closed_wakers.get_or_insert_default();
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
        }
        closed
    }

    pub(crate) fn take_closed_wakers(&mut self) -> Vec<Waker> {
        self.closed_wakers
            .take()
            .map_or_else(Vec::new, |wakers| *wakers)
    }
}
