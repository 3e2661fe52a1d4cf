//! A fork beside what it was made from: `scripts/rename` has given it a name of its own, and so the two packages share a
//! machine. `make long-tests` builds it (`scripts/build-fork`).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::*;

on_every_release!(a_fork_serves_beside_my_app_and_each_survives_the_others_purge);

/// One of the two, as it is installed.
struct Package {
    name: String,
    port: String,
    metrics: String,
}

/// The fork's package, which every machine sees as /srv/share/fork.deb; its name.
fn the_fork() -> String {
    let fork = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fork.deb");
    assert!(fork.exists(), "`scripts/build-fork` comes first");
    let there = share().join("fork.deb");
    if !there.exists() {
        // Two tests may do so at one time.
        let copy = there.with_extension(format!("{:?}", std::thread::current().id()));
        fs::copy(&fork, &copy).unwrap();
        fs::rename(copy, there).unwrap();
    }
    let name = Command::new("dpkg-deb")
        .arg("-f")
        .arg(&fork)
        .arg("Package")
        .output()
        .unwrap();
    String::from_utf8(name.stdout).unwrap().trim().to_owned()
}

impl Package {
    fn of(machine: &Machine, name: &str) -> Self {
        let port = |unit: &str| {
            let unit = format!("/usr/lib/systemd/system/{name}-{unit}.socket");
            machine.sh(&format!(
                "sed -n 's/^ListenStream=127.0.0.1:\\(.*\\)/\\1/p' {unit}"
            ))
        };
        Self {
            name: name.to_owned(),
            port: port("tcp"),
            metrics: port("metrics"),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[track_caller]
    fn assert_active(&self, machine: &Machine) {
        let name = &self.name;
        let states = machine.try_sh(&format!(
            "systemctl is-active {name}.socket {name}-tcp.socket {name}.service"
        ));
        assert_eq!(states.text, "active\nactive\nactive\n", "{name}");
    }

    /// All that is there as it came, but for what was edited.
    #[track_caller]
    fn assert_whole(&self, machine: &Machine, edited: &str) {
        self.assert_active(machine);
        let name = &self.name;
        let changed = machine.try_sh(&format!("dpkg --verify {name}")).text;
        let changed: Vec<_> = changed
            .lines()
            .filter_map(|line| line.split_whitespace().next_back())
            .collect();
        let edited: Vec<_> = edited.split_whitespace().collect();
        assert_eq!(changed, edited, "{name}");
    }

    /// Clients that stay connected, over its port and through nginx.
    fn clients(&self, machine: &Machine, through_nginx: &str) -> Vec<Talker> {
        [&self.url(), through_nginx]
            .map(|url| {
                machine.talk(&format!(
                    "hold.mjs --url {url} --transport websocket --clients 50 --every 500 --deadline 280"
                ))
            })
            .into()
    }
}

/// Nothing happened to these clients.
#[track_caller]
fn undisturbed(machine: &Machine, what: &str, clients: Vec<Talker>) {
    for client in clients {
        let figures = client.quit();
        let seen = ["connected", "disconnects", "missing"].map(|it| figures[it].as_u64());
        assert_eq!(seen, [Some(50), Some(0), Some(0)], "{what}: {figures}");
        machine.saw(
            what,
            format!(
                "50 clients stay, {} of {} messages came back",
                figures["received"], figures["sent"]
            ),
        );
    }
}

/// Whose mark comes back from port 80, sent there for a Host.
fn who(machine: &Machine, host: &str, both: [&str; 2]) -> String {
    let marks = both.map(|name| format!("-H 'X-{name}-Mark: 1'")).join(" ");
    let answer = machine.try_sh(&format!(
        "curl -s -m 5 -i -H 'Host: {host}' {marks} http://127.0.0.1/ | tr A-Z a-z"
    ));
    let mut ours = both.into_iter();
    let ours = ours.find(|name| answer.text.contains(&format!("\nx-{name}-mark: 1")));
    ours.unwrap_or("neither").to_owned()
}

#[track_caller]
fn assert_answers(machine: &Machine, host: &str, both: [&str; 2], expected: &str) {
    let seen = settled(expected, || who(machine, host, both));
    assert_eq!(seen, expected, "{host}");
}

/// Installs one of the two while the other has every Host on port 80: it says so in one line, and nothing fails.
#[track_caller]
fn install_as_the_second(machine: &Machine, package: &str, name: &str, first: &str) {
    let said = machine.install_package(package);
    assert!(said.ok, "{}", said.text);
    let start = format!("{name}: ");
    let ours: Vec<_> = said
        .text
        .lines()
        .filter(|it| it.starts_with(&start))
        .collect();
    assert_eq!(
        ours,
        [format!(
            "{name}: /etc/nginx/sites-enabled/~{first} has every Host on port 80 that no other site has; to give {name} \
             a name of its own, put it into /etc/nginx/sites-available/{name} in place of \"~.\", then: \
             /usr/share/{name}/nginx-site enable"
        )],
        "{}",
        said.text
    );
    machine.saw("the second says", ours[0]);
}

fn a_fork_serves_beside_my_app_and_each_survives_the_others_purge(release: &'static Release) {
    let name = the_fork();
    let machine = Machine::with_nginx(release);
    let both = ["my-app", name.as_str()];
    machine.install();
    install_as_the_second(&machine, "fork.deb", &name, "my-app");
    let [ours, fork] = both.map(|name| Package::of(&machine, name));
    for package in [&ours, &fork] {
        package.assert_whole(&machine, "");
        machine.echo_every_way(&package.url());
    }
    assert_answers(&machine, "any.test", both, "my-app");

    // A name, as the line says.
    let site = format!("/etc/nginx/sites-available/{name}");
    machine.sh(&format!(
        "sed -i 's/server_name \"~\\.\"/server_name fork.test/' {site}; echo '127.0.0.1 fork.test' >>/etc/hosts"
    ));
    let enable = format!("/usr/share/{name}/nginx-site enable");
    machine.saw("with a name", machine.sh(&enable));
    assert_answers(&machine, "fork.test", both, &name);
    assert_answers(&machine, "any.test", both, "my-app");
    machine.echo_every_way("http://127.0.0.1");
    machine.echo_every_way("http://fork.test");

    // Metrics and `check`: each has its own.
    for package in [&ours, &fork] {
        let Package { name, metrics, .. } = package;
        machine.sh(&format!(
            "systemctl enable {name}-metrics.socket 2>&1; systemctl restart {name}.service"
        ));
        let figures = machine.sh(&format!("curl -sS http://127.0.0.1:{metrics}/metrics"));
        let prefix = name.replace('-', "_");
        assert!(figures.contains(&format!("\n{prefix}_workers_ready ")));
        let check = machine.try_sh(&format!("{name} check"));
        machine.saw(&format!("{name} check"), check.text.trim());
    }

    // What happens to the one, the other's clients do not notice: an upgrade, a purge.
    let clients = fork.clients(&machine, "http://fork.test");
    let said = machine.upgrade_with("");
    assert!(said.ok, "{}", said.text);
    machine.echo("http://127.0.0.1", "upgrade");
    machine.sh("apt-get purge -q -y my-app");
    undisturbed(&machine, "my-app upgraded and purged", clients);
    fork.assert_whole(&machine, &site);
    machine.echo_every_way(&fork.url());
    machine.echo_every_way("http://fork.test");
    assert_answers(&machine, "any.test", both, "neither");
    let kernel = "sysctl -n net.core.somaxconn net.ipv4.tcp_max_syn_backlog net.ipv4.ip_local_port_range | tr '\\t' ' '";
    assert_eq!(machine.sh(kernel), "65535\n65535\n10000 65535");

    // The other way round.
    machine.install();
    assert_answers(&machine, "any.test", both, "my-app");
    let clients = ours.clients(&machine, "http://127.0.0.1");
    machine.sh("apt-get install -q -y --reinstall -o Dpkg::Use-Pty=0 /var/tmp/fork.deb </dev/null");
    machine.echo("http://fork.test", "upgrade");
    machine.sh(&format!("apt-get purge -q -y {name}"));
    undisturbed(&machine, "the fork installed again and purged", clients);
    ours.assert_whole(&machine, "");
    machine.echo_every_way("http://127.0.0.1");
    assert_eq!(machine.sh(kernel), "65535\n65535\n10000 65535");
    let left = machine.sh(&format!(
        "find / -xdev -name '*{name}*' ! -path '/opt/tests/*' ! -path '/srv/share/*' ! -path '/proc/*'
         ls -d /run/{name}* /run/systemd/transient/{name}* 2>/dev/null || true
         systemctl list-unit-files --no-legend '{name}*' || true"
    ));
    assert_eq!(left, "", "purge left something");

    // The fork first: now it has port 80, whatever the order of the two names.
    machine.sh("apt-get purge -q -y my-app");
    let said = machine.install_package("fork.deb");
    assert!(
        said.ok && said.text.contains("nginx passes every Host"),
        "{}",
        said.text
    );
    install_as_the_second(&machine, "my-app.deb", "my-app", &name);
    assert_answers(&machine, "any.test", both, &name);
    machine.echo_every_way(&ours.url());
    machine.echo_every_way("http://127.0.0.1");
    machine.sh(&format!("apt-get purge -q -y {name}"));
    assert_answers(&machine, "any.test", both, "neither");
    machine.sh("/usr/share/my-app/nginx-site enable");
    assert_answers(&machine, "any.test", both, "my-app");
    ours.assert_whole(&machine, "");
}
