//! The times that the configuration names, whatever the unit's own timeouts are.

use std::time::{Duration, Instant};

use super::harness::*;

on_every_release!(the_units_timeouts_cut_no_time_short);

/// The service with two workers, this program and these lines in its unit.
#[track_caller]
fn set(machine: &Machine, unit: &str, configuration: &str) {
    machine.write(
        "/etc/systemd/system/my-app.service.d/times.conf",
        &format!("[Service]\n{unit}"),
    );
    machine.write(
        "/etc/my-app/my-app.toml",
        &format!("workers = 2\n{configuration}"),
    );
    machine.sh("systemctl daemon-reload");
}

fn the_units_timeouts_cut_no_time_short(release: &'static Release) {
    let machine = Machine::serving(release);
    a_stop_takes_as_long_as_stop_drain_says(&machine);
    a_slow_worker_holds_up_neither_the_others_nor_apt(&machine);
    a_hangup_ends_nobody(&machine);
}

fn hold(machine: &Machine, clients: u32) -> Talker {
    machine.talk(&format!(
        "hold.mjs --url http://127.0.0.1:3000 --transport websocket --clients {clients} --every 500 --deadline 100"
    ))
}

fn a_stop_takes_as_long_as_stop_drain_says(machine: &Machine) {
    set(machine, "TimeoutStopSec=2s", "stop_drain = \"8s\"");
    machine.sh("systemctl restart my-app.service");
    let clients = hold(machine, 40);
    let asked = Instant::now();
    machine.sh("systemctl stop my-app.service 2>&1");
    let took = asked.elapsed();
    machine.saw(
        "a stop with stop_drain 8 s and TimeoutStopSec=2s took",
        format!("{took:?}"),
    );
    assert!((Duration::from_secs(7)..Duration::from_secs(14)).contains(&took));
    let result = machine.sh("systemctl show --property=Result --value my-app.service");
    assert_eq!(result, "success");
    let figures = clients.quit();
    assert_eq!(figures["reasons"]["transport close"], 40, "{figures}");
}

fn a_slow_worker_holds_up_neither_the_others_nor_apt(machine: &Machine) {
    let slow = "ExecStart=\nExecStart=/srv/share/slow_start\nEnvironment=SLOW_WORKERS=1 SLOW_SECONDS=20\n\
                TimeoutStartSec=2s";
    set(machine, slow, "stop_drain = \"0s\"\nstart_timeout = \"4s\"");
    let status = || machine.sh("systemctl show --property=StatusText --value my-app.service");
    // apt has more to do than that.
    let started_within = |what: &str| {
        let at = |time: &str| {
            machine.number(&format!(
                "systemctl show --property={time}TimestampMonotonic --value my-app.service"
            ))
        };
        let took = Duration::from_micros(at("ActiveEnter") - at("InactiveExit"));
        machine.saw(
            &format!("{what} with a worker that takes 20 s, and start_timeout 4 s"),
            format!("{took:?}"),
        );
        assert!((Duration::from_secs(4)..Duration::from_secs(12)).contains(&took));
    };
    machine.sh("systemctl start my-app.service");
    let one = status();
    started_within("a start");
    machine.saw("status", &one);
    assert!(
        one.ends_with(": 1 of 2 worker(s), 0 client(s); worker 1 is still starting"),
        "{one}"
    );
    machine.echo("http://127.0.0.1", "upgrade");

    let said = machine.upgrade_with("-o Dpkg::Options::=--force-confold");
    let all_is_well = said.ok && !said.text.contains("did not start");
    assert!(all_is_well, "{}", said.text);
    started_within("an upgrade");
    let worker = "pgrep -f '^my-app: worker 1'";
    let pid = machine.number(worker);
    eventually("the slow one serves, too", SOON * 2, || {
        status().contains(": 2 worker(s), ")
    });
    assert_eq!(machine.number(worker), pid, "it was replaced");
    let restarts = machine.number("systemctl show --property=NRestarts --value my-app.service");
    assert_eq!(restarts, 0);
}

fn a_hangup_ends_nobody(machine: &Machine) {
    let processes = || machine.sh("pgrep -f '^my-app: '");
    let before = processes();
    let clients = hold(machine, 20);
    machine.sh("systemctl kill --signal=HUP my-app.service");
    machine.wait_for_journal("SIGHUP does nothing: ");
    eventually("all sessions are there", SOON, || {
        machine
            .sh("systemctl show --property=StatusText --value my-app.service")
            .contains(" 20 client(s)")
    });
    assert_eq!(processes(), before);
    let figures = clients.quit();
    machine.saw("20 clients of a server that got SIGHUP", &figures);
    assert_eq!(figures["reasons"], serde_json::json!({}), "{figures}");
}
