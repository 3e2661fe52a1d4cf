//! A machine that a playbook set up: refused, then taken over.

use super::harness::*;

on_every_release!(a_playbooks_deployment_is_refused_and_then_taken_over);

/// Exactly what such a playbook leaves: a Socket.IO server in Node as a unit of the same name, whose output
/// systemd appends to the log file, so that root owns it; its files where the package's belong.
fn deployed_by_a_playbook(release: &'static Release) -> Machine {
    let machine = Machine::with_nginx(release);
    machine.sh("useradd --create-home --shell /bin/bash my-app-runner
         install -d -m 755 -o my-app-runner -g my-app-runner /opt/my-app /var/log/my-app");
    machine.write(
        "/opt/my-app/server.mjs",
        "import { Server } from '/opt/tests/differential/node_modules/socket.io/wrapper.mjs';
const io = new Server(3000);
io.on('connection', (socket) => socket.onAny((event, ...args) => socket.emit(event, ...args)));
console.log(`${new Date().toISOString()} Master ${process.pid} is running`);
setInterval(() => console.log(`${new Date().toISOString()} Worker ${process.pid}: ${io.engine.clientsCount} connected client(s)`), 500);",
    );
    machine.write(
        "/etc/systemd/system/my-app.service",
        "[Unit]\nDescription=my-app\nAfter=network.target\n\n[Service]\nType=simple\nUser=my-app-runner\nGroup=my-app-runner\n\
         WorkingDirectory=/opt/my-app\nEnvironment=NODE_ENV=production\nExecStart=/usr/bin/node /opt/my-app/server.mjs\n\
         StandardOutput=append:/var/log/my-app/app.log\nStandardError=append:/var/log/my-app/app.log\nSyslogIdentifier=my-app\n\
         Restart=always\nLimitNOFILE=100000\n\n[Install]\nWantedBy=multi-user.target",
    );
    machine.write(
        "/etc/nginx/conf.d/my-app.conf",
        "upstream node { hash $remote_addr consistent; server 127.0.0.1:3000; }
server {
    listen 80;
    server_name 127.0.0.1 old.test;
    location / {
        proxy_pass http://node;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection \"upgrade\";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}",
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
        "/var/log/my-app/app.log { weekly\ncopytruncate }",
    );
    machine.sh(
        "systemctl daemon-reload; systemctl enable -q --now my-app.service; systemctl reload nginx",
    );
    eventually("Node answers", SOON, || {
        machine.status("'http://127.0.0.1/socket.io/?EIO=4&transport=polling'") == "200"
    });
    assert_eq!(
        machine.sh("stat -c '%a %U:%G' /var/log/my-app /var/log/my-app/app.log"),
        "755 my-app-runner:my-app-runner\n644 root:root"
    );
    machine
}

fn a_playbooks_deployment_is_refused_and_then_taken_over(release: &'static Release) {
    let machine = deployed_by_a_playbook(release);
    let hold = |url, transport| {
        machine.talk(&format!(
            "hold.mjs --url {url} --transport {transport} --clients 25 --every 500 --reconnect --deadline 250"
        ))
    };
    let mut clients = [
        hold("http://127.0.0.1", "websocket"),
        hold("http://127.0.0.1", "polling"),
        hold("http://127.0.0.1:3000", "websocket"),
    ];
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
    for client in &mut clients {
        assert_eq!(client.ask("stats")["disconnects"], 0, "Node goes on");
    }

    // What the second line says.
    let (_, remedy) = ours[1].split_once("take it over: ").unwrap();
    let (remedy, _) = remedy.split_once("; then").unwrap();
    machine.saw("adopt", machine.sh(remedy));
    let log = "/var/log/my-app/app.log";
    machine.sh(&format!("cp {log} /root/log-of-node"));
    let began = std::time::Instant::now();
    // Between the two nginx can be started again.
    machine.sh("systemctl restart nginx");
    machine.sh(install);
    machine.assert_active();
    // The log file has it at once, behind the lines of Node.
    let size = machine.number("stat -c %s /root/log-of-node");
    let new = machine.sh(&format!(
        "cmp -n {size} {log} /root/log-of-node; tail -c +$(({size} + 1)) {log} | head -n 2"
    ));
    machine.saw("the log file's next lines, after the installation", &new);
    assert!(
        new.contains(" Master ") && new.contains(" is running"),
        "{new}"
    );
    assert_eq!(
        machine.sh(&format!("stat -c '%a %U:%G' /var/log/my-app {log}")),
        "750 my-app-runner:my-app-runner\n640 my-app-runner:my-app-runner"
    );
    assert_eq!(machine.journal_count("log file:"), 0);
    let check = machine.check();
    for id in ["log-unwritable", "configuration-unreadable"] {
        assert!(check.get(id).is_none(), "{id}");
    }
    for mut client in clients {
        eventually("the clients are back", SOON, || {
            client.ask("stats")["connected"] == 25
        });
        machine.saw(
            &format!(
                "clients, {} ms after the installation began",
                began.elapsed().as_millis()
            ),
            client.quit(),
        );
    }
    machine.echo_every_way("http://127.0.0.1");
    machine.echo("http://127.0.0.1:3000", "upgrade");
    let size = || machine.number(&format!("stat -c %s {log}"));
    let before = size();
    eventually("the log file grows", SOON, || size() > before);

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
         logrotate -f -s /root/state /etc/logrotate.d/my-app
         test -e /var/log/my-app/app.log.1");
    assert_eq!(
        machine.sh("sysctl -n net.ipv4.ip_local_port_range"),
        "10000\t65535"
    );
    // A second call has nothing to do.
    let again = machine.sh("/usr/share/my-app/adopt");
    assert!(again.contains("nothing to take over"), "{again}");
    machine.echo("http://127.0.0.1", "websocket");
}
