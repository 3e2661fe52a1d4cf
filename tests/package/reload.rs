//! A deploy, as clients and admins see it: `systemctl reload`, an upgrade, a restart, and what becomes of those that cannot
//! be done.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::*;

on_every_release!(
    deploys_under_load_refuse_nobody,
    an_upgrade_restarts_where_it_must_and_says_so,
);

const CONFIG: &str = "/etc/my-app/my-app.toml";
/// So many times 250 clients with WebSocket and 50 that poll: 4 in `make long-tests`, where their sessions end over 20 s
/// instead of 10.
fn scale() -> usize {
    let scale = std::env::var("DEPLOYS_SCALE").ok();
    scale.map_or(1, |scale| scale.parse().unwrap())
}

fn websockets() -> usize {
    250 * scale()
}

fn polling() -> usize {
    50 * scale()
}

fn clients() -> usize {
    websockets() + polling()
}

/// Over which the sessions of the workers before end.
fn drain() -> Duration {
    Duration::from_secs(if scale() < 4 { 10 } else { 20 })
}

/// Newcomers over every way while something is done, of whom nobody may notice. Gives how long the longest waited, in
/// milliseconds.
fn newcomers(machine: &Machine, what: &str, act: impl FnOnce()) -> u64 {
    let load = machine.talk(
        "handshakes.mjs --url http://127.0.0.1:3000 --unix /run/my-app/my-app.sock \
         --proxy http://127.0.0.1 --loops 2 --pause 20 --deadline 200",
    );
    act();
    let mut longest = 0;
    for (way, figures) in load.quit().as_object().unwrap() {
        machine.saw(&format!("{what}: handshakes over {way}"), figures);
        assert_eq!(figures["failures"], json!({}), "{way}");
        assert!(figures["handshakes"].as_u64().unwrap() > 0, "{way}");
        longest = longest.max(figures["longestMs"].as_u64().unwrap());
    }
    let answers =
        "awk '$0 ~ /\" 5[0-9][0-9] / { n++ } END { print n + 0 }' /var/log/nginx/access.log";
    assert_eq!(machine.number(answers), 0, "nginx answered with an error");
    longest
}

/// Waits until every client has been away and is back, within this time more than the drain, and gives what was seen.
fn everybody_moves(machine: &Machine, crowd: &mut Talker, what: &str) -> Value {
    let mut seen = Value::Null;
    let within = drain() + 4 * SOON;
    eventually("everybody is back", within + SOON, || {
        seen = crowd.ask("stats");
        let since = Duration::from_millis(seen["sinceMs"].as_u64().unwrap());
        let counts = ["ends", "back", "polled"].map(|which| numbers(&seen[which]).len());
        assert!(
            since < within,
            "not everybody is back: ends, back and polled {counts:?}, connected {}, away {}, again {}, unjoined {}, {} {}",
            seen["connected"],
            seen["away"],
            seen["again"],
            seen["unjoined"],
            seen["reasons"],
            seen["errors"]
        );
        let away = usize::try_from(seen["away"].as_u64().unwrap()).unwrap();
        numbers(&seen["ends"]).len() + away >= clients() && seen["connected"] == clients()
    });
    let (ends, back) = (numbers(&seen["ends"]), numbers(&seen["back"]));
    machine.saw(
        what,
        format!(
            "sessions ended from {} to {} ms, by {}, {} of them again, and {} before they joined; \
             clients were away for {} ms (half of them), {} ms (the longest)",
            ends[0],
            ends[ends.len() - 1],
            seen["reasons"],
            seen["again"],
            seen["unjoined"],
            back[back.len() / 2],
            back[back.len() - 1]
        ),
    );
    assert_eq!(seen["errors"], json!({}), "{what}");
    seen
}

fn numbers(list: &Value) -> Vec<u64> {
    let list = list.as_array().unwrap().iter();
    let mut list: Vec<_> = list.map(|it| it.as_u64().unwrap()).collect();
    list.sort_unstable();
    list
}

/// The master, and how often systemd has started it anew.
fn process(machine: &Machine) -> (u64, u64) {
    let restarts = "systemctl show --property=NRestarts --value my-app.service";
    (machine.master(), machine.number(restarts))
}

/// The programs of the master and of the workers.
fn programs(machine: &Machine) -> Vec<String> {
    let master = machine.master();
    let said = machine.sh(&format!(
        "for pid in {master} $(cat /proc/{master}/task/{master}/children); do sha256sum </proc/$pid/exe; done"
    ));
    said.lines().map(ToOwned::to_owned).collect()
}

fn installed(machine: &Machine) -> String {
    machine.sh("sha256sum </usr/bin/my-app")
}

/// A deploy by which all clients move to new workers, one after the other, in the same process.
fn moves(machine: &Machine, crowd: &mut Talker, what: &str, deploy: impl FnOnce()) {
    let before = process(machine);
    crowd.ask("mark");
    let longest = newcomers(machine, what, || {
        deploy();
        let seen = everybody_moves(machine, crowd, what);
        for which in ["ends", "polled"] {
            let ends = numbers(&seen[which]);
            let (first, last) = (ends[0], ends[ends.len() - 1]);
            // What a busy machine sees late it sees at once.
            let late = Duration::from_millis(seen["lateMs"].as_u64().unwrap());
            let over = Duration::from_millis(last - first).max(drain());
            assert!(over <= drain() + SOON / 4 + late, "{which}: {over:?}");
            let tenth = u64::try_from(over.as_millis()).unwrap() / 10 + 1;
            let mut tenths = [0; 10];
            for end in &ends {
                tenths[usize::try_from((end - first) / tenth).unwrap()] += 1;
            }
            machine.saw(
                &format!("{what}: {which} in each tenth of {over:?}, seen {late:?} late at most"),
                format!("{tenths:?}"),
            );
            let most = ends.len() * 15 / 100;
            let is_exact = which == "ends" && late < drain() / 20;
            assert!(
                !is_exact || tenths.iter().all(|&share| share <= most),
                "{tenths:?}"
            );
        }
        for twice in ["again", "unjoined"] {
            assert_eq!(seen[twice], 0, "somebody moved twice: {twice}");
        }
        let reasons = seen["reasons"].as_object().unwrap();
        assert_eq!(reasons["transport close 1001"], websockets(), "{reasons:?}");
        // The session is unknown: nothing was cut off.
        assert_eq!(reasons["transport error 400"], polling(), "{reasons:?}");
    });
    machine.saw(
        &format!("{what}: the longest handshake"),
        format!("{longest} ms"),
    );
    assert_eq!(process(machine), before, "it was started anew");
    eventually("the workers before have left", SOON, || {
        programs(machine)
            .iter()
            .all(|program| *program == installed(machine))
    });
}

fn deploys_under_load_refuse_nobody(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.sh(&format!(
        "/usr/share/my-app/tune-nginx; sed -i 's/^#drain = .*/drain = \"{}s\"/' {CONFIG}; systemctl restart my-app.service",
        drain().as_secs()
    ));
    let mut crowd = machine.talk(&format!(
        "deploy.mjs --url http://127.0.0.1:3000 --proxy http://127.0.0.1 --websocket {} --polling {} \
         --every 1000 --deadline 280",
        websockets(),
        polling()
    ));
    moves(&machine, &mut crowd, "systemctl reload", || {
        machine.sh("systemctl reload my-app.service");
    });

    // Into what does not work: nobody notices.
    machine.sh(&format!(
        "cp {CONFIG} /root/good; echo 'workerz = 3' >>{CONFIG}"
    ));
    let before = (process(&machine), programs(&machine));
    crowd.ask("mark");
    newcomers(&machine, "a reload into a faulty configuration", || {
        let said = machine.try_sh("systemctl reload my-app.service");
        assert!(!said.ok, "{}", said.text);
        machine.wait_for_journal("workerz");
        let said = machine.try_sh("my-app reload");
        assert!(!said.ok && said.text.contains("workerz"), "{}", said.text);
        machine.saw("a reload into a faulty configuration", said.text.trim());
    });
    let seen = crowd.ask("stats");
    assert_eq!(
        (&seen["ends"], &seen["connected"]),
        (&json!([]), &json!(clients()))
    );
    assert_eq!((process(&machine), programs(&machine)), before);
    machine.sh(&format!("cp /root/good {CONFIG}"));

    moves(&machine, &mut crowd, "apt install", || {
        let said = machine.upgrade_with("-o Dpkg::Options::=--force-confold");
        assert!(said.ok && !said.text.contains("my-app: "), "{}", said.text);
    });

    let before = machine.master();
    crowd.ask("mark");
    let (mut back, mut late) = (0, 0);
    let down = newcomers(&machine, "systemctl restart", || {
        machine.sh("systemctl restart my-app.service");
        let seen = everybody_moves(&machine, &mut crowd, "systemctl restart");
        back = seen["lastBackMs"].as_u64().unwrap();
        late = seen["lateMs"].as_u64().unwrap();
    });
    assert_ne!(machine.master(), before);
    machine.saw(
        "systemctl restart",
        format!("the longest handshake {down} ms, all are back after {back} ms"),
    );
    assert!(down <= 3000 + late && back <= 10_000 + late);

    let heard = crowd.quit();
    machine.saw(
        "announcements over all of it",
        [
            "taken",
            "heard",
            "twice",
            "lost",
            "missedAway",
            "mostMissed",
        ]
        .map(|it| format!("{it} {}", heard[it]))
        .join(", "),
    );
    assert_eq!((&heard["twice"], &heard["lost"]), (&json!(0), &json!(0)));
}

fn an_upgrade_restarts_where_it_must_and_says_so(release: &'static Release) {
    const KEPT: &str = "-o Dpkg::Options::=--force-confold --allow-downgrades";
    let machine = Machine::serving(release);
    let install = |package: &str| {
        let said = machine.try_sh(&format!(
            "cp /srv/share/{package} /var/tmp/; apt-get install -q -y -o Dpkg::Use-Pty=0 {KEPT} /var/tmp/{package} </dev/null"
        ));
        assert!(said.ok, "{}", said.text);
        let told = said.text.lines().filter(|it| it.starts_with("my-app: "));
        let told: Vec<_> = told.map(ToOwned::to_owned).collect();
        machine.saw(package, told.join("; "));
        told
    };
    let said = |what: &str| vec![format!("my-app: {what}")];
    let break_it = || {
        machine.sh(&format!(
            "cp {CONFIG} /root/good; echo 'workerz = 3' >>{CONFIG}"
        ))
    };
    let mend_it = || machine.sh(&format!("cp /root/good {CONFIG}"));

    // Into a configuration that is faulty nothing starts: the version that runs goes on.
    break_it();
    let before = (process(&machine), programs(&machine));
    let told = install("my-app-next.deb");
    assert!(
        told[0].starts_with("my-app: the old version serves on"),
        "{told:?}"
    );
    assert!(told[0].contains("workerz"), "{told:?}");
    assert_eq!((process(&machine), programs(&machine)), before);
    machine.echo("http://127.0.0.1", "upgrade");
    mend_it();
    machine.sh("systemctl reload my-app.service");
    assert_eq!(process(&machine), before.0);

    // A version that cannot take over.
    assert_eq!(
        install("my-app-older.deb"),
        said("this version knows no reload: restarted")
    );
    assert_ne!(machine.master(), before.0.0);
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");

    // A running version that cannot be asked to: its control socket knows no such request.
    let master = machine.master();
    let _older = machine.talk("../package/older.mjs");
    break_it();
    let told = install("my-app.deb");
    assert!(
        told[0].contains("would not start") && told[0].contains("workerz"),
        "{told:?}"
    );
    assert_eq!(machine.master(), master);
    machine.echo("http://127.0.0.1", "upgrade");
    mend_it();
    assert_eq!(
        install("my-app-next.deb"),
        said("the running version knows no reload: restarted")
    );
    assert_ne!(machine.master(), master);
    assert!(
        programs(&machine)
            .iter()
            .all(|program| *program == installed(&machine))
    );

    // One without a control socket.
    machine.sh(&format!(
        "sed -i '/^\\[control\\]/a socket = \"\"' {CONFIG}; systemctl restart my-app.service"
    ));
    let master = machine.master();
    assert_eq!(
        install("my-app.deb"),
        said("the running version cannot be asked for a reload: restarted")
    );
    assert_ne!(machine.master(), master);
    machine.echo("http://127.0.0.1", "upgrade");
}
