//! The listeners: systemd's, or our own.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use rustix::net::SocketFlags;
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};

use crate::config::ListenAddr;
use crate::ipc::conn::{self, Conn};
use crate::systemd::{self, NotAListener};
use crate::wire::link::Origin;

/// The kernel caps it at net.core.somaxconn (listen(2)).
const BACKLOG: u32 = 65_535;

/// A listener could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// One of systemd's descriptors is no listener.
    #[error(transparent)]
    NotAListener(#[from] NotAListener),
    /// The name has no address.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As it was configured.
        address: ListenAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another process listens there.
    #[error("cannot listen on {address}: another process listens there already")]
    InUse {
        /// As it was configured.
        address: ListenAddr,
    },
    /// Something else is at the path of a Unix socket.
    #[error("cannot listen on {address}: there is a file at this path that is no socket")]
    NotASocket {
        /// As it was configured.
        address: ListenAddr,
    },
    /// A listener could not be watched.
    #[error("a listener cannot be used: {0}")]
    Watch(#[source] io::Error),
}

/// Listeners that nobody accepts from yet.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    tcp: Vec<std::net::TcpListener>,
    unix: Vec<StdUnixListener>,
    /// The files of our own Unix sockets.
    files: Vec<SocketFile>,
}

/// The file of a Unix socket, removed when the socket is no more.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If somebody else removed it, so much the better.
        let _ = fs::remove_file(&self.0);
    }
}

/// A listener from which connections are accepted.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Watched as connections are: "readable" is that there is somebody to accept.
    socket: Conn,
    /// Have all been accepted that connected before the socket was tuned? Those may have waited for a
    /// service that systemd starts for them.
    caught_up: Cell<bool>,
    _file: Option<SocketFile>,
}

impl Listener {
    fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        // Who connects from now on inherits it.
        conn::tune(&listener)?;
        listener.set_nonblocking(true)?;
        let listener = TcpStream::from_std(OwnedFd::from(listener).into())?;
        Ok(Self {
            socket: Conn::Tcp(listener),
            caught_up: Cell::new(false),
            _file: None,
        })
    }

    fn unix(listener: StdUnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixStream::from_std(OwnedFd::from(listener).into())?;
        Ok(Self {
            socket: Conn::Unix(listener),
            caught_up: Cell::new(true),
            _file: file,
        })
    }

    /// The next connection, which nobody watches yet: most are passed on before anything would be seen.
    pub(crate) async fn accept(&self) -> io::Result<(OwnedFd, Origin)> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_read_with(|socket| self.accept_now(socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.caught_up.set(true),
                accepted => return accepted,
            }
        }
    }

    fn accept_now(&self, socket: BorrowedFd<'_>) -> io::Result<(OwnedFd, Origin)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        if let Conn::Unix(_) = self.socket {
            return Ok((rustix::net::accept_with(socket, flags)?, Origin::Unix));
        }
        let (conn, peer) = rustix::net::acceptfrom_with(socket, flags)?;
        if !self.caught_up.get() {
            conn::tune(&conn)?;
        }
        let peer = peer.ok_or(io::ErrorKind::NotConnected)?;
        Ok((conn, Origin::Tcp(SocketAddr::try_from(peer)?)))
    }
}

impl Listeners {
    /// Those that systemd passed; none without systemd. To be called before any thread is started.
    pub(crate) fn inherited() -> Result<Self, ListenError> {
        let mut inherited = Self::default();
        for listener in systemd::listeners()? {
            match listener {
                systemd::Listener::Tcp(listener) => inherited.tcp.push(listener),
                systemd::Listener::Unix(listener) => inherited.unix.push(listener),
            }
        }
        Ok(inherited)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.unix.is_empty()
    }

    /// Binds what the configuration says.
    pub(crate) async fn bind(addresses: &[ListenAddr]) -> Result<Self, ListenError> {
        let mut bound = Self::default();
        for address in addresses {
            match address {
                ListenAddr::Tcp(name) => {
                    let failed = |source| ListenError::Bind {
                        address: address.clone(),
                        source,
                    };
                    // A name such as localhost has several addresses.
                    for socket in lookup_host(name).await.map_err(failed)? {
                        bound.tcp.push(bind_tcp(socket).map_err(failed)?);
                    }
                }
                ListenAddr::Unix(path) => {
                    bound.unix.push(bind_unix(path, address)?);
                    bound.files.push(SocketFile(path.clone()));
                }
            }
        }
        Ok(bound)
    }

    /// Makes them ready to accept from.
    pub(crate) fn watched(self) -> Result<Vec<Listener>, ListenError> {
        let tcp = self.tcp.into_iter().map(Listener::tcp);
        let files = self
            .files
            .into_iter()
            .map(Some)
            .chain(std::iter::repeat_with(|| None));
        let unix = self.unix.into_iter().zip(files);
        let unix = unix.map(|(listener, file)| Listener::unix(listener, file));
        tcp.chain(unix)
            .collect::<io::Result<_>>()
            .map_err(ListenError::Watch)
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the connections of its predecessor.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Binds a Unix socket, in the place of one that nobody listens on any more.
fn bind_unix(path: &Path, address: &ListenAddr) -> Result<StdUnixListener, ListenError> {
    let failed = |source| ListenError::Bind {
        address: address.clone(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                address: address.clone(),
            });
        }
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            _ => {
                return Err(ListenError::InUse {
                    address: address.clone(),
                });
            }
        },
        Err(_) => {}
    }
    let listener = StdUnixListener::bind(path).map_err(failed)?;
    // For the proxy's group; others have no business here.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    // std's backlog is smaller; listen(2) may be called again.
    rustix::net::listen(&listener, BACKLOG.try_into().unwrap_or(i32::MAX))
        .map_err(|error| failed(error.into()))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_accepted_is_tuned_also_if_it_was_there_before() {
        let listener = bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let early = std::net::TcpStream::connect(address).unwrap();
        let listener = Listener::tcp(listener).unwrap();
        let is_tuned = async |client: std::net::TcpStream| {
            let (conn, origin) = listener.accept().await.unwrap();
            assert_eq!(origin, Origin::Tcp(client.local_addr().unwrap()));
            assert!(sockopt::tcp_nodelay(&conn).unwrap());
            assert!(sockopt::socket_keepalive(&conn).unwrap());
            let buffer = sockopt::socket_send_buffer_size(&conn).unwrap();
            assert_eq!(buffer, 2 * conn::SEND_BUFFER, "the kernel doubles it");
        };
        is_tuned(early).await;
        assert!(
            timeout(Duration::from_millis(20), listener.accept())
                .await
                .is_err()
        );
        assert!(listener.caught_up.get());
        is_tuned(std::net::TcpStream::connect(address).unwrap()).await;
    }
}
