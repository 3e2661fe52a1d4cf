//! The disk of the bus's server is full. What clients of one machine say to each other does not depend on it; what is for
//! other machines comes when there is room.

use std::thread;
use std::time::Duration;

use super::harness::*;

/// What fills the server's own buffers takes its time.
const FULL: Duration = Duration::from_secs(30);

#[test]
fn a_redis_that_cannot_save_passes_everything_on() {
    let switch = Space::switch();
    let disk = Disk::of(8);
    let redis = Bus::on(Kind::Redis, &switch, &disk);
    let machines = Plan::of(2, Kind::Redis).start_with(switch, redis);
    let crowds = machines.chat(2);
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 100, 100));
    disk.fill();
    machines.bus.ask(&["SET", "key", "value"]);
    eventually("it takes nothing that is to be saved", FULL, || {
        let said = machines.bus.ask(&["SET", "key", "value"]);
        thread::sleep(Duration::from_millis(50));
        said.contains("MISCONF")
    });
    thread::sleep(Duration::from_secs(2));
    disk.make_room();
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    assert_eq!(machines.lost(), [0, 0]);
    for machine in machines.iter() {
        assert_eq!((machine.outages(), &*machine.missing()), (0, "[]"));
    }
}

#[test]
fn a_postgres_without_room_is_named_and_all_comes_late() {
    let switch = Space::switch();
    let disk = Disk::of(72);
    let postgres = Bus::on(Kind::Postgres, &switch, &disk);
    let machines = Plan::of(2, Kind::Postgres).start_with(switch, postgres);
    let crowds = machines.chat(2);
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 100, 3_000));
    disk.fill();
    for machine in machines.iter() {
        eventually("it is named", FULL, || machine.missing().contains("disk"));
        saw("missing", machine.missing());
    }
    thread::sleep(Duration::from_secs(1));
    disk.make_room();
    saw(
        "joined again after",
        format!("{:?}", machines.wait_until_joined()),
    );
    for sent in Flow::stop_all(flows) {
        saw("messages", sent.arrives_at(everybody(&crowds)));
    }
    nobody_went(everybody(&crowds));
    assert_eq!(machines.lost(), [0, 0]);
}
