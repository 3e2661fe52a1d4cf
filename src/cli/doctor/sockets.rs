//! The Unix sockets: nginx's way to the server, and the one that operators use.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::finding::{Finding, Id, Seen};
use super::look;
use super::units::{SOCKET, Unit};

pub(super) const NGINX: &str = "/run/my-app/my-app.sock";
const FOLDER: &str = "/run/my-app";

/// Somebody who may open a file or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
}

impl Person {
    /// As a running process is, which knows nothing of what was changed since it began.
    pub(super) fn of_process(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|it| it.parse().ok()).collect()
        };
        // Real, effective, saved, of the file system.
        let [uid, group] = [numbers("Uid:")?, numbers("Gid:")?].map(|it| it.get(1).copied());
        let mut groups = numbers("Groups:")?;
        groups.push(group?);
        let uid = uid?;
        Some(Self {
            name: name_of(uid),
            uid,
            groups,
        })
    }

    /// As the system knows a user.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let numbers = |option| -> Option<Vec<u32>> {
            let (said, good) = look::command(&["id", option, "--", name])?;
            let numbers = said.split_whitespace().map(|it| it.parse().ok());
            good.then(|| numbers.collect())?
        };
        Some(Self {
            name: name.to_owned(),
            uid: *numbers("-u")?.first()?,
            groups: numbers("-G")?,
        })
    }
}

/// The name of a user, or the number where there is none.
pub(super) fn name_of(uid: u32) -> String {
    name_in("passwd", uid)
}

/// The name of a group, or the number where there is none.
pub(super) fn group_name_of(gid: u32) -> String {
    name_in("group", gid)
}

fn name_in(database: &str, number: u32) -> String {
    let said = look::command(&["getent", database, &number.to_string()]);
    let name = said.as_ref().and_then(|(said, _)| said.split(':').next());
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    name.map_or_else(|| number.to_string(), ToOwned::to_owned)
}

/// Whose a file is, and what its owner, its group and others may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

const WRITE: u32 = 2;
const ENTER: u32 = 1;

impl Rights {
    fn of(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }

    /// Whether somebody may do this.
    fn allow(self, person: &Person, bit: u32) -> bool {
        let shift = if person.uid == self.uid {
            6
        } else if person.groups.contains(&self.gid) {
            3
        } else {
            0
        };
        person.uid == 0 || self.mode >> shift & bit != 0
    }
}

/// What is at the path of nginx's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Door {
    folder: Rights,
    socket: Rights,
    /// The name of the socket's group.
    group: String,
}

/// Looks at nginx's socket. `nginx`: as whom nginx runs, if it is there.
pub(super) fn of_nginx(unit: &Unit, nginx: Option<&Person>) -> Seen {
    let look = || -> Result<Door, ErrorKind> {
        let kind = |error: std::io::Error| error.kind();
        let folder = Rights::of(&fs::metadata(FOLDER).map_err(kind)?);
        let socket = fs::metadata(NGINX).map_err(kind)?;
        if !socket.file_type().is_socket() || !somebody_listens() {
            return Err(ErrorKind::NotFound);
        }
        let socket = Rights::of(&socket);
        let group = group_name_of(socket.gid);
        Ok(Door {
            folder,
            socket,
            group,
        })
    };
    match look() {
        Ok(door) => {
            let again = nginx.and_then(|it| Person::of_name(&it.name));
            judge(&door, unit, nginx, again.as_ref()).into()
        }
        Err(ErrorKind::NotFound) if unit.is("active") => vec![Finding::fault(
            Id::SocketMissing,
            format!("nobody listens at {NGINX}, though {SOCKET} is active"),
            "nginx answers 502",
            format!("systemctl restart {SOCKET}"),
        )]
        .into(),
        Err(ErrorKind::NotFound) => Seen::default(),
        Err(_) => {
            let mut seen = Seen::default();
            seen.cannot_see(format!("{NGINX}: root sees it"));
            seen
        }
    }
}

/// Whether a socket that accepts has the path, which stays when nobody has it open any more.
fn somebody_listens() -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/unix") else {
        return true;
    };
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // __SO_ACCEPTCON.
        matches!(fields[..], [_, _, _, "00010000", .., path] if path == NGINX)
    })
}

/// `now` is what the system says of nginx's user at this moment: it counts after nginx's next start.
fn judge(door: &Door, unit: &Unit, nginx: Option<&Person>, now: Option<&Person>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Rights { uid, mode, .. } = door.socket;
    let group = &door.group;
    if mode & WRITE != 0 {
        findings.push(Finding::warning(
            Id::SocketOpen,
            format!("every user of this machine may connect to {NGINX} (mode {mode:04o})"),
            "what comes there is believed about the addresses of clients",
            format!("chmod o-rw {NGINX}"),
        ));
    }
    let closed =
        |person: &Person| !door.folder.allow(person, ENTER) || !door.socket.allow(person, WRITE);
    let Some(nginx) = nginx.filter(|it| closed(it)) else {
        return findings;
    };
    let user = &nginx.name;
    let meant = |name: &str, default: &str| match unit.get(name) {
        "" => default.to_owned(),
        value => value.to_owned(),
    };
    let (meant_mode, meant_group) = (
        meant("SocketMode", "0660"),
        meant("SocketGroup", "www-data"),
    );
    let remedy = if !door.folder.allow(nginx, ENTER) {
        format!("chmod 755 {FOLDER}")
    } else if now.is_some_and(|now| !closed(now)) {
        "systemctl restart nginx".to_owned()
    } else if mode & (WRITE << 3) == 0 && meant_mode == "0660" || *group != meant_group {
        format!("chgrp {meant_group} {NGINX} && chmod {meant_mode} {NGINX}")
    } else if mode & (WRITE << 3) == 0 {
        format!(
            "mkdir -p /etc/systemd/system/{SOCKET}.d && printf '[Socket]\\nSocketMode=0660\\n' \
             >/etc/systemd/system/{SOCKET}.d/zz-mode.conf && systemctl daemon-reload && systemctl restart {SOCKET}"
        )
    } else {
        format!("usermod -aG {group} {user} && systemctl restart nginx")
    };
    findings.push(Finding::fault(
        Id::SocketClosed,
        format!(
            "nginx runs as {user}, which may not open {NGINX} (uid {uid}, group {group}, mode {mode:04o})"
        ),
        "nginx answers 502",
        remedy,
    ));
    findings
}

/// Looks at the control socket, if there is one.
pub(super) fn of_control(socket: Option<&Path>) -> Seen {
    let mut seen = Seen::default();
    let Some(socket) = socket else { return seen };
    match fs::metadata(socket) {
        Ok(metadata) => seen.findings.extend(control(socket, Rights::of(&metadata))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            seen.cannot_see(format!("{}: root sees it", socket.display()));
        }
        Err(_) => {}
    }
    seen
}

fn control(socket: &Path, rights: Rights) -> Option<Finding> {
    let (socket, others) = (socket.display(), rights.mode & 0o007);
    (others != 0).then(|| {
        Finding::warning(
            Id::SocketOpen,
            format!(
                "every user of this machine may use {socket} (mode {:04o})",
                rights.mode
            ),
            "whoever does may read addresses of clients, and send to all of them",
            format!("chmod 0660 {socket}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(uid: u32, groups: &[u32]) -> Person {
        Person {
            name: "nginx".into(),
            uid,
            groups: groups.to_vec(),
        }
    }

    fn door(mode: u32, group: &str) -> Door {
        let rights = |gid, mode| Rights { uid: 0, gid, mode };
        Door {
            folder: rights(0, 0o755),
            socket: rights(33, mode),
            group: group.into(),
        }
    }

    #[test]
    fn the_class_that_somebody_is_in_decides_alone() {
        let rights = |mode| Rights {
            uid: 5,
            gid: 33,
            mode,
        };
        for (mode, who, allowed) in [
            (0o660, person(0, &[]), true),
            (0o660, person(7, &[33]), true),
            (0o660, person(7, &[34]), false),
            (0o662, person(7, &[34]), true),
            (0o602, person(7, &[33]), false),
            (0o460, person(5, &[33]), false),
        ] {
            assert_eq!(rights(mode).allow(&who, WRITE), allowed, "{mode:o} {who:?}");
        }
    }

    #[test]
    fn an_nginx_that_may_not_open_its_socket_is_told_with_what_lets_it_in() {
        let (stranger, member) = (person(101, &[101]), person(101, &[101, 33]));
        let stock = Unit::default();
        for (door, nginx, now, remedy) in [
            (door(0o660, "www-data"), &member, &member, None),
            (
                door(0o660, "www-data"),
                &stranger,
                &stranger,
                Some("usermod -aG www-data nginx && systemctl restart nginx"),
            ),
            // Done, but nginx has not begun anew.
            (
                door(0o660, "www-data"),
                &stranger,
                &member,
                Some("systemctl restart nginx"),
            ),
            (
                door(0o600, "www-data"),
                &member,
                &member,
                Some(
                    "chgrp www-data /run/my-app/my-app.sock && chmod 0660 /run/my-app/my-app.sock",
                ),
            ),
            (
                door(0o660, "root"),
                &stranger,
                &stranger,
                Some(
                    "chgrp www-data /run/my-app/my-app.sock && chmod 0660 /run/my-app/my-app.sock",
                ),
            ),
        ] {
            let found = judge(&door, &stock, Some(nginx), Some(now));
            let found: Vec<_> = found.iter().map(|it| &it.remedy[..]).collect();
            assert_eq!(found, Vec::from_iter(remedy), "{door:?} {nginx:?}");
        }
        let mut closed = door(0o660, "www-data");
        closed.folder.mode = 0o700;
        let found = judge(&closed, &stock, Some(&member), Some(&member));
        assert_eq!(found[0].remedy, "chmod 755 /run/my-app");
        assert_eq!(found[0].id, Id::SocketClosed);
    }

    #[test]
    fn a_socket_for_everybody_is_told() {
        let found = judge(&door(0o666, "www-data"), &Unit::default(), None, None);
        assert_eq!(found[0].id, Id::SocketOpen);
        assert_eq!(
            judge(&door(0o660, "www-data"), &Unit::default(), None, None),
            []
        );
        let rights = |mode| Rights {
            uid: 0,
            gid: 0,
            mode,
        };
        let control = |mode| control(Path::new("/a"), rights(mode));
        assert_eq!(control(0o660), None);
        assert_eq!(control(0o600), None);
        assert!(control(0o666).unwrap().what.contains("mode 0666"));
    }

    #[test]
    fn a_process_tells_as_whom_it_runs() {
        let status =
            "Name:\tnginx\nUid:\t0\t4000000001\t0\t0\nGid:\t0\t33\t33\t33\nGroups:\t7 8 \n";
        let found = Person::parse(status).unwrap();
        assert_eq!(
            (found.uid, &found.groups[..]),
            (4_000_000_001, &[7, 8, 33][..])
        );
        assert_eq!(found.name, "4000000001");
        assert_eq!(Person::parse(""), None);
        assert!(Person::of_process(std::process::id()).is_some());
        assert_eq!(Person::of_name("root").unwrap().uid, 0);
    }
}
