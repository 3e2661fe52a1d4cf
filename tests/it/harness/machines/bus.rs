//! The server that joins the machines, real, and what happens to it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use tempfile::TempDir;

use super::{NetSpace, Space};
use crate::harness::servers::{Disk, PASSWORD, Postgres, Redis};

/// Where it is: the switch that all machines are plugged into.
pub const ADDRESS: &str = "10.77.0.1";

/// What joins the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Postgres,
}

/// One such server in the switch's network. It ends with the value.
pub struct Bus {
    pub kind: Kind,
    pub port: u16,
    server: Mutex<Either>,
    network: NetSpace,
    files: TempDir,
}

enum Either {
    Redis(Redis),
    Postgres(Postgres),
}

impl Bus {
    /// One that runs.
    #[track_caller]
    pub fn start(kind: Kind, switch: &Space) -> Self {
        match kind {
            Kind::Redis => Self::redis(switch, &[]),
            Kind::Postgres => Self::postgres(switch, |settings| Postgres::with(None, settings)),
        }
    }

    /// A Redis with these options beside the usual ones.
    #[track_caller]
    pub fn redis(switch: &Space, more: &[&str]) -> Self {
        let options = [
            &["--bind", ADDRESS, "127.0.0.1", "--protected-mode", "no"],
            more,
        ]
        .concat();
        let network = switch.network();
        let server = network.within(|| Redis::with(&options));
        let port = server.port;
        Self::of(Kind::Redis, port, Either::Redis(server), network, folder())
    }

    /// One whose data is on this disk, and who saves what is asked of it at once.
    #[track_caller]
    pub fn on(kind: Kind, switch: &Space, disk: &Disk) -> Self {
        match kind {
            Kind::Redis => {
                let folder = disk.path().display().to_string();
                Self::redis(switch, &["--dir", &folder, "--save", "1 1"])
            }
            Kind::Postgres => Self::postgres(switch, |settings| Postgres::on(disk, settings)),
        }
    }

    #[track_caller]
    fn postgres(switch: &Space, start: impl FnOnce(&[&str]) -> Postgres + Send) -> Self {
        let files = folder();
        let rules = files.path().join("rules");
        fs::write(
            &rules,
            "local all all trust\nhost all all 10.77.0.0/24 scram-sha-256\n",
        )
        .unwrap();
        let rules = format!("hba_file={}", rules.display());
        let listens = format!("listen_addresses={ADDRESS}");
        let network = switch.network();
        let server = network.within(|| start(&[&listens, &rules]));
        let port = server.port;
        Self::of(
            Kind::Postgres,
            port,
            Either::Postgres(server),
            network,
            files,
        )
    }

    fn of(kind: Kind, port: u16, server: Either, network: NetSpace, files: TempDir) -> Self {
        let secret = files.path().join("secret");
        fs::write(&secret, PASSWORD).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        Self {
            kind,
            port,
            server: Mutex::new(server),
            network,
            files,
        }
    }

    /// The lines of `[bridge]` for it, if it is reached at this port.
    pub fn settings(&self, port: u16) -> String {
        match self.kind {
            Kind::Redis => format!("url = \"redis://{ADDRESS}:{port}\""),
            Kind::Postgres => format!(
                "url = \"postgres://app@{ADDRESS}:{port}/app?sslmode=disable\"\nsecret_file = \"{}\"",
                self.secret().display()
            ),
        }
    }

    /// The file with the password.
    pub fn secret(&self) -> PathBuf {
        self.files.path().join("secret")
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(ADDRESS.parse().unwrap(), self.port)
    }

    fn server(&self) -> MutexGuard<'_, Either> {
        self.server.lock().unwrap()
    }

    /// Does something with it, in its network.
    #[track_caller]
    fn within<T: Send>(&self, body: impl FnOnce(&mut Either) -> T + Send) -> T {
        self.network.within(|| body(&mut self.server()))
    }

    /// It crashes.
    pub fn kill(&self) {
        match &mut *self.server() {
            Either::Redis(server) => server.kill(),
            Either::Postgres(server) => server.kill(),
        }
    }

    /// It starts anew, with what it had.
    pub fn start_again(&self) {
        self.within(|server| match server {
            Either::Redis(server) => server.start_again(),
            Either::Postgres(server) => server.start_again(),
        });
    }

    /// It answers nobody, and its connections stay open.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// It goes on where it stopped.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        match &*self.server() {
            Either::Redis(server) => server.signal(signal),
            Either::Postgres(server) => server.signal(signal),
        }
    }

    /// What it answers to a command of `redis-cli`, or to a statement.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> String {
        let answer = self.try_ask(words);
        answer.unwrap_or_else(|| panic!("it failed: {words:?}"))
    }

    /// The same, for when there may be no answer.
    pub fn try_ask(&self, words: &[&str]) -> Option<String> {
        self.within(|server| match server {
            Either::Redis(server) => server.try_ask(words),
            Either::Postgres(server) => server.try_ask(&words.join(" ")),
        })
    }

    /// Publishes these bytes; Postgres takes text alone.
    #[track_caller]
    pub fn publish(&self, channel: &str, payload: &[u8]) {
        if self.kind == Kind::Postgres {
            let text = String::from_utf8_lossy(payload);
            let text = text.replace('\'', "''").replace(['\0', '\\'], " ");
            self.ask(&[&format!("select pg_notify('{channel}', '{text}')")]);
            return;
        }
        let addr = self.addr();
        let mut stream = self.network.within(|| TcpStream::connect(addr).unwrap());
        let [name, size] = [channel.len(), payload.len()];
        write!(
            stream,
            "*3\r\n$7\r\nPUBLISH\r\n${name}\r\n{channel}\r\n${size}\r\n"
        )
        .unwrap();
        stream.write_all(&[payload, b"\r\n"].concat()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with(':'), "{answer}");
    }

    /// Names of the connections that others have to it.
    pub fn connections(&self) -> Vec<String> {
        let list = match self.kind {
            Kind::Redis => self.ask(&["CLIENT", "LIST"]),
            Kind::Postgres => self.ask(&[
                "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
            ]),
        };
        let others = list.lines().filter(|line| !line.contains("cmd=client"));
        others
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }
}

/// A folder that others may enter: Postgres reads in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}
