//! This process, as the system sees it: its name, its limits, how ready the kernel is to kill it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use tracing::{debug, warn};

/// What every process of the server is called; its first argument tells the role.
const NAME: &str = "my-app:";

/// How the allocator is set: it reads its environment before anything else runs.
const ALLOCATOR_SETTINGS: [(&str, &str); 2] = [
    // What is freed is given back at once, not when something else happens: a worker may be idle next. It costs
    // a poll, or a large message, a page fault or two; with a delay an idle worker keeps what a flood needed.
    ("MIMALLOC_PURGE_DELAY", "0"),
    // A process would begin with four huge pages, four times what it needs.
    ("MIMALLOC_ALLOW_THP", "0"),
];

/// Replaces this process by itself under a name that tells its role, so that `ps` and
/// `systemctl status` read "my-app: master" above "my-app: worker 0", and with the allocator's settings,
/// which the workers inherit. Without /proc both stay as they are.
pub(crate) fn reexec_as_master() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name == NAME) {
        return;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg("master").args(args);
    // An operator's own settings stay.
    let unset = |name: &str| std::env::var_os(name).is_none();
    command.envs(
        ALLOCATOR_SETTINGS
            .into_iter()
            .filter(|(name, _)| unset(name)),
    );
    let _ = command.exec();
}

/// For `top`, `pgrep` and the kernel's log: run through /proc/self/exe, it would be called "exe".
pub(crate) fn set_name() {
    // It fails nowhere, and nothing depends on it.
    let _ = rustix::thread::set_name(c"my-app");
}

/// Every connection is a descriptor; the soft limit is mostly 1024 (getrlimit(2)).
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open descriptors stays as it is");
    }
}

/// When memory runs out the kernel kills a worker, whose clients reconnect, and not the master.
pub(crate) fn raise_oom_score() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let raise = || {
        let now: i32 = std::fs::read_to_string(PATH)?.trim().parse().unwrap_or(0);
        std::fs::write(PATH, (now + 200).min(1000).to_string())
    };
    if let Err(error) = raise() {
        debug!(%error, "oom_score_adj stays as it is");
    }
}
