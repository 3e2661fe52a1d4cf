use tokio::time::advance;

use super::*;
use crate::metrics::Kind;
use crate::wire::control::TransportName;

fn values(change: &[(usize, u64)]) -> Vec<u64> {
    let mut values = vec![0; LEN];
    for &(at, value) in change {
        values[at] = value;
    }
    values
}

fn home(slot: u16) -> Home {
    Home {
        generation: 0,
        slot,
    }
}

fn opened(transport: TransportName) -> usize {
    metrics::SESSIONS_OPENED.0 + transport.index()
}

fn sessions(transport: TransportName) -> usize {
    metrics::SESSIONS.0 + transport.index()
}

fn line(text: &str, begins: &str) -> String {
    let found = text.lines().find(|line| line.starts_with(begins));
    found
        .unwrap_or_else(|| panic!("{begins} in {text}"))
        .to_owned()
}

#[test]
fn a_counter_never_falls_when_a_worker_ends_and_its_gauges_go() {
    let totals = Totals::new(2);
    totals.started(home(0), 100);
    totals.started(home(1), 101);
    let websocket = TransportName::WebSocket;
    let told = values(&[
        (opened(websocket), 10),
        (sessions(websocket), 4),
        (metrics::SESSIONS_ENDED.0, 6),
        (metrics::EVENTS.0, 1000),
        (metrics::MEMORY.0, 4096),
    ]);
    totals.set(0, 100, told.clone());
    totals.set(1, 101, told);
    let places: Vec<_> = places()
        .filter(|(_, kind, _)| *kind != Kind::Gauge)
        .collect();
    let before = totals.values();
    totals.waits_in_hub(0, 100, 77);
    totals.gone(0, 100);
    let after = totals.values();
    for &(_, kind, at) in &places {
        assert!(after[at] >= before[at], "{kind:?} {at}");
    }
    let text = totals.render();
    assert_eq!(
        line(&text, "my_app_events_total{worker=\"0\"}"),
        "my_app_events_total{worker=\"0\"} 1000"
    );
    assert!(line(&text, "my_app_worker_memory_bytes{worker=\"0\"}").ends_with(" 0"));
    assert!(line(&text, "my_app_hub_queue_bytes{worker=\"0\"}").ends_with(" 0"));
    // Nobody knows what its sessions ended of but the master.
    let gone = "my_app_sessions_ended_total{worker=\"0\",reason=\"worker-gone\"}";
    assert!(line(&text, gone).ends_with(" 4"));

    // Its successor begins at nothing, and the slot goes on.
    totals.started(home(0), 102);
    totals.set(0, 102, values(&[(metrics::EVENTS.0, 5)]));
    assert_eq!(totals.worker(0, None).restarts, 1);
    assert_eq!(totals.worker(1, None).restarts, 0);
    let text = totals.render();
    assert!(line(&text, "my_app_events_total{worker=\"0\"}").ends_with(" 1005"));
    assert!(line(&text, "my_app_worker_restarts_total{worker=\"0\"}").ends_with(" 1"));
    assert!(line(&totals.render(), gone).ends_with(" 4"));
    assert_eq!(totals.server().sessions.websocket, 4);
}

#[test]
fn what_an_older_worker_says_late_is_not_taken() {
    let totals = Totals::new(1);
    totals.started(home(0), 100);
    totals.gone(0, 100);
    totals.set(0, 100, values(&[(metrics::EVENTS.0, 7)]));
    totals.started(home(0), 101);
    totals.set(0, 100, values(&[(metrics::EVENTS.0, 7)]));
    // Nor that of a program with another table.
    totals.set(0, 101, vec![1; LEN + 1]);
    totals.gone(0, 100);
    let text = totals.render();
    assert!(line(&text, "my_app_events_total{worker=\"0\"}").ends_with(" 0"));
}

#[tokio::test(start_paused = true)]
async fn rates_are_of_the_last_seconds_and_outlive_a_worker() {
    let totals = Totals::new(1);
    totals.started(home(0), 100);
    let received = |n| values(&[(metrics::MESSAGES.0, n)]);
    let mut count = 0;
    for _ in 0..80 {
        advance(Duration::from_millis(250)).await;
        count += 25;
        totals.set(0, 100, received(count));
    }
    let rate = || {
        let pid = totals.slots.borrow()[&0].workers.keys().next().copied();
        totals.worker(0, pid).traffic.messages_in_per_second
    };
    assert!((rate() - 100.0).abs() < 1e-6, "{}", rate());
    assert!(totals.slots.borrow()[&0].history.0.len() < 25);
    totals.gone(0, 100);
    totals.started(home(0), 101);
    advance(Duration::from_secs(1)).await;
    totals.set(0, 101, received(100));
    assert!((rate() - 100.0).abs() < 6.0, "{}", rate());
    assert!((totals.server().rates.traffic.messages_in_per_second - rate()).abs() < 1e-6);
    // A worker that says nothing has nothing new.
    advance(Duration::from_secs(6)).await;
    assert!(rate().abs() < 1e-6, "{}", rate());
}

#[test]
fn what_bridges_counted_is_kept_and_their_gauges_go_with_them() {
    let totals = Totals::new(1);
    let (up, frames) = (metrics::BRIDGE_UP.0, metrics::BRIDGE_FRAMES.0);
    let has = |expected: (u64, u64)| {
        let values = totals.bridge();
        assert_eq!((values[up], values[frames]), expected);
    };
    totals.set_bridge(Some((1, &values(&[(up, 1), (frames, 5)]))));
    totals.set_bridge(Some((1, &values(&[(up, 1), (frames, 7)]))));
    has((1, 7));
    totals.set_bridge(None);
    has((0, 7));
    totals.set_bridge(Some((2, &values(&[(frames, 1)]))));
    has((0, 8));
    // One of another version has another table.
    totals.set_bridge(Some((2, &[1, 2, 3])));
    has((0, 8));
}

#[test]
fn a_slot_is_the_sum_of_its_workers_and_a_new_generation_is_no_restart() {
    let totals = Totals::new(1);
    totals.started(home(0), 100);
    totals.set(
        0,
        100,
        values(&[(metrics::EVENTS.0, 5), (metrics::MEMORY.0, 10)]),
    );
    let next = Home {
        generation: 1,
        slot: 0,
    };
    totals.started(next, 200);
    totals.set(
        0,
        200,
        values(&[(metrics::EVENTS.0, 2), (metrics::MEMORY.0, 20)]),
    );
    let line = |begins: &str| line(&totals.render(), begins);
    assert!(line("my_app_events_total{worker=\"0\"}").ends_with(" 7"));
    assert!(line("my_app_worker_memory_bytes{worker=\"0\"}").ends_with(" 30"));
    assert!(line("my_app_worker_restarts_total{worker=\"0\"}").ends_with(" 0"));
    let memory = |pid| totals.worker(0, Some(pid)).memory_bytes;
    assert_eq!((memory(100), memory(200)), (10, 20));
    totals.gone(0, 100);
    assert!(line("my_app_events_total{worker=\"0\"}").ends_with(" 7"));
    assert!(line("my_app_worker_memory_bytes{worker=\"0\"}").ends_with(" 20"));
}

#[test]
fn what_was_counted_goes_on_in_another_program() {
    let totals = Totals::new(2);
    totals.started(home(0), 100);
    totals.started(home(1), 101);
    totals.set(0, 100, values(&[(metrics::EVENTS.0, 5)]));
    totals.set(1, 101, values(&[(metrics::EVENTS.0, 6)]));
    totals.gone(1, 101);
    totals.set_bridge(Some((1, &values(&[(metrics::BRIDGE_FRAMES.0, 7)]))));
    let mut state = totals.pack();
    // Its workers go on telling what they tell in their own order.
    let after = Totals::new(2);
    state.tables[0].swap(metrics::EVENTS.0, metrics::MEMORY.0);
    for values in [&mut state.own]
        .into_iter()
        .chain(state.slots.iter_mut().map(|slot| &mut slot.kept))
        .chain(
            state
                .bridge
                .workers
                .iter_mut()
                .map(|worker| &mut worker.values),
        )
    {
        values.swap(metrics::EVENTS.0, metrics::MEMORY.0);
    }
    for worker in state.slots.iter_mut().flat_map(|slot| &mut slot.workers) {
        worker.values.swap(metrics::EVENTS.0, metrics::MEMORY.0);
    }
    after.adopt_slots(state);
    let events = |worker: &str| {
        let begins = format!("my_app_events_total{{worker=\"{worker}\"}}");
        line(&after.render(), &begins)
    };
    assert!(events("0").ends_with(" 5") && events("1").ends_with(" 6"));
    assert_eq!(after.bridge()[metrics::BRIDGE_FRAMES.0], 7);
    after.set(0, 100, values(&[(metrics::MEMORY.0, 8)]));
    assert!(events("0").ends_with(" 8"), "{}", events("0"));
    after.gone(0, 100);
    after.started(home(0), 103);
    after.set(0, 103, values(&[(metrics::EVENTS.0, 1)]));
    assert!(events("0").ends_with(" 9"));
    assert_eq!(after.worker(0, None).restarts, 1);
}
