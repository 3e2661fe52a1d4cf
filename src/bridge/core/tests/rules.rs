//! One rule each. Bridges are joined by a server that passes on at once what a test does not keep away.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socketioxide_core::Value;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions};

use super::super::{Core, CoreSettings, Inbound, Leaving, Notice, Output, RING_BYTES, Why};
use super::world::Chance;
use super::{frame, member, numbered, of, said};
use crate::wire::envelope::{Envelope, Hello, Message};
use crate::wire::frame::{Body, Command, Question};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Does what one bridge says reach another one? From, to, message.
type Passes = Box<dyn FnMut(usize, usize, &Message) -> bool>;

/// Bridges and what they wanted done, but for what is published.
struct Fleet {
    now: Instant,
    cores: Vec<Core>,
    outputs: Vec<Vec<Output>>,
    /// What is published; it is passed on if this says so.
    passes: Passes,
    answers: bool,
    next: Vec<u64>,
}

fn settings(nth: usize) -> CoreSettings {
    CoreSettings {
        prefix: "p".into(),
        name: format!("m{nth}").into(),
        machine: u16::try_from(nth).unwrap(),
        incarnation: 1000 + nth as u64,
        epoch: 1,
        passed: 0,
        catch_up: 60 * SECOND,
        ring_bytes: RING_BYTES,
        hub_drops_repeats: false,
    }
}

impl Fleet {
    fn of(all: impl IntoIterator<Item = CoreSettings>) -> Self {
        let now = Instant::now();
        let cores: Vec<Core> = all.into_iter().map(|s| Core::new(s, now)).collect();
        let mut fleet = Self {
            now,
            outputs: cores.iter().map(|_| Vec::new()).collect(),
            next: vec![0; cores.len()],
            cores,
            passes: Box::new(|_, _, _| true),
            answers: true,
        };
        for nth in 0..fleet.cores.len() {
            fleet.cores[nth].members(now, vec![member(nth)]);
            fleet.cores[nth].connected(now);
        }
        fleet.run(SECOND);
        fleet
    }

    fn new(machines: usize) -> Self {
        Self::of((0..machines).map(settings))
    }

    fn settle(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in 0..self.cores.len() {
                while let Some(output) = self.cores[from].poll(self.now) {
                    moved = true;
                    let Output::Publish {
                        id,
                        channel,
                        payload,
                    } = output
                    else {
                        self.outputs[from].push(output);
                        continue;
                    };
                    for to in 0..self.cores.len() {
                        let channels = self.cores[to].channels();
                        let on = channels.into_iter().find(|(name, _)| *name == channel);
                        let message = Envelope::decode(&payload).ok().map(|e| e.message);
                        let passes = message.is_none_or(|m| (self.passes)(from, to, &m));
                        if let Some((_, on)) = on.filter(|_| passes) {
                            self.cores[to].received(self.now, on, &payload);
                        }
                    }
                    if self.answers {
                        self.cores[from].published(self.now, id, Ok(()));
                    }
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            self.now += 10 * MS;
            for core in &mut self.cores {
                if core.next_deadline() <= self.now {
                    core.tick(self.now);
                }
            }
            self.settle();
        }
    }

    fn say(&mut self, from: usize, frame: &Bytes) {
        self.next[from] += 1;
        let frame = numbered(frame, self.next[from]);
        self.cores[from].local(self.now, &frame);
        self.settle();
    }

    fn heard(&self, of: usize) -> Vec<u64> {
        let frames = self.outputs[of].iter().filter_map(|output| match output {
            Output::Deliver(frame) => Some(said(frame).1),
            _ => None,
        });
        frames.collect()
    }

    fn notices(&self, of: usize) -> Vec<&Notice> {
        let notices = self.outputs[of].iter().filter_map(|output| match output {
            Output::Tell(notice) => Some(notice),
            _ => None,
        });
        notices.collect()
    }

    fn elsewhere(&self, of: usize) -> usize {
        let told = self.outputs[of]
            .iter()
            .rev()
            .find_map(|output| match output {
                Output::Elsewhere(members) => Some(members.len()),
                _ => None,
            });
        told.unwrap_or(0)
    }
}

#[test]
fn the_link_is_up_when_the_own_heartbeat_has_come_back_and_down_when_it_does_not_for_2_s() {
    let mut fleet = Fleet::new(1);
    assert!(fleet.outputs[0].contains(&Output::Link(true)));
    fleet.passes = Box::new(|_, _, _| false);
    fleet.run(1900 * MS);
    assert!(!fleet.outputs[0].contains(&Output::Link(false)));
    fleet.run(1200 * MS);
    assert!(fleet.outputs[0].contains(&Output::Link(false)));
    assert_eq!(
        fleet.outputs[0].last(),
        Some(&Output::Reconnect(Why::NoEcho))
    );
}

#[test]
fn a_process_that_was_stopped_blames_nobody_else() {
    let mut fleet = Fleet::new(2);
    fleet.outputs[0].clear();
    fleet.now += 20 * SECOND;
    fleet.cores[0].tick(fleet.now);
    fleet.settle();
    assert_eq!(fleet.outputs[0], []);
}

#[test]
fn what_waits_is_one_batch_and_what_is_large_goes_alone() {
    let mut fleet = Fleet::new(1);
    let small = frame(0, None, 1);
    let data = vec![0; 70_000].into();
    let event = "e".into();
    let large = of(0, None, Body::ServerSide { event, data });
    let frames = [&small, &small, &large, &small];
    for (nth, frame) in (1..).zip(frames) {
        fleet.cores[0].local(fleet.now, &numbered(frame, nth));
    }
    let mut counts = Vec::new();
    while let Some(Output::Publish { payload, .. }) = fleet.cores[0].poll(fleet.now) {
        let Message::Batch(batch) = Envelope::decode(&payload).unwrap().message else {
            continue;
        };
        counts.push(batch.count);
    }
    assert_eq!(counts, [2, 1, 1]);
}

#[test]
fn at_most_4_mib_are_unanswered_32_mib_wait_and_then_what_is_volatile_is_dropped() {
    let mut fleet = Fleet::new(1);
    let data = vec![0; 1 << 20].into();
    let event = "e".into();
    let frame = of(0, None, Body::ServerSide { event, data });
    // Quick answers, and so the window is as wide as it gets.
    for _ in 0..4 {
        fleet.say(0, &frame);
    }
    fleet.answers = false;
    for _ in 0..36 {
        assert!(!fleet.cores[0].is_full());
        fleet.say(0, &frame);
    }
    let figures = fleet.cores[0].figures();
    assert_eq!(figures.batches_out, 4 + 4);
    assert!(fleet.cores[0].is_full());
    let mut opts = BroadcastOptions::default();
    opts.add_flag(BroadcastFlags::Volatile);
    let command = Command::Disconnect;
    let ns = "/".into();
    let volatile = of(0, None, Body::Command { ns, opts, command });
    fleet.cores[0].local(fleet.now, &volatile);
    assert_eq!(fleet.cores[0].figures().volatile_dropped, 1);
    // Without a link nobody waits, and the oldest are lost.
    fleet.cores[0].disconnected(fleet.now);
    assert!(!fleet.cores[0].is_full());
    for _ in 0..60 {
        fleet.say(0, &frame);
    }
    let figures = fleet.cores[0].figures();
    assert!(figures.ring_bytes + figures.waiting_bytes <= RING_BYTES as u64);
    assert!((33..45).contains(&figures.lost_out), "{figures:?}");
}

#[test]
fn what_the_server_did_not_answer_is_published_again_and_heard_once() {
    let mut fleet = Fleet::new(2);
    fleet.answers = false;
    fleet.say(0, &frame(0, None, 1));
    fleet.cores[0].disconnected(fleet.now);
    fleet.say(0, &frame(0, None, 2));
    fleet.answers = true;
    fleet.cores[0].connected(fleet.now);
    fleet.run(SECOND);
    assert_eq!(fleet.heard(1), [1, 2]);
    assert_eq!(fleet.cores[1].figures().duplicates, 1);
}

#[test]
fn a_refused_publication_costs_the_connection() {
    let mut fleet = Fleet::new(1);
    fleet.cores[0].local(fleet.now, &numbered(&frame(0, None, 1), 1));
    let Some(Output::Publish { id, .. }) = fleet.cores[0].poll(fleet.now) else {
        panic!("nothing is published");
    };
    fleet.cores[0].published(fleet.now, id, Err(()));
    fleet.settle();
    let last = fleet.outputs[0].last();
    assert_eq!(last, Some(&Output::Reconnect(Why::Refused)));
}

#[test]
fn a_question_that_nobody_waits_for_any_more_is_dropped_and_a_command_is_not() {
    let opts = BroadcastOptions::default;
    let ask = |question| {
        of(
            0,
            None,
            Body::Ask {
                ticket: 1,
                question,
            },
        )
    };
    let acks = |timeout_ms| {
        ask(Question::Acks {
            ns: "/".into(),
            opts: opts(),
            timeout_ms,
            value: Value::Str("[]".into(), None),
        })
    };
    let sockets = ask(Question::Sockets {
        ns: "/".into(),
        opts: opts(),
    });
    let command = of(
        0,
        None,
        Body::Command {
            ns: "/".into(),
            opts: opts(),
            command: Command::Disconnect,
        },
    );
    for (frame, waited, arrives) in [
        (&sockets, 4, true),
        (&sockets, 6, false),
        (&acks(8000), 6, true),
        (&acks(2000), 4, false),
        (&command, 50, true),
    ] {
        let mut fleet = Fleet::new(2);
        fleet.cores[0].disconnected(fleet.now);
        fleet.say(0, frame);
        fleet.run(waited * SECOND);
        fleet.cores[0].connected(fleet.now);
        fleet.run(SECOND);
        let figures = fleet.cores[1].figures();
        let counts = (figures.delivered, figures.too_old);
        let expected = if arrives { (1, 0) } else { (0, 1) };
        assert_eq!(counts, expected, "after {waited} s: {frame:?}");
    }
}

#[test]
fn a_machine_is_gone_after_3_s_of_silence_and_its_return_is_a_repair() {
    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|from, to, _| from == to);
    fleet.say(0, &frame(0, None, 1));
    fleet.run(2 * SECOND);
    assert_eq!(fleet.elsewhere(1), 1);
    fleet.run(1100 * MS);
    assert_eq!(fleet.elsewhere(1), 0);
    fleet.run(50 * SECOND);
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(2 * SECOND);
    assert_eq!((fleet.heard(1), fleet.elsewhere(1)), (vec![1], 1));
    assert_eq!(fleet.cores[1].figures().lost_in, 0);
}

#[test]
fn after_5_minutes_a_machine_is_forgotten_and_joins_as_a_new_one() {
    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|from, to, _| from == to);
    fleet.say(0, &frame(0, None, 1));
    fleet.run(310 * SECOND);
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(2 * SECOND);
    fleet.say(0, &frame(0, None, 2));
    assert_eq!(fleet.heard(1), [2]);
    assert_eq!(fleet.cores[1].figures().lost_in, 0);
}

#[test]
fn who_joins_has_no_history_and_no_gap() {
    let mut fleet = Fleet::new(2);
    fleet.cores[1].disconnected(fleet.now);
    fleet.cores[1] = Core::new(settings(2), fleet.now);
    for n in 1..=100 {
        fleet.say(0, &frame(0, None, n));
    }
    fleet.cores[1].members(fleet.now, vec![member(2)]);
    fleet.cores[1].connected(fleet.now);
    fleet.run(2 * SECOND);
    fleet.say(0, &frame(0, Some(2), 101));
    fleet.say(0, &frame(0, None, 102));
    assert_eq!(fleet.heard(1), [101, 102]);
    assert_eq!(fleet.cores[1].figures().lost_in, 0);
}

#[test]
fn who_leaves_says_so_when_all_have_heard_all_and_after_1_s_whatever_they_heard() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, &frame(0, None, 1));
    fleet.cores[0].goodbye(fleet.now);
    fleet.run(100 * MS);
    assert!(fleet.cores[0].is_gone());
    let left = Notice::Left {
        name: "m0".into(),
        how: Leaving::Goodbye,
    };
    assert!(fleet.notices(1).contains(&&left));
    // The members are told behind the frames of who left.
    let is = |what: fn(&Output) -> bool| fleet.outputs[1].iter().rposition(what).unwrap();
    let frame_at = is(|output| matches!(output, Output::Deliver(_)));
    assert!(frame_at < is(|output| matches!(output, Output::Elsewhere(_))));

    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|from, to, _| from == to || from == 0);
    fleet.say(0, &frame(0, None, 1));
    fleet.cores[0].goodbye(fleet.now);
    fleet.run(900 * MS);
    assert!(!fleet.cores[0].is_gone());
    fleet.run(200 * MS);
    assert!(fleet.cores[0].is_gone());
}

#[test]
fn what_nobody_repairs_is_given_up_after_10_s_and_counted() {
    let mut fleet = Fleet::new(2);
    fleet.passes =
        Box::new(|_, _, message| !matches!(message, Message::Batch(batch) if batch.n == 1));
    fleet.say(0, &frame(0, None, 1));
    fleet.say(0, &frame(0, None, 2));
    fleet.run(9 * SECOND);
    assert!(fleet.heard(1).is_empty());
    fleet.run(2 * SECOND);
    assert_eq!(fleet.heard(1), [2]);
    let gap = Notice::Gap {
        name: "m0".into(),
        frames: 1,
    };
    assert_eq!(fleet.notices(1).iter().filter(|n| ***n == gap).count(), 1);
}

#[test]
fn what_is_not_kept_any_more_is_counted_though_the_last_of_it_had_come() {
    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|from, to, message| {
        from == to || matches!(message, Message::Batch(batch) if batch.n == 4)
    });
    fleet.say(0, &frame(0, Some(1), 1));
    for n in 2..=4 {
        fleet.say(0, &frame(0, None, n));
    }
    fleet.run(50 * SECOND);
    fleet.say(0, &frame(0, None, 5));
    fleet.run(12 * SECOND);
    assert!(fleet.heard(1).is_empty());
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(2 * SECOND);
    assert_eq!(fleet.heard(1), [4, 5]);
    assert_eq!(fleet.cores[1].figures().lost_in, 3);
}

#[test]
fn what_is_held_back_is_bounded_and_the_rest_is_asked_for_again() {
    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|_, to, message| {
        !matches!(message, Message::Batch(batch) if batch.n == 1)
            && (to == 0 || !matches!(message, Message::NoMore { .. }))
    });
    fleet.say(0, &frame(0, None, 1));
    let mut data = vec![0; 1 << 20];
    for n in 2..40_u64 {
        data[..8].copy_from_slice(&n.to_le_bytes());
        let (event, data) = ("e".into(), data.clone().into());
        fleet.say(0, &of(0, None, Body::ServerSide { event, data }));
    }
    assert!(fleet.cores[1].figures().held_bytes <= 16 << 20);
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(5 * SECOND);
    assert_eq!(fleet.heard(1), (1..40).collect::<Vec<u64>>());
    assert_eq!(fleet.cores[1].figures().held_bytes, 0);
}

#[test]
fn frames_that_no_other_machine_may_send_reach_no_worker() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, &frame(1, None, 1));
    fleet.say(0, &of(0, None, Body::Link(true)));
    fleet.say(0, &of(0, None, Body::Members(vec![])));
    assert_eq!(fleet.cores[1].figures().garbled, 3);
    fleet.say(0, &frame(0, Some(7), 2));
    assert_eq!(fleet.cores[1].figures().undeliverable, 1);
    assert!(fleet.heard(1).is_empty());
}

#[test]
fn garbage_on_any_channel_is_counted_and_harms_nothing() {
    let mut fleet = Fleet::new(2);
    let mut chance = Chance::new(1);
    let mut seen = Vec::new();
    fleet.say(0, &frame(0, None, 1));
    for (from, epoch) in [(1000, 1), (1000, 2), (5, 1)] {
        let from = crate::wire::envelope::Address {
            incarnation: from,
            epoch,
        };
        let at = crate::wire::envelope::Position {
            n: u64::MAX,
            hub: u64::MAX,
            common: u64::MAX,
            directed: u64::MAX,
        };
        let to = crate::wire::envelope::Address {
            incarnation: 1001,
            epoch: 1,
        };
        let (have, upto) = (u64::MAX - 1, u64::MAX);
        for message in [
            Message::Ask { to, have, upto },
            Message::Ask {
                to,
                have: upto,
                upto: 0,
            },
            Message::Join { to, since: upto },
            Message::Heard { to, n: upto },
            Message::Start {
                to,
                at,
                earlier: None,
            },
        ] {
            seen.push(Envelope { from, message }.encode());
        }
    }
    for nth in 0..30_000_usize {
        let mut bytes = match nth % 3 {
            0 => (0..chance.below(300))
                .map(|_| chance.next().to_le_bytes()[0])
                .collect(),
            _ => seen[nth % seen.len()].to_vec(),
        };
        if nth % 3 == 1 && !bytes.is_empty() {
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            bytes[at] = chance.next().to_le_bytes()[0];
        }
        let on = [Inbound::All, Inbound::Own, Inbound::Hello][nth % 7 % 3];
        fleet.cores[1].received(fleet.now, on, &bytes.into());
        if nth % 100 == 0 {
            fleet.run(10 * MS);
        }
    }
    assert!(fleet.cores[1].figures().garbled > 10_000);
    fleet.run(5 * SECOND);
    assert_eq!(fleet.heard(1), [1]);
    assert_eq!(fleet.elsewhere(1), 1);
}

#[test]
fn two_machines_of_one_number_are_told_once_with_both_names() {
    let twin = CoreSettings {
        machine: 0,
        ..settings(1)
    };
    let mut fleet = Fleet::of([settings(0), twin, settings(2)]);
    fleet.run(20 * SECOND);
    for (of, times) in [(0, 1), (1, 1), (2, 1)] {
        let is_twin = |notice: &&&Notice| {
            matches!(notice, Notice::SameMachine { names, machine: 0 }
                if names.contains(&"m0".into()) && names.contains(&"m1".into()))
        };
        assert_eq!(fleet.notices(of).iter().filter(is_twin).count(), times);
    }
}

#[test]
fn a_machine_that_follows_a_dead_one_of_its_number_is_no_twin() {
    let mut fleet = Fleet::new(2);
    fleet.cores[1] = Core::new(
        CoreSettings {
            incarnation: 77,
            ..settings(1)
        },
        fleet.now,
    );
    fleet.cores[1].connected(fleet.now);
    fleet.run(10 * SECOND);
    let is_twin = |notice: &&&Notice| matches!(notice, Notice::SameMachine { .. });
    assert_eq!(fleet.notices(0).iter().find(is_twin), None);
}

#[test]
fn a_machine_that_is_heard_and_does_not_hear_is_told() {
    let mut fleet = Fleet::new(2);
    fleet.passes = Box::new(|from, to, _| !(from == 0 && to == 1));
    fleet.run(10 * SECOND);
    let one_sided = Notice::OneSided { name: "m1".into() };
    assert_eq!(
        fleet
            .notices(0)
            .iter()
            .filter(|n| ***n == one_sided)
            .count(),
        1
    );
}

#[test]
fn a_bridge_of_another_version_is_named_once() {
    let mut fleet = Fleet::new(1);
    let hello = Hello {
        name: "old".into(),
        machine: 1,
        incarnation: "1".into(),
        envelope: 1,
        frame: 1,
        version: "0.2.0".into(),
    };
    for _ in 0..2 {
        let now = fleet.now;
        fleet.cores[0].received(now, Inbound::Hello, &hello.encode());
    }
    fleet.settle();
    let strangers = fleet.notices(0);
    let is_stranger = |notice: &&&Notice| matches!(notice, Notice::Stranger { .. });
    assert_eq!(strangers.iter().filter(is_stranger).count(), 1);
}

#[test]
fn frames_that_the_hub_lost_are_counted_by_the_others() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, &frame(0, None, 1));
    fleet.next[0] += 5;
    fleet.say(0, &frame(0, None, 2));
    assert_eq!(fleet.heard(1), [1, 2]);
    assert_eq!(fleet.cores[1].figures().lost_in, 5);
}

#[test]
fn frames_that_the_hub_lost_are_counted_once_though_a_heartbeat_says_them_before_a_batch() {
    let brief = |nth| CoreSettings {
        catch_up: SECOND,
        ..settings(nth)
    };
    let mut fleet = Fleet::of([brief(0), brief(1)]);
    let late = Rc::new(RefCell::new(Vec::new()));
    let keeps = Rc::clone(&late);
    fleet.passes = Box::new(move |from, to, message| {
        if let (Message::Batch(_), 1) = (message, to) {
            keeps.borrow_mut().push(message.clone());
        }
        from == to
    });
    fleet.say(0, &frame(0, Some(1), 1));
    fleet.next[0] += 5;
    fleet.say(0, &frame(0, Some(1), 2));
    fleet.run(2 * SECOND);
    // The sender has forgotten both, so nothing but what the hub lost is told before they come.
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(2 * SECOND);
    assert_eq!(fleet.cores[1].figures().lost_in, 5);
    for message in late.take() {
        let from = crate::wire::envelope::Address {
            incarnation: 1000,
            epoch: 1,
        };
        let payload = Envelope { from, message }.encode();
        fleet.cores[1].received(fleet.now, Inbound::Own, &payload);
    }
    fleet.run(2 * SECOND);
    assert_eq!(fleet.heard(1), [1, 2]);
    assert_eq!(fleet.cores[1].figures().lost_in, 5);
}

#[test]
fn what_was_for_one_reader_alone_and_is_kept_no_more_is_counted_when_its_sender_leaves() {
    let brief = |nth| CoreSettings {
        catch_up: SECOND,
        ..settings(nth)
    };
    let mut fleet = Fleet::of([brief(0), brief(1)]);
    fleet.passes = Box::new(|from, to, _| from == to);
    fleet.say(0, &frame(0, Some(1), 1));
    fleet.run(2 * SECOND);
    fleet.passes = Box::new(|_, _, _| true);
    fleet.run(2 * SECOND);
    fleet.cores[0].goodbye(fleet.now);
    fleet.run(500 * MS);
    assert!(fleet.cores[0].is_gone());
    assert_eq!(fleet.cores[1].figures().lost_in, 1);
}

#[test]
fn a_bridge_that_dies_before_it_said_where_it_begins_leaves_no_gap_behind() {
    let mut fleet = Fleet::new(2);
    fleet.cores[1].disconnected(fleet.now);
    fleet.cores[1] = Core::new(settings(2), fleet.now);
    for n in 1..=100 {
        fleet.say(0, &frame(0, None, n));
    }
    fleet.passes = Box::new(|_, _, message| !matches!(message, Message::Start { .. }));
    fleet.cores[1].connected(fleet.now);
    fleet.run(2 * SECOND);
    fleet.say(0, &frame(0, None, 101));
    assert!(fleet.heard(1).is_empty());
    let next = CoreSettings {
        epoch: 2,
        passed: 103,
        ..settings(0)
    };
    fleet.cores[0] = Core::new(next, fleet.now);
    fleet.cores[0].connected(fleet.now);
    fleet.run(SECOND);
    assert_eq!(fleet.heard(1), [101]);
    assert_eq!(fleet.cores[1].figures().lost_in, 2);
}

#[test]
fn frames_that_were_lost_with_a_bridge_are_counted_by_the_others() {
    let mut fleet = Fleet::new(2);
    fleet.say(0, &frame(0, None, 1));
    let next = CoreSettings {
        epoch: 2,
        passed: 8,
        ..settings(0)
    };
    fleet.cores[0] = Core::new(next, fleet.now);
    fleet.cores[0].members(fleet.now, vec![member(0)]);
    fleet.cores[0].connected(fleet.now);
    fleet.next[0] = 8;
    fleet.say(0, &frame(0, None, 9));
    fleet.run(SECOND);
    assert_eq!(fleet.heard(1), [1, 9]);
    assert_eq!(fleet.cores[1].figures().lost_in, 7);
}
