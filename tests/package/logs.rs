//! The log file and the journal, when they are rotated, full, or stuck.

use super::harness::*;
use super::sandbox::with_outbound;

on_every_release!(
    twenty_rotations_lose_no_line,
    a_full_disk_costs_lines_and_nothing_else,
    a_stuck_journald_slows_nobody,
    lines_that_a_stuck_journald_does_not_take_are_counted,
);

/// A server whose workers each write ten lines a second.
fn talkative(release: &'static Release, workers: u16) -> Machine {
    let machine = Machine::serving(release);
    machine.sh(&format!(
        "systemctl stop my-app.socket 2>&1
         sed -i -e 's/^#stats_interval.*/stats_interval = \"100ms\"/' \
             -e 's/^#workers.*/workers = {workers}/' /etc/my-app/my-app.toml
         rm -f /var/log/my-app/*; journalctl -q --rotate; journalctl -q --vacuum-time=1s 2>&1
         systemctl start my-app.socket my-app.service"
    ));
    machine
}

/// Stops the server, and gives how many lines the log file has, rotated ones included. The journal has
/// the same lines, without their time.
#[track_caller]
fn lines_in_file_and_journal(machine: &Machine) -> u64 {
    machine.sh("systemctl stop my-app.socket 2>&1; journalctl -q --sync");
    let lines =
        machine.number("cd /var/log/my-app; { zcat -f app.log*; } >/root/file; wc -l </root/file");
    let torn = "grep -v -E '^[0-9-]{10}T[0-9:.]{12}Z (Worker|Master|Listening|stopping|log file)' /root/file || true";
    assert_eq!(machine.sh(torn), "", "torn lines");
    machine.sh(
        "cut -d ' ' -f 2- /root/file | sort >/root/in-file
         journalctl -q -o cat SYSLOG_IDENTIFIER=my-app _TRANSPORT=journal | sort >/root/in-journal",
    );
    assert_eq!(
        machine.sh("diff /root/in-file /root/in-journal | head || true"),
        "",
        "lost lines"
    );
    lines
}

fn twenty_rotations_lose_no_line(release: &'static Release) {
    let machine = talkative(release, 16);
    let load = machine.talk("handshakes.mjs --url http://127.0.0.1:3000 --proxy http://127.0.0.1");
    // As shipped, but old files are kept: this test makes more of them than two weeks do.
    machine.sh(
        "sed 's/rotate 14/rotate 100/' /etc/logrotate.d/my-app >/root/rotate
         for i in $(seq 20); do logrotate -f -s /root/state /root/rotate; sleep 0.3; done
         ls /var/log/my-app | wc -l | grep -qx 21",
    );
    let figures = load.quit();
    assert_eq!(
        figures["tcp"]["failures"],
        serde_json::json!({}),
        "{figures}"
    );
    let lines = lines_in_file_and_journal(&machine);
    assert!(lines > 1000, "{lines}");
    machine.saw("lines over 20 rotations, none lost, none torn", lines);
}

fn a_full_disk_costs_lines_and_nothing_else(release: &'static Release) {
    let machine = talkative(release, 2);
    machine.sh(
        "systemctl stop my-app.socket 2>&1
         mount -t tmpfs -o size=256k,mode=0750,uid=my-app-runner,gid=my-app-runner tmpfs /var/log/my-app
         systemctl start my-app.socket my-app.service",
    );
    machine.sh("dd if=/dev/zero of=/var/log/my-app/fill bs=4k 2>/dev/null || true");
    machine.wait_for_journal("No space left on device");
    machine.echo_every_way("http://127.0.0.1");
    machine.sh("sleep 2");
    let size = || machine.number("stat -c %s /var/log/my-app/app.log");
    let full = size();
    assert_eq!(machine.journal_count("No space left on device"), 1);
    machine.saw(
        "what the journal says, once",
        machine.sh("journalctl -q -o cat -u my-app.service | grep 'No space left'"),
    );
    machine.sh("rm /var/log/my-app/fill");
    machine.wait_for_journal("log file: it can be written again");
    eventually("the file grows again", SOON, || size() > full);
    machine.saw(
        "afterwards",
        machine.sh("journalctl -q -o cat -u my-app.service | grep 'written again'"),
    );
    machine.echo("http://127.0.0.1", "websocket");
    // A line that was cut by the full disk is ended before the next one.
    assert_eq!(
        machine.number(
            "grep -c -E '[^ ]+Z .*[0-9]{4}-[0-9]{2}-[0-9]{2}T' /var/log/my-app/app.log || true"
        ),
        0
    );
}

fn a_stuck_journald_slows_nobody(release: &'static Release) {
    let machine = talkative(release, 16);
    let latency = |seconds| {
        machine.node(&format!(
            "latency.mjs --url http://127.0.0.1:3000 --seconds {seconds}"
        ))
    };
    latency(1);
    let before = latency(5);
    let journald = machine.number("systemctl show --property=MainPID --value systemd-journald");
    machine.sh(&format!("kill -STOP {journald}"));
    let stuck = latency(20);
    machine.sh(&format!("kill -CONT {journald}"));
    machine.saw("echoes before", &before);
    machine.saw("echoes while journald was stopped for 20 s", &stuck);
    let p99 = |figures: &serde_json::Value| figures["p99"].as_f64().unwrap();
    // "Unchanged" on a machine that runs other tests meanwhile.
    assert!(p99(&stuck) < p99(&before) * 2.0 + 10.0, "{before} {stuck}");
    let lines = lines_in_file_and_journal(&machine);
    machine.saw("lines meanwhile, none lost in the journal", lines);
}

fn lines_that_a_stuck_journald_does_not_take_are_counted(release: &'static Release) {
    let machine = with_outbound(release);
    // journald shall count nothing away by itself.
    machine.write(
        "/etc/systemd/system/my-app.service.d/no-limit.conf",
        "[Service]\nLogRateLimitIntervalSec=0",
    );
    machine.sh("systemctl daemon-reload && systemctl restart my-app.service");
    let journald = machine.number("systemctl show --property=MainPID --value systemd-journald");
    machine.sh(&format!("kill -STOP {journald}"));
    // Each is a line: some of them wait, the others are lost in the journal, and none in the file.
    machine.node(
        "fetch.mjs --url http://127.0.0.1:3000 --service 192.0.2.1:80 --times 20000 --deadline 200",
    );
    machine.sh(&format!("kill -CONT {journald}"));
    let told = || {
        machine.number(
            "awk '/ log lines were lost$/ { n += $(NF - 4) } END { print n + 0 }' /var/log/my-app/app.log",
        )
    };
    let in_file = || machine.number("wc -l </var/log/my-app/app.log");
    let in_journal = || {
        machine.number("journalctl -q --sync; journalctl -q -o json SYSLOG_IDENTIFIER=my-app _TRANSPORT=journal | wc -l")
    };
    eventually("all that is lost is told", SOON, || {
        told() > 0 && in_file() == in_journal() + told()
    });
    machine.saw(
        "lines of the file, and how many of them were told as lost in the journal",
        format!("{}, {}", in_file(), told()),
    );
}
