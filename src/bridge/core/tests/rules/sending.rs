//! What is sent, in which batches, once more if need be, and its bounds.

use socketioxide_core::Value;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions};

use crate::bridge::core::tests::fleet::Fleet;
use crate::bridge::core::tests::{SECOND, frame, numbered, of, settings};
use crate::bridge::core::{CoreSettings, Output, RING_BYTES};
use crate::wire::envelope::{Envelope, Message};
use crate::wire::frame::{Body, Command, Question};

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
fn a_frame_of_200_bytes_passes_through_two_bridges() {
    const FRAMES: u32 = 2_000;
    for at_once in [1, 30] {
        let drops_repeats = |nth| CoreSettings {
            hub_drops_repeats: true,
            ..settings(nth)
        };
        let mut fleet = Fleet::of([drops_repeats(0), drops_repeats(1)]);
        fleet.run(2 * SECOND);
        let text = "x".repeat(100);
        let mut opts = BroadcastOptions::default();
        opts.rooms.push("room".into());
        let command = Command::Emit(Value::Str(format!("[\"message\",\"{text}\"]").into(), None));
        let ns = "/chat".into();
        let frame = of(0, None, Body::Command { ns, opts, command });
        let frames: Vec<_> = (1..=FRAMES).map(|n| numbered(&frame, n.into())).collect();
        for some in frames.chunks(at_once) {
            for frame in some {
                fleet.cores[0].local(fleet.now, frame);
            }
            fleet.settle();
        }
        let delivered = fleet.outputs.iter().flatten();
        let delivered = delivered.filter(|output| matches!(output, Output::Deliver(_)));
        assert_eq!(delivered.count(), FRAMES as usize);
    }
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
