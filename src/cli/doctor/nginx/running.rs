//! The nginx that runs: which processes, as whom, with how many files; and could it be started again?

use std::fs;

use rustix::process::geteuid;

use super::limits::OpenFiles;
use super::tree::{Tree, named};
use crate::cli::doctor::finding::{Finding, Id, Seen};
use crate::cli::doctor::look;
use crate::cli::doctor::sockets::Person;
use crate::cli::doctor::units::open_files;

/// Where Debian's and nginx.org's nginx write their number.
const PID_FILE: &str = "/run/nginx.pid";

/// What is known of the nginx that runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) master: Option<u32>,
    /// As whom its workers run.
    pub(super) person: Option<Person>,
    pub(super) open: Option<OpenFiles>,
}

impl Running {
    pub(super) fn of_this_machine(tree: &Tree) -> Self {
        let said = named(&tree.directives, "pid").last();
        let pid_file = said.map_or(PID_FILE, |it| it.value());
        let Some(master) = look::file(pid_file)
            .and_then(|text| text.trim().parse().ok())
            .filter(|pid| is_master(*pid))
        else {
            return Self::default();
        };
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|it| it.parse().ok());
        let workers: Vec<u32> = children.filter(|pid| is_worker(&title(*pid))).collect();
        let open = open_files(master).map(|of_master| OpenFiles {
            master: of_master,
            // Right after a reload some are old.
            workers: workers.iter().filter_map(|pid| open_files(*pid)).max(),
        });
        Self {
            master: Some(master),
            person: workers.last().and_then(|pid| Person::of_process(*pid)),
            open,
        }
    }

    /// Whether nginx takes its files as they are now. Only root can ask, and only of one that runs: it would make a
    /// file for its number, and for its logs, where there is none.
    pub(super) fn starts_again(&self) -> Seen {
        let mut seen = Seen::default();
        if self.master.is_none() {
            return seen;
        }
        if !geteuid().is_root() {
            seen.cannot_see("whether nginx takes its files as they are now: root can ask it");
            return seen;
        }
        // What it complains of would stand in its error log, too.
        match look::command(&["nginx", "-t", "-q", "-e", "/dev/null"]) {
            Some((_, true)) => {}
            Some((said, false)) => seen.findings.push(broken(&said)),
            None => {
                seen.cannot_see(
                    "whether nginx takes its files as they are now: it does not answer",
                );
            }
        }
        seen
    }
}

fn broken(said: &str) -> Finding {
    let mut lines = said.lines().filter_map(|line| line.split_once("[emerg] "));
    let complaint = lines.next().map_or("nginx -t fails", |(_, complaint)| {
        // The process that complains is of no interest.
        let number = complaint
            .split_once(": ")
            .filter(|(it, _)| it.contains('#'));
        number.map_or(complaint, |(_, rest)| rest)
    });
    Finding::warning(
        Id::NginxBroken,
        format!("nginx could not be started again: {complaint}"),
        "when it is restarted, all sites of this machine are down",
        "mend what 'nginx -t' names, then: systemctl reload nginx",
    )
}

/// `holder`: who has port 80, if anybody has.
pub(super) fn stopped(holder: Option<&str>) -> Finding {
    let (what, remedy) = match holder {
        None => (String::new(), "systemctl start nginx".to_owned()),
        Some(who) => (
            format!(", and port 80 is held by {who}"),
            "end what has the port, then: systemctl start nginx".to_owned(),
        ),
    };
    Finding::warning(
        Id::NginxStopped,
        format!("nginx is not running{what}"),
        "it has my-app's site: nobody reaches my-app on port 80",
        remedy,
    )
}

/// What a process calls itself.
fn title(pid: u32) -> String {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&title).replace('\0', " ")
}

fn is_master(pid: u32) -> bool {
    let title = title(pid);
    title.starts_with("nginx: master process")
        // By hand, without a master.
        || title.split(' ').next().is_some_and(|program| program.ends_with("nginx"))
}

fn is_worker(title: &str) -> bool {
    title.starts_with("nginx: worker process") && !title.contains("shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nginx_complains_of_is_told_in_its_words() {
        let said = "nginx: [emerg] unexpected end of file in /etc/nginx/a.conf:2\nnginx: configuration file failed\n";
        assert_eq!(
            broken(said).what,
            "nginx could not be started again: unexpected end of file in /etc/nginx/a.conf:2"
        );
        let said = "2026/11/27 00:00:00 [emerg] 12#12: bind() failed";
        assert!(broken(said).what.ends_with("again: bind() failed"));
        assert!(broken("").what.ends_with("nginx -t fails"));
    }

    #[test]
    fn a_worker_that_is_about_to_end_counts_no_more() {
        assert!(is_worker("nginx: worker process"));
        assert!(!is_worker("nginx: worker process is shutting down"));
        assert!(!is_worker("nginx: cache manager process"));
        assert!(!is_master(std::process::id()));
    }
}
