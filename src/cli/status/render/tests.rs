use serde_json::json;

use super::*;

/// The example of docs/CONTROL.md, with something of everything.
fn example() -> Value {
    json!({
        "state": "degraded",
        "reasons": ["worker 1 is not running", "the listener 0.0.0.0:3000 is missing"],
        "version": "0.1.0",
        "pid": 437,
        "machine": {"number": 12, "characters": "AM"},
        "started_at": "2026-11-27T03:00:00Z",
        "uptime_seconds": 11_523.5,
        "taken_out": false,
        "sessions": {"polling": 3, "websocket": 14_940},
        "rates": {
            "messages_in_per_second": 12_345.6, "messages_out_per_second": 12_340.0,
            "bytes_in_per_second": 1_048_576.0, "bytes_out_per_second": 2048.0,
            "sessions_opened_per_second": 1.5, "sessions_ended_per_second": 0.0
        },
        "workers": [
            {
                "slot": 0, "pid": 4_194_303, "state": "ready", "why": null, "uptime_seconds": 723.0,
                "restarts": 2, "sessions": {"polling": 3, "websocket": 14_940}, "connections": 14_950,
                "messages_in_per_second": 12_345.6, "messages_out_per_second": 12_340.0,
                "bytes_in_per_second": 1_048_576.0, "bytes_out_per_second": 2048.0,
                "memory_bytes": 26_214_400, "event_loop_lag_seconds": 0.0123, "bus_queue_bytes": 0
            },
            {
                "slot": 1, "pid": null, "state": "failed", "why": "exit status 70, three times",
                "uptime_seconds": null, "restarts": 0, "sessions": {"polling": 0, "websocket": 0},
                "connections": 0, "messages_in_per_second": 0.0, "messages_out_per_second": 0.0,
                "bytes_in_per_second": 0.0, "bytes_out_per_second": 0.0, "memory_bytes": 0,
                "event_loop_lag_seconds": 0.0, "bus_queue_bytes": 0
            }
        ],
        "listeners": [
            {"address": "unix:/run/my-app/my-app.sock", "worker": null, "state": "listening", "why": null},
            {"address": "http://127.0.0.1:3100", "worker": 0, "state": "listening", "why": null},
            {"address": "0.0.0.0:3000", "state": "missing", "why": "the address is in use"}
        ],
        "limits": {
            "max_connections": 0, "max_connections_per_address": 20, "new_sessions_per_second": 0,
            "rooms_per_socket": 10000, "worker_memory_bytes": 1_073_741_824, "open_files": 524_288
        },
        "refused": {"full": 0, "rate": 12},
        "ended": {"client-left": 12, "ping-timeout": 120, "drain": 0},
        "faults": [
            {"at": "2026-11-27T06:00:00Z", "what": "worker 0 (pid 711) ended: killed by signal 9"}
        ],
        "log": {"level": "debug", "until": "2026-11-27T06:15:00Z", "lines_lost": 0}
    })
}

#[test]
fn a_whole_status_is_told_in_eighty_columns() {
    let told = status(&example(), Style::Plain, 80);
    assert_eq!(
        told,
        "\
my-app 0.1.0 is degraded: up 3 h 12 min, since 2026-11-27T03:00:00Z (pid 437)
  - worker 1 is not running
  - the listener 0.0.0.0:3000 is missing

sessions   14943: 3 polling, 14940 websocket; 1.5/s begin, 0/s end
messages   12.3k/s in, 12.3k/s out
bytes      1.0M/s in, 2.0K/s out

                        sessions       msg/s   bytes/s
worker     pid state  poll    ws    in   out   in  out memory   lag queue
     0 4194303 ready     3 14940 12.3k 12.3k 1.0M 2.0K  25.0M  12ms     0
     1       - failed    0     0     0     0    0    0      0 0.0ms     0
  worker 0: 2 restarts so far, the last 12 min 3 s ago
  worker 1: failed: exit status 70, three times

machine    12 (AM in session ids)
listeners  unix:/run/my-app/my-app.sock listening
           http://127.0.0.1:3100 listening for worker 0
           0.0.0.0:3000 missing: the address is in use. It is tried again every
           5 s; `ss -ltnp` tells who has an address
limits     connections: no limit; for each address: 20; new sessions in a
           second: no limit; rooms of a socket: 10000; memory of a worker:
           1.0 GiB; open files of a process: 524288
refused    rate 12
ended      ping-timeout 120, client-left 12
log        level debug until 2026-11-27T06:15:00Z
faults     2026-11-27T06:00:00Z worker 0 (pid 711) ended: killed by signal 9
"
    );
}

#[test]
fn the_largest_figures_fit_into_eighty_columns() {
    let mut largest = example();
    let worker = json!({
        "slot": 4095, "pid": 4_194_303, "state": "starting",
        "sessions": {"polling": 99_999, "websocket": 999_999},
        "messages_in_per_second": 99_949.0, "messages_out_per_second": 99_949.0,
        "bytes_in_per_second": 99.9 * 1_048_576.0, "bytes_out_per_second": 99.9 * 1_048_576.0,
        "memory_bytes": 99.9 * 1_048_576.0, "event_loop_lag_seconds": 999.0,
        "bus_queue_bytes": 99.9 * 1_048_576.0,
    });
    largest["workers"] = json!([worker]);
    let told = status(&largest, Style::Plain, 80);
    for line in told.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn what_a_server_of_another_version_does_not_say_is_a_dash() {
    let told = status(
        &json!({"state": "healthy", "colour": "red"}),
        Style::Plain,
        80,
    );
    assert_eq!(
        told,
        "\
my-app - is healthy: up -, since - (pid -)

sessions   -: - polling, - websocket; -/s begin, -/s end
messages   -/s in, -/s out
bytes      -/s in, -/s out

                 sessions     msg/s   bytes/s
worker pid state poll  ws   in  out   in  out memory lag queue

machine    -
listeners  -
limits     connections: -; for each address: -; new sessions in a second: -;
           rooms of a socket: -; memory of a worker: -; open files of a process:
           -
refused    -
ended      -
log        level -
faults     -
"
    );
    // Nor does anything of another type do harm.
    for odd in [
        json!(null),
        json!([1]),
        json!({"workers": 3, "sessions": "x", "faults": {}}),
    ] {
        assert!(status(&odd, Style::Plain, 80).starts_with("my-app - is -"));
    }
}

#[test]
fn a_quiet_server_says_so() {
    let mut quiet = example();
    quiet["taken_out"] = json!(true);
    quiet["drains"] = json!([{"why": "taken-out", "sessions_left": 43, "seconds_left": 250}]);
    let mut reloaded = quiet.clone();
    reloaded["drains"] = json!([{"why": "reload", "sessions_left": 12, "seconds_left": 25}]);
    reloaded["generation"] = json!(2);
    reloaded["reload"] = json!("starting");
    reloaded["earlier_workers"] = json!([{"generation": 1, "slot": 0, "pid": 7}]);
    let shown = status(&reloaded, Style::Plain, 200);
    for words in [
        "generation 2 of the workers has whoever comes now; earlier ones that still have sessions: 1",
        "earlier workers: 12 sessions left, which end within 25.0 s",
        "a reload is under way: starting",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    quiet["ended"] = json!({"drain": 0});
    quiet["refused"] = json!({});
    quiet["faults"] = json!([]);
    quiet["log"] = json!({"level": "info", "until": null, "lines_lost": 3});
    quiet["listeners"] = json!([
        {"address": "my-app-tcp.socket", "state": "missing", "why":
            "my-app-tcp.socket is not open: 'systemctl restart my-app-tcp.socket' once its address is free"}
    ]);
    let told = status(&quiet, Style::Plain, 80);
    for part in [
        "taken out: /readyz answers 503",
        "  - 43 sessions left, which end within 4 min 10 s",
        "refused    nobody since the start\nended      no session since the start\n",
        "faults     none since the start\n",
        "log        level info; 3 lines were lost",
        "my-app-tcp.socket missing: not open: 'systemctl restart",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn colours_change_nothing_else() {
    let plain = status(&example(), Style::Plain, 80);
    let coloured = status(&example(), Style::Coloured, 80);
    assert!(coloured.contains("\x1b[31mdegraded\x1b[0m"), "{coloured}");
    let parts = coloured.split('\x1b').enumerate();
    let without: String = parts
        .map(|(n, part)| {
            if n == 0 {
                part
            } else {
                part.split_once('m').unwrap().1
            }
        })
        .collect();
    assert_eq!(without, plain);
}

#[test]
fn the_link_to_other_machines_is_told_where_there_is_to_be_one() {
    let mut example = example();
    assert!(!status(&example, Style::Plain, 80).contains("\nbridge"));
    example["bridge"] = json!({
        "state": "down", "since_seconds": 12.0, "server": "redis://10.0.0.5:6379",
        "machines": [{"name": "ip-10-0-0-2", "number": 17, "workers": 4}, {"name": "b", "workers": 1}],
        "frames_in": 10, "frames_out": 20, "repaired": 1, "lost_in": 2, "lost_out": 3,
        "ring_bytes": 1_048_576, "garbled": 7
    });
    let told = status(&example, Style::Plain, 80);
    let expected = "\
bridge     down for 12.0 s, over redis://10.0.0.5:6379; other machines:
           ip-10-0-0-2 (4 workers), b (1 worker)
           frames: 10 in, 20 out; 1 repaired, 2 and 3 lost; 1.0 MiB kept for who
           missed something
           7 messages made no sense
";
    assert!(told.contains(expected), "{told}");
    // What another version does not say.
    example["bridge"] = json!({});
    assert!(status(&example, Style::Plain, 80).contains("bridge     -, over -; no other machine"));
}
