//! One bridge after the other: what the next one gets, and what it does not.

use super::super::super::far::KEPT;
use super::*;
use crate::wire::envelope::{Address, Position};
use crate::wire::frame::Welcome;
use socketioxide_core::Str;

async fn passed(hub: &Hub, count: u64) {
    while hub.bridge().passed < count {
        tokio::task::yield_now().await;
    }
}

/// A time in which nothing happens.
async fn long_after() {
    tokio::time::pause();
    tokio::time::advance(KEPT + Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_was_said_long_before_a_bridge_came_is_for_nobody_and_not_kept() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        a.emit(None, 1, 10).await;
        passed(&hub, 1).await;
        long_after().await;
        let mut bridge = FarPeer::connect(&hub, 1).await;
        assert_eq!(bridge.next().await, welcome(1, 1));
        assert_eq!(bridge.members().await, 1);
        assert_eq!(hub.bridge().lost, 1);
        a.emit(None, 2, 10).await;
        assert_eq!(bridge.event().await, (2, 2));
        drop(bridge);
        assert_eq!(a.members().await, [0]);
        a.emit(None, 3, 10).await;
        passed(&hub, 3).await;
        long_after().await;
        a.emit(None, 4, 10).await;
        passed(&hub, 4).await;
        assert_eq!((hub.bridge().lost, hub.bridge().waiting), (3, 0));
    })
    .await;
}

#[tokio::test]
async fn that_a_bridge_had_left_long_ago_costs_the_one_that_replaces_its_successor_nothing() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        drop(FarPeer::join(&hub, 1, 1).await);
        assert_eq!(a.members().await, [0]);
        let _second = FarPeer::join(&hub, 2, 1).await;
        long_after().await;
        // More than its socket takes.
        for n in 1..3 {
            a.emit(None, n, 4 << 20).await;
        }
        passed(&hub, 2).await;
        let mut third = FarPeer::connect(&hub, 3).await;
        assert_eq!(third.next().await, welcome(3, 0));
        assert_eq!(third.members().await, 1);
        for n in 1..3 {
            assert_eq!(third.event().await, (n, usize::try_from(n).unwrap()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_bridge_that_was_replaced_gets_nothing_of_what_its_successor_is_written() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 0, 1).await;
        for n in 1..9 {
            a.emit(None, n, 8 << 20).await;
            passed(&hub, n as u64).await;
            let mut older = bridge;
            // It has hung, and takes what comes again in this moment.
            spawn_local(async move { while older.reader.next().await.is_ok() {} });
            bridge = FarPeer::connect(&hub, n).await;
            let epoch = u32::try_from(n).unwrap() + 1;
            assert_eq!(bridge.next().await, welcome(epoch, n as u64 - 1));
            assert_eq!(bridge.members().await, 1);
            assert_eq!(bridge.event().await, (n as u64, n));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_left_from_before_a_loss_is_lost_too_and_the_numbers_are_right() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        // It takes a part of the first frame, which stays when the others are too much.
        let _older = FarPeer::join(&hub, 1, 1).await;
        let count = 12;
        for n in 1..=count {
            a.emit(None, n, 8 << 20).await;
        }
        passed(&hub, count as u64).await;
        let mut newer = FarPeer::connect(&hub, 2).await;
        let (0, Body::Welcome(said)) = newer.next().await else {
            panic!("no welcome");
        };
        assert!(said.passed > 0, "nothing was lost");
        assert_eq!(newer.members().await, 1);
        for number in said.passed + 1..=count as u64 {
            let n = usize::try_from(number).unwrap();
            assert_eq!(newer.event().await, (number, n));
        }
        assert_eq!(hub.bridge().lost, said.passed);
    })
    .await;
}

#[tokio::test]
async fn whom_the_bridge_before_it_had_told_is_no_member_until_this_one_says_so() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut first = FarPeer::join(&hub, 1, 1).await;
        first.say(Body::Elsewhere(vec![member(1)])).await;
        first.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0, 1]);
        drop(first);
        assert_eq!(a.members().await, [0]);
        // That machine is gone by now: there is nobody to be told.
        let mut second = FarPeer::join(&hub, 2, 1).await;
        second.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0]);
        // Or it is only not heard yet.
        a.emit(Some(member(1).id), 1, 10).await;
        assert_eq!(second.event().await, (1, 1));
        second.say(Body::Elsewhere(vec![member(1)])).await;
        assert_eq!(a.members().await, [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn what_a_replaced_bridge_could_not_give_to_a_slow_worker_may_be_brought_again() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 1, 1).await;
        for n in 0..5 {
            bridge.send(member(1).id, None, event(n, 7 << 20)).await;
        }
        let frame = Frame {
            to: None,
            from: member(1).id,
            body: event(6, 10),
        };
        let frame = number(frame.encode().unwrap(), 1);
        bridge.writer.write_all(&frame).await.unwrap();
        let is_held_up = || {
            let bridge = hub.far.bridge.borrow();
            bridge.as_ref().is_some_and(|it| it.is_held_up.get())
        };
        while !is_held_up() {
            tokio::task::yield_now().await;
        }
        let mut newer = FarPeer::connect(&hub, 2).await;
        assert!(matches!(newer.next().await.1, Body::Welcome(_)));
        newer.writer.write_all(&frame).await.unwrap();
        newer.writer.write_all(&frame).await.unwrap();
        newer.send(member(1).id, None, event(7, 10)).await;
        let mut got = Vec::new();
        while got.last() != Some(&7) {
            if let Body::ServerSide { event, .. } = a.next().await {
                got.push(event.parse::<usize>().unwrap());
            }
        }
        assert_eq!(got.iter().filter(|n| **n == 6).count(), 1, "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_for_a_member_that_a_bridge_does_not_hear_now_is_not_dropped() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut first = FarPeer::join(&hub, 1, 1).await;
        let far = [member(1), member(2)];
        first.say(Body::Elsewhere(far.to_vec())).await;
        first.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0, 1, 2]);
        drop(first);
        assert_eq!(a.members().await, [0]);
        let mut second = FarPeer::join(&hub, 2, 1).await;
        second.say(Body::Elsewhere(vec![member(2)])).await;
        second.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0, 2]);
        for n in [1, 2] {
            a.emit(Some(far[n - 1].id), n, 10).await;
            assert_eq!(second.event().await, (n as u64, n));
        }
        // As a bridge says it when its link is lost: nobody is there, for now.
        second.say(Body::Elsewhere(vec![])).await;
        assert_eq!(a.members().await, [0]);
        second.say(Body::Link(false)).await;
        assert_eq!(a.members().await, [0]);
        a.emit(Some(far[0].id), 3, 10).await;
        assert_eq!(second.event().await, (3, 3));
    })
    .await;
}

fn welcome(epoch: u32, passed: u64) -> (u64, Body) {
    let welcome = Welcome {
        incarnation: 0,
        epoch,
        machine: 0,
        name: Str::default(),
        passed,
        heard: Vec::new(),
    };
    (0, Body::Welcome(welcome))
}

#[tokio::test]
async fn a_newer_bridge_takes_the_place_of_the_older_and_knows_what_was_passed() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut older = FarPeer::connect(&hub, 1).await;
        assert_eq!(older.next().await, welcome(1, 0));
        older.say(Body::Elsewhere(vec![member(1)])).await;
        older.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0, 1]);
        a.emit(None, 1, 10).await;
        assert_eq!(older.members().await, 1);
        assert_eq!(older.event().await, (1, 1));
        let mut newer = FarPeer::connect(&hub, 2).await;
        assert_eq!(newer.next().await, welcome(2, 1));
        assert_eq!(a.members().await, [0]);
        assert!(matches!(older.served.await.unwrap(), Left::GivenUp(_)));
        assert_eq!(newer.members().await, 1);
        a.emit(None, 2, 10).await;
        assert_eq!(newer.event().await, (2, 2));
    })
    .await;
}

#[tokio::test]
async fn what_there_is_while_no_bridge_is_there_is_for_the_next_one() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        a.emit(None, 1, 10).await;
        passed(&hub, 1).await;
        let mut first = FarPeer::connect(&hub, 1).await;
        assert_eq!(first.next().await, welcome(1, 0));
        assert_eq!(first.members().await, 1);
        assert_eq!(first.event().await, (1, 1));
        first.say(Body::Elsewhere(vec![member(1)])).await;
        first.say(Body::Link(true)).await;
        assert_eq!(a.members().await, [0, 1]);
        // More than its socket takes, so that it has the second of these in part.
        a.emit(Some(member(1).id), 2, 10).await;
        a.emit(None, 3, 4 << 20).await;
        passed(&hub, 3).await;
        assert_eq!(first.event().await, (2, 2));
        drop(first);
        assert_eq!(a.members().await, [0]);
        // Nobody is to hear it now; but it is known whose member it is.
        a.emit(Some(member(1).id), 4, 10).await;
        a.emit(None, 5, 10).await;
        passed(&hub, 5).await;
        let mut second = FarPeer::connect(&hub, 2).await;
        assert_eq!(second.next().await, welcome(2, 2));
        assert_eq!(second.members().await, 1);
        for n in 3..=5 {
            assert_eq!(second.event().await, (n, usize::try_from(n).unwrap()));
        }
        assert_eq!(hub.bridge().lost, 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_bridge_brings_a_second_time_is_told_by_its_number() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        for n in 1..3 {
            let mut bridge = FarPeer::join(&hub, n, 1).await;
            for counter in 1..4 + n {
                let frame = Frame {
                    to: None,
                    from: member(1).id,
                    body: event(counter, 10),
                };
                let frame = number(frame.encode().unwrap(), counter as u64);
                bridge.writer.write_all(&frame).await.unwrap();
            }
            // One without a number, as an emitter's is.
            bridge.send(bridge.id, None, event(9, 10)).await;
            if n == 1 {
                for expected in [1, 2, 3, 4] {
                    assert_eq!(a.event().await, expected);
                }
            } else {
                assert_eq!(a.event().await, 5);
            }
            assert_eq!(a.event().await, 9);
            drop(bridge);
            assert_eq!(a.members().await, [0]);
        }
    })
    .await;
}

fn heard(incarnation: u64, n: u64) -> (Address, Position) {
    let (epoch, at) = (
        1,
        Position {
            n,
            ..Position::default()
        },
    );
    (Address { incarnation, epoch }, at)
}

#[tokio::test]
async fn a_new_bridge_is_told_how_far_workers_are_and_not_what_was_still_on_its_way_to_them() {
    on_a_far_hub(async |hub| {
        let mut a = Peer::join(&hub, 0).await;
        let mut bridge = FarPeer::join(&hub, 1, 1).await;
        bridge.send(member(1).id, None, event(1, 10)).await;
        let report = |lost: u64| {
            let values = vec![lost];
            let report = Report {
                values,
                ..Report::default()
            };
            Bytes::from(serde_json::to_vec(&report).unwrap())
        };
        let at = vec![heard(7, 1), heard(8, 5)];
        bridge
            .say(Body::Heard {
                at,
                report: report(3),
            })
            .await;
        a.event().await;
        // The worker takes nothing: what comes then stands before the hub's end.
        spawn_local(async move {
            for n in 0..CAP / (8 << 20) {
                bridge.send(member(1).id, None, event(n, 8 << 20)).await;
            }
            let at = vec![heard(7, 2)];
            bridge
                .say(Body::Heard {
                    at,
                    report: report(4),
                })
                .await;
        });
        let is_held_up = async {
            while !hub.seats.borrow()[0].is_slow() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, is_held_up).await.unwrap();
        let mut next = FarPeer::connect(&hub, 2).await;
        let Body::Welcome(mut welcome) = next.next().await.1 else {
            panic!("no Welcome");
        };
        welcome.heard.sort_unstable_by_key(|(of, _)| *of);
        assert_eq!(welcome.heard, [heard(7, 1), heard(8, 5)]);
        assert_eq!(hub.bridges_gone(), [(1, vec![3])]);
        assert_eq!(hub.bridges_gone(), []);
    })
    .await;
}
