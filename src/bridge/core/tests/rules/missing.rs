//! What is missing for good is counted, to the frame.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bridge::core::tests::fleet::Fleet;
use crate::bridge::core::tests::{MS, SECOND, frame, member, said, settings};
use crate::bridge::core::{Core, CoreSettings, Inbound, Notice, Output};
use crate::wire::envelope::{Envelope, Message};

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

#[test]
fn the_hub_is_told_how_far_a_machine_is_heard_behind_what_it_is_given_and_once_a_minute() {
    let mut fleet = Fleet::new(2);
    fleet.outputs[1].clear();
    fleet.say(0, &frame(0, None, 1));
    fleet.say(0, &frame(0, None, 2));
    fleet.run(50 * SECOND);
    let hubs = |outputs: &[Output]| {
        let told = outputs.iter().filter_map(|output| match output {
            Output::Deliver(frame) => Some((said(frame).1, 0)),
            Output::Heard(of, at) => Some((of.incarnation, at.hub)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let told = [(1, 0), (1000, 1), (2, 0), (1000, 2)];
    assert_eq!(hubs(&fleet.outputs[1]), told);
    fleet.run(15 * SECOND);
    assert_eq!(hubs(&fleet.outputs[1])[4..], [(1000, 2)]);
}
