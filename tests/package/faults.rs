//! A configuration that is wrong.

use super::harness::*;

on_every_release!(a_bad_configuration_is_told_and_does_not_fill_the_journal);

fn a_bad_configuration_is_told_and_does_not_fill_the_journal(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    machine.write("/root/bad.toml", "# Mine.\nworker = 2");
    // Before the package comes, so that its very first start is a cold one.
    machine.sh("mkdir -p /etc/my-app; cp /root/bad.toml /etc/my-app/my-app.toml");
    let said = machine.sh(
        "cp /srv/share/my-app.deb /var/tmp/
         apt-get install -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold /var/tmp/my-app.deb",
    );
    assert!(
        said.contains("my-app: the service did not start; 'my-app check'"),
        "{said}"
    );
    assert_eq!(machine.sh("systemctl is-failed my-app.service"), "failed");
    machine.sh("systemctl is-active my-app.socket my-app-tcp.socket");
    machine.wait_for_journal(
        "/etc/my-app/my-app.toml: line 2: worker: unknown key; did you mean workers?",
    );

    // Clients that knock all the time start it again and again, but not without a pause.
    let seconds = 25;
    let lines = "journalctl -q -o cat -u my-app.service -u 'my-app*.socket' | wc -l";
    let before = machine.number(lines);
    machine.try_sh(&format!(
        "end=$(($(date +%s) + {seconds}))
         while [ $(date +%s) -lt $end ]; do curl -s -m 1 http://127.0.0.1:3000/ || true; sleep 0.1; done"
    ));
    let within = (machine.number(lines) - before) * 600 / seconds;
    assert!(within < 1000, "{within} lines in ten minutes");
    machine.saw(
        "lines in ten minutes, with clients that knock all the time",
        within,
    );
    machine.sh("systemctl is-active my-app.socket my-app-tcp.socket");

    // Put right, the next start is a good one; those who waited are served.
    machine.sh("sed -i s/worker/workers/ /etc/my-app/my-app.toml && my-app check && systemctl restart my-app.service");
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");
    let quiet = machine.number(lines);
    machine.sh("sleep 1");
    machine.saw("lines before and after", format!("{before}, {quiet}"));
}
