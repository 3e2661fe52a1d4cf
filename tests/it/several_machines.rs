//! The shipped nginx for several machines: a session stays on its machine, new ones are spread, and a machine that is away
//! costs its own clients a new connection, and nobody else anything. Machines are servers of this one with numbers of
//! their own; no bridge joins them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::harness::*;

const CLIENTS: u64 = 200;
const MACHINES: u16 = 3;
/// How long a client may take to find another machine: nginx notices, the client waits and connects anew.
const ELSEWHERE: Duration = Duration::from_secs(30);

fn machine(number: u16) -> Setup {
    Setup::new().config(&format!(
        "[bridge]\nmachine = {number}\n[limits]\ntrusted_proxies = [\"127.0.0.1\"]"
    ))
}

fn machines() -> Vec<Server> {
    (1..=MACHINES)
        .map(|number| machine(number).start())
        .collect()
}

/// The example with the addresses of these machines. Its characters are those of the numbers 1, 2 and 3.
#[track_caller]
fn in_front_of(machines: &[Server]) -> Nginx {
    let shipped = ["10.0.0.1:3000", "10.0.0.2:3000", "10.0.0.3:3000"];
    let here = machines.iter().map(|machine| machine.addr.to_string());
    let changes: Vec<_> = shipped.into_iter().zip(here).collect();
    Nginx::example("nginx-machines.conf", &changes)
}

/// Clients that arrive one after the other, and echo once in a while.
#[track_caller]
fn arrive(nginx: &Nginx, transport: &str, count: u64, more: &[&str]) -> Held {
    let pace = [
        "--transport",
        transport,
        "--every",
        "1000",
        "--arrive",
        "15",
        "--grace",
        "5000",
    ];
    let count = usize::try_from(count).unwrap();
    Held::connect(&nginx.url(), count, &[&pace[..], more].concat())
}

/// The sessions of each machine, those that poll and those with a WebSocket, once the machines have told of so many.
#[track_caller]
fn sessions(machines: &[&Server], polling: u64, websocket: u64) -> [Vec<u64>; 2] {
    let mut counts = [Vec::new(), Vec::new()];
    let what = format!("{polling} sessions that poll, {websocket} with a WebSocket");
    eventually(&what, ELSEWHERE, || {
        counts = ["polling", "websocket"].map(|transport| {
            let of = |machine: &&Server| {
                let status = machine.control().get("/status");
                status["sessions"][transport].as_u64().unwrap()
            };
            machines.iter().map(of).collect()
        });
        counts.each_ref().map(|it| it.iter().sum::<u64>()) == [polling, websocket]
    });
    counts
}

/// Each has a third of so many, or nearly.
#[track_caller]
fn even(what: &str, counts: &[u64], all: u64) {
    saw(what, Json::from(counts.to_vec()));
    assert_eq!(counts.iter().sum::<u64>(), all, "{counts:?}");
    let share = all / u64::from(MACHINES);
    let near = share * 4 / 5..=share * 6 / 5;
    assert!(
        counts.iter().all(|count| near.contains(count)),
        "{counts:?}"
    );
}

#[track_caller]
fn echoed(held: &mut [Held], clients: u64) {
    for it in held {
        let before = it.stats()["received"].as_u64().unwrap();
        eventually("all have echoed", ELSEWHERE, || {
            it.stats()["received"].as_u64().unwrap() >= before + 2 * clients
        });
    }
}

/// A request that nginx has sent twice went to one machine, unless it was to open a session.
#[track_caller]
fn no_post_at_two_machines(nginx: &Nginx) {
    let answers = nginx.answers();
    let posts = answers.iter().filter(|line| line.contains("\"POST "));
    let mut count = 0;
    for line in posts {
        count += 1;
        let machines = line.rsplit('"').next().unwrap().split(", ");
        let machines: BTreeSet<_> = machines.map(str::trim).collect();
        assert_eq!(machines.len(), 1, "{line}");
    }
    assert!(count > 0);
}

#[test]
fn an_operator_is_told_the_characters_that_the_example_has() {
    for (number, characters) in [(1, "AB"), (2, "AC"), (3, "AD"), (12, "AM"), (4095, "__")] {
        let server = machine(number).start();
        let machine = &server.control().get("/status")["machine"];
        assert_eq!(
            (&machine["number"], &machine["characters"]),
            (&number.into(), &characters.into())
        );
        let session = Polling::handshake(&mut Raw::tcp(server.addr));
        assert_eq!(session.sid[16..18], *characters);
    }
}

#[test]
fn clients_of_three_machines_are_spread_evenly_and_none_notices_that_there_are_several() {
    let machines = machines();
    let nginx = in_front_of(&machines);
    let mut held =
        ["polling", "websocket"].map(|transport| arrive(&nginx, transport, CLIENTS, &[]));
    echoed(&mut held, CLIENTS);
    let machines: Vec<_> = machines.iter().collect();
    let [polling, websocket] = sessions(&machines, CLIENTS, CLIENTS);
    even("polling", &polling, CLIENTS);
    even("websocket", &websocket, CLIENTS);
    for it in held {
        it.quit_unharmed();
    }
    let upgrading = arrive(&nginx, "upgrade", CLIENTS, &[]);
    let [_, upgraded] = sessions(&machines, 0, CLIENTS);
    even("upgraded", &upgraded, CLIENTS);
    upgrading.quit_unharmed();
    no_post_at_two_machines(&nginx);
}

#[test]
fn the_clients_of_a_machine_that_is_killed_come_back_elsewhere_and_the_others_notice_nothing() {
    let mut machines = machines();
    let nginx = in_front_of(&machines);
    let mut held = ["polling", "websocket"]
        .map(|transport| arrive(&nginx, transport, CLIENTS, &["--reconnect"]));
    let counts = sessions(&machines.iter().collect::<Vec<_>>(), CLIENTS, CLIENTS);
    let lost = counts.map(|of_each| of_each[1]);
    saw(
        "sessions of the machine that is killed",
        Json::from(lost.to_vec()),
    );
    let victim = machines.remove(1);
    let addr = victim.addr;
    drop(victim);
    let began = Instant::now();
    for (it, lost) in held.iter_mut().zip(lost) {
        eventually("its clients are elsewhere", ELSEWHERE, || {
            let told = it.stats();
            told["connected"] == CLIENTS && told["reconnects"] == lost
        });
    }
    saw("all were elsewhere after", format!("{:?}", began.elapsed()));
    let others: Vec<_> = machines.iter().collect();
    sessions(&others, CLIENTS, CLIENTS);
    echoed(&mut held, CLIENTS);
    // It comes back, and gets its share of those who come from now on.
    let back = machine(2).at(addr).start();
    let all = [&others[..], &[&back]].concat();
    let mut newcomers = Vec::new();
    let began = Instant::now();
    let earlier = loop {
        newcomers.push(arrive(&nginx, "polling", 1, &[]));
        let now = CLIENTS + newcomers.len() as u64;
        let [polling, _] = sessions(&all, now, CLIENTS);
        if polling[2] > 0 {
            break polling;
        }
        assert!(began.elapsed() < ELSEWHERE, "nobody is sent to it");
    };
    let more = arrive(&nginx, "polling", 90, &[]);
    let [now, _] = sessions(&all, earlier.iter().sum::<u64>() + 90, CLIENTS);
    let new = now.iter().zip(&earlier).map(|(now, earlier)| now - earlier);
    even("new ones of each machine", &new.collect::<Vec<_>>(), 90);
    more.quit_unharmed();
    drop(newcomers);
    for (it, lost) in held.into_iter().zip(lost) {
        let told = it.quit();
        assert_eq!(told["disconnects"], lost, "{told}");
        assert_eq!(told["outOfOrder"], 0, "{told}");
        // Only what was under way to the machine that died.
        assert_eq!(told["missing"], told["lost"], "{told}");
    }
    no_post_at_two_machines(&nginx);
}

#[test]
fn a_machine_that_is_taken_out_loses_its_clients_to_the_others_and_nobody_else_anything() {
    let machines = machines();
    let nginx = in_front_of(&machines);
    let mut held =
        ["polling", "websocket"].map(|transport| arrive(&nginx, transport, 60, &["--reconnect"]));
    let all: Vec<_> = machines.iter().collect();
    let out = sessions(&all, 60, 60).map(|of_each| of_each[1]);
    // As the example says.
    let line = format!("server {} max_fails=1 fail_timeout=5s;", machines[1].addr);
    nginx.reload_with(&line, &line.replace(';', " down;"));
    // It keeps what it has.
    echoed(&mut held, 60);
    assert_eq!(sessions(&all, 60, 60).map(|of_each| of_each[1]), out);
    let drain = serde_json::json!({"over_seconds": 2});
    machines[1].control().post("/drain", &drain);
    for (it, out) in held.iter_mut().zip(out) {
        eventually("its clients are elsewhere", ELSEWHERE, || {
            let told = it.stats();
            told["connected"] == 60 && told["reconnects"] == out
        });
    }
    assert_eq!(sessions(&all, 60, 60).map(|of_each| of_each[1]), [0, 0]);
    for (it, out) in held.into_iter().zip(out) {
        let told = it.quit();
        assert_eq!(told["disconnects"], out, "{told}");
        assert_eq!(told["outOfOrder"], 0, "{told}");
        assert_eq!(told["missing"], told["lost"], "{told}");
    }
}
