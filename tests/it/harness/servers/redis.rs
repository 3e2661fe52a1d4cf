//! A Redis, or a Valkey where that is what Debian has.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{Certificates, Running};
use crate::harness::{free_port, signal_process};

/// One server, or a sentinel.
pub struct Redis {
    running: Running,
    arguments: Vec<String>,
    /// Where it listens on 127.0.0.1; with certificates that port takes TLS alone.
    pub port: u16,
    tls: Option<PathBuf>,
    password: Option<String>,
    dir: TempDir,
}

impl Redis {
    /// One that takes whoever comes.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One with these options of `redis-server` beside the usual ones: `["--requirepass", "secret"]`.
    #[track_caller]
    pub fn with(options: &[&str]) -> Self {
        Self::run(options, None)
    }

    /// One that takes TLS alone.
    #[track_caller]
    pub fn tls(certificates: &Certificates, options: &[&str]) -> Self {
        Self::run(options, Some(certificates))
    }

    /// A copy of another one: what is published there arrives here, not the other way.
    #[track_caller]
    pub fn replica_of(primary: &Self) -> Self {
        let port = primary.port.to_string();
        Self::with(&["--replicaof", "127.0.0.1", &port])
    }

    /// A sentinel that knows this one as `name`.
    #[track_caller]
    pub fn sentinel(name: &str, primary: &Self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        // It writes what it learns into its file.
        let file = dir.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 2000\n",
            dir.path().display(),
            primary.port
        );
        std::fs::write(&file, text).unwrap();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        Self::from(arguments, port, None, None, dir)
    }

    #[track_caller]
    fn run(options: &[&str], certificates: Option<&Certificates>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let number = port.to_string();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut arguments: Vec<String> = ["--bind", "127.0.0.1", "--save", "", "--dir"]
            .map(str::to_owned)
            .into();
        arguments.extend([path(""), "--unixsocket".to_owned(), path("redis.sock")]);
        arguments.extend(["--unixsocketperm", "700"].map(str::to_owned));
        if let Some(certificates) = certificates {
            let key = certificates.key_for(dir.path()).display().to_string();
            let certificate = certificates.certificate().display().to_string();
            arguments.extend(["--port", "0", "--tls-port", &number].map(str::to_owned));
            arguments.extend(["--tls-cert-file", &certificate].map(str::to_owned));
            arguments.extend(["--tls-key-file", &key].map(str::to_owned));
            arguments.extend(["--tls-auth-clients", "no"].map(str::to_owned));
        } else {
            arguments.extend(["--port", &number].map(str::to_owned));
        }
        arguments.extend(options.iter().copied().map(str::to_owned));
        let password = options.iter().position(|&word| word == "--requirepass");
        let password = password.map(|at| options[at + 1].to_owned());
        let authority = certificates.map(Certificates::authority);
        Self::from(arguments, port, authority, password, dir)
    }

    #[track_caller]
    fn from(
        arguments: Vec<String>,
        port: u16,
        tls: Option<PathBuf>,
        password: Option<String>,
        dir: TempDir,
    ) -> Self {
        let running = launch(&arguments, port, &dir);
        Self {
            running,
            arguments,
            port,
            tls,
            password,
            dir,
        }
    }

    /// What `[bridge] url` says of it.
    pub fn url(&self) -> String {
        let scheme = self.tls.as_ref().map_or("redis", |_| "rediss");
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// STOP, CONT.
    pub fn signal(&self, signal: &str) {
        signal_process(self.pid(), signal);
    }

    /// It crashes.
    pub fn kill(&mut self) {
        self.running.end("KILL");
    }

    /// It starts anew, where it was.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.kill();
        self.running = launch(&self.arguments, self.port, &self.dir);
    }

    /// What `redis-cli` prints for this command.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> String {
        let answer = self.try_ask(words);
        answer.unwrap_or_else(|| panic!("it failed: {words:?}"))
    }

    /// The same, for when there may be no answer.
    pub fn try_ask(&self, words: &[&str]) -> Option<String> {
        self.answer(self.password.as_deref(), words)
    }

    /// The same, with another password than that with which it was started.
    #[track_caller]
    pub fn ask_with(&self, password: &str, words: &[&str]) -> String {
        let answer = self.answer(Some(password), words);
        answer.unwrap_or_else(|| panic!("it failed: {words:?}"))
    }

    fn answer(&self, password: Option<&str>, words: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        let mut command = redis_program("cli");
        command.args(["-h", "127.0.0.1", "-p", &port]);
        if let Some(authority) = &self.tls {
            command.arg("--tls").arg("--cacert").arg(authority);
        }
        if let Some(password) = password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.args(words).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(answer)
    }
}

#[track_caller]
fn launch(arguments: &[String], port: u16, dir: &TempDir) -> Running {
    let mut command = redis_program("server");
    command.args(arguments);
    let log = dir.path().join("log");
    Running::start(command, "TERM", &log, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
}

/// `redis-server` for `server`, or `valkey-server`; those in the folder `REDIS_PROGRAMS`, if that is set.
pub fn redis_program(what: &str) -> Command {
    let named = std::env::var_os("REDIS_PROGRAMS").map(PathBuf::from);
    let folders = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let folders = named.map_or_else(|| folders.to_vec(), |named| vec![named]);
    let names = ["redis", "valkey"].map(|name| format!("{name}-{what}"));
    let mut paths = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let path = paths.find(|path| path.exists());
    Command::new(path.expect("redis-server is installed (make test installs it)"))
}
