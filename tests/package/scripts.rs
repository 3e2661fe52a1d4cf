//! The maintainer scripts where something is missing, forbidden, or in the way.

use super::harness::*;

on_every_release!(
    a_machines_policy_is_kept_and_a_purge_survives_mount_points,
    a_chroot_is_installed_into_without_a_word_to_the_kernel,
);

const APT: &str = "apt-get -q -y -o Dpkg::Use-Pty=0";

fn a_machines_policy_is_kept_and_a_purge_survives_mount_points(release: &'static Release) {
    let machine = Machine::with_nginx(release);
    machine.sh(
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d",
    );
    let install = |package| {
        machine.sh(&format!(
            "cp /srv/share/{package} /var/tmp/; {APT} install /var/tmp/{package} </dev/null"
        ))
    };
    let active = |unit| machine.try_sh(&format!("systemctl is-active {unit}")).ok;

    // Nothing is started, and all will be with the machine's next start.
    let said = install("my-app.deb");
    assert!(!said.contains("did not start"), "{said}");
    assert!(!active("my-app.service") && !active("my-app.socket"));
    machine.sh("systemctl is-enabled my-app.service my-app.socket");
    machine.sh("systemctl start my-app.socket my-app.service");
    machine.echo("http://127.0.0.1:3000", "upgrade");
    // Nothing that runs is restarted.
    let before = machine.master();
    install("my-app-next.deb");
    assert_eq!(machine.master(), before, "it was restarted");
    machine.sh("rm /usr/sbin/policy-rc.d; dpkg-query -W my-app | grep -q 99.");
    machine.saw(
        "with a policy of 101",
        "not started; not restarted by an upgrade",
    );

    // The log has a file system of its own, and something is mounted in it, too.
    machine.sh("systemctl stop my-app.socket 2>&1
         mount -t tmpfs -o mode=0750,uid=my-app-runner,gid=my-app-runner tmpfs /var/log/my-app
         systemctl start my-app.socket my-app.service
         mkdir /var/log/my-app/deep; mount -t tmpfs tmpfs /var/log/my-app/deep; touch /var/log/my-app/deep/theirs");
    eventually("a log", SOON, || {
        machine.try_sh("test -s /var/log/my-app/app.log").ok
    });
    let said = machine.sh(&format!("{APT} purge my-app"));
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("my-app:"))
        .collect();
    assert!(
        told.iter()
            .any(|line| line.starts_with("my-app: /var/log/my-app is not removed")),
        "{said}"
    );
    machine.saw("purge with a mount point", told.join("\n"));
    assert!(!machine.try_sh("dpkg-query -s my-app").ok);
    assert_eq!(
        machine.sh("cd /var/log/my-app; find . -type f"),
        "./deep/theirs"
    );
    machine.sh("umount /var/log/my-app/deep /var/log/my-app; rm -r /var/log/my-app");

    // A file system that cannot be written, and tools that are not there.
    machine.sh(
        "mkdir /var/log/my-app; mount -t tmpfs -o ro tmpfs /var/log/my-app
         for tool in setpriv sha256sum cmp nginx; do
             path=$(command -v $tool); echo $path >>/root/hidden; mv $path $path.hidden
         done",
    );
    let said = install("my-app.deb");
    machine.saw(
        "install without tools, the log's directory being read-only",
        said.lines()
            .filter(|line| line.starts_with("my-app:"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    machine.sh(&format!(
        "dpkg-query -s my-app | grep -q 'ok installed'; {APT} purge my-app"
    ));
    machine.sh("while read -r path; do mv $path.hidden $path; done </root/hidden; umount /var/log/my-app; rmdir /var/log/my-app");
}

/// As images are made: no systemd, then what looks like one, then without tools.
fn a_chroot_is_installed_into_without_a_word_to_the_kernel(release: &'static Release) {
    let keys = "/proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/tcp_max_syn_backlog";
    // The keys of a network of its own are asked and watched, not those of this machine.
    let said = with_rootfs(
        release,
        &["nginx"],
        &format!(
            "cp $2/my-app.deb $2/my-app-next.deb $1/var/tmp/
             exec unshare --net sh -euc '
             exec 2>&1
             cat {keys} >$1/var/tmp/before
             in_it() {{ root=$1; shift; chroot $root env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \"$@\" </dev/null; }}
             echo == no /proc, no systemd
             in_it $1 dpkg -i /var/tmp/my-app.deb
             in_it $1 dpkg --purge my-app
             echo == what looks like systemd
             mount -t proc proc $1/proc
             mkdir -p $1/run/systemd/system
             in_it $1 dpkg -i /var/tmp/my-app.deb
             in_it $1 dpkg -i /var/tmp/my-app-next.deb
             in_it $1 test -L /etc/systemd/system/multi-user.target.wants/my-app.service
             cat {keys} | diff $1/var/tmp/before -
             in_it $1 dpkg --purge my-app
             echo == no tools
             rm $1/usr/bin/systemctl $1/usr/bin/setpriv $1/usr/bin/deb-systemd-invoke $1/usr/bin/cmp
             in_it $1 dpkg -i /var/tmp/my-app.deb
             in_it $1 dpkg --purge my-app
             echo == done
             ' sh $1"
        ),
    );
    assert!(said.trim_end().ends_with("== done"), "{said}");
    saw(
        release,
        "installed and purged in a chroot",
        said.lines()
            .filter(|line| line.starts_with("my-app:"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
}
