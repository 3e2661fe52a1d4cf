//! The next version, restarts, crashes: what clients and admins see of them.

use super::harness::*;

on_every_release!(
    an_upgrade_loses_nothing_that_an_admin_changed,
    the_ports_stay_open_through_crashes,
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

fn the_ports_stay_open_through_crashes(release: &'static Release) {
    let machine = Machine::serving(release);
    // Also those of a master that has taken over from another one.
    machine.sh("systemctl reload my-app.service");
    for turn in 0..12 {
        let master = machine.master();
        machine.sh(match turn % 3 {
            0 => "systemctl kill --signal=KILL my-app.service",
            _ => "kill -KILL $(systemctl show --property=MainPID --value my-app.service)",
        });
        for url in ["http://127.0.0.1:3000/", "http://127.0.0.1/"] {
            assert_eq!(machine.status(&format!("--retry 0 {url}")), "200");
        }
        assert_ne!(machine.master(), master);
    }
    machine.assert_active();
    machine.sh("systemctl reload my-app.service");
    machine.echo("http://127.0.0.1", "upgrade");
}
