//! The kernel's settings in force against what the package's files say.

use super::finding::{Finding, Id, Seen};
use super::look;

const SOMAXCONN: &str = "net.core.somaxconn";
const PORTS: &str = "net.ipv4.ip_local_port_range";
/// Where the package says what they are to be. An admin may have taken a line away.
const FILES: [(&str, &str); 2] = [
    (SOMAXCONN, "/etc/sysctl.d/60-my-app.conf"),
    (PORTS, "/etc/sysctl.d/net.ipv4.ip_local_port_range.conf"),
];
const SET: &str = "/usr/share/my-app/set-sysctl";

/// Looks at this machine.
pub(super) fn seen() -> Seen {
    let pairs = FILES.map(|(key, file)| {
        let wanted = look::file(file).and_then(|text| wanted(&text, key));
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        // It says that it has no bytes, as all there.
        let in_force = std::fs::read_to_string(path).ok();
        (key, wanted, in_force)
    });
    let mut seen = Seen::default();
    for (key, wanted, in_force) in pairs {
        match (wanted, in_force) {
            (Some(wanted), Some(in_force)) => seen.findings.extend(judge(key, &wanted, &in_force)),
            (Some(_), None) => seen.cannot_see(format!("{key}: /proc/sys does not tell it here")),
            (None, _) => {}
        }
    }
    seen
}

/// The value that a file of sysctl.d(5) gives to a key.
fn wanted(file: &str, key: &str) -> Option<String> {
    let lines = file.lines().filter_map(|line| line.split_once('='));
    let mut ours = lines.filter(|(name, _)| name.trim().trim_start_matches('-') == key);
    ours.next_back().map(|(_, value)| value.trim().to_owned())
}

fn judge(key: &str, wanted: &str, in_force: &str) -> Option<Finding> {
    let numbers = |text: &str| -> Vec<u64> {
        let words = text.split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let what = format!(
        "{key} is {}, and is to be {wanted}",
        in_force.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    match (key, &numbers(wanted)[..], &numbers(in_force)[..]) {
        (SOMAXCONN, [wanted], [in_force]) if in_force < wanted => Some(Finding::warning(
            Id::Backlog,
            what,
            format!(
                "only {in_force} connections wait during a restart; nginx answers more with 502"
            ),
            // A listener has the backlog that it was opened with.
            format!("{SET} && systemctl restart my-app.socket"),
        )),
        (PORTS, [from, to], [first, last])
            if last.saturating_sub(*first) < to.saturating_sub(*from) =>
        {
            Some(Finding::note(
                Id::LocalPorts,
                what,
                format!(
                    "a proxy that connects by TCP, and what an application connects to, has {} connections at most",
                    last.saturating_sub(*first) + 1
                ),
                SET,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_than_the_package_says_is_found() {
        for (key, wanted, in_force, id) in [
            (SOMAXCONN, "65535", "4096\n", Some(Id::Backlog)),
            (SOMAXCONN, "65535", "65535\n", None),
            (SOMAXCONN, "4096", "65535\n", None),
            (PORTS, "10000 65535", "32768\t60999\n", Some(Id::LocalPorts)),
            (PORTS, "10000 65535", "10000\t65535\n", None),
            // As many, elsewhere.
            (PORTS, "10000 65535", "9000\t65000\n", None),
            (PORTS, "10000 65535", "nonsense", None),
        ] {
            let found = judge(key, wanted, in_force).map(|it| it.id);
            assert_eq!(found, id, "{key} {in_force}");
        }
        let found = judge(PORTS, "10000 65535", "32768\t60999\n").unwrap();
        assert_eq!(
            found.what,
            "net.ipv4.ip_local_port_range is 32768 60999, and is to be 10000 65535"
        );
        assert!(found.why.contains("28232 connections"));
    }

    #[test]
    fn the_shipped_files_say_what_is_wanted() {
        let file = include_str!("../../../sysctl/60-my-app.conf");
        assert_eq!(wanted(file, SOMAXCONN).as_deref(), Some("65535"));
        assert_eq!(wanted("#net.core.somaxconn = 5\n", SOMAXCONN), None);
        let file = include_str!("../../../sysctl/net.ipv4.ip_local_port_range.conf");
        assert_eq!(wanted(file, PORTS).as_deref(), Some("10000 65535"));
    }
}
