//! The kernel's settings: the package's own, and nobody else's.

use super::harness::*;

on_every_release!(an_installation_sets_its_own_kernel_keys_and_no_other);

/// Every setting of the kernel, but for those that change by themselves.
const SETTINGS: &str = "sysctl -a 2>/dev/null | grep -v -E \
    '^(fs\\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\\..*)|kernel\\.(ns_last_pid|random\\..*|pty\\.nr|.*_seed))|nf_conntrack_count' \
    | sort";

const KEYS: &str = "net.ipv4.ip_local_port_range net.core.somaxconn net.ipv4.tcp_max_syn_backlog";

fn an_installation_sets_its_own_kernel_keys_and_no_other(release: &'static Release) {
    // As Docker does it, and as an admin's file says otherwise.
    let machine = Machine::plain(release);
    machine.write(
        "/etc/sysctl.d/99-router.conf",
        "net.ipv4.ip_forward = 0\nnet.ipv4.conf.all.rp_filter = 0",
    );
    machine.sh("sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1");
    machine.sh(&format!("{SETTINGS} >/root/before"));
    machine.install_with("--no-install-recommends");
    machine.sh(&format!("{SETTINGS} >/root/after"));
    let count = machine.number("wc -l </root/before");
    let changed = machine.sh("diff /root/before /root/after | grep '^>' || true");
    machine.saw(
        "what an installation changed",
        format!("of {count} settings:\n{changed}"),
    );
    assert_eq!(
        changed,
        "> net.core.somaxconn = 65535\n\
         > net.ipv4.ip_local_port_range = 10000\t65535\n\
         > net.ipv4.tcp_max_syn_backlog = 65535"
    );
    assert!(count > 500, "{count}");
    assert_eq!(machine.sh("sysctl -n net.ipv4.ip_forward"), "1");

    what_an_admins_file_says_wins(&machine);
    keys_that_cannot_be_set_are_told(&machine);
}

/// Sets the keys to what no file says, and then as an installation does; gives what was said, and the keys.
fn settled(machine: &Machine) -> (String, String) {
    machine.sh(
        "sysctl -q -w net.ipv4.ip_local_port_range='30000 40000' net.core.somaxconn=128 net.ipv4.tcp_max_syn_backlog=128",
    );
    let said = machine.sh("/usr/share/my-app/set-sysctl");
    let values = machine.sh(&format!("sysctl -n {KEYS} | tr '\\t\\n' ' ;'"));
    (said, values)
}

fn what_an_admins_file_says_wins(machine: &Machine) {
    let ours = "10000 65535;65535;65535;";
    assert_eq!(settled(machine), (String::new(), ours.to_owned()));

    // Each file, and which keys stay then. The port range's file of ours sorts behind all numbers.
    for (path, text, left) in [
        (
            "/etc/sysctl.d/zz-mine.conf",
            "net.core.somaxconn = 5000",
            "10000 65535;128;65535;",
        ),
        (
            "/etc/sysctl.d/10-mine.conf",
            "-net/core/somaxconn=5000",
            "10000 65535;128;65535;",
        ),
        (
            "/etc/sysctl.d/99-mine.conf",
            "net.ipv4.ip_local_port_range =\t20000  60000",
            "30000 40000;65535;65535;",
        ),
        (
            "/run/sysctl.d/50-mine.conf",
            "net.ipv4.tcp_max_syn_backlog = 4000",
            "10000 65535;65535;128;",
        ),
        (
            "/usr/local/lib/sysctl.d/a.conf",
            "net.ipv4.tcp_max_syn_backlog=4000",
            "10000 65535;65535;128;",
        ),
        (
            "/usr/lib/sysctl.d/a.conf",
            "net.ipv4.tcp_max_syn_backlog=4000",
            "10000 65535;65535;128;",
        ),
        (
            "/etc/sysctl.conf",
            "net.ipv4.tcp_max_syn_backlog=4000",
            "10000 65535;65535;128;",
        ),
        // What says the same, what says nothing, and what is another key.
        (
            "/etc/sysctl.d/zz-mine.conf",
            "net.core.somaxconn=65535",
            ours,
        ),
        (
            "/etc/sysctl.d/zz-mine.conf",
            "#net.core.somaxconn = 5000",
            ours,
        ),
        (
            "/etc/sysctl.d/zz-mine.conf",
            "net.core.somaxconn2 = 5000",
            ours,
        ),
        (
            "/etc/sysctl.d/zz-mine.txt",
            "net.core.somaxconn = 5000",
            ours,
        ),
    ] {
        machine.sh(&format!("! test -e {path} || cp -a {path} /root/kept"));
        machine.write(path, text);
        let (said, values) = settled(machine);
        assert_eq!(values, left, "{path}: {text}: {said}");
        assert_eq!(said.contains(path), left != ours, "{path}: {text}: {said}");
        assert_eq!(said.lines().count(), usize::from(left != ours), "{said}");
        machine.saw(&format!("with {text:?} in {path}"), &said);
        machine.sh(&format!(
            "rm {path}; ! test -e /root/kept || mv /root/kept {path}"
        ));
    }
    // A file is hidden by one of its name in a directory of more weight.
    machine.write("/usr/lib/sysctl.d/zz.conf", "net.core.somaxconn = 5000");
    machine.sh("ln -s /dev/null /etc/sysctl.d/zz.conf");
    assert_eq!(settled(machine), (String::new(), ours.to_owned()));
    machine.sh("rm /etc/sysctl.d/zz.conf /usr/lib/sysctl.d/zz.conf");

    // Our own files are the admin's to change.
    machine.sh(
        "sed -i 's/^net.core.somaxconn.*/net.core.somaxconn = 9000/' /etc/sysctl.d/60-my-app.conf
                sed -i 's/^net.ipv4.tcp_max/#&/' /etc/sysctl.d/60-my-app.conf",
    );
    assert_eq!(
        settled(machine),
        (String::new(), "10000 65535;9000;128;".to_owned())
    );
}

fn keys_that_cannot_be_set_are_told(machine: &Machine) {
    let said = machine.sh("sysctl -q -w net.core.somaxconn=128
         unshare --mount sh -euc 'mount --bind /proc/sys/net /proc/sys/net
             mount -o remount,bind,ro /proc/sys/net
             ! echo 1 2>/dev/null >/proc/sys/net/core/somaxconn
             apt-get install -q -y --reinstall -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 /var/tmp/my-app.deb </dev/null'
         sysctl -n net.core.somaxconn | grep -qx 128");
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("my-app:"))
        .collect();
    assert!(
        told.len() == 1
            && told[0].contains("cannot be changed here, and stay as they are: net.core.somaxconn"),
        "{said}"
    );
    machine.assert_active();
    machine.saw("where /proc/sys cannot be written", told[0]);
}
