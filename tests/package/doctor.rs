//! `my-app check` on a booted machine: each thing that it finds, and that its command mends it.
//!
//! One container is many machines, one after the other: each state is made, seen, and mended.

use std::collections::BTreeSet;

use super::harness::*;

on_every_release!(check_finds_what_is_wrong_and_its_command_mends_it);

/// A machine with something wrong.
struct State {
    /// What is found then, and nothing else.
    finding: &'static str,
    /// How bad it is.
    severity: &'static str,
    /// Makes it.
    damage: &'static str,
    /// A part of what is said.
    what: &'static str,
    /// What mends it, where that is more than the command that is said.
    mend: Option<&'static str>,
}

impl State {
    const fn new(
        finding: &'static str,
        severity: &'static str,
        damage: &'static str,
        what: &'static str,
    ) -> Self {
        Self {
            finding,
            severity,
            damage,
            what,
            mend: None,
        }
    }

    const fn mend(self, mend: &'static str) -> Self {
        Self {
            mend: Some(mend),
            ..self
        }
    }
}

const OTHER: &str =
    "require(\"http\").createServer((q, a) => a.setHeader(\"Server\", \"other\").end(\"other\"))";

/// In an order in which each leaves what the next needs.
const STATES: &[State] = &[
    State::new(
        "nginx-timeout",
        "warning",
        "key ping_interval '\"100s\"'",
        "silent for 75s (proxy_read_timeout in /etc/nginx/snippets/my-app-proxy.conf), and a client may be silent for 120 s",
    ),
    State::new(
        "nginx-body",
        "warning",
        "key max_payload 5_000_000",
        "nginx takes 1m of a request (client_max_body_size in /etc/nginx/snippets/my-app-proxy.conf), less than max_payload, 5000000",
    ),
    State::new(
        "nginx-site",
        "note",
        "site disable",
        "nginx passes nothing to my-app, for its site was disabled",
    ),
    State::new(
        "nginx-conf-d",
        "warning",
        "site disable; sed -i '/conf\\.d/d' /etc/nginx/nginx.conf; systemctl reload nginx",
        "/etc/nginx/nginx.conf has no include of it",
    ),
    State::new(
        "nginx-files",
        "warning",
        "rm /etc/nginx/conf.d/my-app.conf",
        "/etc/nginx/conf.d/my-app.conf is missing",
    ),
    State::new(
        "nginx-broken",
        "warning",
        "echo 'server { listen 80' >/etc/nginx/conf.d/broken.conf",
        "nginx could not be started again: unexpected end of file",
    )
    .mend("rm /etc/nginx/conf.d/broken.conf"),
    State::new(
        "port80",
        "fault",
        "echo 'server { listen 80; server_name ~.; return 404; }' >/etc/nginx/sites-enabled/a; systemctl reload nginx
         until test $(status http://127.0.0.1/) = 404; do sleep 0.1; done",
        "127.0.0.1:80 is answered by nginx",
    )
    .mend("rm /etc/nginx/sites-enabled/a; systemctl reload nginx; site enable"),
    State::new(
        "nginx-stopped",
        "warning",
        "systemctl stop nginx; other 80",
        "nginx is not running, and port 80 is held by node (pid ",
    )
    .mend("systemctl stop other; systemctl start nginx"),
    State::new("nginx-stopped", "warning", "systemctl stop nginx", "nginx is not running"),
    State::new(
        "socket-closed",
        "fault",
        // As nginx.org's package does it.
        "useradd --system --no-create-home nginx
         sed -i 's/^user www-data;/user nginx;/' /etc/nginx/nginx.conf; systemctl restart nginx
         test $(status http://127.0.0.1/) = 502",
        "nginx runs as nginx, which may not open /run/my-app/my-app.sock (uid 0, group www-data, mode 0660)",
    ),
    State::new(
        "socket-closed",
        "fault",
        "chmod 600 /run/my-app/my-app.sock",
        "may not open /run/my-app/my-app.sock (uid 0, group www-data, mode 0600)",
    ),
    State::new(
        "socket-open",
        "warning",
        "chmod 666 /run/my-app/my-app.sock",
        "every user of this machine may connect to /run/my-app/my-app.sock (mode 0666)",
    ),
    State::new(
        "socket-open",
        "warning",
        "socket=/run/my-app-ctl/control.sock; mkdir -p /run/my-app-ctl; test -e $socket || touch $socket; chmod 666 $socket",
        "every user of this machine may use /run/my-app-ctl/control.sock (mode 0666)",
    ),
    State::new(
        "socket-missing",
        "fault",
        "rm /run/my-app/my-app.sock",
        "nobody listens at /run/my-app/my-app.sock, though my-app.socket is active",
    ),
    State::new(
        "nginx-open-files",
        "warning",
        "sed -i /worker_rlimit_nofile/d /etc/nginx/nginx.conf
         systemctl restart nginx",
        "a worker of nginx may have 1024 files open, fewer than its ",
    ),
    State::new(
        "backlog",
        "warning",
        "sysctl -q -w net.core.somaxconn=128",
        "net.core.somaxconn is 128, and is to be 65535",
    ),
    State::new(
        "local-ports",
        "note",
        "sysctl -q -w net.ipv4.ip_local_port_range='32768 60999'",
        "net.ipv4.ip_local_port_range is 32768 60999, and is to be 10000 65535",
    ),
    State::new(
        "ipv6",
        "note",
        "ip address add 2001:db8::1/64 dev lo nodad; rm /etc/nginx/sites-enabled/default
         echo 'server { listen 80; server_name other.test; return 404; }' >/etc/nginx/sites-enabled/other; site enable",
        "this machine has 2001:db8::1, and my-app's site listens on IPv4 alone",
    ),
    State::new(
        "port-taken",
        "warning",
        "systemctl stop my-app-tcp.socket my-app.service; other 3000 127.0.0.1; systemctl start my-app.service",
        "127.0.0.1:3000 is held by node (pid ",
    )
    .mend("systemctl stop other; systemctl restart my-app-tcp.socket"),
    State::new(
        "port-taken",
        "warning",
        "mkdir /etc/systemd/system/my-app-tcp.socket.d
         printf '[Socket]\\nListenStream=\\nListenStream=127.0.0.1:3900\\n' >/etc/systemd/system/my-app-tcp.socket.d/port.conf
         systemctl daemon-reload",
        "nobody listens at 127.0.0.1:3900, which my-app-tcp.socket names",
    )
    .mend(
        "systemctl restart my-app-tcp.socket; rm -r /etc/systemd/system/my-app-tcp.socket.d
         systemctl daemon-reload; systemctl reset-failed my-app-tcp.socket; systemctl restart my-app-tcp.socket",
    ),
    State::new(
        "service-stopped",
        "note",
        "systemctl stop my-app.service",
        "the service is stopped, and the next connection starts it",
    ),
    State::new(
        "listen-unused",
        "note",
        "key listen '[\"127.0.0.1:3000\"]'",
        "listen is not used in the service: systemd's listeners (the my-app socket units) take its place",
    )
    .mend("default listen"),
    State::new(
        "trusts-everybody",
        "warning",
        "key trusted_proxies '[\"0.0.0.0\\/0\"]'",
        "limits.trusted_proxies trusts every address",
    )
    .mend("default trusted_proxies"),
    State::new(
        "configuration",
        "fault",
        "key workers '\"many\"'",
        "/etc/my-app/my-app.toml: line ",
    )
    .mend("default workers"),
    State::new(
        "configuration-unreadable",
        "fault",
        "chmod 700 /etc/my-app",
        "/etc/my-app/my-app.toml: my-app-runner, as whom the service runs, may not read it",
    ),
];

fn check_finds_what_is_wrong_and_its_command_mends_it(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.write(
        "/root/words",
        &format!(
            "site() {{ /usr/share/my-app/nginx-site \"$@\"; }}
status() {{ curl -s -o /dev/null -w '%{{http_code}}' \"$@\" || true; }}
key() {{ sed -i \"s/^#$1 = .*/$1 = $2/\" /etc/my-app/my-app.toml; }}
default() {{ sed -i \"s/^$1 = /#$1 = /\" /etc/my-app/my-app.toml; }}
other() {{
    systemd-run -q --unit=other node -e '{OTHER}.listen(process.argv[1], process.argv[2])' \"$@\"
    until curl -s -o /dev/null http://127.0.0.1:$1/; do sleep 0.05; done
}}"
        ),
    );
    let report = machine.check();
    assert_eq!(report.ids(), BTreeSet::from(["nginx-connections"]));
    assert_eq!(report.exit, 0);
    machine.saw("stock", machine.sh("my-app check"));
    machine.sh("/usr/share/my-app/tune-nginx");
    machine.saw("after tune-nginx", machine.sh("my-app check"));
    assert_eq!(machine.check().ids(), BTreeSet::new());

    others_see_less_and_say_so(&machine);
    nothing_is_made_started_or_waited_for(&machine);
    few_open_files_of_the_service_are_found(&machine);
    for state in STATES {
        state.try_on(&machine);
    }
    machine.echo("http://127.0.0.1", "upgrade");
    machine.assert_active();
}

impl State {
    #[track_caller]
    fn try_on(&self, machine: &Machine) {
        let sh = |script: &str| {
            // Nobody starts nginx as often as this test.
            machine.sh(&format!(
                ". /root/words\nsystemctl reset-failed nginx\n{script}"
            ))
        };
        sh(self.damage);
        let report = machine.check();
        let name = self.finding;
        let text = machine.try_sh("my-app check").text;
        machine.saw(name, &text);
        assert_eq!(report.ids(), BTreeSet::from([name]), "{text}");
        let what = report.text(name, "what");
        assert!(what.contains(self.what), "{what}");
        assert_eq!(report.text(name, "severity"), self.severity);
        let exit = match (self.severity, name) {
            ("fault", "configuration" | "configuration-unreadable") => 78,
            ("fault", _) => 71,
            _ => 0,
        };
        assert_eq!(report.exit, exit, "{name}");
        sh(self.mend.unwrap_or(report.text(name, "remedy")));
        // A reload takes a moment.
        eventually(&format!("{name} is mended"), SOON, || {
            machine.check().ids().is_empty()
        });
    }
}

fn others_see_less_and_say_so(machine: &Machine) {
    for (user, unseen) in [
        (
            "nobody",
            "Not seen: what my-app-runner may read and write: root sees that, and my-app-runner itself.",
        ),
        (
            "my-app-runner",
            "Not seen: whether nginx takes its files as they are now: root can ask it.",
        ),
    ] {
        let said = machine.sh(&format!(
            "setpriv --reuid {user} --regid $(id -g {user}) --init-groups my-app check"
        ));
        machine.saw(&format!("as {user}"), &said);
        assert!(said.contains(&format!("looked as {user}.")), "{said}");
        assert!(said.contains(unseen), "{said}");
        assert!(!said.contains("fault"), "{said}");
    }
    let said = machine.sh("chmod 400 /var/log/my-app/app.log
         setpriv --reuid my-app-runner --regid my-app-runner --init-groups my-app check
         chmod 600 /var/log/my-app/app.log");
    assert!(said.contains("(log-unwritable)"), "{said}");
}

fn nothing_is_made_started_or_waited_for(machine: &Machine) {
    // Each of these is made, or started, by whoever looks carelessly.
    let said = machine.sh(
        "systemctl stop nginx my-app.service; rm -f /run/nginx.pid /var/log/nginx/*
         my-app check
         test ! -e /run/nginx.pid; ls /var/log/nginx; systemctl is-active my-app.service nginx || true
         systemctl start nginx my-app.service",
    );
    assert!(said.ends_with("\ninactive\ninactive"), "{said}");
    // systemd does not answer.
    machine.write("/root/hang", "#!/bin/sh\nsleep 100");
    let said = machine.sh(
        "chmod 755 /root/hang
         unshare --mount sh -euc 'mount --bind /root/hang /usr/bin/systemctl; timeout 60 my-app check'",
    );
    machine.saw("with a systemctl that hangs", &said);
    assert!(
        said.contains("Not seen: the units: systemd does not answer."),
        "{said}"
    );
    // As in a container without systemd, and where there is no nginx.
    let said = machine.sh(
        "unshare --mount sh -euc 'mount -t tmpfs tmpfs /run/systemd; my-app check'
         mv /usr/sbin/nginx /usr/sbin/not-nginx; my-app check; mv /usr/sbin/not-nginx /usr/sbin/nginx",
    );
    machine.saw("without systemd; without nginx", &said);
    assert!(
        !said.contains("fault:") && !said.contains("warning: nginx"),
        "{said}"
    );
}

fn few_open_files_of_the_service_are_found(machine: &Machine) {
    let of_service = || machine.check().get("service-files").cloned();
    let before = of_service();
    machine.write(
        "/etc/systemd/system/my-app.service.d/few.conf",
        "[Service]\nLimitNOFILE=1024",
    );
    machine.sh("systemctl daemon-reload; systemctl restart my-app.service");
    let found = of_service().expect("it is found");
    machine.saw("few files", &found);
    let what = found["what"].as_str().unwrap();
    assert_eq!(
        what,
        "the service may have 1024 files open, for its unit says LimitNOFILE=1024"
    );
    machine.sh(found["remedy"].as_str().unwrap());
    assert_eq!(of_service(), before);
}
