//! The link: when it is up, and what costs it.

use crate::bridge::core::tests::fleet::Fleet;
use crate::bridge::core::tests::{MS, SECOND, frame, numbered};
use crate::bridge::core::{Output, Why};

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
