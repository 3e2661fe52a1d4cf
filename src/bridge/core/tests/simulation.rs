//! Bridges in a world of faults, by seeds: `SEEDS=5000 cargo test --lib simulation`, `SEED=7` for one alone.

use std::ops::Range;
use std::time::Duration;

use super::SECOND;
use super::world::{Faults, World};

fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(12),
    }
}

/// A world whose machines all know each other.
fn joined(seed: u64, ring: usize) -> World {
    let machines = 2 + usize::try_from(seed % 3).unwrap();
    let mut world = World::new(seed, machines, ring);
    world.run(3 * SECOND);
    for machine in &world.machines {
        assert_eq!(machine.elsewhere, machines - 1, "seed {seed}");
    }
    world
}

/// Everybody talks for so many steps, while faults of this kind happen.
fn talk(world: &mut World, steps: u64, directed: bool, fault: impl Fn(&mut World, usize)) {
    let machines = world.machines.len();
    for _ in 0..steps {
        let from = usize::try_from(world.chance.below(machines as u64)).unwrap();
        for _ in 0..world.chance.below(6) {
            let other = usize::try_from(1 + world.chance.below(machines as u64 - 1)).unwrap();
            let to = (from + other) % machines;
            let to = (directed && world.chance.happens(300)).then_some(to);
            world.say(from, to);
        }
        if world.chance.happens(15) {
            fault(world, from);
        }
        let pause = Duration::from_micros(world.chance.below(20_000));
        world.run(pause);
    }
}

/// Cuts, absences, a server that restarts or hangs.
fn trouble(world: &mut World, of: usize) {
    match world.chance.below(5) {
        0 | 1 => world.cut(of),
        2 => {
            let away = Duration::from_millis(world.chance.below(6000));
            world.machines[of].away_until = world.now + away;
            world.cut(of);
        }
        3 => world.restart(),
        _ => {
            let hangs = Duration::from_millis(world.chance.below(4000));
            world.hangs_until = world.now + hangs;
        }
    }
}

/// No faults any more, for long enough.
fn calm(world: &mut World) {
    world.faults = Faults::default();
    world.run(20 * SECOND);
}

fn bad(world: &mut World) {
    world.faults = Faults {
        lost: world.chance.below(60),
        doubled: world.chance.below(60),
        late: world.chance.below(30),
    };
}

fn all_heard_once_in_order(world: &World, seed: u64) {
    for (reader, machine) in world.machines.iter().enumerate() {
        for (sender, other) in world.machines.iter().enumerate() {
            let sent = other.sent.get(&reader).cloned().unwrap_or_default();
            let heard = machine.heard.get(&sender).cloned().unwrap_or_default();
            let missing = sent.iter().find(|n| !heard.contains(n));
            assert!(
                heard == sent,
                "seed {seed}: {reader} heard {} of {} from {sender}; missing first: {missing:?}",
                heard.len(),
                sent.len()
            );
        }
        assert_eq!(world.lost(reader), 0, "seed {seed}: counted by {reader}");
    }
}

/// What was heard is in order and nothing twice; answers how many are missing, for each reader.
fn missing(world: &World, seed: u64) -> Vec<u64> {
    let mut all = Vec::new();
    for (reader, machine) in world.machines.iter().enumerate() {
        let mut missing = 0;
        for (sender, other) in world.machines.iter().enumerate() {
            let Some(sent) = other.sent.get(&reader) else {
                continue;
            };
            let heard = machine.heard.get(&sender).cloned().unwrap_or_default();
            let mut rest = sent.iter();
            for n in &heard {
                assert!(
                    rest.any(|sent| sent == n),
                    "seed {seed}: {reader} heard {n} of {sender} out of order, twice or by mistake"
                );
            }
            missing += (sent.len() - heard.len()) as u64;
        }
        all.push(missing);
    }
    all
}

/// All is over: each reader's bridges have counted what is missing, to the frame. Answers how much that is.
fn counted_to_the_frame(world: &mut World, seed: u64) -> u64 {
    calm(world);
    let missing = missing(world, seed);
    for (reader, missing) in missing.iter().enumerate() {
        let counted = world.lost(reader);
        assert_eq!(counted, *missing, "seed {seed}: counted by {reader}");
    }
    missing.iter().sum()
}

/// Of many seeds, some have lost something.
#[track_caller]
fn was_tried(lost: u64) {
    let is_one = seeds().count() == 1;
    assert!(lost > 0 || is_one, "nothing was lost: nothing was tried");
}

#[test]
fn outages_shorter_than_the_ring_lose_nothing_and_repeat_nothing() {
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        bad(&mut world);
        talk(&mut world, 400, true, trouble);
        calm(&mut world);
        all_heard_once_in_order(&world, seed);
    }
}

#[test]
fn what_the_ring_cannot_keep_is_counted_to_the_frame() {
    let mut lost = 0;
    for seed in seeds() {
        let mut world = joined(seed, 6 << 10);
        bad(&mut world);
        talk(&mut world, 400, true, |world, of| {
            if world.chance.happens(300) {
                world.hub_loses(of);
            }
            trouble(world, of);
        });
        // What the hub lost shows when something comes behind it.
        for of in 0..world.machines.len() {
            world.say(of, None);
        }
        lost += counted_to_the_frame(&mut world, seed);
    }
    was_tried(lost);
}

#[test]
fn a_bridge_that_is_restarted_by_plan_costs_nothing() {
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        talk(&mut world, 400, true, |world, of| {
            world.end(of);
        });
        calm(&mut world);
        all_heard_once_in_order(&world, seed);
    }
}

#[test]
fn what_a_bridge_that_crashes_had_not_published_is_counted_and_what_it_had_not_heard_is_repaired() {
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        talk(&mut world, 400, false, |world, of| {
            world.crash(of);
            world.run(2 * SECOND);
        });
        counted_to_the_frame(&mut world, seed);
    }
}

#[test]
fn when_bridges_crash_before_they_know_each_other_again_what_is_missing_is_counted_to_the_frame() {
    let mut lost = 0;
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        bad(&mut world);
        talk(&mut world, 400, false, |world, of| {
            world.crash(of);
            let pause = world.chance.below(600);
            world.run(Duration::from_millis(pause));
            if world.chance.happens(700) {
                world.crash((of + 1) % world.machines.len());
            }
        });
        lost += counted_to_the_frame(&mut world, seed);
    }
    was_tried(lost);
}

/// A hub takes nothing for a while, and another machine speaks.
fn hold_up_and_speak(world: &mut World, of: usize) {
    world.hold_up(of, Duration::from_millis(900));
    let other = (of + 1) % world.machines.len();
    for _ in 0..world.chance.below(80) {
        world.say(other, None);
        world.run(Duration::from_millis(10));
    }
}

#[test]
fn what_stood_between_a_bridge_and_a_hub_that_is_held_up_is_asked_for_again_when_the_bridge_crashes()
 {
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        talk(&mut world, 400, false, |world, of| {
            hold_up_and_speak(world, of);
            world.crash(of);
            // What it asks for is to be had until then.
            world.run(2 * SECOND);
        });
        counted_to_the_frame(&mut world, seed);
    }
}

#[test]
fn what_stood_before_a_hub_that_is_held_up_is_counted_when_all_bridges_crash() {
    let mut lost = 0;
    for seed in seeds() {
        let mut world = joined(seed, 64 << 20);
        bad(&mut world);
        talk(&mut world, 400, false, |world, of| {
            hold_up_and_speak(world, of);
            for nth in 0..world.machines.len() {
                world.crash(nth);
            }
        });
        calm(&mut world);
        for (reader, missing) in missing(&world, seed).into_iter().enumerate() {
            let counted = world.lost(reader);
            // What the hub had taken, but for the word behind it, may be counted too: nobody knows any more.
            let most = missing + world.machines[reader].unsaid_before;
            assert!(
                (missing..=most).contains(&counted),
                "seed {seed}: {counted} counted by {reader}; {missing} are missing, {most} at most"
            );
            lost += missing;
        }
    }
    was_tried(lost);
}
