//! The control group of the service: what its processes may have in memory together, and what they have.
//!
//! That is cgroup v2 (the kernel's document cgroup-v2), or the memory controller of v1 (cgroup-v1/memory) where that is
//! in force. systemd sets the limit of either (`MemoryMax=`, systemd.resource-control(5)).

use std::path::{Path, PathBuf};

/// A hierarchy of groups, and what its files are called.
struct Hierarchy {
    /// Where it is.
    root: &'static str,
    /// What stands before a process' group in its list of groups: nothing, or the controller.
    controller: &'static str,
    /// What a group may have in memory at most, in bytes; another word: as much as it likes.
    limit: &'static str,
    /// What it has.
    used: &'static str,
    /// Lines of `memory.stat`: files' pages, which are given back when others need them.
    of_files: [&'static str; 2],
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        root: "/sys/fs/cgroup",
        controller: "",
        limit: "memory.max",
        used: "memory.current",
        of_files: ["inactive_file", "active_file"],
    },
    Hierarchy {
        root: "/sys/fs/cgroup/memory",
        controller: "memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        of_files: ["total_inactive_file", "total_active_file"],
    },
];

/// The limits of the group of this process and of those around it, in bytes.
pub(crate) fn limits() -> impl Iterator<Item = u64> {
    let limits = |hierarchy: &'static Hierarchy| {
        let groups = hierarchy.groups();
        groups.filter_map(|group| figure(&group, hierarchy.limit))
    };
    HIERARCHIES.iter().flat_map(limits)
}

/// Has the service, with all its processes, sockets and what it started, nearly all the memory that it may have? The
/// kernel ends a process of it when nothing is left.
pub(crate) fn is_full() -> bool {
    let full = |hierarchy: &Hierarchy| hierarchy.groups().any(|group| hierarchy.is_full(&group));
    HIERARCHIES.iter().any(full)
}

impl Hierarchy {
    /// The folders of the group of this process and of those around it.
    fn groups(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let list = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = Path::new(self.root);
        let group = group_in(&list, self.controller).map(|group| root.join(group));
        let folders = group.into_iter().flat_map(|group| {
            let folders = group
                .ancestors()
                .take_while(|folder| folder.starts_with(root));
            folders.map(Path::to_path_buf).collect::<Vec<_>>()
        });
        folders.collect::<Vec<_>>().into_iter()
    }

    /// Is less than a sixteenth left?
    fn is_full(&self, group: &Path) -> bool {
        let (Some(limit), Some(used)) = (figure(group, self.limit), figure(group, self.used))
        else {
            return false;
        };
        let most = limit / 16 * 15;
        if used <= most {
            return false;
        }
        let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let of_files = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            let of_files = self.of_files.contains(&name);
            of_files.then(|| bytes.parse::<u64>().ok()).flatten()
        });
        used.saturating_sub(of_files.sum()) > most
    }
}

/// The group, below its hierarchy's root, in a process' list of groups (cgroups(7), /proc/PID/cgroup).
fn group_in<'a>(list: &'a str, controller: &str) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(":/")?;
        let is_it = controllers.split(',').any(|it| it == controller);
        is_it.then_some(group)
    })
}

/// The number that is alone in a file; none where there is no limit ("max") or no such file.
fn figure(group: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(group.join(name)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_full_when_little_is_left_that_no_file_has() {
        for hierarchy in &HIERARCHIES {
            let group = tempfile::tempdir().unwrap();
            let group = group.path();
            let say = |name: &str, text: &str| std::fs::write(group.join(name), text).unwrap();
            assert!(!hierarchy.is_full(group), "there is none");
            say(hierarchy.limit, "max\n");
            say(hierarchy.used, "1000000\n");
            assert!(!hierarchy.is_full(group), "no limit");
            say(hierarchy.limit, "1000000\n");
            assert!(hierarchy.is_full(group));
            let [inactive, active] = hierarchy.of_files;
            let stat = format!("anon 900000\n{inactive} 60000\n{active} 40000\nsock 5\n");
            say("memory.stat", &stat);
            assert!(!hierarchy.is_full(group), "files' pages are to be had");
            say(
                "memory.stat",
                &format!("anon 960000\n{inactive} 40000\n{active} 0\n"),
            );
            assert!(hierarchy.is_full(group));
            say(hierarchy.used, "900000\n");
            assert!(!hierarchy.is_full(group));
        }
    }

    #[test]
    fn the_group_is_that_of_the_hierarchy() {
        let list = "9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/system.slice/c.service\n";
        assert_eq!(group_in(list, ""), Some("system.slice/c.service"));
        assert_eq!(group_in(list, "memory"), Some("a/b"));
        assert_eq!(group_in("0::/\n", ""), Some(""));
        assert_eq!(group_in("0::/\n", "memory"), None);
        assert_eq!(group_in("", ""), None);
    }
}
