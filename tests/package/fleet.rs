//! `make I=INVENTORY ping` and `install`: this machine, a fleet of two, and what is wrong with machines.
//!
//! A fleet of Debian 12 and Debian 13: each installs on itself with its own Ansible, and is a machine of the
//! other's inventory. Ansible logs in over a cable between the two that leads nowhere else.

use std::thread;

use serde_json::Value;

use super::harness::*;

const ONE: &str = "192.0.2.1";
const TWO: &str = "192.0.2.2";

/// `make` with these arguments, on a machine, whatever comes of it.
fn make(machine: &Machine, arguments: &str) -> Said {
    machine.try_sh(&format!("cd my-app; make --no-print-directory {arguments}"))
}

/// The same, which must succeed; gives what was said.
#[track_caller]
fn made(machine: &Machine, arguments: &str) -> String {
    let said = make(machine, arguments);
    assert!(said.ok, "make {arguments}\n{}", said.text);
    said.text
}

/// The same, which must fail.
#[track_caller]
fn not_made(machine: &Machine, arguments: &str) -> String {
    let said = make(machine, arguments);
    assert!(!said.ok, "make {arguments}\n{}", said.text);
    said.text
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    let mut rest = text;
    for words in words {
        let at = rest.find(words);
        let at = at.unwrap_or_else(|| panic!("not there, or not in this order: {words:?}\n{text}"));
        rest = &rest[at + words.len()..];
    }
}

fn version(machine: &Machine) -> String {
    machine.sh("dpkg-query -W -f '${Version}' my-app")
}

fn booted(release: &'static Release) -> Machine {
    let machine = Machine::of_a_fleet(release);
    machine.sh("mkdir my-app");
    let unpacked = machine
        .command("tar")
        .args(["-x", "-C", "/root/my-app"])
        .stdin(some_of_the_project(&["Makefile", "ansible", "scripts"]))
        .status();
    assert!(unpacked.unwrap().success());
    machine
}

/// `I=local`, with the Ansible of the machine's release.
fn installs_on_itself(machine: &Machine) {
    let said = made(machine, "I=local ping");
    assert_says(&said, &["localhost: ready: Debian", "no my-app yet"]);
    let install = "I=local DEB=/srv/share/my-app.deb install";
    let said = made(machine, install);
    assert_says(
        &said,
        &["localhost: installing", "localhost: serves, version"],
    );
    machine.assert_active();
    // nginx, which is recommended, came along.
    machine.echo_every_way("http://127.0.0.1");
    // The same build once more restarts nothing.
    let before = machine.master();
    let said = made(machine, install);
    assert_says(&said, &["was there already, the same build", "serves"]);
    assert_eq!(machine.master(), before);
    machine.saw("make I=local install, twice", said);
}

/// Makes a machine one that others log in to as `user`, with the key that is in /root/keys of `from`.
fn lets_in(machine: &Machine, user: &str, from: &Machine) {
    let key = from.sh("cat keys/fleet.pub");
    machine.sh(&format!(
        "home=$(getent passwd {user} | cut -d: -f6); mkdir -p $home/.ssh; \
         echo '{key}' >$home/.ssh/authorized_keys; chown -R {user}: $home/.ssh"
    ));
}

fn fleet(one: &Machine, two: &Machine) {
    one.connect(ONE, two, TWO);
    one.sh("mkdir keys; for key in fleet another; do ssh-keygen -q -t ed25519 -N '' -f keys/$key; done");
    for machine in [one, two] {
        machine.sh("useradd --create-home --shell /bin/bash admin
             echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
             useradd --create-home --shell /bin/sh plain");
    }
    lets_in(one, "admin", one);
    for user in ["root", "plain"] {
        lets_in(two, user, one);
    }
    one.sh("mkdir -p .ssh my-app/inventory");
    for (address, machine) in [(ONE, one), (TWO, two)] {
        let key = machine.sh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
        one.sh(&format!("echo '{address} {key}' >>.ssh/known_hosts"));
    }
    one.write(
        "/root/my-app/inventory/fleet",
        &format!(
            "[app]\none ansible_host={ONE} ansible_user=admin\ntwo ansible_host={TWO} ansible_user=root\n\
             [app:vars]\nansible_ssh_private_key_file=/root/keys/fleet"
        ),
    );
}

/// What clients of a machine do while something happens to it.
struct Load<'a> {
    machine: &'a Machine,
    handshakes: Talker,
    held: Vec<Talker>,
}

impl<'a> Load<'a> {
    fn on(machine: &'a Machine) -> Self {
        let hold = |url, transport| {
            machine.talk(&format!(
                "hold.mjs --url {url} --transport {transport} --clients 30 --every 500 --reconnect --deadline 290"
            ))
        };
        Self {
            machine,
            held: vec![
                hold("http://127.0.0.1:3000", "websocket"),
                hold("http://127.0.0.1", "polling"),
            ],
            handshakes: machine.talk(
                "handshakes.mjs --url http://127.0.0.1:3000 --proxy http://127.0.0.1 --loops 2 --deadline 290",
            ),
        }
    }

    /// Nobody was refused, and everybody who was there is back.
    #[track_caller]
    fn was_served(mut self) {
        for held in &mut self.held {
            // Each was to come back once; a reload ends the last session when `drain` is over.
            eventually("the clients have moved, and are back", SOON, || {
                let stats = held.ask("stats");
                stats["connected"] == 30 && stats["reconnects"].as_u64() >= Some(30)
            });
        }
        let figures = self.handshakes.quit();
        for (way, figures) in figures.as_object().unwrap() {
            let none = Value::Object(Default::default());
            assert_eq!(figures["failures"], none, "{way}");
            assert!(figures["handshakes"].as_u64().unwrap() > 50, "{way}");
            let what = format!("handshakes over {way} during a rolling installation");
            self.machine.saw(&what, figures);
        }
        for held in self.held {
            let figures = held.quit();
            assert!(figures["reconnects"].as_u64().unwrap() >= 30, "{figures}");
            self.machine.saw("thirty open sessions", figures);
        }
        let errors =
            "awk '$0 ~ /\" 5[0-9][0-9] / { n++ } END { print n + 0 }' /var/log/nginx/access.log";
        assert_eq!(
            self.machine.number(errors),
            0,
            "nginx answered with an error"
        );
    }
}

fn is_rolled_out_under_load(one: &Machine, two: &Machine) {
    let said = made(one, "I=fleet ping");
    assert_says(&said, &["one: ready: Debian GNU/Linux 12", "healthy"]);
    assert_says(&said, &["two: ready: Debian GNU/Linux 13", "healthy"]);
    for machine in [one, two] {
        machine
            .sh("sed -i -e 's/^#stats_interval.*/stats_interval = \"1s\"/' -e 's/^#drain.*/drain = \"5s\"/' /etc/my-app/my-app.toml");
    }
    let load = [one, two].map(Load::on);
    let said = made(one, "I=fleet DEB=/srv/share/my-app-next.deb install");
    assert_says(
        &said,
        &[
            "ready",
            "ready",
            "one: installing",
            "one: serves, version 99.",
            "two: installing",
            "two: serves, version 99.",
        ],
    );
    for load in load {
        load.was_served();
    }
    for machine in [one, two] {
        machine.sh("grep -q '^stats_interval = \"1s\"' /etc/my-app/my-app.toml");
        machine.sh("test -z \"$(find /var/cache/apt/archives -name 'my-app*')\"");
    }
    one.saw("a rolling installation", said);
    // An operator brings the page of another machine here.
    one.sh(&format!(
        "echo '{TWO} server' >>/etc/hosts
         ssh -i keys/fleet -o HostKeyAlias={TWO} -o ExitOnForwardFailure=yes -f -N -L 8080:/run/my-app-ctl/control.sock root@server
         curl -sS http://localhost:8080/ | grep -q '<title>'"
    ));
}

fn stops_at_the_first_failure(one: &Machine, two: &Machine) {
    // What is wrong with any machine is said before the first is changed.
    one.sh("sed 's/^two .*/two ansible_host=192.0.2.2 ansible_port=1/' my-app/inventory/fleet >my-app/inventory/half");
    let install = "DEB=/srv/share/my-app.deb ANSIBLE_OPTIONS='-e health_seconds=2' install";
    let said = not_made(one, &format!("I=half {install}"));
    assert_says(&said, &["two: 192.0.2.2, port 1: Connection refused"]);
    assert_says(&said, &["failed: two; installed: none; as before: one"]);

    // A machine that does not serve afterwards.
    one.sh("echo 'wrokers = 2' >>/etc/my-app/my-app.toml");
    let before = two.master();
    let said = not_made(one, &format!("I=fleet {install}"));
    assert_says(
        &said,
        &[
            "one: installing",
            "one: installed, but it does not serve",
            "wrokers",
        ],
    );
    assert_says(&said, &["failed: one; installed: none; as before: two"]);
    one.saw("a machine that fails", said);
    assert!(!version(one).starts_with("99."));
    assert!(version(two).starts_with("99."));
    assert_eq!(two.master(), before);
}

fn says_what_is_wrong(one: &Machine, two: &Machine) {
    two.sh("sed -i 's,^,command=\"PATH=/nowhere; eval \\\\\"$SSH_ORIGINAL_COMMAND\\\\\"\" ,' ~plain/.ssh/authorized_keys
            useradd --create-home --shell /bin/sh nobodys");
    lets_in(two, "nobodys", one);
    // Each logs in for itself: connections are kept by host, port and user.
    one.write(
        "/root/my-app/inventory/faults.ini",
        "[app]
unknown ansible_ssh_common_args='-o UserKnownHostsFile=/dev/null'
another ansible_ssh_private_key_file=/root/keys/another
lost ansible_ssh_private_key_file=/root/keys/lost
nameless ansible_host=nobody.invalid
refusing ansible_port=1
sudo ansible_user=nobodys
python ansible_user=plain
[app:vars]
ansible_host=192.0.2.2
ansible_user=root
ansible_ssh_args=-o ControlMaster=no
ansible_ssh_private_key_file=/root/keys/fleet",
    );
    let said = not_made(one, "I=faults ping");
    for words in [
        "unknown: its host key is not known here. `ssh root@192.0.2.2` shows it",
        "another: it does not let root in with this key: /root/keys/another",
        "lost: there is no key at /root/keys/lost",
        "nameless: there is no such name: nobody.invalid",
        "refusing: 192.0.2.2, port 1: Connection refused",
        "sudo: sudo asks nobodys for a password: ANSIBLE_OPTIONS=-K",
        "python: it has no python3, which Ansible needs there",
        "failed: ",
    ] {
        assert_says(&said, &[words]);
    }
    one.saw("ping of machines with faults", said);

    // Before any machine is asked.
    one.write("/root/my-app/inventory/empty", "[web]\nlocalhost");
    one.sh("echo no package >broken.deb");
    for (arguments, words) in [
        ("I=nowhere ping", "there is no inventory nowhere"),
        (
            "I=empty ping",
            "inventory/empty has no machine in its group [app]",
        ),
        ("ping", "make I=INVENTORY ping"),
        (
            "I=fleet DEB=/root/lost.deb install",
            "there is no /root/lost.deb",
        ),
        (
            "I=fleet DEB=/root/broken.deb install",
            "broken.deb is no Debian package",
        ),
    ] {
        assert_says(&not_made(one, arguments), &[words]);
    }

    // Before any machine is changed.
    one.write(
        "/root/odd/DEBIAN/control",
        "Package: my-app\nVersion: 1\nArchitecture: riscv64\nInstalled-Size: 9999999999\n\
         Maintainer: nobody <nobody@example.org>\nDescription: odd",
    );
    one.sh("dpkg-deb -b odd odd.deb");
    let said = not_made(one, "I=fleet DEB=/root/odd.deb install");
    assert_says(&said, &["the package is for riscv64, and this machine is"]);
    assert_says(&said, &["its disk is full: /usr has"]);

    // What the package itself refuses is what one sees. What was mended is tried again.
    one.sh("sed -i /^wrokers/d /etc/my-app/my-app.toml");
    two.sh("apt-get -q -y purge my-app; printf '[Service]\\nExecStart=/usr/bin/node x\\n' >/etc/systemd/system/my-app.service");
    let said = not_made(one, "I=fleet DEB=/srv/share/my-app.deb install");
    assert_says(
        &said,
        &[
            "one: installing",
            "whose service is the one before",
            "one: serves",
            "two: /etc/systemd/system/my-app.service is another deployment of my-app; nothing was changed.",
            "two: to take it over: dpkg-deb",
            "failed: two; installed: one; as before: none",
        ],
    );
    let adopted = made(one, "I=fleet ADOPT=yes DEB=/srv/share/my-app.deb install");
    assert_says(&adopted, &["one: ", "was there already", "two: serves"]);
    one.saw("a machine of the playbook's", said + &adopted);
}

#[test]
fn a_fleet_is_installed_one_machine_after_the_other_until_one_fails() {
    // Here, for a machine ends with the thread that booted it.
    let [one, two] = &[&BOOKWORM, &TRIXIE].map(booted);
    thread::scope(|scope| {
        for machine in [one, two] {
            scope.spawn(|| installs_on_itself(machine));
        }
    });
    fleet(one, two);
    is_rolled_out_under_load(one, two);
    stops_at_the_first_failure(one, two);
    says_what_is_wrong(one, two);
}
