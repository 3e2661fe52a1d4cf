//! nginx: does it lead to my-app, does it let its clients through, and could it be started again?

mod glob;
mod limits;
mod machines;
mod port80;
mod running;
mod servers;
mod site;
mod tree;

use std::path::Path;
use std::time::Duration;

use super::finding::{Id, Seen};
use super::sockets::{self, Person};
use super::{Machine, look};
use running::Running;
use tree::{Files, Tree, named};

const MAIN_FILE: &str = "/etc/nginx/nginx.conf";
/// The package's own tool for its site.
const TOOL: &str = "/usr/share/my-app/nginx-site";
/// How long reading all files may take.
const READING: Duration = Duration::from_secs(5);

/// Looks at the nginx of this machine, or at who has port 80 instead.
pub(super) fn seen(machine: &Machine<'_>) -> Seen {
    let mut seen = Seen::default();
    let units = &machine.units;
    if !look::has_program("nginx") {
        seen.add(sockets::of_nginx(&units.socket, None));
        seen.add(port80::of_another(machine));
        return seen;
    }
    let Some(tree) = look::within(READING, || Tree::read(MAIN_FILE, &Disk)) else {
        seen.cannot_see(format!("nginx: {MAIN_FILE} could not be read in time"));
        return seen;
    };
    let unread = tree.unread.iter().filter(|it| Path::new(it).exists());
    for path in unread {
        seen.cannot_see(format!("{path}: root can read it"));
    }
    let nginx = Running::of_this_machine(&tree);
    let servers = servers::servers(&tree);

    let person = nginx.person.clone().or_else(|| user(&tree));
    let of_sockets = sockets::of_nginx(&units.socket, person.as_ref());
    // Told with its cause, it is not told again.
    let is_502 = |id| matches!(id, Id::SocketClosed | Id::SocketMissing);
    let answers_502 = of_sockets.findings.iter().any(|it| is_502(it.id));
    seen.add(of_sockets);

    let missing = site::missing();
    if missing.is_empty() {
        seen.add(nginx.starts_again());
        seen.findings
            .extend(site::judge(&tree, &servers, &site::state()));
    } else {
        seen.findings.push(site::without(&missing));
    }
    if servers.iter().any(|it| it.is_ours) {
        if nginx.master.is_none() {
            let holder = port80::holder(&mut seen);
            seen.findings.push(running::stopped(holder.as_deref()));
        } else if !answers_502 {
            seen.add(port80::through_nginx(machine, &servers));
        }
        seen.findings
            .extend(port80::of_both_kinds(&servers, &port80::addresses()));
    } else {
        seen.add(port80::of_another(machine));
    }
    seen.findings
        .extend(machines::judge(&tree, machine.config.bridge.machine));
    seen.findings
        .extend(limits::of_requests(&tree, machine.config));
    seen.findings
        .extend(limits::of_connections(&tree, MAIN_FILE, nginx.open));
    seen
}

/// As whom nginx's workers run when it is started.
fn user(tree: &Tree) -> Option<Person> {
    let said = named(&tree.directives, "user").last();
    let [name, group] = [0, 1].map(|at| said.and_then(|it| it.values.get(at)));
    // Debian's and nginx.org's main files name it; without one it is the one that nginx was built with.
    let mut person = Person::of_name(name.map_or("nobody", String::as_str))?;
    // A group that is named takes the place of the user's own.
    if let Some(group) = group
        && let Some((entry, _)) = look::command(&["getent", "group", group])
    {
        person.groups.extend(
            entry
                .split(':')
                .nth(2)
                .and_then(|it| it.parse::<u32>().ok()),
        );
    }
    Some(person)
}

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn text(&self, path: &str) -> Option<String> {
        look::file(path)
    }

    fn matching(&self, pattern: &str) -> Vec<String> {
        glob::files(pattern)
    }
}
