//! What this machine's workers ask Node servers.
//!
//! How many must answer is how many are subscribed to the channel of requests, less our own machines, which have a mark
//! of their own. The question ends with the last answer, or after [`PATIENCE`], with what has come.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socketioxide_core::adapter::Room;
use socketioxide_core::{Sid, Value};

use super::channels::Channels;
use super::read::{self, ReadError, Said};
use super::{ACK_GRACE, LONGEST_ANSWER, MOST_QUESTIONS, Node, Notice, Output, PATIENCE, write};
use crate::bridge::notepack;
use crate::wire::frame::{AckFailure, Answer, Body, Failure, Question, value_size};

/// Clients that are believed to acknowledge one event.
const MOST_CLIENTS: u64 = 500_000;
/// Applications' events have no namespace here: they are Node's of this one.
const ROOT: &str = "/";

/// The open questions of this machine's workers.
#[derive(Debug, Default)]
pub(super) struct Asking {
    next: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// Who asks, and by what it knows the question.
    worker: Sid,
    ticket: u64,
    /// Who is subscribed, and how many of these are ours, as far as that is known.
    subscribed: [Option<u64>; 2],
    /// What is sent when it is.
    request: Option<(String, Bytes)>,
    /// How many must answer.
    expected: u64,
    answered: u64,
    deadline: Instant,
    /// What the answers keep, in bytes.
    bytes: usize,
    gathered: Gathered,
}

#[derive(Debug)]
enum Gathered {
    Ids(Vec<Sid>),
    Rooms(BTreeSet<Room>),
    ServerSide(Vec<Bytes>),
    Acks(Acks),
}

/// Acknowledgements. Node's do not say whose they are: each client has an id that is made up.
#[derive(Debug)]
struct Acks {
    clients: u64,
    /// Until it is known how many clients there are.
    early: Vec<Value>,
    /// Those that have not answered.
    ids: Vec<Sid>,
    is_told: bool,
    timeout: Duration,
}

impl Asking {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// Only these workers are left.
    pub(super) fn keep(&mut self, workers: &HashSet<Sid>) {
        self.open.retain(|_, open| workers.contains(&open.worker));
    }
}

impl Node {
    /// An event for Node's applications, whose answer nobody awaits.
    pub(super) fn tell_applications(&mut self, event: &str, data: &[u8]) {
        if let Some(payload) = self.server_side_request(None, event, data) {
            let channel = Channels::new(&self.settings.key, ROOT).request();
            self.publish(channel, payload);
        }
    }

    /// A worker asks.
    pub(super) fn ask(&mut self, now: Instant, worker: Sid, ticket: u64, question: &Question) {
        let number = self.asking.next;
        self.asking.next += 1;
        let id = format!("{}-{number}", self.uid);
        let (ns, gathered) = match question {
            Question::Sockets { ns, .. } => (ns.clone(), Gathered::Ids(Vec::new())),
            Question::Rooms { ns, .. } => (ns.clone(), Gathered::Rooms(BTreeSet::new())),
            Question::ServerSide { .. } => (ROOT.into(), Gathered::ServerSide(Vec::new())),
            Question::Acks { ns, timeout_ms, .. } => {
                let acks = Acks {
                    clients: 0,
                    early: Vec::new(),
                    ids: Vec::new(),
                    is_told: false,
                    timeout: Duration::from_millis(*timeout_ms).min(Duration::from_hours(1)),
                };
                (ns.clone(), Gathered::Acks(acks))
            }
            // Asked on behalf of Node servers only.
            Question::Details { .. } => return,
        };
        let open = Open {
            worker,
            ticket,
            subscribed: [None, None],
            request: None,
            expected: 0,
            answered: 0,
            deadline: now + PATIENCE,
            bytes: 0,
            gathered,
        };
        let is_too_much = self.asking.open.len() >= MOST_QUESTIONS || !self.is_connected;
        let request = self.request_for(&id, question).filter(|_| !is_too_much);
        let Some(request) = request else {
            return self.end(open);
        };
        let channels = Channels::new(&self.settings.key, &ns);
        let (all, ours, channel) = (channels.request(), channels.ours(), channels.request());
        let request = Some((channel, request));
        self.asking.open.insert(number, Open { request, ..open });
        for (at, channel) in [all, ours].into_iter().enumerate() {
            let id = number * 2 + at as u64;
            self.push(Output::NumSub { id, channel });
        }
    }

    /// How many are subscribed to what was asked by this number, if the server says it.
    pub(in crate::bridge) fn counted(&mut self, now: Instant, id: u64, subscribed: Option<u64>) {
        let Some(mut open) = self.asking.open.remove(&(id / 2)) else {
            return;
        };
        let place = open.subscribed.get_mut((id % 2) as usize);
        if let (Some(place), Some(subscribed)) = (place, subscribed) {
            *place = Some(subscribed);
        }
        if let [Some(all), Some(ours)] = open.subscribed {
            open.expected = all.saturating_sub(ours);
            if open.expected > 0
                && let Some((channel, request)) = open.request.take()
            {
                self.publish(channel, request);
            }
        }
        self.go_on_asking(now, id / 2, open);
    }

    /// An answer of a Node server.
    pub(super) fn response(&mut self, now: Instant, payload: &Bytes) -> Result<(), ReadError> {
        let response = read::response(payload)?;
        let Some(number) = self.number_of(&response.id) else {
            return Ok(());
        };
        let Some(mut open) = self.asking.open.remove(&number) else {
            return Ok(());
        };
        open.bytes += payload.len();
        let has_room = open.bytes <= LONGEST_ANSWER;
        match (&mut open.gathered, response.what) {
            (gathered @ (Gathered::Ids(_) | Gathered::Rooms(_)), Said::Sockets(said)) => {
                open.answered += 1;
                // One that makes no sense is an answer, too.
                let sockets = read::sockets(said).unwrap_or_default();
                for (id, of) in sockets.into_iter().filter(|_| has_room) {
                    match gathered {
                        Gathered::Ids(ids) => ids.extend(self.stand_ins.of(&id)),
                        // The room of its own id is nobody's room here.
                        Gathered::Rooms(rooms) => {
                            rooms.extend(of.into_iter().filter(|room| *room != id));
                        }
                        _ => {}
                    }
                }
            }
            (Gathered::ServerSide(answers), Said::ServerSide(data)) => {
                open.answered += 1;
                answers.extend(Some(data).filter(|_| has_room));
            }
            (Gathered::Acks(acks), Said::Clients(clients)) if !acks.is_told => {
                open.answered += 1;
                acks.clients = acks.clients.saturating_add(clients).min(MOST_CLIENTS);
            }
            (Gathered::Acks(acks), Said::Ack(packet)) => {
                let value = notepack::acknowledgement(packet, self.settings.parser);
                match value {
                    Ok(value) if acks.is_told => self.give_ack(&mut open, value),
                    Ok(value) => acks.early.extend(Some(value).filter(|_| has_room)),
                    Err(error) => {
                        self.asking.open.insert(number, open);
                        return Err(error.into());
                    }
                }
            }
            _ => {}
        }
        self.go_on_asking(now, number, open);
        Ok(())
    }

    /// What has waited for long enough ends with what is known.
    pub(super) fn give_up(&mut self, now: Instant) {
        let late = self.asking.open.extract_if(|_, open| now >= open.deadline);
        for (number, open) in late.collect::<Vec<_>>() {
            self.go_on_asking(now, number, open);
        }
    }

    /// What becomes of a question after something came, or its time is over.
    fn go_on_asking(&mut self, now: Instant, number: u64, mut open: Open) {
        let is_late = now >= open.deadline;
        let all_said =
            open.subscribed.iter().all(Option::is_some) && open.answered >= open.expected;
        if let Gathered::Acks(acks) = &mut open.gathered
            && !acks.is_told
            && (all_said || is_late)
        {
            acks.is_told = true;
            acks.ids = (0..acks.clients).map(|_| Sid::new()).collect();
            open.deadline = now + acks.timeout + ACK_GRACE;
            let (ids, early) = (acks.ids.clone(), std::mem::take(&mut acks.early));
            self.count_missing(&open);
            self.reply(&open, Answer::AcksOf(ids));
            for value in early {
                self.give_ack(&mut open, value);
            }
            if !matches!(&open.gathered, Gathered::Acks(acks) if acks.ids.is_empty()) {
                self.asking.open.insert(number, open);
                return;
            }
            return self.end(open);
        }
        let is_done = match &open.gathered {
            Gathered::Acks(acks) => acks.ids.is_empty() && acks.is_told,
            _ => all_said,
        };
        if is_done || is_late {
            if !matches!(open.gathered, Gathered::Acks(_)) {
                self.count_missing(&open);
            }
            return self.end(open);
        }
        self.asking.open.insert(number, open);
    }

    fn give_ack(&mut self, open: &mut Open, value: Value) {
        if let Gathered::Acks(acks) = &mut open.gathered
            && let Some(id) = acks.ids.pop()
        {
            let ack = match value_size(&value) {
                ..LONGEST_ANSWER => Ok(value),
                _ => Err(AckFailure::Closed),
            };
            let answer = Answer::Acks(vec![(id, ack)]);
            self.reply(open, answer);
        }
    }

    fn count_missing(&mut self, open: &Open) {
        // Nothing is known of Node's servers: one at least has not answered, perhaps Redis.
        let expected = match open.subscribed {
            [Some(_), Some(_)] => open.expected,
            _ => open.expected.max(1),
        };
        let missing = expected.saturating_sub(open.answered);
        if missing > 0 {
            self.figures.unanswered += missing;
            self.tell(Notice::Unanswered { missing });
        }
    }

    /// The worker has its answer.
    fn end(&mut self, mut open: Open) {
        let missing = open.expected.saturating_sub(open.answered);
        let nothing = || Gathered::Ids(Vec::new());
        let answer = match std::mem::replace(&mut open.gathered, nothing()) {
            Gathered::Ids(ids) => Answer::Sockets(ids),
            Gathered::Rooms(rooms) => Answer::Rooms(rooms.into_iter().collect()),
            Gathered::ServerSide(answers) => Answer::ServerSides {
                answers,
                missing: u32::try_from(missing).unwrap_or(u32::MAX),
            },
            Gathered::Acks(acks) => {
                let late = acks.ids.into_iter();
                let late: Vec<_> = late.map(|id| (id, Err(AckFailure::Timeout))).collect();
                if !late.is_empty() {
                    self.reply(&open, Answer::Acks(late));
                }
                Answer::AcksEnd
            }
        };
        self.reply(&open, answer);
    }

    fn reply(&mut self, open: &Open, answer: Answer) {
        let ticket = open.ticket;
        let body = Body::Answer { ticket, answer };
        let before = self.figures.garbled;
        self.deliver(Some(open.worker), body);
        if self.figures.garbled > before {
            let answer = Answer::Failed(Failure::Other("too large".into()));
            self.deliver(Some(open.worker), Body::Answer { ticket, answer });
        }
    }

    /// The request that Node servers are sent; `None` if there is nobody to be asked.
    fn request_for(&self, id: &str, question: &Question) -> Option<Bytes> {
        let target = |opts| write::Target::of(opts, &self.stand_ins);
        match question {
            // Node's question for rooms knows no options: what it knows of sockets has them.
            Question::Sockets { opts, .. } | Question::Rooms { opts, .. } => {
                let target = target(opts)?;
                let request = write::Request::new(&self.uid, Some(id), 5);
                Some(request.with_target(&target).json())
            }
            Question::Acks {
                ns,
                opts,
                timeout_ms,
                value,
            } => {
                let target = target(opts)?;
                write::acks_request(&self.uid, id, ns, value, &target, *timeout_ms).ok()
            }
            Question::ServerSide { event, data } => self.server_side_request(Some(id), event, data),
            Question::Details { .. } => None,
        }
    }

    fn server_side_request(&self, id: Option<&str>, event: &str, data: &[u8]) -> Option<Bytes> {
        let event = serde_json::value::to_raw_value(event).ok()?;
        let mut all = vec![&*event];
        all.extend(write::arguments(data));
        let request = write::Request::new(&self.uid, id, 6);
        Some(request.with_data(all).json())
    }

    /// The number of a question of ours.
    fn number_of(&self, id: &str) -> Option<u64> {
        let number = id.strip_prefix(&self.uid)?.strip_prefix('-')?;
        number.parse().ok()
    }
}
