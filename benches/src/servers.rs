//! The servers of the comparison: each is started for one measurement and ended after it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::address::Address;
use crate::load::{Kind, Load};
use crate::usage::{Tree, is_alive};

/// How long a server may take to start, or to end.
const START_STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How long sessions are moved after a reload.
const DRAIN: Duration = Duration::from_secs(10);

/// Why there is no server to measure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("a folder for sockets and logs: {0}")]
    Folder(#[source] io::Error),
    #[error("no free port: {0}")]
    Port(#[source] io::Error),
    #[error("{0} does not start: {1}")]
    Start(Who, #[source] io::Error),
    #[error("{who} does not serve; the last that it said:\n{said}")]
    Silent { who: Who, said: String },
    #[error("it does not reload: {0}")]
    Reload(String),
}

/// A server of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// socket.io with cluster, sticky and cluster-adapter.
    Node,
    /// socket.io with Bun's engine.
    Bun,
    /// A bare epoll loop.
    Limit,
    /// my-app with one worker, beside the servers of one process.
    Single,
    /// my-app with a worker for each core.
    Ours,
}

impl Who {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 5] =
        [Self::Node, Self::Bun, Self::Limit, Self::Single, Self::Ours];
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "Node",
            Self::Bun => "Bun",
            Self::Limit => "limit",
            Self::Single => "ours, 1",
            Self::Ours => "ours, 2",
        })
    }
}

/// How clients come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Over {
    Tcp,
    Unix,
}

impl Over {
    /// Do the bounds hold for it? To the kernel a Unix socket costs so little that ratios to the limit tell
    /// something else.
    pub(crate) fn is_bounded(self) -> bool {
        self == Self::Tcp
    }
}

/// Starts servers.
pub(crate) struct Servers {
    folder: TempDir,
    /// Our server's binary, and the folder of the others' scripts.
    server: PathBuf,
    peers: PathBuf,
}

/// A server that runs; dropped, it ends.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: Address,
    pub(crate) tree: Tree,
}

impl Servers {
    pub(crate) fn new(server: &Path, peers: &Path) -> Result<Self, ServerError> {
        let mut servers = Self::of_ours(server, "")?;
        servers.peers = peers.into();
        Ok(servers)
    }

    /// Only ours, with this in its configuration: tables, or keys of its table `log`.
    pub(crate) fn of_ours(server: &Path, config: &str) -> Result<Self, ServerError> {
        let folder = TempDir::with_prefix("bench-").map_err(ServerError::Folder)?;
        // A log line for each count is in the figures, a file is not.
        let config = format!("[log]\nfile = \"\"\n{config}");
        fs::write(folder.path().join("my-app.toml"), config).map_err(ServerError::Folder)?;
        let servers = Self {
            folder,
            server: server.into(),
            peers: PathBuf::new(),
        };
        servers.drain_for(DRAIN)?;
        Ok(servers)
    }

    /// Those that are started on a socket that is there already, and can be reloaded, take so long to move their
    /// sessions.
    pub(crate) fn drain_for(&self, drain: Duration) -> Result<(), ServerError> {
        let config = format!(
            "drain = \"{}ms\"\n[log]\nfile = \"\"\n[control]\nsocket = \"{}\"\n",
            drain.as_millis(),
            self.control().display()
        );
        fs::write(self.reloadable(), config).map_err(ServerError::Folder)
    }

    /// Has ours reload, and waits until new workers take connections: how long it paused by its own account.
    pub(crate) fn reload(&self) -> Result<Duration, ServerError> {
        let mut command = Command::new(&self.server);
        command.args(["reload", "--socket"]).arg(self.control());
        let ran = command.output();
        let ran = ran.map_err(|error| ServerError::Start(Who::Ours, error))?;
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let paused = ran.status.success().then(|| paused(&said)).flatten();
        paused.ok_or(ServerError::Reload(said))
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn reloadable(&self) -> PathBuf {
        self.folder.path().join("reloadable.toml")
    }

    /// All that the server that was started last has said.
    pub(crate) fn said(&self) -> String {
        let said = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// An address of this machine that no load has come from, nor from the three behind it.
    pub(crate) fn source() -> IpAddr {
        static NEXT: AtomicU16 = AtomicU16::new(2);
        let [high, low] = NEXT.fetch_add(4, Relaxed).to_be_bytes();
        Ipv4Addr::new(127, 0, high, low).into()
    }

    /// Starts one with so many workers, if it is of several processes, and waits until it serves.
    pub(crate) fn start(&self, who: Who, workers: u16, over: Over) -> Result<Server, ServerError> {
        let address = match over {
            Over::Tcp => Address::Tcp(
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .and_then(|listener| listener.local_addr())
                    .map_err(ServerError::Port)?,
            ),
            Over::Unix => {
                let path = self.folder.path().join("socket");
                // What the server before left behind.
                let _ = fs::remove_file(&path);
                Address::Unix(path)
            }
        };
        let place = match &address {
            Address::Tcp(address) => address.port().to_string(),
            Address::Unix(path) => path.display().to_string(),
        };
        let mut command = match who {
            Who::Ours | Who::Single => {
                let mut command = Command::new(&self.server);
                command.arg("--config");
                command.arg(self.folder.path().join("my-app.toml"));
                command.args(["--listen", &address.to_string()]);
                command.args(["--workers", &workers.to_string()]);
                command
            }
            Who::Limit => {
                let mut command = Command::new("/proc/self/exe");
                command.args(["limit", "--listen", &address.to_string()]);
                command
            }
            Who::Node => {
                let mut command = Command::new("node");
                command.arg(self.peers.join("node.mjs"));
                command.args([&workers.to_string(), &place]);
                command
            }
            Who::Bun => {
                let mut command = Command::new(self.bun());
                command.args([&self.peers.join("bun.mjs"), Path::new(&place)]);
                command
            }
        };
        let server = self.spawn(who, command.stdin(Stdio::null()), address)?;
        self.serving(who, server)
    }

    /// Starts one on a listening socket that is there already, as systemd passes it, and waits until it serves.
    pub(crate) fn start_on(
        &self,
        held: &Held,
        who: Who,
        workers: u16,
    ) -> Result<Server, ServerError> {
        let server = self.start_again_on(held, who, workers)?;
        self.serving(who, server)
    }

    /// Likewise, but does not wait: those who are there already come first.
    pub(crate) fn start_again_on(
        &self,
        held: &Held,
        who: Who,
        workers: u16,
    ) -> Result<Server, ServerError> {
        let mut command = Command::new("sh");
        // The first descriptor that systemd passes is 3; a shell can move it there.
        command.args(["-c", r#"LISTEN_PID=$$ exec "$@" 3<&0 </dev/null"#, "sh"]);
        if who == Who::Node {
            command.arg("node").arg(self.peers.join("node.mjs"));
            command.args([&workers.to_string(), "fd:3"]);
        } else {
            command.arg(&self.server).arg("--config");
            command.arg(self.reloadable());
            command.args(["--workers", &workers.to_string()]);
        }
        command.env("LISTEN_FDS", "1");
        let listener = held.listener.try_clone();
        let listener = listener.map_err(|error| ServerError::Start(who, error))?;
        let command = command.stdin(OwnedFd::from(listener));
        self.spawn(who, command, held.address.clone())
    }

    fn spawn(
        &self,
        who: Who,
        command: &mut Command,
        address: Address,
    ) -> Result<Server, ServerError> {
        let child = File::create(self.log())
            .and_then(|said| {
                command.stdout(said.try_clone()?);
                command.stderr(said).spawn()
            })
            .map_err(|error| ServerError::Start(who, error))?;
        Ok(Server {
            tree: Tree::of(child.id()),
            child,
            address,
        })
    }

    fn serving(&self, who: Who, mut server: Server) -> Result<Server, ServerError> {
        if server.serves() {
            return Ok(server);
        }
        let said = self.said();
        Err(ServerError::Silent { who, said })
    }

    /// The binary that came with the npm package: what that links into `.bin` is a script's work.
    fn bun(&self) -> PathBuf {
        let arch = if cfg!(target_arch = "aarch64") {
            "aarch64"
        } else {
            "x64"
        };
        let folder = self.peers.join("node_modules/@oven");
        folder.join(format!("bun-linux-{arch}/bin/bun"))
    }
}

/// The pause that `my-app reload` tells of.
fn paused(said: &str) -> Option<Duration> {
    let (_, told) = said.split_once(" after a pause of ")?;
    let (ms, _) = told.split_once(" ms")?;
    let ms: f64 = ms.parse().ok()?;
    Duration::try_from_secs_f64(ms / 1e3).ok()
}

/// A listening socket that outlives servers.
pub(crate) struct Held {
    listener: TcpListener,
    address: Address,
}

impl Held {
    pub(crate) fn new(ip: Ipv4Addr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind((ip, 0)).map_err(ServerError::Port)?;
        // The standard library's backlog is 128; systemd's is as long as the kernel allows.
        rustix::net::listen(&listener, 4096).map_err(|error| ServerError::Port(error.into()))?;
        let address = listener.local_addr().map_err(ServerError::Port)?;
        Ok(Self {
            listener,
            address: Address::Tcp(address),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl Server {
    /// Kills its main process, and waits until the others have gone with it.
    pub(crate) fn kill(&mut self) {
        let pids = self.tree.pids();
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let began = Instant::now();
        while began.elapsed() < START_STOP_TIMEOUT && pids.iter().any(|pid| is_alive(*pid)) {
            sleep(Duration::from_millis(5));
        }
    }

    /// Opens a session as soon as that is possible.
    fn serves(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < START_STOP_TIMEOUT && !matches!(self.child.try_wait(), Ok(Some(_)))
        {
            let opened = Load::new(&self.address, Servers::source())
                .and_then(|mut load| load.open(Kind::WebSocket(""), 1));
            if opened.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let began = Instant::now();
        // If it has ended already, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        while began.elapsed() < START_STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_read_where_the_program_tells_it() {
        let said =
            "reloaded: version 1.0.0 as before after a pause of 4.1 ms, generation 1, 2 workers";
        assert_eq!(paused(said), Some(Duration::from_micros(4100)));
        assert_eq!(
            paused("reloaded: version 1.0.0 as before, generation 1"),
            None
        );
        assert_eq!(paused("after a pause of x ms"), None);
    }
}
