//! This process, as the system sees it: its name, its limits, how ready the kernel is to kill it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::time::sleep;
use tracing::warn;

use crate::control_group;

/// How often memory that is free is given back to the system.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// More than a process can have (2^47 bytes), and less than what the allocator refuses without trying (2^48).
const TOO_MUCH: usize = (1 << 48) - (1 << 20);

/// What every process of the server is called; its first argument tells the role.
pub(crate) const NAME: &str = "my-app:";

/// How the allocator is set: it reads its environment before anything else runs.
const ALLOCATOR_SETTINGS: [(&str, &str); 1] = [
    // A process would begin with four huge pages, four times what it needs.
    ("MIMALLOC_ALLOW_THP", "0"),
];

/// Replaces this process by itself under a name that tells its role, so that `ps` and
/// `systemctl status` read "my-app: master" above "my-app: worker 0", and with the allocator's settings,
/// which the workers inherit. `role`: what stands before the arguments that there are. Without /proc all stays as it is.
pub(crate) fn reexec_as(role: &[&str]) {
    let mut args = std::env::args_os().peekable();
    if args.next().is_none_or(|name| name == NAME) {
        return;
    }
    // A script that runs the program does not pass its own name on.
    let has_role = args
        .peek()
        .is_some_and(|word| role.iter().any(|it| word == it));
    let role = if has_role { &[] } else { role };
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).args(role).args(args);
    // An operator's own settings stay.
    let unset = |name: &str| std::env::var_os(name).is_none();
    command.envs(
        ALLOCATOR_SETTINGS
            .into_iter()
            .filter(|(name, _)| unset(name)),
    );
    let _ = command.exec();
}

/// What was passed as standard input, which is nothing from now on: no child of this process shall inherit it.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    let passed = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(passed)
}

/// The signals that a process of the server handles.
pub(crate) fn handled_signals() -> SigSet {
    let all = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ];
    all.into_iter().collect()
}

/// They wait from now on, in this thread and in those that it starts, and in every program that these execute, until
/// it [releases](release_signals) them. To be called before any thread is started: the kernel gives a signal to
/// whichever thread takes it.
///
/// # Errors
/// See `pthread_sigmask(3)`.
pub(crate) fn hold_signals() -> io::Result<()> {
    Ok(handled_signals().thread_block()?)
}

/// They wait no longer: for a child of the master, when it can handle them.
///
/// # Errors
/// See `pthread_sigmask(3)`.
pub(crate) fn release_signals() -> io::Result<()> {
    Ok(handled_signals().thread_unblock()?)
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

/// How many descriptors a process of the server may have.
pub(crate) fn descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// When memory runs out the kernel kills a worker, whose clients reconnect, or a trial, and not the master (proc(5),
/// `oom_score_adj`): it has what the unit gives it (`OOMScoreAdjust=`), which they inherit, and they 200, or 200 more.
pub(crate) fn raise_oom_score() {
    const PATH: &str = "/proc/self/oom_score_adj";
    let raise = || -> io::Result<()> {
        let now: i32 = std::fs::read_to_string(PATH)?.trim().parse().unwrap_or(0);
        std::fs::write(PATH, (now.max(0) + 200).min(1000).to_string())
    };
    // Anybody may raise it; without a /proc it stays as it is.
    let _ = raise();
}

/// What this process has in memory, in bytes (proc(5), statm).
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * rustix::param::page_size() as u64
}

/// What a worker may have in memory, in bytes: what is configured, or, for zero, its share of four fifths of
/// what there is.
pub(crate) fn worker_memory(configured: u64, workers: u16) -> u64 {
    match configured {
        0 => available() / 5 * 4 / u64::from(workers.max(1)),
        some => some,
    }
}

/// What this machine has, or what its service may have if that is less, in bytes. Asked of the kernel
/// (sysinfo(2)), because a sandbox may hide /proc/meminfo.
fn available() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram.saturating_mul(machine.mem_unit.into());
    control_group::limits().fold(machine, u64::min)
}

/// Gives memory that is free back to the system, for as long as this process lives.
///
/// The allocator keeps a page that runs empty for whoever needs one next: giving each back at once costs a busy
/// worker a page fault or two a message. But it looks at what it keeps only when something else is freed, and a
/// process that rests after a flood frees nothing.
pub(crate) async fn give_memory_back() {
    loop {
        sleep(GIVE_BACK).await;
        collect();
    }
}

/// Has the allocator look through all that this thread freed. Its own call for that is not to be had in safe code,
/// but it does the same before it says that there is not enough memory.
fn collect() {
    let mut nothing = Vec::<u8>::new();
    let refused = nothing.try_reserve_exact(TOO_MUCH);
    // Without this the compiler may leave an allocation out that nobody uses.
    std::hint::black_box((nothing, refused.is_err()));
}

/// Runs an ignored test of this program in a process of its own.
#[cfg(test)]
#[track_caller]
pub(crate) fn passes_alone(test: &str) {
    let itself = std::env::current_exe().unwrap();
    let run = Command::new(itself)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output();
    let run = run.unwrap();
    let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own: what the other tests take and free in the meantime would be measured too.
    #[test]
    fn what_was_freed_is_given_back_by_a_thread_that_rests() {
        passes_alone("process::tests::alone_a_thread_that_rests_gives_back_what_was_freed");
    }

    #[test]
    #[ignore = "the test above runs it, in a process of its own"]
    fn alone_a_thread_that_rests_gives_back_what_was_freed() {
        const MUCH: u64 = 32 << 20;
        // Pieces of the size of a message, the last of which keeps the first ones' neighbourhood in use.
        let kept: Vec<_> = (0..MUCH / 4096).map(|_| vec![1_u8; 4000]).collect();
        let kept: Vec<_> = kept.into_iter().step_by(1024).collect();
        collect();
        std::thread::sleep(Duration::from_millis(50));
        collect();
        let least = resident();
        let flood: Vec<_> = (0..MUCH / 4096).map(|_| vec![1_u8; 4000]).collect();
        let most = resident();
        assert!(
            most > least + MUCH / 2,
            "{least} bytes, {most} with the flood"
        );
        drop(flood);
        collect();
        std::thread::sleep(Duration::from_millis(50));
        collect();
        let now = resident();
        assert!(
            now < least + MUCH / 4,
            "{least} bytes before the flood, {now} after it"
        );
        drop(kept);
    }

    #[test]
    fn what_is_configured_holds_and_zero_is_a_share_of_what_there_is() {
        assert_eq!(worker_memory(1_000_000, 4), 1_000_000);
        let (one, four) = (worker_memory(0, 1), worker_memory(0, 4));
        assert!(one < available() && one > 64 << 20, "{one}");
        assert!(one / 4 - four <= 1);
    }
}
