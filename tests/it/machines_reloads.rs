//! Servers are reloaded while their machines talk to each other.

use std::thread;

use serde_json::json;

use super::harness::*;
use super::reloads::reloaded;

/// Nobody is moved while it is counted.
const NOBODY_MOVES: &str = "drain = \"1h\"";

#[test]
fn over_reloads_of_either_server_what_machines_say_to_each_other_arrives_once_and_in_order() {
    let machines = Plan::of(2, Kind::Redis).top(NOBODY_MOVES).start();
    let crowds = machines.chat(4);
    let bridges = || machines.iter().map(|machine| machine.server.bridge());
    let before: Vec<_> = bridges().collect();
    let outages = || machines.iter().map(Machine::outages).collect::<Vec<_>>();
    let outages_before = outages();
    let flows = [0, 1].map(|nth| Flow::start(&crowds[nth][0], 200, 100));
    for nth in [0, 0, 1] {
        reloaded(&machines[nth].server);
    }
    // Who comes now is on the new workers, and hears what is said from now on.
    let later = machines.crowds("/chat", 2);
    for crowd in &later {
        crowd.all_call("join", &json!([ROOM]));
    }
    // Both at once.
    thread::scope(|scope| {
        for machine in machines.iter() {
            scope.spawn(|| reloaded(&machine.server));
        }
    });
    let all = Flow::stop_all(flows);
    for (sent, machine) in all.iter().zip(machines.iter()) {
        println!("    of {}:", machine.name);
        saw("messages", sent.arrives_at(everybody(&crowds)));
        for client in everybody(&later) {
            let before = sent.missing_at(client);
            let got: Vec<_> = sent.got(client).iter().map(|got| got.0).collect();
            let since: Vec<_> = (before..sent.at.len()).collect();
            assert_eq!(got, since, "all since it came");
        }
    }
    machines.wait_until_joined();
    for crowd in [&crowds[0], &later[1]] {
        assert_eq!(
            present(&crowd[0]),
            ids(everybody(&crowds).chain(everybody(&later)))
        );
    }
    assert_eq!(machines.lost(), [0, 0]);
    assert_eq!(bridges().collect::<Vec<_>>(), before);
    assert_eq!(outages(), outages_before);
    nobody_went(everybody(&crowds).chain(everybody(&later)));
}
