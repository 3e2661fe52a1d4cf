//! What Node servers ask of this machine's workers.
//!
//! A question goes to all workers, as one of another machine would, and what they answer becomes this machine's one
//! answer: when all have answered, or left, or after [`PATIENCE`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide_core::{Sid, Str};

use super::channels::Channels;
use super::read::{self, Chosen, ReadError, Target, What};
use super::{
    ACK_GRACE, ACK_TIMEOUT, LONGEST_ANSWER, MOST_QUESTIONS, Node, PATIENCE, options, write,
};
use crate::bridge::notepack;
use crate::wire::frame::{Answer, Body, Command, Question};

/// The open questions of Node servers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    next: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    ns: Str,
    /// By what the asker knows it.
    id: String,
    /// The workers that have not said all.
    waiting: HashSet<Sid>,
    deadline: Instant,
    gathered: Gathered,
}

/// What has been answered so far.
#[derive(Debug)]
enum Gathered {
    Ids(Vec<Sid>),
    Rooms(BTreeSet<String>),
    Details {
        of: Vec<Bytes>,
        bytes: usize,
    },
    ServerSide(Option<Bytes>),
    /// Something was done to one socket, if it is here.
    One {
        is_here: bool,
    },
    Acks(Acks),
}

#[derive(Debug)]
struct Acks {
    /// How many clients were sent the event.
    clients: u64,
    /// The workers whose clients these are.
    of: HashSet<Sid>,
    /// Has Node been told how many they are? No more are taken then.
    is_told: bool,
    until: Instant,
}

impl Asked {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|open| open.deadline).min()
    }
}

impl Node {
    /// A question or an order.
    pub(super) fn request(
        &mut self,
        now: Instant,
        ns: Str,
        payload: &Bytes,
    ) -> Result<(), ReadError> {
        let request = read::request(payload)?;
        if self.is_deaf_to(&request.uid) {
            return Ok(());
        }
        let id = request.id;
        let ids = || Gathered::Ids(Vec::new());
        match request.what {
            What::Sockets(target) => {
                let opts = options(target);
                self.question(now, id, Question::Sockets { ns, opts }, ids());
            }
            What::Rooms => {
                let opts = options(Target::default());
                let gathered = Gathered::Rooms(BTreeSet::new());
                self.question(now, id, Question::Rooms { ns, opts }, gathered);
            }
            What::Fetch(target) => {
                let opts = options(target);
                let (of, bytes) = (Vec::new(), 0);
                let gathered = Gathered::Details { of, bytes };
                self.question(now, id, Question::Details { ns, opts }, gathered);
            }
            What::Join(chosen, rooms) => self.order(now, ns, id, chosen, Command::Join(rooms)),
            What::Leave(chosen, rooms) => self.order(now, ns, id, chosen, Command::Leave(rooms)),
            What::Disconnect(chosen) => self.order(now, ns, id, chosen, Command::Disconnect),
            What::ServerSide(event, data) => self.server_side(now, ns, id, event.into(), data),
            What::Acks {
                ns: named,
                data,
                target,
            } => {
                if named != *ns {
                    return Ok(());
                }
                let value = notepack::event(payload, data, self.settings.parser)?;
                let timeout = target.timeout_ms.map_or(ACK_TIMEOUT, Duration::from_millis);
                let timeout = timeout.min(Duration::from_hours(1));
                let gathered = Gathered::Acks(Acks {
                    clients: 0,
                    of: HashSet::new(),
                    is_told: false,
                    until: now + timeout + ACK_GRACE,
                });
                let question = Question::Acks {
                    ns,
                    opts: options(target),
                    timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                    value,
                };
                self.question(now, id, question, gathered);
            }
        }
        Ok(())
    }

    /// An order, which nobody answers; but one to a single socket is answered by who has it.
    fn order(
        &mut self,
        now: Instant,
        ns: Str,
        id: Option<String>,
        chosen: Chosen,
        command: Command,
    ) {
        let opts = match chosen {
            Chosen::Target(target) => options(target),
            Chosen::Socket(socket) => {
                let opts = options(Target {
                    rooms: vec![socket],
                    ..Target::default()
                });
                let question = Question::Sockets {
                    ns: ns.clone(),
                    opts: opts.clone(),
                };
                // Asked before it is done: who is disconnected is not here any more.
                self.question(now, id, question, Gathered::One { is_here: false });
                opts
            }
        };
        self.deliver(None, Body::Command { ns, opts, command });
    }

    /// An event for applications. It is for each worker; the answer is that of the first one.
    fn server_side(&mut self, now: Instant, ns: Str, id: Option<String>, event: Str, data: Bytes) {
        if id.is_none() {
            return self.deliver(None, Body::ServerSide { event, data });
        }
        let others: Vec<Sid> = self.workers.iter().skip(1).map(|it| it.id).collect();
        for other in others {
            let (event, data) = (event.clone(), data.clone());
            self.deliver(Some(other), Body::ServerSide { event, data });
        }
        let first: Vec<Sid> = self.workers.iter().take(1).map(|it| it.id).collect();
        let question = Question::ServerSide { event, data };
        self.question_to(now, ns, id, &first, question, Gathered::ServerSide(None));
    }

    /// Asks all workers.
    fn question(
        &mut self,
        now: Instant,
        id: Option<String>,
        question: Question,
        gathered: Gathered,
    ) {
        let all: Vec<Sid> = self.workers.iter().map(|it| it.id).collect();
        let ns = match &question {
            Question::Sockets { ns, .. }
            | Question::Rooms { ns, .. }
            | Question::Acks { ns, .. }
            | Question::Details { ns, .. } => ns.clone(),
            Question::ServerSide { .. } => Str::default(),
        };
        self.question_to(now, ns, id, &all, question, gathered);
    }

    fn question_to(
        &mut self,
        now: Instant,
        ns: Str,
        id: Option<String>,
        workers: &[Sid],
        question: Question,
        gathered: Gathered,
    ) {
        // Nobody waits for an answer to a question without a number.
        let Some(id) = id else {
            return;
        };
        let open = Open {
            ns,
            id,
            waiting: workers.iter().copied().collect(),
            deadline: now + PATIENCE,
            gathered,
        };
        if workers.is_empty() || self.asked.open.len() >= MOST_QUESTIONS {
            return self.finish(&open);
        }
        let ticket = self.asked.next;
        self.asked.next += 1;
        self.asked.open.insert(ticket, open);
        let to = match workers {
            [one] => Some(*one),
            _ => None,
        };
        self.deliver(to, Body::Ask { ticket, question });
    }

    /// A worker's answer to a question of Node's.
    pub(super) fn answered(&mut self, now: Instant, from: Sid, ticket: u64, answer: Answer) {
        let Some(mut open) = self.asked.open.remove(&ticket) else {
            return;
        };
        if open.waiting.contains(&from) {
            if answer.is_last() {
                open.waiting.remove(&from);
            }
            self.gather(&mut open, from, answer);
        }
        self.go_on(now, ticket, open);
    }

    fn gather(&mut self, open: &mut Open, from: Sid, answer: Answer) {
        match (&mut open.gathered, answer) {
            (Gathered::Ids(ids), Answer::Sockets(more)) => ids.extend(more),
            (Gathered::Rooms(rooms), Answer::Rooms(more)) => {
                rooms.extend(more.into_iter().map(String::from));
            }
            (Gathered::One { is_here }, Answer::Sockets(found)) => *is_here |= !found.is_empty(),
            (Gathered::ServerSide(data), Answer::ServerSide(given)) => *data = Some(given),
            (Gathered::Details { of, bytes }, Answer::Details(more)) => {
                let before = of.len() + more.len();
                for detail in more {
                    if *bytes + detail.len() < LONGEST_ANSWER {
                        *bytes += detail.len() + 1;
                        of.push(detail);
                    }
                }
                if of.len() < before {
                    self.drop_one("of all sockets, for they are too many");
                }
            }
            (Gathered::Acks(acks), Answer::AcksOf(sockets)) if !acks.is_told => {
                acks.clients += sockets.len() as u64;
                acks.of.insert(from);
            }
            (Gathered::Acks(acks), Answer::Acks(given)) if acks.of.contains(&from) => {
                let channel = Channels::new(&self.settings.key, &open.ns).response();
                let values = given.into_iter().filter_map(|(_, ack)| ack.ok());
                let acks: Vec<_> = values.map(|value| write::ack(&open.id, &value)).collect();
                for ack in acks {
                    match ack {
                        Ok(ack) => self.publish(channel.clone(), ack),
                        Err(_) => self.drop_one("an acknowledgement that is no JSON"),
                    }
                }
            }
            _ => {}
        }
    }

    /// What becomes of a question after something was answered, or somebody left.
    fn go_on(&mut self, now: Instant, ticket: u64, mut open: Open) {
        if let Gathered::Acks(acks) = &mut open.gathered
            && !acks.is_told
            && (now >= open.deadline || open.waiting.is_subset(&acks.of))
        {
            acks.is_told = true;
            open.deadline = acks.until;
            open.waiting.retain(|worker| acks.of.contains(worker));
            self.tell_clients(&open);
        }
        if open.waiting.is_empty() || now >= open.deadline {
            return self.finish(&open);
        }
        self.asked.open.insert(ticket, open);
    }

    /// Only these workers are left.
    pub(super) fn workers_left(&mut self, now: Instant, workers: &HashSet<Sid>) {
        let lost = |open: &Open| open.waiting.iter().any(|it| !workers.contains(it));
        let lost = self.asked.open.extract_if(|_, open| lost(open));
        for (ticket, mut open) in lost.collect::<Vec<_>>() {
            open.waiting.retain(|it| workers.contains(it));
            self.go_on(now, ticket, open);
        }
    }

    /// Answers with what is known what has waited for long enough.
    pub(super) fn answer_late(&mut self, now: Instant) {
        let late = self.asked.open.extract_if(|_, open| now >= open.deadline);
        for (ticket, open) in late.collect::<Vec<_>>() {
            self.go_on(now, ticket, open);
        }
    }

    /// Answers everything with what is known.
    pub(super) fn answer_all(&mut self) {
        for (_, open) in std::mem::take(&mut self.asked.open) {
            self.finish(&open);
        }
    }

    /// How many clients will acknowledge an event: said once, even if it is none.
    fn tell_clients(&mut self, open: &Open) {
        if let Gathered::Acks(acks) = &open.gathered {
            let response = write::Response {
                kind: Some(8),
                id: &open.id,
                clients: Some(acks.clients),
                ..write::Response::default()
            };
            let payload = response.json();
            self.respond(&open.ns, payload);
        }
    }

    fn finish(&mut self, open: &Open) {
        let plain = write::Response {
            id: &open.id,
            ..write::Response::default()
        };
        let response = match &open.gathered {
            Gathered::Acks(acks) => {
                if !acks.is_told {
                    self.tell_clients(open);
                }
                return;
            }
            Gathered::One { is_here: false } => return,
            Gathered::One { is_here: true } => plain.json(),
            Gathered::Ids(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| raw(&format!("\"{id}\""))).collect();
                let sockets = Some(ids.iter().flatten().map(AsRef::as_ref).collect());
                write::Response { sockets, ..plain }.json()
            }
            Gathered::Rooms(rooms) => {
                let rooms = Some(rooms.iter().map(String::as_str).collect());
                write::Response { rooms, ..plain }.json()
            }
            Gathered::Details { of, .. } => {
                let details = of.iter().map(|detail| serde_json::from_slice(detail));
                let sockets = Some(details.filter_map(Result::ok).collect());
                write::Response { sockets, ..plain }.json()
            }
            Gathered::ServerSide(data) => {
                let data = data.as_ref().map_or(&b"null"[..], |data| data);
                let response = write::Response {
                    kind: Some(6),
                    data: serde_json::from_slice(data).ok(),
                    ..plain
                };
                response.json()
            }
        };
        self.respond(&open.ns, response);
    }

    /// Every version reads the general channel.
    fn respond(&mut self, ns: &str, payload: Bytes) {
        let channel = Channels::new(&self.settings.key, ns).response();
        self.publish(channel, payload);
    }
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}
