//! Strangers and garbage: they are named or counted, and harm nothing.

use crate::bridge::core::tests::chance::Chance;
use crate::bridge::core::tests::fleet::Fleet;
use crate::bridge::core::tests::{MS, SECOND, frame, of};
use crate::bridge::core::{Inbound, Notice};
use crate::wire::envelope::{Address, Envelope, Heartbeat, Hello, Message, Phase};
use crate::wire::frame::Body;

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

/// A heartbeat in the first machine's name that is not its own.
fn forged(epoch: u32, phase: Phase, most: u64) -> bytes::Bytes {
    let message = Message::Heartbeat(Heartbeat {
        phase,
        beat: 1,
        passed: 0,
        tail: 0,
        hub: most,
        common: most,
        machine: 0,
        name: "m0".into(),
        members: vec![],
        heard: vec![],
        marks: vec![],
    });
    let incarnation = 1000;
    let from = Address { incarnation, epoch };
    Envelope { from, message }.encode()
}

#[track_caller]
fn is_still_there_after(what: &bytes::Bytes) {
    let mut fleet = Fleet::new(2);
    fleet.say(0, &frame(0, None, 1));
    fleet.cores[1].received(fleet.now, Inbound::All, what);
    fleet.say(0, &frame(0, None, 2));
    fleet.run(2 * SECOND);
    assert_eq!((fleet.heard(1), fleet.elsewhere(1)), (vec![1], 0));
    fleet.say(0, &frame(0, None, 3));
    fleet.run(3 * SECOND);
    fleet.say(0, &frame(0, None, 4));
    assert_eq!((fleet.heard(1), fleet.elsewhere(1)), (vec![1, 2, 3, 4], 1));
    let told = fleet.notices(1);
    let name = "m0".into();
    assert!(told.contains(&&Notice::StillThere { name }), "{told:?}");
    assert_eq!(fleet.cores[1].figures().lost_in, 0);
}

#[test]
fn a_machine_whose_successor_says_nothing_while_it_goes_on_is_still_there() {
    is_still_there_after(&forged(u32::MAX, Phase::Stays, 0));
}

#[test]
fn a_machine_that_goes_on_after_its_goodbye_is_still_there() {
    is_still_there_after(&forged(1, Phase::Left, 1));
}

#[test]
fn what_a_stranger_says_is_lost_leaves_the_counter_of_use() {
    let mut fleet = Fleet::new(2);
    let beat = forged(1, Phase::Stays, u64::MAX);
    fleet.cores[1].received(fleet.now, Inbound::All, &beat);
    assert_eq!(fleet.cores[1].figures().lost_in, 1 << 28);
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
