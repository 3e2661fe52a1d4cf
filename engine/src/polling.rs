//! Long-polling: one poll and one post at a time, and no answer is lost on its way.
//!
//! A poll waits until there is something, and takes all of it. What it took is kept by its [`Receipt`] until the
//! connection has delivered it: it goes back to the front of the queue otherwise, and is sent with the next poll.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::delivery::{Delivery, Last, Presumed};
use crate::engine::Refused;
use crate::hooks::EndReason;
use crate::line::{Line, Out, Phase, Transport};
use crate::packet::Packet;
use crate::polls::{PollAnswer, Posting};
use crate::posts::Post;
use crate::socket::Socket;
use crate::work::{Waiter, Work};
use crate::{payload3, payload4};

/// What an answer has room for, at least, in bytes. Node sets no bound; a small one would starve clients that are
/// far away, for what they get is one answer a round trip.
const MAX_ANSWER: usize = 4 << 20;

/// What a client that upgrades may post without being answered by its handlers, in bytes. It polls no more until
/// its last post is answered: that must not wait for its polls.
const MAX_UPGRADING: usize = 4 << 20;

/// A session that polls.
pub(crate) struct Polling {
    /// The poll that waits.
    poll: Option<(u64, Waiter)>,
    /// The post that is under way.
    post: Option<u64>,
    /// The answer that has left last, and what tells of the connection that has it.
    left: Option<(u64, Option<Arc<dyn Delivery>>)>,
    /// The answer that its client has, for it polls again, unless its connection fails before that poll is answered.
    presumed: Option<Box<Presumed>>,
    /// What an answer has room for, in bytes; for one packet, whatever its size.
    room: usize,
    /// Does it wait for nothing but to be polled empty?
    pub(crate) leaves: bool,
}

impl Polling {
    pub(crate) fn new(max_payload: usize) -> Self {
        Self {
            poll: None,
            post: None,
            left: None,
            presumed: None,
            room: max_payload.max(MAX_ANSWER),
            leaves: false,
        }
    }

    /// Does a poll wait?
    pub(crate) fn is_waiting(&self) -> bool {
        self.poll.is_some()
    }

    /// Has this answer left whole, over a connection that tells nothing of its client's?
    pub(crate) fn has_left_unwatched(&self, answered: u64) -> bool {
        matches!(self.left, Some((serial, None)) if serial == answered)
    }

    pub(crate) fn wake_poll(&mut self) {
        if let Some((_, waiter)) = &mut self.poll {
            waiter.wake();
        }
    }
}

impl std::fmt::Debug for Polling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Polling").finish_non_exhaustive()
    }
}

/// What a polling request needs of its session.
pub(crate) trait Polled: Send + Sync {
    fn answer(&self, serial: u64, cx: &Context<'_>) -> Poll<(Vec<u8>, bool, Vec<Packet>)>;
    fn abandon_poll(&self, serial: u64);
    fn undelivered(&self, serial: u64, packets: Vec<Packet>);
    fn delivered(&self, serial: u64);
    fn left(&self, serial: u64, delivery: Option<Arc<dyn Delivery>>);
    fn post(&self, serial: u64, body: &Bytes, binary: bool);
    fn poll_posted(&self, serial: u64, cx: &Context<'_>) -> Poll<()>;
    fn end_post(&self, serial: u64, reason: Option<EndReason>);
    fn too_large(&self);
}

impl<D> Socket<D>
where
    D: Default + Send + Sync + 'static,
{
    /// Begins a poll.
    pub(crate) fn begin_poll(self: Arc<Self>) -> Result<PollAnswer, Refused> {
        let serial = self.work.next_serial();
        let last = self.last_answer();
        {
            let mut line = self.line();
            if line.phase == Phase::Closed {
                return Err(Refused::UnknownSession);
            }
            let Transport::Polling(polling) = &mut line.transport else {
                return Err(Refused::BadRequest);
            };
            if polling.is_waiting() {
                drop(line);
                self.close_with(EndReason::Overlap);
                return Err(Refused::Overlap);
            }
            polling.poll = Some((serial, Waiter::default()));
            if let Last::Delivered(presumed) = last {
                // Who polls again has the answer before.
                polling.presumed = presumed;
                line.answered = 0;
            }
        }
        Ok(PollAnswer::new(self, serial))
    }

    /// What became of the last answer?
    fn last_answer(&self) -> Last {
        let (answered, left) = {
            let mut line = self.line();
            let answered = line.answered;
            match &mut line.transport {
                Transport::Polling(polling) => (answered, polling.left.take()),
                _ => return Last::Delivered(None),
            }
        };
        match left.filter(|(serial, _)| *serial == answered) {
            None if answered == 0 => Last::Delivered(None),
            None => Last::Open,
            Some((serial, delivery)) => {
                if delivery.as_ref().is_some_and(|it| it.has_failed()) {
                    Last::Open
                } else {
                    Last::Delivered(Presumed::of(serial, delivery))
                }
            }
        }
    }

    /// Begins a post.
    pub(crate) fn begin_post(self: Arc<Self>) -> Result<Posting, Refused> {
        let serial = self.work.next_serial();
        {
            let mut line = self.line();
            if line.is_closed() {
                return Err(Refused::UnknownSession);
            }
            let Transport::Polling(polling) = &mut line.transport else {
                return Err(Refused::BadRequest);
            };
            if polling.post.is_some() {
                drop(line);
                self.close_with(EndReason::Overlap);
                return Err(Refused::Overlap);
            }
            polling.post = Some(serial);
        }
        Ok(Posting::new(self, serial))
    }
}

impl<D> Polled for Socket<D>
where
    D: Default + Send + Sync + 'static,
{
    fn answer(&self, serial: u64, cx: &Context<'_>) -> Poll<(Vec<u8>, bool, Vec<Packet>)> {
        let mut line = self.line();
        let closing = line.phase;
        // Nothing overtakes an answer that was lost.
        let empty = line.queue.is_empty() || line.answered != 0;
        let Some(polling) = line.polling(serial) else {
            // The session has another transport now, or has ended.
            let last = match closing {
                Phase::Closing(EndReason::Application) => Packet::Close,
                _ => Packet::Noop,
            };
            return Poll::Ready(line.encode(&[last], Vec::new()));
        };
        if empty && closing == Phase::Open {
            if let Some((_, waiter)) = &mut polling.poll {
                waiter.register(cx);
            }
            return Poll::Pending;
        }
        if let Some(lost) = polling
            .presumed
            .take()
            .filter(|presumed| presumed.is_lost())
        {
            // It is about to come back.
            if let Some((_, waiter)) = &mut polling.poll {
                waiter.register(cx);
            }
            line.answered = lost.serial;
            return Poll::Pending;
        }
        polling.poll = None;
        let most = polling.room;
        let packets = line.take_for_poll(&self.work, most);
        let mut last = Vec::new();
        if let Phase::Closing(reason) = closing
            && line.queue.is_empty()
        {
            if reason == EndReason::Application {
                last.push(Packet::Close);
            } else if packets.is_empty() {
                last.push(Packet::Noop);
            }
            self.work.push_closed(self.key);
        }
        line.answered = if packets.is_empty() { 0 } else { serial };
        let wake = line.held;
        let answer = line.encode(&last, packets);
        drop(line);
        if wake {
            self.set_ready();
        }
        Poll::Ready(answer)
    }

    fn abandon_poll(&self, serial: u64) {
        let mut line = self.line();
        let waits = line.polling(serial).is_some();
        let closing = line.is_closed();
        if let (true, Transport::Polling(polling)) = (waits, &mut line.transport) {
            polling.poll = None;
        }
        drop(line);
        if waits && closing {
            self.work.push_closed(self.key);
        } else if waits {
            // As in Node: "poll connection closed prematurely".
            self.close_with(EndReason::TransportClosed);
        }
    }

    fn undelivered(&self, serial: u64, packets: Vec<Packet>) {
        let mut line = self.line();
        let answered = line.answered;
        let is_presumed = match &mut line.transport {
            Transport::Polling(polling) => {
                let presumed = polling
                    .presumed
                    .take_if(|presumed| presumed.serial == serial);
                presumed.is_some_and(|presumed| presumed.may_be_lost())
            }
            _ => false,
        };
        if (answered != serial && !is_presumed) || line.is_closed() {
            return;
        }
        line.answered = 0;
        if let Transport::Polling(polling) = &mut line.transport {
            polling.wake_poll();
            line.put_back(&self.work, packets);
            return;
        }
        drop(line);
        // Others have overtaken it on the WebSocket: rather an end than a gap.
        self.close_with(EndReason::TransportClosed);
    }

    fn delivered(&self, serial: u64) {
        let mut line = self.line();
        if let Transport::Polling(polling) = &mut line.transport {
            polling
                .presumed
                .take_if(|presumed| presumed.serial == serial);
        }
        if line.answered == serial {
            line.answered = 0;
            if let Transport::Polling(polling) = &mut line.transport {
                polling.left = None;
                polling.wake_poll();
            }
        }
    }

    fn left(&self, serial: u64, delivery: Option<Arc<dyn Delivery>>) {
        let mut line = self.line();
        let answered = line.answered;
        if let Transport::Polling(polling) = &mut line.transport
            && answered == serial
        {
            let lives = || delivery.as_ref().is_none_or(|it| !it.has_failed());
            if polling.is_waiting() && lives() {
                // That waits for this: its client has the answer.
                polling.wake_poll();
                polling.presumed = Presumed::of(serial, delivery);
                line.answered = 0;
            } else {
                polling.left = Some((serial, delivery));
            }
        }
    }

    fn post(&self, serial: u64, body: &Bytes, binary: bool) {
        let mut line = self.line();
        if line.is_closed() {
            return;
        }
        let post = Post::new(serial, body, binary, line.revision3);
        self.work.count_waiting(post.cost);
        let inbox = line.inbox();
        inbox.bytes += post.cost;
        inbox.posts.push_back(post);
        drop(line);
        self.set_ready();
    }

    fn poll_posted(&self, serial: u64, cx: &Context<'_>) -> Poll<()> {
        let mut line = self.line();
        let upgrades = line.is_probed();
        let Some(inbox) = &mut line.inbox else {
            return Poll::Ready(());
        };
        if upgrades && inbox.bytes < MAX_UPGRADING {
            return Poll::Ready(());
        }
        let mut posts = inbox.posts.iter_mut();
        match posts.find(|post| post.serial == serial) {
            Some(post) => {
                post.waiter.register(cx);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    fn end_post(&self, serial: u64, reason: Option<EndReason>) {
        let mut line = self.line();
        if let Transport::Polling(polling) = &mut line.transport
            && polling.post == Some(serial)
        {
            polling.post = None;
        }
        drop(line);
        if let Some(reason) = reason {
            self.close_with(reason);
        }
    }

    fn too_large(&self) {
        self.line().foreseen = Some(EndReason::TooLarge);
    }
}

impl Line {
    /// The polling state, if this poll is the one that waits.
    fn polling(&mut self, serial: u64) -> Option<&mut Polling> {
        let Transport::Polling(polling) = &mut self.transport else {
            return None;
        };
        let waits = polling
            .poll
            .as_ref()
            .is_some_and(|(poll, _)| *poll == serial);
        waits.then_some(&mut **polling)
    }

    /// Takes what an answer has room for.
    fn take_for_poll(&mut self, work: &Work, most: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut total = 0;
        while let Some(Out::Packet(packet)) = self.queue.front() {
            let len = if self.revision3 {
                payload3::encoded_len(packet, !self.base64)
            } else {
                payload4::encoded_len(packet) + 1
            };
            total += len;
            if total > most && !packets.is_empty() {
                break;
            }
            if let Some(Out::Packet(packet)) = self.pop_out(work) {
                packets.push(packet);
            }
        }
        packets
    }

    /// An answer: `packets`, and `last` behind them. Is it of bytes? What must not be lost of it?
    fn encode(&self, last: &[Packet], packets: Vec<Packet>) -> (Vec<u8>, bool, Vec<Packet>) {
        let (body, binary) = encode(packets.iter().chain(last), self.revision3, self.base64);
        (body, binary, packets)
    }
}

/// The body of an answer; is it of bytes?
pub(crate) fn encode<'a>(
    packets: impl Iterator<Item = &'a Packet> + Clone,
    revision3: bool,
    base64: bool,
) -> (Vec<u8>, bool) {
    if revision3 {
        let packets: Vec<_> = packets.cloned().collect();
        return payload3::encode(&packets, !base64);
    }
    let len = packets
        .clone()
        .map(|packet| payload4::encoded_len(packet) + 1);
    let mut body = Vec::with_capacity(len.sum());
    for packet in packets {
        if !body.is_empty() {
            body.push(payload4::SEPARATOR);
        }
        payload4::encode_into(packet, &mut body);
    }
    (body, false)
}
