//! Installing, serving, removing.

use super::harness::*;

on_every_release!(
    with_nginx_there_everybody_is_served,
    nginx_may_come_later_or_never,
    what_is_recommended_comes_along,
    the_first_connection_starts_a_stopped_service,
    files_and_limits_are_as_promised,
    remove_keeps_the_configuration_and_purge_leaves_nothing,
);

fn with_nginx_there_everybody_is_served(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    // A site that the admin has, and Debian's own.
    machine.write(
        "/etc/nginx/conf.d/example.conf",
        "server { listen 80; listen [::]:80; server_name example.test; return 200 \"theirs\"; }",
    );
    machine.sh("systemctl reload nginx; echo '127.0.0.1 example.test' >>/etc/hosts");
    let default_site = "sha256sum /etc/nginx/sites-available/default /etc/nginx/nginx.conf";
    let before = machine.sh(default_site);

    let said = machine.install();
    assert!(said.contains("nginx passes every Host to my-app"), "{said}");
    assert_everybody_is_served(&machine);
    for host in ["127.0.0.1", "[::1]"] {
        let theirs = format!("curl -s -H 'Host: example.test' http://{host}/socket.io/");
        assert_eq!(machine.sh(&theirs), "theirs");
    }
    assert_eq!(machine.sh(default_site), before);

    let status = machine.sh("service my-app status");
    for line in ["Main PID: ", "my-app: master", "my-app: worker 0"] {
        assert!(status.contains(line), "{status}");
    }
    machine.saw("service my-app status", status);
    let json = machine.sh(
        "journalctl -q -u my-app -o json -n 200 | grep '\"MY_APP_ROLE\":\"worker\"' | head -n 1",
    );
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["SYSLOG_IDENTIFIER"], "my-app");
    assert!(line["MY_APP_SLOT"].is_string(), "{line}");
    assert_eq!(line["MY_APP_WORKER"], line["_PID"]);
    machine.saw("journalctl -u my-app -o json", &line);
    machine.saw(
        "tail of app.log",
        machine.sh("tail -n 5 /var/log/my-app/app.log"),
    );
    // What a person sees: two windows of a browser, through nginx.
    let kill = machine.kill();
    let arguments = [
        "--url",
        "http://127.0.0.1",
        "--kill",
        &kill,
        "--deadline",
        "180",
    ];
    let windows = machine.node_outside("page.mjs", &arguments);
    machine.saw("two windows on the page, through nginx", windows);
    // Session ids are secrets, and clients have just shown many to nginx.
    machine.sh("grep -q 'GET /socket.io/ ' /var/log/nginx/access.log");
    assert_eq!(
        machine.number("grep -c sid= /var/log/nginx/access.log || true"),
        0
    );
}

/// On port 80 over IPv4 and IPv6 and with a name that nobody configured, on port 443 with the example
/// for TLS, and on port 3000.
#[track_caller]
fn assert_everybody_is_served(machine: &Machine) {
    machine.sh("printf '127.0.0.1 any.test tls.test\n::1 six.test\n' >>/etc/hosts");
    for url in [
        "http://127.0.0.1",
        "http://six.test",
        "http://any.test",
        "http://127.0.0.1:3000",
    ] {
        machine.echo_every_way(url);
        // What a page loads there is what npm has.
        machine.sh(&format!(
            "curl -s --compressed {url}/socket.io/socket.io.min.js | \
             cmp - /opt/tests/clients/node_modules/socket.io-client-v4/dist/socket.io.min.js"
        ));
    }
    let six = machine.sh("curl -s http://[::1]/");
    assert!(six.contains("<title>my-app</title>"), "{six}");

    // The example, with its name and its paths changed, as its first lines say.
    machine.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -subj /CN=tls.test -addext subjectAltName=DNS:tls.test \
            -keyout /etc/ssl/private/tls.key -out /etc/ssl/certs/tls.pem 2>/dev/null
         sed -e 's/example.com/tls.test/' -e 's,/etc/letsencrypt/live/.*/fullchain.pem,/etc/ssl/certs/tls.pem,' \
            -e 's,/etc/letsencrypt/live/.*/privkey.pem,/etc/ssl/private/tls.key,' \
            /usr/share/doc/my-app/examples/nginx-tls.conf >/etc/nginx/sites-available/tls
         ln -s ../sites-available/tls /etc/nginx/sites-enabled/
         nginx -t -q && systemctl reload nginx",
    );
    for transport in ["polling", "websocket", "upgrade"] {
        machine.sh(&format!(
            "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/tls.pem node /opt/tests/clients/echo.mjs \
             --url https://tls.test --transport {transport} --events 200 --acks 20 --crossings 1"
        ));
    }
    assert_eq!(machine.status("http://tls.test/"), "301");
}

fn nginx_may_come_later_or_never(release: &'static Release) {
    let machine = Machine::plain(release);
    machine.install_with("--no-install-recommends");
    assert!(!machine.try_sh("command -v nginx").ok);
    machine.echo_every_way("http://127.0.0.1:3000");

    machine.sh("apt-get install -q -y -o Dpkg::Use-Pty=0 nginx");
    assert_everybody_is_served(&machine);
}

fn what_is_recommended_comes_along(release: &'static Release) {
    let machine = Machine::plain(release);
    machine.install();
    machine.sh("command -v nginx logrotate && systemctl is-active nginx");
    machine.echo_every_way("http://127.0.0.1");
}

fn the_first_connection_starts_a_stopped_service(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.sh("systemctl stop my-app.service 2>&1");
    assert!(!machine.try_sh("systemctl is-active my-app.service").ok);
    machine.echo("http://127.0.0.1:3000", "websocket");
    machine.sh("systemctl stop my-app.service 2>&1");
    machine.echo("http://127.0.0.1", "polling");
    machine.assert_active();
    // And this is how it is stopped until the next boot, and for good.
    for stop in [
        "systemctl stop my-app.socket",
        "systemctl disable --now my-app.service my-app.socket my-app-tcp.socket",
    ] {
        machine.sh("systemctl start my-app.service my-app-tcp.socket");
        machine.assert_active();
        machine.sh(&format!("{stop} 2>&1"));
        assert!(!machine.try_sh("curl -s http://127.0.0.1:3000/").ok);
        assert!(!machine.try_sh("systemctl is-active my-app.service").ok);
    }
}

fn files_and_limits_are_as_promised(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.saw(
        "installed",
        machine.sh("dpkg -L my-app | while read -r f; do [ -d \"$f\" ] || stat -c '%A %U:%G %n' \"$f\"; done"),
    );
    let wrong = machine.sh(
        "dpkg -L my-app | while read -r f; do
             case $(stat -c '%a %U:%G %F' \"$f\") in
             '755 root:root directory' | '644 root:root regular file') ;;
             '755 root:root regular file') case $f in /usr/bin/my-app|/usr/share/my-app/*) ;; *) echo \"$f\" ;; esac ;;
             *) echo \"$f\" ;;
             esac
         done",
    );
    assert_eq!(wrong, "");

    let modes = machine.sh(
        "stat -c '%A %U:%G %n' /run/my-app /run/my-app/my-app.sock /var/log/my-app /var/log/my-app/app.log",
    );
    assert_eq!(
        modes,
        "drwxr-xr-x root:root /run/my-app\n\
         srw-rw---- root:www-data /run/my-app/my-app.sock\n\
         drwxr-x--- my-app-runner:my-app-runner /var/log/my-app\n\
         -rw------- my-app-runner:my-app-runner /var/log/my-app/app.log"
    );
    // What root and nginx's user may, others may not.
    let log = "cat /var/log/my-app/app.log";
    let list = "ls /var/log/my-app";
    let connect = "curl -sS --unix-socket /run/my-app/my-app.sock http://localhost/";
    machine.sh(&format!(
        "{log} && {list} && setpriv --reuid www-data --regid www-data --init-groups {connect}"
    ));
    for forbidden in [log, list, connect] {
        let other = format!("setpriv --reuid nobody --regid nogroup --clear-groups {forbidden}");
        let said = machine.try_sh(&other);
        let refused = ["Permission denied", "Failed to connect", "Couldn't connect"];
        assert!(
            !said.ok && refused.iter().any(|words| said.text.contains(words)),
            "{said:?}"
        );
    }

    assert_eq!(
        machine.sh(
            "sysctl -n net.ipv4.ip_local_port_range net.core.somaxconn net.ipv4.tcp_max_syn_backlog"
        ),
        "10000\t65535\n65535\n65535"
    );
    // Recv-Q and Send-Q of a listener are what waits and its backlog, ss(8).
    let listeners = machine.sh("ss -Hlntx | grep -E '127.0.0.1:3000|my-app.sock'");
    assert_eq!(listeners.matches(" 65535 ").count(), 2, "{listeners}");
    machine.saw("listeners", &listeners);

    // Some machines let nobody have more: what is possible is what the service has.
    let possible = machine.number("ulimit -Hn").min(1_048_576);
    let files = machine.sh(
        "master=$(systemctl show --property=MainPID --value my-app.service)
         for pid in $master $(pgrep -P $master); do
             awk -v name=\"$(tr '\\0' ' ' </proc/$pid/cmdline)\" '/open files/ { print $4, $5, name }' /proc/$pid/limits
         done",
    );
    assert_eq!(
        files.lines().count(),
        1 + machine.number("nproc") as usize,
        "{files}"
    );
    for line in files.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        for limit in &words[..2] {
            assert!(limit.parse::<u64>().unwrap() >= possible, "{files}");
        }
    }
    machine.saw("limits of open files, soft and hard", files);
    // Who becomes this user with su passes PAM, and gets the limits of limits.d, or what is possible.
    let possible = possible.min(100_000);
    let by_pam = machine.sh(&format!(
        "sed -i 's/100000$/{possible}/' /etc/security/limits.d/my-app-limits.conf
         su -s /bin/sh my-app-runner -c 'ulimit -Sn; ulimit -Hn'"
    ));
    assert_eq!(by_pam, format!("{possible}\n{possible}"));
    let user = machine.sh("getent passwd my-app-runner");
    assert!(user.ends_with("/nonexistent:/usr/sbin/nologin"), "{user}");
    for page in ["man8/my-app.8.gz", "man5/my-app.toml.5.gz"] {
        machine.sh(&format!("LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings -E UTF-8 -l -Tutf8 -Z /usr/share/man/{page} 2>&1 >/dev/null | diff /dev/null -"));
    }
    for page in ["man my-app", "man my-app.toml"] {
        let text = machine.sh(&format!("{page} | col -b"));
        assert!(text.lines().count() > 50, "{page}: {text}");
    }
    // As bash-completion, or somebody without it, has them loaded.
    let offered = machine.sh(
        "bash --norc -c '. /usr/share/bash-completion/completions/my-app; COMP_WORDS=(my-app st) COMP_CWORD=1; \
         _my_app my-app st my-app; echo \"$COMPREPLY\"'
         ls /usr/share/zsh/vendor-completions/_my-app /usr/share/fish/vendor_completions.d/my-app.fish >/dev/null",
    );
    assert_eq!(offered, "status");
}

fn remove_keeps_the_configuration_and_purge_leaves_nothing(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.sh("echo '# mine' >>/etc/my-app/my-app.toml");
    // As people do it, who are asked.
    let apt = |command: &str| machine.sh(&format!("cd /var/tmp && yes | {command} 2>&1"));
    apt("apt remove my-app");
    assert!(
        !machine
            .try_sh("systemctl is-active my-app.service my-app.socket")
            .ok
    );
    assert!(
        !machine
            .try_sh("ss -Hlntx | grep -E '127.0.0.1:3000|my-app.sock'")
            .ok
    );
    machine.sh("grep -q '# mine' /etc/my-app/my-app.toml && test -e /var/log/my-app/app.log");

    // It comes back with what was kept.
    apt("apt install ./my-app.deb");
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");
    machine.sh("grep -q '# mine' /etc/my-app/my-app.toml");

    apt("apt purge my-app");
    let left = machine.sh(
        "find / -xdev \\( -name '*my-app*' -o -name net.ipv4.ip_local_port_range.conf \\) \
             ! -path '/opt/tests/*' ! -path '/srv/share/*' ! -path '/proc/*' ! -path '/var/tmp/my-app.deb'
         ls -d /run/my-app* /run/systemd/transient/my-app* 2>/dev/null || true",
    );
    assert_eq!(left, "", "purge left something");
    assert_eq!(
        machine.sh("systemctl list-unit-files --no-legend 'my-app*' || true"),
        ""
    );
    // nginx serves its own default site again.
    assert_eq!(machine.status("http://127.0.0.1/"), "200");
}
