//! A machine that a playbook set up: refused, then taken over.

use super::harness::*;

on_every_release!(a_playbooks_deployment_is_refused_and_then_taken_over);

/// A server in Node, as a unit of the same name, with its files where the package's belong.
fn deployed_by_a_playbook(release: &'static Release) -> Machine {
    let machine = Machine::with_nginx(release);
    machine.sh(
        "echo 'u my-app-runner - - /home/my-app-runner /bin/sh' | systemd-sysusers -
         mkdir -p /home/my-app-runner /opt/my-app /var/log/my-app",
    );
    machine.write(
        "/opt/my-app/server.mjs",
        "import { createServer } from 'node:http';
createServer((_, answer) => answer.end('node')).listen(3000, '127.0.0.1');",
    );
    machine.write(
        "/etc/systemd/system/my-app.service",
        "[Unit]\nDescription=my-app\n[Service]\nUser=my-app-runner\nExecStart=/usr/bin/node /opt/my-app/server.mjs\n\
         Restart=always\nLimitNOFILE=100000\n[Install]\nWantedBy=multi-user.target",
    );
    machine.write(
        "/etc/nginx/conf.d/my-app.conf",
        "upstream node { server 127.0.0.1:3000; }\n\
         server { listen 80; server_name old.test; location / { proxy_pass http://node; } }",
    );
    machine.write(
        "/etc/nginx/sites-available/my-app",
        "server { listen 80; server_name site.test; location / { proxy_pass http://node; } }",
    );
    machine.sh("ln -s /etc/nginx/sites-available/my-app /etc/nginx/sites-enabled/my-app");
    machine.write(
        "/etc/sysctl.d/net.ipv4.ip_local_port_range.conf",
        "net.ipv4.ip_local_port_range = 10000 65000",
    );
    machine.write(
        "/etc/security/limits.d/my-app-limits.conf",
        "my-app-runner soft nofile 65536",
    );
    machine.write(
        "/etc/logrotate.d/my-app",
        "/var/log/my-app/app.log { weekly }",
    );
    machine.sh("echo 'a line of Node' >/var/log/my-app/app.log; chown -R my-app-runner /var/log/my-app
                systemctl daemon-reload; systemctl enable -q --now my-app.service; systemctl reload nginx");
    eventually("Node answers", SOON, || {
        machine
            .try_sh("curl -s -H 'Host: old.test' http://127.0.0.1/")
            .text
            == "node"
    });
    machine
}

fn a_playbooks_deployment_is_refused_and_then_taken_over(release: &'static Release) {
    let machine = deployed_by_a_playbook(release);
    let install = "cp /srv/share/my-app.deb . && apt-get install -q -y -o Dpkg::Use-Pty=0 ./my-app.deb </dev/null";
    let said = machine.try_sh(install);
    assert!(!said.ok);
    let ours: Vec<_> = said
        .text
        .lines()
        .filter(|line| line.starts_with("my-app:"))
        .collect();
    assert_eq!(ours.len(), 2, "{}", said.text);
    assert!(ours[0].contains("another deployment of my-app; nothing was changed"));
    machine.saw("the refusal", ours.join("\n"));
    assert_eq!(
        machine.sh("curl -s -H 'Host: old.test' http://127.0.0.1/"),
        "node"
    );

    // What the second line says.
    let (_, remedy) = ours[1].split_once("take it over: ").unwrap();
    let (remedy, _) = remedy.split_once("; then").unwrap();
    machine.saw("adopt", machine.sh(remedy));
    // Between the two nginx can be started again.
    machine.sh("systemctl restart nginx");
    machine.sh(install);
    machine.assert_active();
    machine.echo_every_way("http://127.0.0.1");
    machine.echo("http://127.0.0.1:3000", "upgrade");

    // Nothing is lost: the old files, the data, the user, the log.
    machine.sh("cd /var/backups/my-app-*/
         grep -q /opt/my-app/server.mjs etc/systemd/system/my-app.service
         grep -q old.test etc/nginx/conf.d/my-app.conf
         grep -q site.test etc/nginx/sites-available/my-app
         test -L etc/nginx/sites-enabled/my-app
         grep -q 65000 etc/sysctl.d/net.ipv4.ip_local_port_range.conf
         grep -q 65536 etc/security/limits.d/my-app-limits.conf
         grep -q weekly etc/logrotate.d/my-app
         test -e /opt/my-app/server.mjs -a -d /home/my-app-runner
         grep -q 'a line of Node' /var/log/my-app/app.log");
    assert_eq!(
        machine.sh("sysctl -n net.ipv4.ip_local_port_range"),
        "10000\t65535"
    );
    // A second call has nothing to do.
    let again = machine.sh("/usr/share/my-app/adopt");
    assert!(again.contains("nothing to take over"), "{again}");
    machine.echo("http://127.0.0.1", "websocket");
}
