//! The two listeners: what becomes of one when the other cannot be had, and of both when a version that had
//! them in one unit is upgraded.

use super::harness::*;

on_every_release!(
    a_port_that_is_taken_costs_the_port_alone_and_comes_back_as_told,
    an_upgrade_from_one_socket_unit_refuses_nobody,
);

/// What stands behind these words in the line that has them, to its end.
#[track_caller]
fn told(said: &str, words: &str) -> String {
    let line = said.lines().find_map(|line| line.split_once(words));
    let (_, rest) = line.unwrap_or_else(|| panic!("no {words:?} in {said}"));
    rest.trim().to_owned()
}

fn a_port_that_is_taken_costs_the_port_alone_and_comes_back_as_told(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    machine.sh(
        "systemd-run -q --unit other -p Type=exec node -e \"require('net').createServer().listen(3000, '127.0.0.1')\"",
    );
    eventually("the port is taken", SOON, || {
        machine.try_sh("ss -Hltn | grep -q :3000").ok
    });
    let said = machine.install_package("my-app.deb");
    assert!(said.ok, "{}", said.text);
    let ours = "my-app: 127.0.0.1:3000 could not be opened, for it is in use by node; nginx does not need it. \
                When it is free: ";
    let command = told(&said.text, ours);
    machine.saw("the command that was named", &command);
    let status = || machine.sh("systemctl show --property=StatusText --value my-app.service");
    let assert_named = |what: &str| {
        assert_eq!(machine.states(), "active failed active", "{what}");
        let status = status();
        machine.saw(&format!("status, {what}"), &status);
        let missing =
            format!("; my-app-tcp.socket is not open: '{command}' once its address is free");
        assert!(status.ends_with(&missing), "{status}");
        machine.echo_every_way("http://127.0.0.1");
    };
    assert_named("after the installation");
    machine.wait_for_journal("my-app-tcp.socket is not open: ");
    // Nothing is made worse by who is too early, or by any other restart.
    assert!(!machine.try_sh(&command).ok);
    eventually("it is back", SOON, || {
        machine.states() == "active failed active"
    });
    machine.sh("systemctl restart my-app.service");
    assert_named("after two more attempts");

    machine.sh("systemctl stop other.service");
    machine.sh(&command);
    eventually("all are active", SOON, || {
        machine.states() == "active active active"
    });
    for url in ["http://127.0.0.1", "http://127.0.0.1:3000"] {
        machine.echo(url, "upgrade");
    }
    assert!(status().ends_with("client(s)"), "{}", status());
    // Each of the other ways to have and not to have it.
    machine.sh("systemctl disable --now my-app-tcp.socket 2>&1");
    machine.echo("http://127.0.0.1", "upgrade");
    machine.sh("systemctl restart my-app.service");
    assert_eq!(machine.states(), "active inactive active");
    assert!(status().ends_with("client(s)"), "{}", status());
    machine.sh("systemctl enable my-app-tcp.socket 2>&1; systemctl restart my-app.socket");
    eventually("all are active", SOON, || {
        machine.states() == "active active active"
    });
    assert_eq!(machine.sh("systemctl is-system-running"), "running");
}

fn an_upgrade_from_one_socket_unit_refuses_nobody(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    let installed = machine.install_package("my-app-one-socket.deb");
    assert!(installed.ok, "{}", installed.text);
    let listens = "systemctl show --property=Listen --value my-app.socket | grep -c Stream";
    assert_eq!(machine.number(listens), 2);
    let load = machine.talk(
        "handshakes.mjs --url http://127.0.0.1:3000 --unix /run/my-app/my-app.sock \
         --proxy http://127.0.0.1 --deadline 100",
    );
    let before = machine.master();
    let said = machine.upgrade_with("");
    assert!(said.ok, "{}", said.text);
    assert_eq!(before, machine.master(), "it was not reloaded");
    // What any other package's installation does, and an admin.
    machine.sh("systemctl daemon-reload; systemctl restart my-app.service");
    std::thread::sleep(std::time::Duration::from_secs(1));
    for (way, figures) in load.quit().as_object().unwrap() {
        machine.saw(
            &format!("handshakes over {way}, from one unit to two"),
            figures,
        );
        let none = serde_json::Value::Object(Default::default());
        assert_eq!(figures["failures"], none, "{way}");
        assert!(figures["handshakes"].as_u64().unwrap() > 100, "{way}");
    }
    assert_eq!(machine.number(listens), 2);
    assert_eq!(machine.states(), "active inactive active");
    assert_eq!(machine.sh("systemctl is-system-running"), "running");
    let status = "systemctl show --property=StatusText --value my-app.service";
    assert!(machine.sh(status).ends_with("client(s)"));

    let command = told(
        &said.text,
        "To give it to my-app-tcp.socket before, for a moment without both: ",
    );
    machine.saw("the command that was named", &command);
    machine.sh(&command);
    eventually("all are active", SOON, || {
        machine.states() == "active active active"
    });
    assert_eq!(machine.number(listens), 1);
    for url in ["http://127.0.0.1", "http://127.0.0.1:3000"] {
        machine.echo(url, "upgrade");
    }
    assert_eq!(machine.sh("ls /run/systemd/system"), "");

    // Who opened the port by a file of that time keeps it as it is.
    machine.sh("apt-get purge -q -y my-app");
    machine.install_package("my-app-one-socket.deb");
    machine.write(
        "/etc/systemd/system/my-app.socket.d/public-port.conf",
        "[Socket]\nListenStream=\nListenStream=/run/my-app/my-app.sock\nListenStream=[::]:3000\nBindIPv6Only=both",
    );
    machine.sh("systemctl daemon-reload; systemctl restart my-app.socket");
    let said = machine.upgrade_with("");
    assert!(said.ok, "{}", said.text);
    let why = told(&said.text, "my-app-tcp.socket is disabled, for ");
    machine.saw("with a file for my-app.socket: it is disabled, for", why);
    machine.sh("systemctl restart my-app.service");
    assert_eq!(machine.states(), "active inactive active");
    machine.sh("ss -Hlnt | grep -q '\\*:3000'");
    machine.echo("http://127.0.0.1:3000", "upgrade");
    assert_eq!(machine.sh("systemctl is-system-running"), "running");
}
