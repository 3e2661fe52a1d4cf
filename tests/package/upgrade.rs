//! The next version, restarts, crashes: what clients and admins see of them.

use serde_json::Value;

use super::harness::*;

on_every_release!(
    an_upgrade_loses_nothing_that_an_admin_changed,
    upgrade_and_restart_under_load_refuse_nobody,
    the_port_stays_open_through_crashes,
);

const EDITED: [&str; 2] = ["/etc/my-app/my-app.toml", "/etc/nginx/conf.d/my-app.conf"];

/// A machine whose admin changed both files that the next version changes, too.
fn edited(release: &'static Release) -> Machine {
    let machine = Machine::serving(release);
    machine.sh(
        "sed -i 's/^#stats_interval.*/stats_interval = \"1s\"/' /etc/my-app/my-app.toml
                sed -i 's/keepalive 32;/keepalive 16;/' /etc/nginx/conf.d/my-app.conf
                systemctl restart my-app.service",
    );
    machine
}

#[track_caller]
fn assert_edits_are_there(machine: &Machine) {
    machine.sh("grep -q '^stats_interval = \"1s\"' /etc/my-app/my-app.toml
                grep -q 'keepalive 16;' /etc/nginx/conf.d/my-app.conf");
}

fn an_upgrade_loses_nothing_that_an_admin_changed(release: &'static Release) {
    let machine = edited(release);
    // Without an answer, and with nobody to give one, dpkg stops and changes neither file.
    let said = machine.upgrade_with("");
    assert!(
        !said.ok && said.text.contains("conffile prompt"),
        "{}",
        said.text
    );
    machine.saw(
        "an upgrade without --force-confold",
        said.text
            .lines()
            .find(|line| line.contains("conffile prompt"))
            .unwrap(),
    );
    assert_edits_are_there(&machine);
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");

    // The answer can be given later.
    machine.sh("dpkg --force-confold --configure -a");
    assert_edits_are_there(&machine);
    machine.assert_active();
    for path in EDITED {
        machine.sh(&format!(
            "grep -q 'What the next version says' {path}.dpkg-dist"
        ));
    }
    machine.echo("http://127.0.0.1", "upgrade");

    // Given at once, there is no question.
    let machine = edited(release);
    let said = machine.upgrade_with("-o Dpkg::Options::=--force-confold");
    assert!(said.ok, "{}", said.text);
    assert_edits_are_there(&machine);
    for path in EDITED {
        machine.sh(&format!(
            "grep -q 'What the next version says' {path}.dpkg-dist"
        ));
    }
    machine.echo("http://127.0.0.1", "upgrade");

    // Who changed nothing gets the new files.
    let machine = Machine::serving(release);
    let said = machine.upgrade_with("");
    assert!(said.ok, "{}", said.text);
    for path in EDITED {
        machine.sh(&format!("grep -q 'What the next version says' {path}"));
    }
    machine.echo("http://127.0.0.1", "upgrade");
}

fn upgrade_and_restart_under_load_refuse_nobody(release: &'static Release) {
    let machine = Machine::serving(release);
    let hold = |url, transport| {
        let line = format!(
            "hold.mjs --url {url} --transport {transport} --clients 100 --every 500 --reconnect --deadline 200"
        );
        machine.talk(&line)
    };
    let direct = hold("http://127.0.0.1:3000", "websocket");
    let proxied = hold("http://127.0.0.1", "polling");
    let load = machine.talk(
        "handshakes.mjs --url http://127.0.0.1:3000 --unix /run/my-app/my-app.sock \
         --proxy http://127.0.0.1 --deadline 200",
    );
    let before = machine.master();
    let said = machine.upgrade_with("");
    assert!(said.ok, "{}", said.text);
    let between = machine.master();
    machine.sh("systemctl restart my-app.service");
    machine.sh("systemctl restart my-app.service");
    assert!(
        before != between && between != machine.master(),
        "it was not restarted"
    );
    // Whoever has come back has not been refused on the way.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let figures = load.quit();
    for (way, figures) in figures.as_object().unwrap() {
        machine.saw(
            &format!("handshakes over {way}, one upgrade and two restarts"),
            figures,
        );
        assert_eq!(
            figures["failures"],
            Value::Object(Default::default()),
            "{way}"
        );
        assert!(figures["handshakes"].as_u64().unwrap() > 100, "{way}");
    }
    for held in [direct, proxied] {
        let figures = held.quit();
        // Who came back before the old server was gone may have had a short session there, and comes
        // once more. Nothing else may go wrong.
        let errors = figures["connectErrors"].as_object().unwrap();
        let only_short = errors
            .keys()
            .all(|error| error.contains("Session ID unknown"));
        assert!(only_short, "{figures}");
        assert!(figures["reconnects"].as_u64().unwrap() >= 100, "{figures}");
        machine.saw("a hundred open sessions", figures);
    }
    assert_eq!(
        machine.number(
            "awk '$0 ~ /\" 5[0-9][0-9] / { n++ } END { print n + 0 }' /var/log/nginx/access.log"
        ),
        0,
        "nginx answered with an error"
    );
}

fn the_port_stays_open_through_crashes(release: &'static Release) {
    let machine = Machine::serving(release);
    for _ in 0..12 {
        machine.sh("systemctl kill --signal=KILL my-app.service");
        assert_eq!(machine.status("--retry 0 http://127.0.0.1:3000/"), "200");
    }
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");
}
