//! A limit of memory for the whole service, as `MemoryMax=` of its unit sets it: the kernel's own, in a control group that
//! each test makes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use super::harness::*;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 256 * MIB;

/// A control group with this limit, for the server and others.
struct Group {
    folder: PathBuf,
    used: &'static str,
    of_files: [&'static str; 2],
}

impl Group {
    /// cgroup v2, or the memory controller of v1 where that is in force.
    fn limited() -> Self {
        let name = format!("my-app-test-{}-{}", std::process::id(), free_port());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let of_v1 = own.lines().find_map(|line| line.split_once(":memory:/"));
        let (folder, limit, used, of_files) = if let Some((_, own)) = of_v1 {
            let folder = Path::new("/sys/fs/cgroup/memory").join(own);
            let of_files = ["total_inactive_file", "total_active_file"];
            (
                folder,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                of_files,
            )
        } else {
            let folder = PathBuf::from("/sys/fs/cgroup");
            fs::write(folder.join("cgroup.subtree_control"), "+memory").unwrap();
            let of_files = ["inactive_file", "active_file"];
            (folder, "memory.max", "memory.current", of_files)
        };
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(limit), LIMIT.to_string()).unwrap();
        Self {
            folder,
            used,
            of_files,
        }
    }

    /// A shell's words that put what is started by them into the group.
    fn enter(&self) -> Vec<String> {
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec \"$@\"",
            self.folder.display()
        );
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }

    fn server(&self) -> Server {
        let enter = self.enter();
        let enter: Vec<_> = enter.iter().map(String::as_str).collect();
        Setup::new().under(&enter).start()
    }

    /// What its processes have that no file would give back, in bytes.
    fn used(&self) -> u64 {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        let stat = read("memory.stat");
        let lines = stat.lines().filter_map(|line| line.split_once(' '));
        let of_files = lines.filter(|(name, _)| self.of_files.contains(name));
        let of_files: u64 = of_files
            .map(|(_, bytes)| bytes.parse::<u64>().unwrap())
            .sum();
        let used: u64 = read(self.used).trim().parse().unwrap();
        used.saturating_sub(of_files)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once its processes have gone.
        eventually("the group goes", SOON, || {
            fs::remove_dir(&self.folder).is_ok()
        });
    }
}

/// Another process of the group, which has as much memory as it is told to.
struct Hoarder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// In MiB.
    held: u64,
}

impl Hoarder {
    fn beside(group: &Group) -> Self {
        let hoards = "import sys\n\
            held = []\n\
            for line in sys.stdin:\n    \
                held += [b'x' * (1 << 20) for _ in range(int(line))]\n    \
                print(len(held), flush=True)\n";
        let enter = group.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(["python3", "-c", hoards]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            answers,
            held: 0,
        }
    }

    /// Takes so much more, in MiB; false: it is gone.
    fn take(&mut self, mib: u64) -> bool {
        self.held += mib;
        let mut answer = String::new();
        writeln!(self.orders, "{mib}").is_ok()
            && self.answers.read_line(&mut answer).is_ok()
            && answer.trim().parse::<u64>().is_ok()
    }
}

impl Drop for Hoarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn handshake(server: &Server) -> Response {
    Raw::patient(server.addr).get("/socket.io/?EIO=4&transport=polling")
}

#[test]
fn near_its_limit_the_service_refuses_new_sessions_and_those_that_there_are_go_on() {
    let group = Group::limited();
    let server = group.server();
    let workers = server.workers();
    let mut clients: Vec<_> = (0..20)
        .map(|_| WebSocket::open(Raw::tcp(server.addr)))
        .collect();
    assert_eq!(handshake(&server).status, 200);

    let mut hoarder = Hoarder::beside(&group);
    assert!(hoarder.take(0));
    let free = (LIMIT / 32 * 31).saturating_sub(group.used());
    assert!(hoarder.take(free / MIB));
    saw("in use of 256, MiB", group.used() / MIB);
    let began = Instant::now();
    eventually("new sessions are refused", SOON, || {
        handshake(&server).status == 503
    });
    saw("refused after", format!("{:?}", began.elapsed()));
    let refused = handshake(&server);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    for client in &mut clients {
        client.echo("still there");
    }
    server.wait_for_line("nearly all the memory that it may have");

    drop(hoarder);
    let began = Instant::now();
    eventually("there is room again", SOON, || {
        handshake(&server).status == 200
    });
    saw("let in after", format!("{:?}", began.elapsed()));
    for client in &mut clients {
        client.echo("still there");
    }
    assert_eq!(server.workers(), workers);
    assert_eq!(server.count_lines(" died"), 0);
}

#[test]
fn when_the_memory_is_used_up_the_kernel_takes_a_worker_and_never_the_master() {
    let group = Group::limited();
    let server = group.server();
    let workers = server.workers();
    // None of them has as much as makes it the kernel's choice: a worker counts for a fifth of the limit more than it has.
    let mut hoarders: Vec<_> = (0..8).map(|_| Hoarder::beside(&group)).collect();
    let each = LIMIT / MIB / 8;
    eventually("the kernel takes a worker", SOON, || {
        if let Some(next) = hoarders.iter_mut().find(|it| it.held < each) {
            next.take(1);
        }
        server.count_lines("a worker ended") > 0
    });
    drop(hoarders);
    eventually("all workers are there", SOON, || {
        server.workers().len() == 2 && handshake(&server).status == 200
    });
    assert_ne!(server.workers(), workers);
    assert!(alive(server.pid));
    WebSocket::open(Raw::patient(server.addr)).echo("served");
}
