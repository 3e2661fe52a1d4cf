//! Looks, with the rights of the bridge's user; each has a deadline, or is given one.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::doctor::sockets::group_name_of;
use crate::config::{BridgeUrl, HostPort};

/// How long one address of a host may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What was seen with the rights of the bridge's user.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) password: PasswordFile,
    /// The authorities' file, if that user may not read it.
    pub(super) unreadable_ca: Option<PathBuf>,
    pub(super) unreached: Option<Unreached>,
}

/// The file with the password.
#[derive(Debug)]
pub(super) struct PasswordFile {
    pub(super) path: PathBuf,
    /// Its permissions; none where it is not.
    pub(super) mode: Option<u32>,
    pub(super) readable: bool,
    pub(super) empty: bool,
    /// When it was written, in seconds of Unix.
    pub(super) changed: Option<u64>,
}

impl PasswordFile {
    /// What there is to see without reading it.
    pub(super) fn look(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self {
            path: path.to_owned(),
            mode: metadata.as_ref().map(|it| it.mode() & 0o777),
            readable: readable(path),
            empty: metadata
                .as_ref()
                .is_some_and(|it| it.is_file() && it.len() == 0),
            changed: metadata.and_then(|it| it.mtime().try_into().ok()),
        }
    }
}

pub(super) fn readable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}

/// Why nobody was reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreached {
    Host(HostPort, String),
    Socket(PathBuf, String),
    /// There is somebody, for others: the name of the socket's group.
    Closed(PathBuf, String),
}

/// Whether somebody takes a connection there. Nothing is said to it.
pub(super) fn unreached(url: &BridgeUrl) -> Option<Unreached> {
    if let Some(path) = url.socket() {
        let error = UnixStream::connect(&path).err()?;
        if error.kind() == io::ErrorKind::PermissionDenied {
            // The socket's own group, or that of the first directory that can be seen.
            let seen = path.ancestors().find_map(|at| fs::metadata(at).ok());
            let group = seen.map_or_else(|| "unknown".to_owned(), |it| group_name_of(it.gid()));
            return Some(Unreached::Closed(path, group));
        }
        return Some(Unreached::Socket(path, error.to_string()));
    }
    let mut unreached = None;
    for host in url.hosts() {
        match of_host(host) {
            Ok(()) => return None,
            // One sentinel of three may be away.
            Err(error) => unreached = Some(Unreached::Host(host.clone(), error.to_string())),
        }
    }
    unreached
}

fn of_host(at: &HostPort) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
