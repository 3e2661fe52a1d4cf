//! Whether the service's user may use the files that the service needs.
//!
//! Looked at with that user's rights, not by owners and modes: groups, access control lists and
//! read-only file systems count as they do for the service.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::finding::{Finding, Id, Seen};
use super::look;
use super::sockets::Person;
use super::units::{SERVICE, Unit};
use crate::config::STANDARD_FILE;

/// The user of the package's service and its group, see my-app.sysusers.
const USER: &str = "my-app-runner";
/// What systemd gives to that user at each start (`LogsDirectory=`).
const LOGS: &str = "/var/log/my-app";
/// How long a file system may take to say who may do what.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the files of the service on this machine, if there is one. Only root can look with
/// another's rights.
pub(super) fn seen(unit: &Unit, log: Option<&Path>) -> Seen {
    let service = Service::of(unit);
    let mut seen = Seen::default();
    let Some(user) = service.identity() else {
        return seen;
    };
    let root = geteuid().is_root();
    if !root && geteuid() != user.user {
        seen.cannot_see(format!(
            "what {} may read and write: root sees that, and {0} itself",
            service.user
        ));
        return seen;
    }
    let log = log.map(Path::to_owned);
    // The rights of a thread are its own, and end with it.
    let looked = look::within(PATIENCE, move || {
        (!root || user.become_it()).then(|| service.look(log.as_deref()))
    });
    match looked.flatten() {
        Some(findings) => seen.findings = findings,
        None => seen.cannot_see("the service's files: they could not be looked at as its user"),
    }
    seen
}

/// The numbers of a user and its groups.
pub(super) struct Identity {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    /// As the system's own tools know them, whatever they know them from.
    fn of(user: &str, group: &str) -> Option<Self> {
        let Person { uid, groups, .. } = Person::of_name(user)?;
        Some(Self {
            user: Uid::from_raw(uid),
            group: number_of_group(group)?,
            groups: groups.into_iter().map(Gid::from_raw).collect(),
        })
    }

    /// As whom a unit runs, with the groups that it has beside those of its user.
    pub(super) fn of_unit(unit: &Unit) -> Option<Self> {
        let service = Service::of(unit);
        let mut identity = service.identity()?;
        for group in unit.get("SupplementaryGroups").split_whitespace() {
            identity.groups.extend(number_of_group(group));
        }
        Some(identity)
    }

    /// Whether this process has these rights already.
    pub(super) fn is_this_process(&self) -> bool {
        geteuid() == self.user
    }

    /// Gives this thread the rights of the user, for good.
    pub(super) fn become_it(&self) -> bool {
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

fn number_of_group(name: &str) -> Option<Gid> {
    let (entry, _) = look::command(&["getent", "group", name])?;
    Some(Gid::from_raw(entry.split(':').nth(2)?.parse().ok()?))
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
    fn of(unit: &Unit) -> Self {
        let value = |name: &str| unit.get(name);
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

    /// The service's user, where there is one.
    fn identity(&self) -> Option<Identity> {
        Identity::of(&self.user, &self.group)
    }

    /// To be called with the rights of the service's user.
    fn look(&self, log: Option<&Path>) -> Vec<Finding> {
        let config = self.configuration(Path::new(STANDARD_FILE));
        let log = log.and_then(|path| self.log(path));
        config.into_iter().chain(log).collect()
    }

    /// That a file that is there can be read.
    fn configuration(&self, file: &Path) -> Option<Finding> {
        let user = &self.user;
        let closed = closed_directory(file).or_else(|| {
            let is_closed =
                access(file, Access::READ_OK).is_err_and(|e| e != rustix::io::Errno::NOENT);
            is_closed.then_some(file)
        })?;
        let mode = if closed == file { "g+r" } else { "g+x" };
        let (at, closed) = (file.display(), closed.display());
        Some(Finding::fault(
            Id::ConfigurationUnreadable,
            format!("{at}: {user}, as whom the service runs, may not read it"),
            "the service does not start again",
            format!("chgrp {user} {closed} && chmod {mode} {closed}"),
        ))
    }

    /// That lines can be added to the file, which may be made for that.
    fn log(&self, file: &Path) -> Option<Finding> {
        let remedy = self.remedy_for_log(file)?;
        let (at, user) = (file.display(), &self.user);
        Some(Finding::warning(
            Id::LogUnwritable,
            format!("{at}: {user}, as whom the service runs, may not write it"),
            "the log file has no lines; the journal has them all the same",
            remedy,
        ))
    }

    fn remedy_for_log(&self, file: &Path) -> Option<String> {
        let user = &self.user;
        let directory = file.parent()?;
        let (at, of) = (file.display(), directory.display());
        if let Some(closed) = closed_directory(file).filter(|closed| *closed != directory) {
            return Some(format!("chmod o+x {}", closed.display()));
        }
        // systemd makes this one, and gives it to the user.
        let may_be_missing = directory == Path::new(LOGS);
        let is_missing =
            fs::metadata(directory).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        if is_missing {
            return (!may_be_missing).then(|| format!("mkdir -p {of} && chown {user}:{user} {of}"));
        }
        let in_directory = access(directory, Access::WRITE_OK | Access::EXEC_OK);
        // Without the directory, the file could not be opened anew after a rotation.
        if in_directory.is_err() {
            return Some(format!("chown {user}:{user} {of} && chmod u+rwx {of}"));
        }
        if access(file, Access::WRITE_OK).is_err_and(|e| e != rustix::io::Errno::NOENT) {
            return Some(format!("chown {user}:{user} {at} && chmod u+rw {at}"));
        }
        // The file itself may be a link to elsewhere.
        let target = fs::canonicalize(file).ok();
        let directory = target
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(directory);
        self.sandboxed(directory).then(|| {
            format!(
                "mkdir -p /etc/systemd/system/{SERVICE}.d && printf '[Service]\\nReadWritePaths={}\\n' \
                 >/etc/systemd/system/{SERVICE}.d/logs.conf && systemctl daemon-reload && systemctl restart {SERVICE}",
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
    use crate::cli::doctor::units::Units;

    /// The service as systemd shows it.
    fn service(shown: &str) -> Service {
        let units = Units::parse(&format!("Id={SERVICE}\n{shown}"));
        Service::of(&units.service)
    }

    const SHOWN: &str = "User=somebody\nProtectSystem=strict\nReadWritePaths=/srv/logs -/data\n";

    #[test]
    fn what_systemd_shows_of_the_service_is_understood() {
        let service = self::service(SHOWN);
        assert_eq!(service.user, "somebody");
        let inside = |path| !service.sandboxed(Path::new(path));
        assert!(inside(LOGS) && inside("/srv/logs/a") && inside("/data"));
        assert!(!inside("/srv") && !inside("/var/log"));
        // Without systemd, or with a unit that confines nothing.
        let service = self::service("");
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
        let service = self::service(&shown);
        assert!(!service.sandboxed(&link) && !service.sandboxed(&logs));
        assert!(service.sandboxed(&elsewhere));
        let file = logs.join("app.log");
        fs::write(elsewhere.join("app.log"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("app.log"), &file).unwrap();
        let said = service.log(&file).unwrap().remedy;
        let remedy = format!("ReadWritePaths={}\\n", elsewhere.display());
        assert!(said.contains(&remedy), "{said}");
    }

    #[test]
    fn a_directory_that_is_missing_is_named_unless_systemd_makes_it() {
        let service = self::service("");
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("logs");
        let said = service.log(&missing.join("app.log")).unwrap().remedy;
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
        let service = self::service("");
        assert_eq!(
            service.configuration(Path::new("/nonexistent/my-app.toml")),
            None
        );
    }
}
