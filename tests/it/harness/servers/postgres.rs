//! A Postgres with a user and a database, both `app`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Certificates, Disk, Running, lower};
use crate::harness::{free_port, signal_process};

/// Debian's binaries have no place in a PATH.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who comes over its Unix socket is believed; who comes over TCP has this password.
pub const PASSWORD: &str = "open sesame";

/// One server.
pub struct Postgres {
    running: Running,
    options: Vec<String>,
    /// Where it listens on 127.0.0.1, with and, if it has certificates, without TLS.
    pub port: u16,
    dir: TempDir,
}

impl Postgres {
    /// One without TLS.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(None, &[])
    }

    /// One with these settings (`max_connections=5`).
    #[track_caller]
    pub fn with(certificates: Option<&Certificates>, settings: &[&str]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), certificates, settings)
    }

    /// One whose data is on this disk, and little of it.
    #[track_caller]
    pub fn on(disk: &Disk, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(disk.path()).unwrap();
        Self::within(dir, None, settings)
    }

    #[track_caller]
    fn within(dir: TempDir, certificates: Option<&Certificates>, settings: &[&str]) -> Self {
        let path = |name: &str| dir.path().join(name);
        fs::write(path("password"), PASSWORD).unwrap();
        let mut command = Command::new(program("initdb"));
        command.arg("-D").arg(path("data"));
        command.args(["-U", "app", "--no-sync", "-E", "UTF8", "--locale=C"]);
        command.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        command.arg("--pwfile").arg(path("password"));
        command.current_dir(dir.path());
        lower(&mut command, &[dir.path(), &path("password")]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let port = free_port();
        let mut options: Vec<String> = vec![
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", dir.path().display()),
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
        ];
        if let Some(certificates) = certificates {
            let key = certificates.key_for(dir.path());
            lower(&mut Command::new("true"), &[&key]);
            let certificate = certificates.certificate();
            options.push("ssl=on".to_owned());
            options.push(format!("ssl_cert_file={}", certificate.display()));
            options.push(format!("ssl_key_file={}", key.display()));
        }
        options.extend(settings.iter().copied().map(str::to_owned));
        let running = launch(&options, port, &dir);
        let this = Self {
            running,
            options,
            port,
            dir,
        };
        let made = ask(dir_of(&this.dir), port, "postgres", "create database app");
        assert!(made.is_some(), "the database is made");
        this
    }

    /// The folder of its Unix socket, `.s.PGSQL.<port>`.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// What `[bridge] url` says of it, over TCP and without TLS.
    pub fn url(&self) -> String {
        format!("postgres://app@127.0.0.1:{}/app?sslmode=disable", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// STOP, CONT: to all its processes, of which there is one for each connection.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid();
        signal_process(pid, signal);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for child in children.split_whitespace() {
            // One that has just ended is none.
            let mut kill = Command::new("kill");
            kill.args([&format!("-{signal}"), child]);
            let _ = kill.stderr(Stdio::null()).status();
        }
    }

    /// It crashes.
    pub fn kill(&mut self) {
        // Its word for it: what is left of one that was killed keeps the next one from starting.
        self.running.end("QUIT");
    }

    /// It starts anew, where it was.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.kill();
        self.running = launch(&self.options, self.port, &self.dir);
    }

    /// What this statement answers, in its database.
    #[track_caller]
    pub fn ask(&self, statement: &str) -> String {
        let answer = self.try_ask(statement);
        answer.unwrap_or_else(|| panic!("it failed: {statement}"))
    }

    /// The same, for when there may be no answer.
    pub fn try_ask(&self, statement: &str) -> Option<String> {
        ask(dir_of(&self.dir), self.port, "app", statement)
    }
}

fn dir_of(dir: &TempDir) -> &Path {
    dir.path()
}

#[track_caller]
fn launch(options: &[String], port: u16, dir: &TempDir) -> Running {
    let mut command = Command::new(program("postgres"));
    command.arg("-D").arg(dir.path().join("data"));
    command.args(options.iter().flat_map(|option| ["-c", option]));
    command.current_dir(dir.path());
    lower(&mut command, &[dir.path()]);
    Running::start(command, "QUIT", &dir.path().join("log"), || {
        ask(dir.path(), port, "postgres", "select 1").is_some()
    })
}

fn ask(socket: &Path, port: u16, database: &str, statement: &str) -> Option<String> {
    let mut command = Command::new(program("psql"));
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "app"]);
    command.arg("-h").arg(socket);
    command.args(["-p", &port.to_string(), "-d", database, "-c", statement]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// A program of the newest one that is installed.
fn program(name: &str) -> PathBuf {
    let missing = "postgresql is installed (make test installs it)";
    let versions = fs::read_dir(VERSIONS).expect(missing);
    let programs = versions.map(|version| version.unwrap().path().join("bin").join(name));
    programs
        .filter(|program| program.exists())
        .max()
        .expect(missing)
}
