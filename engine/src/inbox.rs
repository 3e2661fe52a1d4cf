//! What a client said and handlers have not got yet: because it is not whole, or because the client is held back.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use engineioxide_core::Str;

use crate::assembly::Incoming;
use crate::guard::Kind;
use crate::line::{Line, PACKET_COST, Transport};
use crate::packet::Packet;
use crate::payload4::PayloadError;
use crate::posts::Post;
use crate::work::Work;

/// A session whose client has so much to take, in bytes, is read no further until half of it is taken: its
/// events, that is; heartbeats and acknowledgements are.
const MAX_WAITING: usize = 1 << 20;

/// What is kept of the messages of a session that is held back, in bytes, before its connection is read no
/// further.
const MAX_INBOX: usize = 64 * 1024;

/// What a session may send in a period in which senders wait for the bus, in bytes.
const ALLOWANCE: usize = 16 * 1024;

/// A packet of Socket.IO, whole.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: Option<Str>,
    pub(crate) kind: Kind,
    pub(crate) attachments: Vec<Bytes>,
}

impl Message {
    /// A message that nobody looked into.
    pub(crate) fn plain(text: Option<Str>, attachments: Vec<Bytes>) -> Self {
        Self {
            text,
            kind: Kind::Event,
            attachments,
        }
    }

    pub(crate) fn cost(&self) -> usize {
        let attached = self.attachments.iter();
        PACKET_COST
            + self.text.as_ref().map_or(0, |text| text.len())
            + attached.map(|data| data.len() + PACKET_COST).sum::<usize>()
    }
}

/// What a client sent and handlers have not got yet. Most sessions have none.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) messages: VecDeque<Message>,
    pub(crate) bytes: usize,
    /// The packet whose attachments are arriving.
    pub(crate) partial: Option<Message>,
    /// How much has arrived of them.
    pub(crate) attached: usize,
    /// The posts that are being handled: more than one only of a client that upgrades.
    pub(crate) posts: VecDeque<Post>,
    /// What came over its WebSocket with the `5`, while there were posts.
    pub(crate) early: VecDeque<Incoming>,
}

impl Inbox {
    /// Must what comes wait for what came before?
    pub(crate) fn has_messages(&self) -> bool {
        !self.messages.is_empty() || !self.posts.is_empty() || !self.early.is_empty()
    }

    fn is_empty(&self) -> bool {
        !self.has_messages() && self.partial.is_none()
    }

    /// All of it, in bytes.
    fn weight(&self) -> usize {
        self.bytes + self.partial.as_ref().map_or(0, Message::cost)
    }
}

impl Line {
    pub(crate) fn inbox(&mut self) -> &mut Inbox {
        self.inbox.get_or_insert_default()
    }

    /// Forgets the inbox if there is nothing in it.
    pub(crate) fn tidy_inbox(&mut self) {
        if self.inbox.as_ref().is_some_and(|inbox| inbox.is_empty()) {
            self.inbox = None;
        }
    }

    /// Keeps a message for later.
    pub(crate) fn keep(&mut self, work: &Work, message: Message) {
        let cost = message.cost();
        work.waiting.fetch_add(cost, Relaxed);
        let inbox = self.inbox();
        inbox.bytes += cost;
        inbox.messages.push_back(message);
    }

    /// Takes all messages that were kept.
    pub(crate) fn take_messages(&mut self, work: &Work) -> Vec<Message> {
        std::iter::from_fn(|| self.take_kept(work)).collect()
    }

    /// Are there posts, or what came right behind them, and room to keep their events while these are held back?
    pub(crate) fn has_unread_posts(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| {
            let unread = !inbox.posts.is_empty() || !inbox.early.is_empty();
            unread && (inbox.bytes < MAX_INBOX || inbox.messages.is_empty())
        })
    }

    /// Is so much kept of what it sent that it is read no further? What it posted is handled before what it says over
    /// its WebSocket.
    pub(crate) fn is_stuffed(&self) -> bool {
        let inbox = self.inbox.as_ref();
        inbox.is_some_and(|inbox| {
            let many = inbox.bytes >= MAX_INBOX && !inbox.messages.is_empty();
            many || !inbox.posts.is_empty() || !inbox.early.is_empty()
        })
    }

    /// The next packet of the post that is being handled. At its end its client is answered.
    pub(crate) fn next_posted(&mut self, work: &Work) -> Option<Result<Packet, PayloadError>> {
        let inbox = self.inbox.as_mut()?;
        let mut packet = None;
        while let (None, Some(post)) = (&packet, inbox.posts.front_mut()) {
            packet = post.next();
            if packet.is_none()
                && let Some(post) = inbox.posts.pop_front()
            {
                let cost = post.cost.min(inbox.bytes);
                inbox.bytes -= cost;
                work.waiting.fetch_sub(cost, Relaxed);
                post.done();
            }
        }
        packet
    }

    /// Takes the first message that was kept.
    pub(crate) fn take_kept(&mut self, work: &Work) -> Option<Message> {
        let inbox = self.inbox.as_mut()?;
        let message = inbox.messages.pop_front()?;
        let cost = message.cost().min(inbox.bytes);
        inbox.bytes -= cost;
        work.waiting.fetch_sub(cost, Relaxed);
        Some(message)
    }

    /// Does the client wait with its events, because it has much to take, or because others wait for the bus?
    /// `congestion`: the period's number, while others wait.
    pub(crate) fn holds_back(&self, congestion: Option<u32>) -> bool {
        let most = if self.held {
            MAX_WAITING / 2
        } else {
            MAX_WAITING
        };
        self.waiting > most || self.is_over_allowance(congestion)
    }

    pub(crate) fn is_over_allowance(&self, congestion: Option<u32>) -> bool {
        congestion.is_some_and(|period| self.period == period && self.sent as usize >= ALLOWANCE)
    }

    /// Is it to be woken at the end of this period, and is that new?
    pub(crate) fn awaits_clear(&mut self, congestion: Option<u32>) -> bool {
        let awaited = std::mem::replace(&mut self.awaited, self.period);
        self.is_over_allowance(congestion) && awaited != self.period
    }

    /// Counts what the client sent while others wait for the bus.
    pub(crate) fn count_sent(&mut self, congestion: Option<u32>, bytes: usize) {
        let Some(period) = congestion else {
            return;
        };
        if self.period != period {
            (self.period, self.sent) = (period, 0);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(bytes);
    }

    /// All that this session has in memory beside itself, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let inbox = self.inbox.as_ref();
        let assembly = match &self.transport {
            Transport::WebSocket(socket) => socket.assembly.kept(),
            _ => 0,
        };
        let probe = self.probe.as_ref().map_or(0, |probe| probe.kept());
        self.waiting + inbox.map_or(0, |inbox| inbox.weight()) + assembly + probe
    }
}
