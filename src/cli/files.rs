//! Whether the service's user may use the files that the service needs.
//!
//! Looked at with that user's rights, not by owners and modes: groups, access control lists and
//! read-only file systems count as they do for the service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::fs::{Access, access};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::config::STANDARD_FILE;

/// The user of the package's service and its group, see my-app.sysusers.
const USER: &str = "my-app-runner";
/// What systemd gives to that user at each start (`LogsDirectory=`).
const LOGS: &str = "/var/log/my-app";
const UNIT: &str = "my-app.service";

/// What the service's user cannot do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Each keeps the service from starting.
    pub faults: Vec<String>,
    /// Each costs lines of the log file.
    pub notes: Vec<String>,
}

/// Looks at the files of the service on this machine, if there is one. Only root can look with
/// another's rights.
pub(super) fn findings(log: Option<&Path>) -> Findings {
    let service = Service::of_this_machine();
    let Some(user) = service.identity() else {
        return Findings::default();
    };
    let log = log.map(Path::to_owned);
    // The rights of a thread are its own, and end with it.
    let looked = thread::spawn(move || user.become_it().then(|| service.look(log.as_deref())));
    looked.join().ok().flatten().unwrap_or_default()
}

/// The numbers of a user and its groups.
struct Identity {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    /// As the system's own tools know them, whatever they know them from.
    fn of(user: &str, group: &str) -> Option<Self> {
        let numbers = |option| -> Option<Vec<u32>> {
            let output = Command::new("id")
                .args([option, "--", user])
                .output()
                .ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            let words = text.split_whitespace();
            output.status.success().then_some(())?;
            words.map(|word| word.parse().ok()).collect()
        };
        let user = Uid::from_raw(*numbers("-u")?.first()?);
        let groups: Vec<_> = numbers("-G")?.into_iter().map(Gid::from_raw).collect();
        let output = Command::new("getent").args(["group", group]).output();
        let entry = String::from_utf8(output.ok()?.stdout).ok()?;
        let group = Gid::from_raw(entry.split(':').nth(2)?.parse().ok()?);
        Some(Self {
            user,
            group,
            groups,
        })
    }

    /// Gives this thread the rights of the user, for good.
    fn become_it(&self) -> bool {
        let Self {
            user,
            group,
            groups,
        } = self;
        set_thread_groups(groups).is_ok()
            && set_thread_res_gid(*group, *group, *group).is_ok()
            && set_thread_res_uid(*user, *user, *user).is_ok()
    }
}

/// What systemd says about the service.
#[derive(Debug)]
struct Service {
    user: String,
    group: String,
    /// Where it may write, if that is not everywhere.
    writable: Option<Vec<PathBuf>>,
}

impl Service {
    fn of_this_machine() -> Self {
        let output = Command::new("systemctl")
            .args([
                "show",
                UNIT,
                "--property=User,Group,ProtectSystem,ReadWritePaths",
            ])
            .output();
        Self::parse(&output.map(|it| it.stdout).unwrap_or_default())
    }

    fn parse(shown: &[u8]) -> Self {
        let text = String::from_utf8_lossy(shown);
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value)
        };
        let or_ours = |name: &str| match value(name) {
            "" => USER.to_owned(),
            value => value.to_owned(),
        };
        let paths = value("ReadWritePaths").split_whitespace();
        let writable = paths.map(|path| path.trim_start_matches(['-', '+']).into());
        Self {
            user: or_ours("User"),
            group: or_ours("Group"),
            writable: (value("ProtectSystem") == "strict").then(|| writable.collect()),
        }
    }

    /// The service's user, where there is one and this process may look with its rights.
    fn identity(&self) -> Option<Identity> {
        geteuid()
            .is_root()
            .then(|| Identity::of(&self.user, &self.group))?
    }

    /// To be called with the rights of the service's user.
    fn look(&self, log: Option<&Path>) -> Findings {
        let config = self.configuration(Path::new(STANDARD_FILE));
        let log = log.and_then(|path| self.log(path));
        Findings {
            faults: config.into_iter().collect(),
            notes: log.into_iter().collect(),
        }
    }

    /// That a file that is there can be read.
    fn configuration(&self, file: &Path) -> Option<String> {
        let user = &self.user;
        let closed = closed_directory(file).or_else(|| {
            let is_closed =
                access(file, Access::READ_OK).is_err_and(|e| e != rustix::io::Errno::NOENT);
            is_closed.then_some(file)
        })?;
        let mode = if closed == file { "g+r" } else { "g+x" };
        let (at, closed) = (file.display(), closed.display());
        Some(format!(
            "{at}: {user}, as whom the service runs, may not read it: chgrp {user} {closed} && chmod {mode} {closed}"
        ))
    }

    /// That lines can be added to the file, which may be made for that.
    fn log(&self, file: &Path) -> Option<String> {
        let user = &self.user;
        let directory = file.parent()?;
        let (at, of) = (file.display(), directory.display());
        let complaint = format!("{at}: {user}, as whom the service runs, may not write it");
        if let Some(closed) = closed_directory(file).filter(|closed| *closed != directory) {
            let closed = closed.display();
            return Some(format!("{complaint}: chmod o+x {closed}"));
        }
        // systemd makes this one, and gives it to the user.
        let may_be_missing = directory == Path::new(LOGS);
        let is_missing =
            fs::metadata(directory).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        if is_missing {
            return (!may_be_missing).then(|| {
                format!(
                    "{complaint}, for {of} is missing: mkdir -p {of} && chown {user}:{user} {of}"
                )
            });
        }
        let in_directory = access(directory, Access::WRITE_OK | Access::EXEC_OK);
        // Without the directory, the file could not be opened anew after a rotation.
        if in_directory.is_err() {
            return Some(format!(
                "{complaint}: chown {user}:{user} {of} && chmod u+rwx {of}"
            ));
        }
        if access(file, Access::WRITE_OK).is_err_and(|e| e != rustix::io::Errno::NOENT) {
            return Some(format!(
                "{complaint}: chown {user}:{user} {at} && chmod u+rw {at}"
            ));
        }
        // The file itself may be a link to elsewhere.
        let target = fs::canonicalize(file).ok();
        let directory = target
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(directory);
        self.sandboxed(directory).then(|| {
            format!(
                "{at}: the service may write to {LOGS} alone: systemctl edit {UNIT}, two lines, [Service] and \
                 ReadWritePaths={}, then systemctl restart {UNIT}",
                directory.display()
            )
        })
    }

    /// Whether the unit keeps the service from writing there. systemd follows links, and so must this.
    fn sandboxed(&self, path: &Path) -> bool {
        let Some(writable) = &self.writable else {
            return false;
        };
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let logs = PathBuf::from(LOGS);
        let mut open = writable.iter().chain([&logs]);
        let path = real(path);
        !open.any(|open| path.starts_with(open) || path.starts_with(real(open)))
    }
}

/// The first directory on the way to the file that cannot be entered.
fn closed_directory(file: &Path) -> Option<&Path> {
    let mut way: Vec<_> = file.ancestors().skip(1).collect();
    way.reverse();
    way.into_iter().find(|directory| {
        fs::metadata(directory).is_ok_and(|it| it.is_dir())
            && access(*directory, Access::EXEC_OK).is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &[u8] = b"User=somebody\nProtectSystem=strict\nReadWritePaths=/srv/logs -/data\n";

    #[test]
    fn what_systemd_shows_of_the_service_is_understood() {
        let service = Service::parse(SHOWN);
        assert_eq!(service.user, "somebody");
        let inside = |path| !service.sandboxed(Path::new(path));
        assert!(inside(LOGS) && inside("/srv/logs/a") && inside("/data"));
        assert!(!inside("/srv") && !inside("/var/log"));
        // Without systemd, or with a unit that confines nothing.
        let service = Service::parse(b"");
        assert_eq!(service.user, USER);
        assert!(!service.sandboxed(Path::new("/srv")));
    }

    #[test]
    fn links_are_followed_as_systemd_does() {
        let dir = tempfile::tempdir().unwrap();
        let [logs, link, elsewhere] = ["logs", "link", "elsewhere"].map(|it| dir.path().join(it));
        fs::create_dir(&logs).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&logs, &link).unwrap();
        let shown = format!("ProtectSystem=strict\nReadWritePaths={}\n", link.display());
        let service = Service::parse(shown.as_bytes());
        assert!(!service.sandboxed(&link) && !service.sandboxed(&logs));
        assert!(service.sandboxed(&elsewhere));
        let file = logs.join("app.log");
        fs::write(elsewhere.join("app.log"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("app.log"), &file).unwrap();
        let said = service.log(&file).unwrap();
        let remedy = format!("ReadWritePaths={},", elsewhere.display());
        assert!(said.contains(&remedy), "{said}");
    }

    #[test]
    fn a_directory_that_is_missing_is_named_unless_systemd_makes_it() {
        let service = Service::parse(b"");
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("logs");
        let said = service.log(&missing.join("app.log")).unwrap();
        assert!(
            said.contains(&format!("mkdir -p {}", missing.display())),
            "{said}"
        );
        fs::create_dir(&missing).unwrap();
        assert_eq!(service.log(&missing.join("app.log")), None);
        fs::write(missing.join("app.log"), "").unwrap();
        assert_eq!(service.log(&missing.join("app.log")), None);
    }

    #[test]
    fn a_configuration_that_is_not_there_is_no_fault() {
        let service = Service::parse(b"");
        assert_eq!(
            service.configuration(Path::new("/nonexistent/my-app.toml")),
            None
        );
    }
}
