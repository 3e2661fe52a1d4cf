//! `MemoryMax=` of the unit, which the kernel keeps.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::*;

on_every_release!(
    near_memory_max_newcomers_are_refused_and_nobody_is_dropped,
    beyond_memory_max_the_kernel_takes_a_worker_and_never_the_master,
);

const LIMIT_MIB: u64 = 160;
/// What others of the service take at a time, who are the kernel's choice after the workers and before the master: it takes
/// who has most, a worker counts for a fifth of the limit more than it has (`oom_score_adj`), and here not every machine's
/// root may give the master the -900 of the unit.
const HOARD_MIB: u64 = 20;
const HANDSHAKE: &str = "'http://127.0.0.1:3000/socket.io/?EIO=4&transport=polling'";

/// A service that may have this much, and others in it that take memory.
struct Limited {
    machine: Machine,
    /// Its control group, inside.
    group: String,
}

impl Limited {
    fn on(release: &'static Release) -> Self {
        let machine = Machine::serving_with_memory_limits(release);
        machine.sh(&format!(
            "systemctl set-property --runtime my-app.service MemoryMax={LIMIT_MIB}M"
        ));
        let group = machine.sh(
            "ls -d /sys/fs/cgroup/memory/system.slice/my-app.service 2>/dev/null || \
             echo /sys/fs/cgroup/system.slice/my-app.service",
        );
        let limit = machine.number(&format!(
            "cat {group}/memory.limit_in_bytes 2>/dev/null || cat {group}/memory.max"
        ));
        assert_eq!(limit, LIMIT_MIB << 20);
        Self { machine, group }
    }

    /// Others of the service take so much more and keep it, if it is there.
    fn hoard(&self, mib: u64) {
        // `tail` keeps what it is to show at the end, which does not come.
        self.machine.sh(&format!(
            "setsid sh -c 'echo $$ >{}/cgroup.procs; (head -c {mib}M /dev/zero; exec sleep 1000) | exec tail -c {mib}M' \
             >/dev/null 2>&1 & echo $! >>/run/hoarders",
            self.group
        ));
    }

    /// What the service has that no file would give back, in bytes.
    fn used(&self) -> u64 {
        let group = &self.group;
        self.machine.number(&format!(
            "used=$(cat {group}/memory.usage_in_bytes 2>/dev/null || cat {group}/memory.current)
             awk -v used=$used '/^(total_)?(in)?active_file / {{ files[$1] = $2 }} END {{
                 t = \"total_\"; if (!((t \"active_file\") in files)) t = \"\"
                 print used - files[t \"active_file\"] - files[t \"inactive_file\"] }}' {group}/memory.stat"
        ))
    }

    /// They give it back.
    fn release(&self) {
        self.machine
            .sh("for group in $(cat /run/hoarders); do kill -KILL -$group; done; rm /run/hoarders");
    }

    fn handshake(&self) -> String {
        self.machine.status(HANDSHAKE)
    }
}

fn near_memory_max_newcomers_are_refused_and_nobody_is_dropped(release: &'static Release) {
    let service = Limited::on(release);
    let machine = &service.machine;
    let mut held = machine
        .talk("hold.mjs --url http://127.0.0.1:3000 --clients 200 --every 100 --deadline 200");
    assert_eq!(service.handshake(), "200");

    let free = (LIMIT_MIB << 20) / 32 * 31 - service.used();
    service.hoard(free >> 20);
    let began = Instant::now();
    eventually("newcomers are refused", SOON, || {
        service.handshake() == "503"
    });
    machine.saw(
        "refused after",
        format!(
            "{:?}, with {} MiB of {LIMIT_MIB}",
            began.elapsed(),
            service.used() >> 20
        ),
    );
    machine.wait_for_journal("nearly all the memory that it may have");
    let headers = machine.sh(&format!("curl -s -o /dev/null -D - {HANDSHAKE}"));
    assert!(
        headers.to_ascii_lowercase().contains("retry-after:"),
        "{headers}"
    );
    let before = held.ask("stats");
    machine.sh("sleep 3");
    let near = held.ask("stats");
    assert_eq!(
        (&near["connected"], &near["missing"]),
        (&json!(200), &json!(0)),
        "{near}"
    );
    let echoes = |stats: &Value| stats["received"].as_u64().unwrap();
    let echoed = echoes(&near) - echoes(&before);
    machine.saw("echoes of those 200 within 3 s, of 6,000", echoed);
    assert!(echoed > 3000, "{echoed}");

    service.release();
    let began = Instant::now();
    eventually("newcomers are let in", SOON, || {
        service.handshake() == "200"
    });
    machine.saw("let in after", format!("{:?}", began.elapsed()));
    let stats = held.quit();
    assert_eq!(
        (&stats["disconnects"], &stats["lost"]),
        (&json!(0), &json!(0)),
        "{stats}"
    );
    assert_eq!(machine.journal_count(" died"), 0);
}

fn beyond_memory_max_the_kernel_takes_a_worker_and_never_the_master(release: &'static Release) {
    let service = Limited::on(release);
    let machine = &service.machine;
    let master = machine.master();
    let score = machine.sh(&format!("cat /proc/{master}/oom_score_adj"));
    let may_lower = machine.try_sh("echo -900 >/proc/self/oom_score_adj").ok;
    assert_eq!(score, if may_lower { "-900" } else { "0" });
    machine.saw("the master's oom_score_adj", score);
    let most = LIMIT_MIB / HOARD_MIB + 1;
    let mut hoards = 0;
    eventually("the kernel takes a worker", SOON, || {
        if hoards < most {
            hoards += 1;
            service.hoard(HOARD_MIB);
        }
        sleep(Duration::from_millis(200));
        machine.journal_count("a worker ended") > 0
    });
    machine.saw(
        "the kernel took",
        machine.sh("journalctl -q -o cat -u my-app.service | grep 'a worker ended' | head -n 1"),
    );
    service.release();
    eventually("it serves", SOON, || service.handshake() == "200");
    machine.echo("http://127.0.0.1", "upgrade");
    machine.assert_active();
    assert_eq!(machine.master(), master);
    let restarts = machine.number("systemctl show --property=NRestarts --value my-app.service");
    assert_eq!(restarts, 0);
}
