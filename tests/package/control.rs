//! The control socket of the service: who may connect, and what becomes of it.

use super::harness::*;

on_every_release!(the_control_socket_is_for_root_and_the_services_group_and_goes_with_the_service);

const ASK: &str =
    "curl -sS --fail --unix-socket /run/my-app-ctl/control.sock http://localhost/status";

fn the_control_socket_is_for_root_and_the_services_group_and_goes_with_the_service(
    release: &'static Release,
) {
    let machine = Machine::serving(release);
    let status = machine.sh(ASK);
    assert!(status.contains("\"state\":\"healthy\""), "{status}");
    assert_eq!(
        machine.sh("stat -c '%n %a %U %G' /run/my-app-ctl /run/my-app-ctl/control.sock"),
        "/run/my-app-ctl 750 my-app-runner my-app-runner\n\
         /run/my-app-ctl/control.sock 660 my-app-runner my-app-runner"
    );
    for user in ["www-data", "nobody"] {
        let said = machine.try_sh(&format!("runuser -u {user} -- {ASK}"));
        assert!(!said.ok, "{user}: {}", said.text);
    }
    // An operator is in the group.
    machine.sh("useradd ann && usermod -aG my-app-runner ann");
    machine.sh(&format!("runuser -u ann -- {ASK}"));

    // logrotate asks it to open the file anew.
    machine.sh("logrotate -f -s /root/state /etc/logrotate.d/my-app
         for i in $(seq 100); do test -s /var/log/my-app/app.log && break; sleep 0.1; done
         test -s /var/log/my-app/app.log && test -s /var/log/my-app/app.log.1");
    machine.assert_active();

    machine.sh("systemctl stop my-app.socket && test ! -e /run/my-app-ctl");
    machine.sh("systemctl start my-app.service");
    machine.sh(ASK);

    // Where it is changes at a reload, for which the server is asked at the standard place, too.
    machine.write(
        "/etc/my-app/my-app.toml",
        "control.socket = \"/run/my-app-ctl/other.sock\"",
    );
    machine.sh(
        "systemctl reload my-app.service
         my-app status && test -S /run/my-app-ctl/other.sock && test ! -e /run/my-app-ctl/control.sock",
    );
}
