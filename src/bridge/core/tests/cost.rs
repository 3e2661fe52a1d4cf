//! What a frame costs: `cargo test --profile checked --lib cost -- --nocapture` prints it.

use std::time::{Duration, Instant};

use super::super::{Core, CoreSettings, Inbound, Output, RING_BYTES};
use super::{member, numbered, of};
use crate::wire::frame::{Body, Command};

fn core(nth: usize, now: Instant) -> Core {
    let settings = CoreSettings {
        prefix: "p".into(),
        name: format!("m{nth}").into(),
        machine: u16::try_from(nth).unwrap(),
        incarnation: 1000 + nth as u64,
        epoch: 1,
        passed: 0,
        catch_up: Duration::from_mins(1),
        ring_bytes: RING_BYTES,
        hub_drops_repeats: true,
    };
    let mut core = Core::new(settings, now);
    core.members(now, vec![member(nth)]);
    core.connected(now);
    core
}

/// Passes on what both want published; answers how many frames were delivered.
fn exchange(cores: &mut [Core; 2], now: Instant) -> usize {
    let mut delivered = 0;
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for from in 0..2 {
            while let Some(output) = cores[from].poll(now) {
                moved = true;
                match output {
                    Output::Publish {
                        id,
                        channel,
                        payload,
                    } => {
                        for core in cores.iter_mut() {
                            if channel == "p/1/all" {
                                core.received(now, Inbound::All, &payload);
                            } else if core.channels()[1].0 == channel {
                                core.received(now, Inbound::Own, &payload);
                            }
                        }
                        cores[from].published(now, id, Ok(()));
                    }
                    Output::Deliver(_) => delivered += 1,
                    _ => {}
                }
            }
        }
    }
    delivered
}

#[test]
fn a_frame_of_200_bytes_passes_through_two_bridges() {
    const FRAMES: u32 = 20_000;
    for at_once in [1, 30] {
        let mut now = Instant::now();
        let mut cores = [core(0, now), core(1, now)];
        for _ in 0..300 {
            now += Duration::from_millis(10);
            for core in &mut cores {
                core.tick(now);
            }
            exchange(&mut cores, now);
        }
        let text = "x".repeat(100);
        let mut opts = socketioxide_core::adapter::BroadcastOptions::default();
        opts.rooms.push("room".into());
        let value = socketioxide_core::Value::Str(format!("[\"message\",\"{text}\"]").into(), None);
        let command = Command::Emit(value);
        let ns = "/chat".into();
        let frame = of(0, None, Body::Command { ns, opts, command });
        let frames: Vec<_> = (1..=FRAMES).map(|n| numbered(&frame, n.into())).collect();
        let begin = Instant::now();
        let mut delivered = 0;
        for some in frames.chunks(at_once) {
            for frame in some {
                cores[0].local(now, frame);
            }
            delivered += exchange(&mut cores, now);
        }
        let took = begin.elapsed();
        assert_eq!(delivered, FRAMES as usize);
        println!(
            "{} bytes, {at_once} at once: {:.2} µs a frame, both ends",
            frame.len(),
            took.as_secs_f64() * 1e6 / f64::from(FRAMES)
        );
    }
}
