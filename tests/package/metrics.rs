//! Metrics over TCP, as Debian's own Prometheus scrapes them, and the control socket as operators use it.

use super::harness::*;

on_every_release!(prometheus_scrapes_the_socket_of_metrics);

const METRICS: &str = "http://127.0.0.1:9464/metrics";

/// What Prometheus answers to a query: the values, one a line.
fn asked(machine: &Machine, query: &str) -> Vec<String> {
    let answer = machine.sh(&format!(
        "curl -s -G http://127.0.0.1:9090/api/v1/query --data-urlencode '{}'",
        format!("query={query}").replace('\'', "'\\''")
    ));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let results = answer["data"]["result"].as_array().cloned();
    let results = results.unwrap_or_default().into_iter();
    let values = results.map(|result| result["value"][1].as_str().unwrap().to_owned());
    values.collect()
}

fn prometheus_scrapes_the_socket_of_metrics(release: &'static Release) {
    let machine = Machine::with_prometheus(release);
    machine.install_with("--no-install-recommends");
    // Installed, and not enabled.
    let is_enabled = "systemctl is-enabled my-app-metrics.socket || true";
    assert_eq!(machine.sh(is_enabled), "disabled");
    assert!(!machine.try_sh(&format!("curl -s {METRICS}")).ok);
    let verify = "systemd-analyze verify my-app-metrics.socket";
    assert_eq!(
        machine.sh(&format!("cd /usr/lib/systemd/system && {verify}")),
        ""
    );

    // A running service takes no further listener, whichever way it is asked; its restart brings it.
    let now = machine.try_sh("systemctl enable --now my-app-metrics.socket");
    assert!(!now.ok, "{}", now.text);
    machine.saw("enable --now", now.text.trim());
    machine.assert_active();
    // As the manual, README and the unit say.
    let page = "systemctl enable my-app-metrics.socket && systemctl restart my-app.service";
    machine.sh(&format!("{page} 2>&1"));
    machine.assert_active();
    let unit = machine.sh("systemctl cat my-app-metrics.socket");
    assert!(unit.contains("ListenStream="), "{unit}");
    machine.sh("systemctl is-active my-app-metrics.socket");
    let metrics = machine.sh(&format!("curl -sS {METRICS}"));
    assert!(metrics.contains("\nmy_app_workers_ready "), "{metrics}");
    // It is for nothing else, and no client's listener has it.
    for (url, status) in [
        ("http://127.0.0.1:9464/status", "404"),
        (
            "http://127.0.0.1:9464/socket.io/?EIO=4&transport=polling",
            "404",
        ),
        ("http://127.0.0.1:3000/metrics", "404"),
    ] {
        assert_eq!(machine.status(&format!("'{url}'")), status, "{url}");
    }
    assert!(metrics.lines().count() > 100);

    machine.write(
        "/etc/prometheus/prometheus.yml",
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n\
         rule_files: [/usr/share/my-app/monitoring/my-app-alerts.yml]\n\
         scrape_configs:\n  - job_name: my-app\n    static_configs: [{targets: ['127.0.0.1:9464']}]",
    );
    machine
        .sh("promtool check config /etc/prometheus/prometheus.yml && systemctl restart prometheus");
    machine.echo("http://127.0.0.1:3000", "websocket");
    eventually("Prometheus has scraped what happened", SOON, || {
        let opened = asked(&machine, "sum(my_app_sessions_opened_total)");
        opened.first().is_some_and(|opened| opened != "0")
    });
    let count = |query: &str| -> f64 { asked(&machine, query)[0].parse().unwrap() };
    assert_eq!(count("up{job=\"my-app\"}"), 1.0);
    let series = count("count({job=\"my-app\",__name__=~\"my_app_.*\"})");
    machine.saw("series that Prometheus has", series);
    assert!(series > 100.0);
    let rules = machine.sh("curl -s http://127.0.0.1:9090/api/v1/rules");
    assert!(
        rules.contains("\"MyAppDown\"") && !rules.contains("\"health\":\"err\""),
        "{rules}"
    );

    the_command_line_asks_the_service(&machine);

    // To close it ends nobody's session: the service is no part of it.
    let master = machine.master();
    machine.sh("systemctl disable --now my-app-metrics.socket 2>&1");
    assert_eq!(machine.master(), master);
    machine.sh("systemctl restart my-app.service");
    machine.assert_active();
    assert!(!machine.try_sh(&format!("curl -s {METRICS}")).ok);
    // What stops everything stops it, too: no scrape starts the service again.
    machine.sh("systemctl enable my-app-metrics.socket 2>&1; systemctl restart my-app.service");
    machine.sh("systemctl is-active my-app-metrics.socket; systemctl stop my-app.socket 2>&1");
    assert!(!machine.try_sh(&format!("curl -s {METRICS}")).ok);
    assert_eq!(machine.states(), "inactive inactive inactive");
    // It leaves nothing behind.
    machine.sh("apt-get purge -q -y my-app");
    assert_eq!(machine.sh("find /etc/systemd -name 'my-app*'"), "");
}

/// As root, and as somebody who has yet to become a member of the group.
fn the_command_line_asks_the_service(machine: &Machine) {
    let status = machine.sh("my-app status");
    machine.saw("my-app status", &status);
    assert!(status.contains(" is healthy: up "), "{status}");
    machine.sh("useradd somebody");
    let refused = machine.try_sh("runuser -u somebody -- my-app status");
    machine.saw("the same as another user", refused.text.trim());
    let remedy = "`sudo usermod -aG my-app-runner somebody`";
    assert!(
        !refused.ok && refused.text.contains(remedy),
        "{}",
        refused.text
    );
    machine.sh("usermod -aG my-app-runner somebody; runuser -u somebody -- my-app status");
}
