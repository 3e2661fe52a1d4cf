//! Who is there: machines come, fall silent, leave, and are told apart.

use crate::bridge::core::tests::fleet::Fleet;
use crate::bridge::core::tests::{MS, SECOND, frame, member, settings};
use crate::bridge::core::{Core, CoreSettings, Leaving, Notice, Output};

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
fn two_machines_of_one_number_and_one_name_are_told_apart() {
    let twin = |incarnation| CoreSettings {
        incarnation,
        name: "vm".into(),
        ..settings(7)
    };
    let mut fleet = Fleet::of([twin(0x12ab << 48), twin(0x34cd << 48)]);
    fleet.run(5 * SECOND);
    let told = fleet.notices(0).into_iter().map(ToString::to_string);
    let told: Vec<_> = told.filter(|line| line.contains("both")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("machines vm (12ab) and vm (34cd) both"),
        "{told:?}"
    );
}

#[test]
fn one_worker_is_no_workers() {
    let came = |workers| Notice::Came {
        name: "vm".into(),
        machine: 7,
        workers,
    };
    assert!(came(1).to_string().ends_with("with 1 worker"));
    assert!(came(2).to_string().ends_with("with 2 workers"));
}
