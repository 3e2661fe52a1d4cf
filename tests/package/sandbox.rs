//! What the service may not do, and the drop-ins that open what an application needs.

use super::harness::*;

on_every_release!(
    the_service_is_shut_in,
    network_conf_gives_the_service_the_network,
    public_port_conf_lets_other_hosts_in,
);

fn the_service_is_shut_in(release: &'static Release) {
    let machine = Machine::serving(release);
    let exposure = machine.sh("systemd-analyze security my-app.service | tail -n 1");
    let figure = exposure.split(": ").nth(1).unwrap();
    let figure: f64 = figure.split(' ').next().unwrap().parse().unwrap();
    assert!(figure <= 0.3, "{exposure}");
    machine.saw("systemd-analyze security", exposure);
    let verify = "cd /usr/lib/systemd/system && systemd-analyze verify my-app.service my-app.socket my-app-tcp.socket";
    assert_eq!(machine.sh(verify), "");
}

/// `systemctl edit my-app.service`, `systemctl edit my-app-tcp.socket`: an editor in which somebody writes what is in a file.
pub fn edit(machine: &Machine, unit: &str, file: &str) {
    machine.write(
        "/root/editor",
        &format!("#!/bin/sh\nfor name; do :; done\nsed -i '2r {file}' \"$name\""),
    );
    // It wants a terminal.
    machine.sh(&format!(
        "chmod +x editor; SYSTEMD_EDITOR=/root/editor script -qec 'systemctl edit {unit}' /dev/null"
    ));
}

/// The service runs the example whose handler reaches other services.
pub fn with_outbound(release: &'static Release) -> Machine {
    let machine = Machine::serving(release);
    machine.write(
        "/etc/systemd/system/my-app.service.d/program.conf",
        "[Service]\nExecStart=\nExecStart=/srv/share/outbound",
    );
    // A service, and a name server that knows where it is: no name is resolved from a file.
    machine.sh(
        "systemd-run -q --unit backend -p Type=exec node /opt/tests/package/backend.mjs
         rm -f /etc/resolv.conf; echo 'nameserver 127.0.0.1' >/etc/resolv.conf
         systemctl daemon-reload; systemctl restart my-app.service",
    );
    eventually("the service is there", SOON, || {
        machine.try_sh("ss -Hltn | grep -q :7000").ok
    });
    machine
}

fn network_conf_gives_the_service_the_network(release: &'static Release) {
    let machine = with_outbound(release);
    let fetch = |service| {
        machine.node(&format!(
            "fetch.mjs --url http://127.0.0.1 --service {service}"
        ))
    };
    for service in [
        "127.0.0.1:7000",
        "[::1]:7000",
        "192.0.2.1:80",
        "backend.test:7000",
    ] {
        let refused = fetch(service);
        assert_eq!(refused["ok"], false, "{refused}");
        let error = refused["error"].as_str().unwrap();
        assert!(error.contains("examples/network.conf"), "{error}");
        machine.saw(&format!("a handler that connects to {service}"), error);
    }
    // The handler's own line in the journal has fields to look for.
    let json =
        machine.sh("journalctl -q -u my-app.service -o json MY_APP_CLIENT_ADDR=127.0.0.1 -n 1");
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    for field in ["WORKER", "SOCKET_ID", "CLIENT_ADDR", "FIELDS"] {
        assert!(line[format!("MY_APP_{field}")].is_string(), "{line}");
    }
    let socket = line["MY_APP_SOCKET_ID"].as_str().unwrap();
    machine.sh(&format!(
        "journalctl -q -u my-app MY_APP_SOCKET_ID={socket} | grep -q 'a service was not reached'"
    ));
    machine.saw("a handler's line in the journal", line);
    machine.sh("mkdir -p /etc/systemd/system/my-app.service.d
         cp /usr/share/doc/my-app/examples/network.conf /etc/systemd/system/my-app.service.d/
         systemctl daemon-reload && systemctl restart my-app.service");
    for service in ["127.0.0.1:7000", "backend.test:7000"] {
        let answer = fetch(service);
        assert_eq!(answer["answer"], "heard hello", "{answer}");
    }
    let exposure = machine.sh("systemd-analyze security my-app.service | tail -n 1");
    machine.saw("systemd-analyze security with network.conf", exposure);
    an_application_reaches_its_database_as_the_page_says(&machine);
}

/// What docs/APPLICATION.md has a service's settings say.
const SETTINGS: &str = "\
[Service]
Environment=DATABASE=10.0.0.5:7000
EnvironmentFile=/etc/my-app/secrets
";

/// The worked example, with a secret that only root can read.
fn an_application_reaches_its_database_as_the_page_says(machine: &Machine) {
    let settings = SETTINGS.replace("10.0.0.5:7000", "127.0.0.1:7001");
    machine.write("/root/settings", &settings);
    edit(machine, "my-app.service", "/root/settings");
    machine.sh(
        "umask 077; echo BACKEND_SECRET=from-the-file >/etc/my-app/secrets
         sed -i s,outbound,messenger, /etc/systemd/system/my-app.service.d/program.conf
         rm /etc/systemd/system/my-app.service.d/network.conf
         systemd-run -q --unit database -p Type=exec node /srv/share/database.mjs 7001
         systemctl daemon-reload && systemctl restart my-app.service",
    );
    let handshake = "'http://127.0.0.1/socket.io/?EIO=4&transport=polling&token=token-of-ann'";
    assert_eq!(machine.status(handshake), "503");
    machine.wait_for_journal("see /usr/share/doc/my-app/examples/network.conf");
    machine.sh(
        "cp /usr/share/doc/my-app/examples/network.conf /etc/systemd/system/my-app.service.d/
         systemctl daemon-reload && systemctl restart my-app.service",
    );
    eventually("the database answers", SOON, || {
        machine.status(handshake) == "200"
    });
    let notify = "http://127.0.0.1:3000/notify -d '{\"user\": \"ann\", \"notice\": 1}'";
    let with = |secret| format!("-H 'Authorization: Bearer {secret}' {notify}");
    assert_eq!(machine.status(&with("from-the-file")), "200");
    assert_eq!(machine.status(&with("")), "401");
}

fn public_port_conf_lets_other_hosts_in(release: &'static Release) {
    let machine = Machine::serving(release);
    // Another host is another network, joined by a cable.
    machine.sh(
        "ip netns add other; echo '2001:db8::1 six.test' >>/etc/hosts
         ip link add name cable0 type veth peer name cable1
         ip link set cable1 netns other
         ip address add 192.0.2.1/24 dev cable0; ip address add 2001:db8::1/64 dev cable0 nodad
         ip link set cable0 up
         ip -n other address add 192.0.2.2/24 dev cable1; ip -n other address add 2001:db8::2/64 dev cable1 nodad
         ip -n other link set cable1 up",
    );
    let from_there = |url: &str| {
        machine.try_sh(&format!(
            "nsenter --net=/run/netns/other node /opt/tests/clients/echo.mjs --url {url} \
             --transport upgrade --events 200 --acks 20 --crossings 1 --deadline 20"
        ))
    };
    assert!(!from_there("http://192.0.2.1:3000").ok);
    let example = "/usr/share/doc/my-app/examples/public-port.conf";
    edit(&machine, "my-app-tcp.socket", example);
    machine.sh("systemctl restart my-app-tcp.socket");
    for url in ["http://192.0.2.1:3000", "http://six.test:3000"] {
        let said = from_there(url);
        assert!(said.ok, "{}", said.text);
    }
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");
    machine.echo("http://127.0.0.1:3000", "polling");
}
