//! The server that joins the machines, real, and what happens to it.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tempfile::TempDir;

use super::Space;
use crate::harness::{eventually, signal_process};

/// Where it is: the switch that all machines are plugged into.
pub const ADDRESS: &str = "10.77.0.1";

/// It starts, or ends, within this.
const STARTS: Duration = Duration::from_secs(20);

/// Debian's binaries of Postgres have no place in a PATH.
const POSTGRES: &str = "/usr/lib/postgresql";

/// What joins the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Postgres,
}

/// One such server. It ends with the value.
pub struct Bus {
    pub kind: Kind,
    pub port: u16,
    command: Vec<String>,
    child: Mutex<Option<Child>>,
    dir: TempDir,
    network: super::NetSpace,
    prefix: [String; 4],
}

impl Bus {
    /// One that is to run there, with its data made; it does not run yet.
    pub fn new(kind: Kind, space: &Space) -> Self {
        match kind {
            Kind::Redis => Self::redis(space, 6379, ""),
            Kind::Postgres => Self::postgres(space),
        }
    }

    /// A Redis with these options beside the usual ones.
    pub fn redis(space: &Space, port: u16, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = format!(
            "redis-server --port {port} --bind {ADDRESS} 127.0.0.1 --protected-mode no --appendonly no --dir {} {more}",
            dir.path().display()
        );
        let mut command: Vec<_> = command.split(' ').map(str::to_owned).collect();
        command.retain(|word| !word.is_empty());
        // No snapshots: an empty word.
        command.extend(["--save".to_owned(), String::new()]);
        Self::of(Kind::Redis, port, command, dir, space)
    }

    fn postgres(space: &Space) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        copy(template(), &data);
        own_by_postgres(dir.path());
        let dir_name = dir.path().display();
        let command = format!(
            "{AS_POSTGRES} {} -D {} -p 5432 -c listen_addresses={ADDRESS} -c unix_socket_directories={dir_name} \
             -c fsync=off -c max_connections=40 -c shared_buffers=16MB",
            binary("postgres").display(),
            data.display(),
        );
        let command = command.split_whitespace().map(str::to_owned).collect();
        Self::of(Kind::Postgres, 5432, command, dir, space)
    }

    fn of(kind: Kind, port: u16, command: Vec<String>, dir: TempDir, space: &Space) -> Self {
        Self {
            kind,
            port,
            command,
            child: Mutex::default(),
            dir,
            network: space.network(),
            prefix: space.prefix(),
        }
    }

    /// What `[bridge] url` says of it, if it is reached at this port.
    pub fn url(&self, port: u16) -> String {
        match self.kind {
            Kind::Redis => format!("redis://{ADDRESS}:{port}"),
            Kind::Postgres => {
                format!("postgres://my_app@{ADDRESS}:{port}/postgres?sslmode=disable")
            }
        }
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(ADDRESS.parse().unwrap(), self.port)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child().as_ref().expect("it runs").id()
    }

    pub fn runs(&self) -> bool {
        self.child().is_some()
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn start(&self) {
        eventually("the bus's server starts", STARTS, || {
            let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
            // After a crash the first attempt may meet what is left of the old one.
            if self.child().as_mut().is_none_or(ended) {
                *self.child() = Some(self.spawn());
            }
            self.answers()
        });
    }

    fn spawn(&self) -> Child {
        let log = self.dir.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log);
        let log = log.unwrap();
        let [first, rest @ ..] = &self.prefix;
        let mut command = Command::new(first);
        command.args(rest).args(&self.command).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    fn answers(&self) -> bool {
        match self.kind {
            Kind::Redis => {
                let addr = self.addr();
                self.network.within(|| TcpStream::connect(addr).is_ok())
            }
            Kind::Postgres => {
                let mut command = self.client("psql");
                let asked = command.args(["-c", "select 1"]).stderr(Stdio::null());
                asked.status().unwrap().success()
            }
        }
    }

    /// It crashes.
    #[track_caller]
    pub fn kill(&self) {
        // Postgres' word for it: what is left of one that was killed would keep the next one from starting.
        self.end(match self.kind {
            Kind::Redis => "KILL",
            Kind::Postgres => "QUIT",
        });
    }

    #[track_caller]
    fn end(&self, signal: &str) -> ExitStatus {
        let mut child = self.child().take().expect("it runs");
        signal_process(child.id(), signal);
        let mut status = None;
        eventually("the bus's server ends", STARTS, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// It answers nobody, and its connections stay open.
    pub fn stop(&self) {
        self.signal_all("STOP");
    }

    /// It goes on where it stopped.
    pub fn go_on(&self) {
        self.signal_all("CONT");
    }

    /// Postgres is a process for each connection.
    fn signal_all(&self, signal: &str) {
        let pid = self.pid();
        signal_process(pid, signal);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for child in children.split_whitespace() {
            // One that has just ended is none.
            let _ = Command::new("kill")
                .args([&format!("-{signal}"), child])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Something that asks it, without its last arguments.
    pub fn client(&self, program: &str) -> Command {
        let [first, rest @ ..] = &self.prefix;
        let mut command = Command::new(first);
        command
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        match self.kind {
            Kind::Redis => command.args([program, "-h", ADDRESS, "-p", &self.port.to_string()]),
            Kind::Postgres => {
                let url = self.url(self.port);
                command.args([program, "-XAtq", "-v", "ON_ERROR_STOP=1", &url])
            }
        };
        command
    }

    /// What it answers to a command of `redis-cli`, or to a statement.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = match self.kind {
            Kind::Redis => self.client("redis-cli"),
            Kind::Postgres => {
                let mut command = self.client("psql");
                command.arg("-c");
                command
            }
        };
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Publishes these bytes; Postgres takes text alone.
    #[track_caller]
    pub fn publish(&self, channel: &str, payload: &[u8]) {
        match self.kind {
            Kind::Redis => {
                let mut command = self.client("redis-cli");
                command
                    .args(["-x", "PUBLISH", channel])
                    .stdin(Stdio::piped());
                let mut child = command.spawn().unwrap();
                child.stdin.take().unwrap().write_all(payload).unwrap();
                assert!(child.wait().unwrap().success());
            }
            Kind::Postgres => {
                let text = String::from_utf8_lossy(payload).replace('\'', "''");
                let text = text.replace('\0', " ");
                self.ask(&[&format!("select pg_notify('{channel}', E'{text}')")]);
            }
        }
    }

    /// Connections that it has of our bridges.
    pub fn connections(&self) -> usize {
        match self.kind {
            // One of them is who asks.
            Kind::Redis => self.ask(&["CLIENT", "LIST"]).lines().count() - 1,
            Kind::Postgres => {
                let others = "select count(*) from pg_stat_activity \
                              where backend_type = 'client backend' and pid <> pg_backend_pid()";
                self.ask(&[others]).trim().parse().unwrap()
            }
        }
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let running = self.child().as_ref().map(Child::id);
        if running.is_some() {
            self.go_on();
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(10).collect();
            eprintln!(
                "--- the bus's server said, newest first:\n{}\n---",
                tail.join("\n")
            );
        }
    }
}

/// Postgres refuses to be root.
const AS_POSTGRES: &str = "setpriv --reuid=postgres --regid=postgres --clear-groups --";

/// Gives a folder to whom Postgres runs as.
pub fn own_by_postgres(dir: &Path) {
    let mut command = Command::new("chown");
    let status = command.args(["-R", "postgres:postgres"]).arg(dir).status();
    assert!(status.unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// A binary of the newest Postgres that is installed.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir(POSTGRES).expect("postgresql is installed (make test installs it)");
    let binaries = versions.map(|version| version.unwrap().path().join("bin").join(name));
    let newest = binaries.filter(|binary| binary.exists()).max();
    newest.expect("postgresql is installed (make test installs it)")
}

/// Data of a Postgres that never ran, made once: it takes a second.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let dir = TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        own_by_postgres(dir.path());
        let mut command = Command::new("setpriv");
        command.args(AS_POSTGRES.split(' ').skip(1));
        command.arg(binary("initdb")).arg("-D");
        command.arg(dir.path().join("data"));
        command.args(["-U", "my_app", "--no-sync", "-E", "UTF8", "--locale=C"]);
        command.args(["-A", "trust"]).current_dir(dir.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = dir.path().join("data/pg_hba.conf");
        fs::write(
            file,
            "local all all trust\nhost all all 10.77.0.0/24 trust\n",
        )
        .unwrap();
        dir
    });
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| dir.path().join("data"))
}
