//! The server under test, in a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;

use super::machines::{NetSpace, Space};
use super::{Control, Raw, Replaceable, SOON, eventually};

/// How a server is started.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a word of the vocabulary"
)]
pub struct Setup {
    top: String,
    tables: String,
    workers: u16,
    systemd: bool,
    socket_activate: bool,
    unix: bool,
    wait: bool,
    prefix: Vec<String>,
    network: Option<NetSpace>,
    program: PathBuf,
    more: Vec<String>,
    own_group: bool,
    log_file: Option<PathBuf>,
    control: Option<PathBuf>,
    metrics: bool,
    level: &'static str,
    inherits: Option<Inherited>,
    at: Option<SocketAddr>,
    worker_ports: Vec<u16>,
}

/// The listeners that another server had.
struct Inherited {
    addr: SocketAddr,
    unix: PathBuf,
    kept: Vec<OwnedFd>,
}

/// A running server. It ends with the value.
pub struct Server {
    child: Child,
    /// The process that is the master.
    pub pid: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where that address is, if not in the test's own network.
    pub network: Option<NetSpace>,
    /// Where it tells its metrics, if it was asked to.
    pub metrics: Option<SocketAddr>,
    control: PathBuf,
    /// Its Unix socket, if it was asked for one.
    pub unix: PathBuf,
    /// Its configuration, log file and sockets.
    pub dir: TempDir,
    lines: Arc<Mutex<Vec<String>>>,
    notified: Option<Mutex<mpsc::Receiver<String>>>,
    /// Systemd's copies of the listeners: they stay open when the server is gone.
    kept: Vec<OwnedFd>,
}

/// The program under test: what is shipped, if `make` says where it is, else that of the tests' own profile.
pub fn program() -> PathBuf {
    let shipped = std::env::var_os("MY_APP_PROGRAM");
    shipped.map_or_else(|| env!("CARGO_BIN_EXE_my-app").into(), PathBuf::from)
}

impl Setup {
    /// Two workers, a TCP listener on loopback, defaults otherwise.
    pub fn new() -> Self {
        Self {
            top: String::new(),
            tables: String::new(),
            workers: 2,
            systemd: false,
            socket_activate: false,
            unix: false,
            wait: true,
            prefix: Vec::new(),
            network: None,
            program: program(),
            more: Vec::new(),
            own_group: false,
            log_file: None,
            control: None,
            metrics: false,
            level: "info",
            inherits: None,
            at: None,
            worker_ports: Vec::new(),
        }
    }

    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = workers;
        self
    }

    /// Lines for the configuration that stand before its tables.
    pub fn top(mut self, lines: &str) -> Self {
        writeln!(self.top, "{lines}").unwrap();
        self
    }

    /// Tables of the configuration, `[log]` excepted.
    pub fn config(mut self, tables: &str) -> Self {
        writeln!(self.tables, "{tables}").unwrap();
        self
    }

    pub fn eio3(self) -> Self {
        self.config("[engine]\nallow_eio3 = true")
    }

    /// Started as systemd would: a TCP and a Unix listener passed, READY=1 awaited.
    pub fn systemd(mut self) -> Self {
        self.systemd = true;
        self
    }

    /// Started by systemd's own tool at the first connection, with a TCP and a Unix listener.
    pub fn socket_activate(mut self) -> Self {
        self.socket_activate = true;
        self
    }

    /// With a Unix listener beside the TCP one.
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// With at most so many descriptors in each of its processes.
    pub fn descriptors(self, limit: u64) -> Self {
        self.under(&["prlimit", &format!("--nofile={limit}:{limit}")])
    }

    /// Started by another program, which becomes it: `taskset -c 0`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    /// On a machine of its own.
    pub fn on(mut self, machine: &Space) -> Self {
        self.prefix.splice(0..0, machine.prefix());
        self.network = Some(machine.network());
        self
    }

    /// With one more listener.
    pub fn listen(self, address: &str) -> Self {
        self.option("--listen", address)
    }

    /// With one more option of the command line.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.more.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// In a process group of its own, as a shell would start it.
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// With this log file instead of one in its directory.
    pub fn log_file(mut self, path: &Path) -> Self {
        self.log_file = Some(path.to_owned());
        self
    }

    /// With this control socket instead of one in its directory.
    pub fn control_socket(mut self, path: &Path) -> Self {
        self.control = Some(path.to_owned());
        self
    }

    /// Started as systemd would, with a TCP listener for metrics beside the others: [`Server::metrics`].
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self.systemd()
    }

    /// With lines of this level, too.
    pub fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// Started as systemd would, with the listeners that it kept for another server.
    pub fn listeners_of(mut self, server: &Server) -> Self {
        let kept = server.kept.iter().map(|fd| fd.try_clone().unwrap());
        self.inherits = Some(Inherited {
            addr: server.addr,
            unix: server.unix.clone(),
            kept: kept.collect(),
        });
        self.systemd()
    }

    /// At this address instead of one that nobody had a moment ago.
    pub fn at(mut self, addr: SocketAddr) -> Self {
        self.at = Some(addr);
        self
    }

    /// Each worker has one of these ports, which follow each other, for its own. Of systemd the server gets those
    /// that are in `passed`.
    pub fn worker_ports(mut self, ports: &[u16], passed: &[u16]) -> Self {
        self.worker_ports = passed.to_vec();
        let first = ports[0];
        self.workers(ports.len().try_into().unwrap())
            .top(&format!("worker_listen = \"127.0.0.1:{first}\""))
    }

    /// Does not wait for the workers.
    pub fn unwaited(mut self) -> Self {
        self.wait = false;
        self
    }

    /// With the application of one of the examples.
    pub fn example(mut self, name: &str) -> Self {
        let beside = Path::new(env!("CARGO_BIN_EXE_my-app"));
        self.program = beside.with_file_name("examples").join(name);
        assert!(
            self.program.exists(),
            "cargo build --examples comes first, with the profile of the tests"
        );
        self
    }

    /// With a program that another one may replace.
    pub fn program(mut self, program: &Replaceable) -> Self {
        self.program = program.path();
        self
    }

    /// Starts it, and waits until every worker takes connections.
    pub fn start(mut self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut unix = dir.path().join("my-app.sock");
        let config = dir.path().join("my-app.toml");
        let log = self.log_file.take();
        let log = log.unwrap_or_else(|| dir.path().join("app.log"));
        let inherits = self.inherits.take();
        let control = self.control.take();
        let network = self.network.take();
        let Self { top, tables, .. } = &self;
        let log = log.display();
        let level = self.level;
        let control = control.unwrap_or_else(|| dir.path().join("control.sock"));
        let control_table = format!("[control]\nsocket = \"{}\"", control.display());
        let log_table =
            format!("[log]\nlevel = \"{level}\"\nfile = \"{log}\"\nstats_interval = \"200ms\"");
        fs::write(
            &config,
            format!("{top}\n{tables}\n{log_table}\n{control_table}\n"),
        )
        .unwrap();

        let mut command = self.command(&config);
        let mut kept = Vec::new();
        let mut addr = None;
        let mut metrics = None;
        if self.systemd {
            if let Some(inherited) = inherits {
                addr = Some(inherited.addr);
                unix = inherited.unix;
                kept = inherited.kept;
            } else {
                let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
                addr = Some(tcp.local_addr().unwrap());
                kept = vec![tcp.into(), UnixListener::bind(&unix).unwrap().into()];
                if self.metrics {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    metrics = Some(listener.local_addr().unwrap());
                    kept.push(listener.into());
                }
                let ports = self.worker_ports.iter();
                kept.extend(ports.map(|&port| {
                    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
                    OwnedFd::from(listener)
                }));
            }
            let mut names = vec!["my-app-tcp".to_owned(), "my-app".to_owned()];
            names.extend(self.metrics.then(|| "metrics".to_owned()));
            let ports = self.worker_ports.iter();
            names.extend(ports.map(|port| format!("my-app-worker@{port}")));
            command = as_systemd(&command, &names, &kept);
        } else if self.socket_activate {
            let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
            addr = Some(listener);
            let mut tool = Command::new("systemd-socket-activate");
            tool.arg("-l").arg(listener.to_string());
            tool.arg("-l").arg(&unix).arg("--");
            tool.arg(command.get_program()).args(command.get_args());
            tool.stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command = tool;
        } else {
            let listener = self
                .at
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], free_port())));
            addr = addr.or(Some(listener));
            command.arg("--listen").arg(listener.to_string());
            if self.unix {
                command
                    .arg("--listen")
                    .arg(format!("unix:{}", unix.display()));
            }
        }
        let notify = self.systemd.then(|| {
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            command
                .env("NOTIFY_SOCKET", path)
                .env("WATCHDOG_USEC", "2000000");
            socket
        });
        if self.own_group {
            command.process_group(0);
        }
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let notified = notify.map(|socket| Mutex::new(read_notifications(socket, &lines)));
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        let pid = child.id();
        let server = Server {
            child,
            pid,
            addr: addr.unwrap(),
            network,
            metrics,
            control,
            unix,
            dir,
            lines,
            notified,
            kept,
        };
        if self.socket_activate {
            eventually("the tool listens", SOON, || {
                TcpStream::connect(server.addr).is_ok()
            });
            // Whoever wakes the server is served, too.
            let first = Raw::tcp(server.addr).get("/socket.io/?EIO=4&transport=polling");
            assert_eq!(first.status, 200, "{first:?}");
        }
        if self.wait {
            let count = usize::from(self.workers);
            eventually("all workers started", SOON, || {
                server.workers().len() == count && server.count_lines(" started") >= count
            });
        }
        server
    }

    /// The program and its arguments, listeners excepted.
    fn command(&self, config: &Path) -> Command {
        let mut command = match self.prefix.as_slice() {
            [] => Command::new(&self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command
            .arg("--config")
            .arg(config)
            .args(&self.more)
            .args(["--workers", &self.workers.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "JOURNAL_STREAM",
        ] {
            command.env_remove(name);
        }
        command
    }
}

/// The same program with these listeners, as systemd passes them.
fn as_systemd(command: &Command, names: &[String], listeners: &[OwnedFd]) -> Command {
    // LISTEN_PID cannot be known before the process exists; a shell knows its own.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .env("LISTEN_FDS", listeners.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .arg(command.get_program())
        .args(command.get_args());
    let mappings = (3..)
        .zip(listeners)
        .map(|(child_fd, fd): (i32, &OwnedFd)| FdMapping {
            parent_fd: fd.as_fd().try_clone_to_owned().unwrap(),
            child_fd,
        });
    shell.fd_mappings(mappings.collect()).unwrap();
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell.env_remove("JOURNAL_STREAM");
    shell
}

impl Server {
    pub fn start() -> Self {
        Setup::new().start()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The workers of this moment, in the order of their slots.
    pub fn workers(&self) -> Vec<u32> {
        let named = self.children().into_iter();
        let slots = named.filter_map(|(pid, name)| {
            let slot = name.strip_prefix("my-app: worker ")?;
            Some((slot.parse::<u16>().ok()?, pid))
        });
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, pid)| pid).collect()
    }

    /// The bridge of this moment.
    pub fn bridge(&self) -> Option<u32> {
        let mut named = self.children().into_iter();
        let bridge = named.find(|(_, name)| name.starts_with("my-app: bridge"));
        bridge.map(|(pid, _)| pid)
    }

    /// The master's children, with their names.
    fn children(&self) -> Vec<(u32, String)> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.map(|pid| (pid, super::names(pid))).collect()
    }

    /// Everything that it printed so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How many of its lines contain `text`.
    pub fn count_lines(&self, text: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        eventually(&format!("a line with {text:?}"), SOON, || {
            self.count_lines(text) > 0
        });
    }

    /// The log file.
    pub fn log_file(&self) -> String {
        fs::read_to_string(self.dir.path().join("app.log")).unwrap_or_default()
    }

    /// Sessions of each worker by its newest count, in the order of [`Server::workers`]. Waits for
    /// two fresh counts of each.
    #[track_caller]
    pub fn sessions(&self) -> Vec<u64> {
        let counted = |pid| format!("Worker {pid}: ");
        let seen = |pid| self.count_lines(&counted(pid));
        let before: Vec<_> = self.workers().into_iter().map(|p| (p, seen(p))).collect();
        before
            .into_iter()
            .map(|(pid, before)| {
                eventually("two fresh counts", SOON, || seen(pid) >= before + 2);
                let lines = self.log();
                let last = lines
                    .iter()
                    .rev()
                    .find(|line| line.contains(&counted(pid)))
                    .unwrap();
                let count = last.split(&counted(pid)).nth(1).unwrap();
                count.split(' ').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    /// Waits until there are `count` sessions in all.
    #[track_caller]
    pub fn wait_for_sessions(&self, count: u64, within: Duration) {
        eventually(&format!("{count} sessions"), within, || {
            self.sessions().iter().sum::<u64>() == count
        });
    }

    /// What an operator uses.
    pub fn control(&self) -> Control {
        Control::at(&self.control)
    }

    /// The next message that systemd would get.
    pub fn notified(&self) -> String {
        let notified = self.notified.as_ref().unwrap().lock().unwrap();
        notified.recv_timeout(SOON).unwrap()
    }

    /// Waits for a message to systemd that contains `text`.
    #[track_caller]
    pub fn wait_for_notification(&self, text: &str) -> String {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let message = self.notified();
            if message.contains(text) {
                return message;
            }
        }
        panic!("not within {SOON:?}: a message with {text:?}");
    }

    /// Sends the master a signal, by its name for kill(1).
    pub fn signal(&self, signal: &str) {
        signal_process(self.pid, signal);
    }

    /// Waits for the master to end.
    #[track_caller]
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", within, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Asks it to stop, and waits.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(SOON)
    }

    /// How many listeners this test keeps open, as systemd would.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if thread::panicking() {
            let mut log = self.log();
            log.retain(|line| !line.contains(" connected client(s)"));
            let tail = log.len().saturating_sub(40);
            eprintln!("--- the server said:\n{}\n---", log[tail..].join("\n"));
        }
    }
}

/// Sends a process that the test started a signal.
pub fn signal_process(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status();
    assert!(sent.unwrap().success(), "kill -{signal} {pid}");
}

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// So many ports of 127.0.0.1 that follow each other, on which nobody listened a moment ago.
pub fn free_ports(count: u16) -> Vec<u16> {
    loop {
        let first = free_port();
        let Some(last) = first.checked_add(count - 1) else {
            continue;
        };
        let ports: Vec<_> = (first..=last).collect();
        if ports
            .iter()
            .all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        {
            return ports;
        }
    }
}

fn collect(from: impl std::io::Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
}

/// Reads what systemd is told at once, as systemd does: the kernel keeps ten messages, and then has the server wait.
/// It ends with `server`.
fn read_notifications<T: Send + Sync + 'static>(
    socket: UnixDatagram,
    server: &Arc<T>,
) -> mpsc::Receiver<String> {
    let server = Arc::downgrade(server);
    let (sender, receiver) = mpsc::channel();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while server.strong_count() > 0 {
            if let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]);
                // The test may have ended.
                let _ = sender.send(message.trim().to_owned());
            }
        }
    });
    receiver
}
