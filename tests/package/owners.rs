//! Files of the wrong owner: survived, seen, put right.

use std::collections::BTreeSet;

use super::harness::*;

on_every_release!(files_of_the_wrong_owner_are_survived_seen_and_put_right);

const LOG: &str = "/var/log/my-app/app.log";

fn files_of_the_wrong_owner_are_survived_seen_and_put_right(release: &'static Release) {
    let machine = Machine::plain(release);
    machine.install_with("--no-install-recommends");
    machine.sh("sed -i -e 's/^#stats_interval.*/stats_interval = \"500ms\"/' -e 's/^#workers.*/workers = 4/' /etc/my-app/my-app.toml
         systemctl restart my-app.service");
    assert_eq!(machine.check().ids(), BTreeSet::new());

    a_log_file_of_root_is_told_once_and_heals(&machine);
    what_check_says_mends(&machine);
    an_installation_puts_right(&machine);
}

#[track_caller]
fn grows(machine: &Machine) {
    let size = || machine.number(&format!("stat -c %s {LOG}"));
    let before = size();
    eventually("the log file grows", SOON, || size() > before);
}

fn a_log_file_of_root_is_told_once_and_heals(machine: &Machine) {
    grows(machine);
    // What a rotation as root leaves.
    let master = machine.master();
    machine.sh(&format!(
        "mv {LOG} {LOG}.1; install -m 644 -o root -g root /dev/null {LOG}"
    ));
    machine.wait_for_journal("log file: cannot open");
    machine.sh("sleep 2");
    assert_eq!(machine.journal_count("log file: cannot open"), 1);
    machine.echo("http://127.0.0.1:3000", "upgrade");
    // So is it at a start.
    machine.sh("systemctl restart my-app.service; sleep 2");
    assert_ne!(machine.master(), master);
    let master = machine.master();
    assert_eq!(machine.journal_count("log file: cannot open"), 2);
    machine.saw(
        "four workers and a log file of root's, one line for each of two times",
        machine.sh("journalctl -q -o cat -u my-app.service | grep 'log file:'"),
    );

    let check = machine.check();
    let remedy = check.text("log-unwritable", "remedy");
    machine.saw("check", machine.sh("my-app check"));
    machine.sh(remedy);
    grows(machine);
    machine.wait_for_journal("log file: it can be written again");
    assert_eq!(machine.master(), master, "without a restart");
    machine.saw(
        "healed",
        machine.sh("journalctl -q -o cat -u my-app.service | grep 'written again'"),
    );
    assert_eq!(machine.check().ids(), BTreeSet::new());
}

fn what_check_says_mends(machine: &Machine) {
    let config = "/etc/my-app/my-app.toml";
    for (damage, exit) in [
        (format!("chown root:root {config}; chmod 600 {config}"), 78),
        ("chmod 700 /etc/my-app".to_owned(), 78),
        (
            "chown root:root /var/log/my-app; chmod 755 /var/log/my-app".to_owned(),
            0,
        ),
        ("chmod 500 /var/log/my-app".to_owned(), 0),
        ("chmod 700 /var/log".to_owned(), 0),
    ] {
        machine.sh(&damage);
        let check = machine.check();
        let id = match exit {
            78 => "configuration-unreadable",
            _ => "log-unwritable",
        };
        let what = check.text(id, "what");
        assert!(
            what.contains(": my-app-runner, as whom the service runs, may not "),
            "{damage}: {what}"
        );
        assert_eq!(check.exit, exit, "{damage}");
        let remedy = check.text(id, "remedy");
        machine.saw(
            &format!("check after {damage:?}"),
            format!("{what}: {remedy}"),
        );
        machine.sh(remedy);
        assert_eq!(machine.check().ids(), BTreeSet::new(), "{remedy}");
    }
    // Where the sandbox ends, no owner helps.
    machine.sh("install -d -o my-app-runner /srv/logs
         sed -i 's,^#file = .*,file = \"/srv/logs/app.log\",' /etc/my-app/my-app.toml");
    let check = machine.check();
    let remedy = check.text("log-unwritable", "remedy");
    assert!(remedy.contains("ReadWritePaths=/srv/logs"), "{remedy}");
    machine.sh(remedy);
    assert_eq!(machine.check().ids(), BTreeSet::new());
    eventually("the log is there", SOON, || {
        machine.try_sh("test -s /srv/logs/app.log").ok
    });
    machine.sh("rm -r /etc/systemd/system/my-app.service.d
         sed -i 's,^file = .*,#file = \"/var/log/my-app/app.log\",' /etc/my-app/my-app.toml
         systemctl daemon-reload; systemctl restart my-app.service");
}

fn an_installation_puts_right(machine: &Machine) {
    let reinstall = "apt-get install -q -y --reinstall -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 /var/tmp/my-app.deb </dev/null";
    machine.sh(&format!("echo old >/srv/elsewhere; chmod 600 /srv/elsewhere
         chown root {LOG}; chmod 644 {LOG}; ln -s /srv/elsewhere /var/log/my-app/link
         ln /srv/elsewhere /var/log/my-app/second
         echo old >/var/log/my-app/app.log.2; chmod 600 /var/log/my-app/app.log.2
         chown root:root /etc/my-app/my-app.toml; chmod 600 /etc/my-app/my-app.toml; chmod 700 /etc/my-app"));
    let said = machine.sh(reinstall);
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("my-app:"))
        .collect();
    machine.saw("a reinstallation", ours.join("\n"));
    assert_eq!(ours.len(), 4, "{said}");
    assert!(
        ours.iter()
            .all(|line| line.contains("my-app-runner to use now")),
        "{said}"
    );
    assert_eq!(
        machine.sh("stat -c '%a %U:%G %n' /etc/my-app /etc/my-app/my-app.toml /var/log/my-app/app.log /var/log/my-app/app.log.2 /srv/elsewhere"),
        "750 root:my-app-runner /etc/my-app\n\
         640 root:my-app-runner /etc/my-app/my-app.toml\n\
         640 my-app-runner:my-app-runner /var/log/my-app/app.log\n\
         600 my-app-runner:my-app-runner /var/log/my-app/app.log.2\n\
         600 root:root /srv/elsewhere"
    );
    machine.assert_active();
    grows(machine);
    assert_eq!(machine.check().ids(), BTreeSet::new());
    // Nothing is left to be said.
    let said = machine.sh(reinstall);
    assert!(!said.contains("my-app: "), "{said}");

    // What an admin told dpkg holds, and is told.
    machine.sh("dpkg-statoverride --update --add root root 600 /etc/my-app/my-app.toml");
    let said = machine.sh("/usr/share/my-app/own-files");
    assert!(said.contains("as dpkg-statoverride wants it"), "{said}");
    assert_eq!(machine.sh("stat -c %a /etc/my-app/my-app.toml"), "600");
}
