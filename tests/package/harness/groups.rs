//! The control groups that a machine boots with.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Those of one machine, which go with the value. Without them it would share those of its services with the others.
pub struct Groups {
    folders: Vec<PathBuf>,
    /// Version 1, as far as there is a controller of memory.
    pub are_of_version_1: bool,
}

impl Groups {
    /// Version 2, as on today's machines, whatever this one has beside it.
    pub fn of_version_2(machine: &str) -> Self {
        let folder = hierarchy("cgroup2", "").expect("control groups version 2");
        Self::below(&[folder], machine, false)
    }

    /// Those in which systemd can limit memory: version 2, or version 1 where this machine's kernel has that in force.
    pub fn that_limit_memory(machine: &str) -> Self {
        let version_2 = hierarchy("cgroup2", "").expect("control groups version 2");
        let controllers = fs::read_to_string(version_2.join("cgroup.controllers")).unwrap();
        if controllers.split_whitespace().any(|it| it == "memory") {
            fs::write(version_2.join("cgroup.subtree_control"), "+memory").unwrap();
            return Self::of_version_2(machine);
        }
        let of_version_1 = ["memory", "name=systemd"].map(|controller| {
            let hierarchy = hierarchy("cgroup", controller);
            let hierarchy = hierarchy.unwrap_or_else(|| panic!("control groups with {controller}"));
            hierarchy.join(own_group(controller))
        });
        Self::below(&of_version_1, machine, true)
    }

    fn below(folders: &[PathBuf], machine: &str, are_of_version_1: bool) -> Self {
        let folders = folders
            .iter()
            .map(|folder| folder.join(format!("my-app-tests-{machine}")));
        let folders: Vec<_> = folders.collect();
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        Self {
            folders,
            are_of_version_1,
        }
    }

    /// What has a shell enter them.
    pub fn enter(&self) -> String {
        let enter = |folder: &PathBuf| format!("echo $$ >{}/cgroup.procs", folder.display());
        let enter: Vec<_> = self.folders.iter().map(enter).collect();
        enter.join(" && ")
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.folders {
            remove(folder);
        }
    }
}

/// Where a hierarchy is mounted: the one with this controller, of version 1.
fn hierarchy(kind: &str, controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let has_it = controller.is_empty() || fields[3].split(',').any(|it| it == controller);
        (fields[2] == kind && has_it).then(|| fields[1].into())
    })
}

/// The group that this process is in, below its hierarchy's mount (cgroups(7), /proc/PID/cgroup).
fn own_group(controller: &str) -> String {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(":/")?;
        let is_it = controllers.split(',').any(|it| it == controller);
        is_it.then(|| group.to_owned())
    });
    own.unwrap_or_else(|| panic!("in no group of {controller}"))
}

/// Removes a group and those below it. A process that is just ending keeps its group for a moment.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    for _ in 0..100 {
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
