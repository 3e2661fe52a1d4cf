//! A port of its own for each worker, in a service that can open none: as nginx-workers.conf among the examples says.

use super::harness::*;

on_every_release!(systemd_opens_a_port_for_each_worker_and_nginx_decides_by_hash);

const EXAMPLES: &str = "/usr/share/doc/my-app/examples";

/// The slot of the worker that opens a session for whoever asks there, as it stands in the session's id.
fn slot(machine: &Machine, whose: &str) -> String {
    let open = machine.sh(&format!(
        "curl -sSf {whose}'/socket.io/?EIO=4&transport=polling'"
    ));
    let (_, sid) = open.split_once("\"sid\":\"").unwrap();
    sid[20..22].to_owned()
}

fn systemd_opens_a_port_for_each_worker_and_nginx_decides_by_hash(release: &'static Release) {
    let machine = Machine::serving(release);
    machine.sh(
        "sed -i -e 's/^#workers = 0/workers = 2/' \
         -e 's/^#worker_listen = \"\"/worker_listen = \"127.0.0.1:3100\"/' \
         -e 's/^#trusted_proxies = \\[\\]/trusted_proxies = [\"127.0.0.1\"]/' /etc/my-app/my-app.toml
         systemctl restart my-app.service",
    );
    // It serves, and everybody says what is missing.
    machine.echo("http://127.0.0.1", "websocket");
    let status = machine.try_sh("my-app status");
    assert!(!status.ok, "{}", status.text);
    let missing = "worker_listen: systemd opens no 127.0.0.1:3100, 127.0.0.1:3101";
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&status.text).contains(missing), "{}", status.text);
    let report = machine.sh("my-app check --json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|it| it["id"] == "worker-ports");
    let remedy = finding.unwrap()["remedy"].as_str().unwrap();
    machine.saw("what check says", remedy);

    // What mends it is what the example says.
    machine.sh(&format!("{remedy} 2>&1"));
    machine.assert_active();
    let status = machine.sh("my-app status");
    for slot in 0..2 {
        let listening = format!(
            "http://127.0.0.1:{} listening for worker {slot}",
            3100 + slot
        );
        assert!(status.contains(&listening), "{status}");
    }
    let verify = "cd /etc/systemd/system && systemd-analyze verify my-app-worker@3100.socket";
    assert_eq!(machine.sh(verify), "");
    for _ in 0..3 {
        assert_eq!(slot(&machine, "http://127.0.0.1:3100"), "AA");
        assert_eq!(slot(&machine, "http://127.0.0.1:3101"), "AB");
    }
    assert!(!machine.sh("my-app check --json").contains("worker-ports"));
    let exposure = machine.sh("systemd-analyze security my-app.service | tail -n 1");
    machine.saw("systemd-analyze security", exposure);

    // nginx, with two workers and a name; and it takes the other example, too.
    machine.sh(&format!(
        "cd {EXAMPLES}; sed -e '/:310[23]/d' -e s/example.com/workers.test/ nginx-workers.conf >/etc/nginx/conf.d/workers.conf
         sed s/example.com/machines.test/ nginx-machines.conf >/etc/nginx/conf.d/machines.conf
         nginx -t && systemctl reload nginx"
    ));
    // Until then the package's site has every name. Which worker's port it was stands in the log.
    let asked = "curl -sSf -H 'Host: workers.test' 'http://127.0.0.1/socket.io/?EIO=4&transport=polling' >/dev/null
         tail -n 1 /var/log/nginx/access.log | grep -q ' 127.0.0.1:310[01]$'";
    eventually("nginx has read it", SOON, || machine.try_sh(asked).ok);
    let by_hash: Vec<_> = (1..=20)
        .map(|n| {
            let from = format!("--interface 127.0.0.{n} -H 'Host: workers.test' http://127.0.0.1");
            let (first, second) = (slot(&machine, &from), slot(&machine, &from));
            assert_eq!(first, second, "127.0.0.{n}");
            first
        })
        .collect();
    assert!(by_hash.iter().any(|it| it == "AA") && by_hash.iter().any(|it| it == "AB"));
    machine.echo("http://127.0.0.1:3101", "upgrade");

    // A port that another program has costs no other, and is told.
    machine.sh(
        "systemctl stop my-app-worker@3101.socket my-app.service
         systemd-run -q --unit other -p Type=exec node -e 'require(\"net\").createServer().listen(3101, \"127.0.0.1\")'",
    );
    eventually("the other program has it", SOON, || {
        machine.try_sh("ss -Hltn | grep -q :3101").ok
    });
    machine.sh("systemctl start my-app.service");
    assert_eq!(slot(&machine, "http://127.0.0.1:3100"), "AA");
    let status = machine.try_sh("my-app status").text;
    assert!(
        words(&status)
            .contains("my-app-worker@3101.socket is not open: 'systemctl restart my-app.service'"),
        "{status}"
    );
    machine.sh("systemctl stop other; systemctl restart my-app.service");
    assert_eq!(slot(&machine, "http://127.0.0.1:3101"), "AB");
    // Who stops the first listener stops all.
    machine.sh("systemctl stop my-app.socket");
    assert!(!machine.try_sh("ss -Hltn | grep -q ':310[01]'").ok);
}
