//! The listeners: systemd's, or our own (`bind`). Each has its own fate: the server needs one of them.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use rustix::net::SocketFlags;
use tokio::net::{TcpStream, UnixStream};
use tracing::warn;

use super::bind;
use super::missing::{Missing, absent, unopened, unopened_ports};
use crate::config::{Config, ListenAddr};
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::ipc::conn::{self, Conn};
use crate::systemd::{self, NotAListener};
use crate::wire::handover::listeners::ListenerState;
use crate::wire::link::Origin;

/// A listener could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// One of systemd's descriptors is no listener.
    #[error(transparent)]
    NotAListener(#[from] NotAListener),
    /// The name has no address, or the system refuses it.
    #[error("cannot listen on {place}: {source}")]
    Bind {
        /// As it was configured, or one address of that.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process listens there.
    #[error("cannot listen on {place}: another process listens there already")]
    InUse {
        /// As it was configured.
        place: String,
    },
    /// Something else is at the path of a Unix socket.
    #[error("cannot listen on {place}: there is a file at this path that is no socket")]
    NotASocket {
        /// As it was configured.
        place: String,
    },
    /// None of several addresses could be had.
    #[error("{}", .0.join("\nmy-app: "))]
    Nowhere(Vec<String>),
    /// A listener could not be watched.
    #[error("a listener cannot be used: {0}")]
    Watch(#[source] io::Error),
}

/// The file of a Unix socket, removed when the socket is no more.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl SocketFile {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

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
    /// Its address, if it is no Unix socket.
    address: Option<SocketAddr>,
    /// Where it is, as clients write it.
    place: String,
    /// As it was configured; none: it is systemd's, or nobody configured it.
    configured: RefCell<Option<ListenAddr>>,
    /// The worker whose own port it is.
    port_of: Cell<Option<u16>>,
    file: Option<SocketFile>,
}

impl Listener {
    pub(super) fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        // Who connects from now on inherits it.
        conn::tune(&listener)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpStream::from_std(OwnedFd::from(listener).into())?;
        Ok(Self {
            socket: Conn::Tcp(listener),
            caught_up: Cell::new(false),
            address: Some(address),
            place: format!("http://{address}"),
            configured: RefCell::default(),
            port_of: Cell::default(),
            file: None,
        })
    }

    pub(super) fn unix(listener: StdUnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().unwrap_or(Path::new(""));
        let place = format!("unix:{}", path.display());
        let listener = UnixStream::from_std(OwnedFd::from(listener).into())?;
        Ok(Self {
            socket: Conn::Unix(listener),
            caught_up: Cell::new(true),
            address: None,
            place,
            configured: RefCell::default(),
            port_of: Cell::default(),
            file,
        })
    }

    fn of_systemd(listener: systemd::Listener) -> io::Result<Self> {
        match listener {
            systemd::Listener::Tcp(listener) => Self::tcp(listener),
            systemd::Listener::Unix(listener) => Self::unix(listener, None),
        }
    }

    /// The same as this worker's own; none: everybody's.
    pub(super) fn of_worker(self, port_of: Option<u16>) -> Self {
        self.port_of.set(port_of);
        self
    }

    /// It is there for this, and for this worker.
    pub(super) fn serve_for(&self, configured: Option<ListenAddr>, port_of: Option<u16>) {
        self.configured.replace(configured);
        self.port_of.set(port_of);
    }

    /// As it was configured; none: it is systemd's, or nobody configured it.
    pub(super) fn configured(&self) -> Option<ListenAddr> {
        self.configured.borrow().clone()
    }

    /// Its address, if it is no Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// For the program that takes this one's place. Only what is here goes, and not the file.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<ListenerState> {
        let configured = self.configured.borrow();
        Ok(ListenerState {
            fd: carrier.put(self.socket.as_fd())?,
            configured: configured.as_ref().map(ToString::to_string),
            address: self.address,
            place: self.place.clone(),
            file: self.file.as_ref().map(|file| file.0.clone()),
            caught_up: self.caught_up.get(),
            port_of: self.port_of.get(),
        })
    }

    /// What another program had.
    ///
    /// # Errors
    /// When it did not come, or cannot be watched.
    pub(crate) fn adopt(state: ListenerState, luggage: &mut Luggage) -> Result<Self, CarrierError> {
        let socket = luggage.take(state.fd)?;
        let socket = match state.address {
            Some(_) => Conn::Tcp(TcpStream::from_std(socket.into())?),
            None => Conn::Unix(UnixStream::from_std(socket.into())?),
        };
        let configured = state.configured.and_then(|text| text.parse().ok());
        Ok(Self {
            socket,
            caught_up: Cell::new(state.caught_up),
            address: state.address,
            place: state.place,
            configured: RefCell::new(configured),
            port_of: Cell::new(state.port_of),
            file: state.file.map(SocketFile),
        })
    }

    /// The worker whose own port it is.
    pub(crate) fn port_of(&self) -> Option<u16> {
        self.port_of.get()
    }

    /// Where it is: `http://127.0.0.1:3000`, `unix:/run/my-app/my-app.sock`.
    pub(crate) fn place(&self) -> &str {
        &self.place
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

/// What systemd passed, before any runtime exists.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    listeners: Vec<systemd::Listener>,
    /// Those for who collects metrics.
    metrics: Vec<systemd::Listener>,
    /// Descriptors that are no listeners.
    useless: Vec<NotAListener>,
    /// Socket units that the service should have and has not.
    missing: Vec<String>,
}

impl Inherited {
    /// Nothing without systemd. To be called before any thread is started.
    pub(crate) fn take() -> Self {
        let missing = systemd::missing_sockets();
        let mut inherited = Self::default();
        for (name, listener) in systemd::listeners() {
            match listener {
                Ok(listener) if name == systemd::METRICS => inherited.metrics.push(listener),
                Ok(listener) => inherited.listeners.push(listener),
                Err(error) => inherited.useless.push(error),
            }
        }
        inherited.missing = missing;
        inherited
    }

    /// The listeners for who collects metrics. One that cannot be used is told.
    pub(crate) fn take_metrics(&mut self) -> Vec<Listener> {
        let passed = std::mem::take(&mut self.metrics);
        let watched = passed.into_iter().map(Listener::of_systemd);
        watched
            .filter_map(|listener| {
                listener
                    .inspect_err(|error| warn!(%error, "the listener for metrics cannot be used"))
                    .ok()
            })
            .collect()
    }
}

/// Opens the listeners: systemd's, or else those that the configuration names. One that cannot be had is
/// told, and costs no other.
///
/// # Errors
/// When there is none at all.
pub(crate) async fn open(
    inherited: Inherited,
    config: &Config,
) -> Result<(Vec<Listener>, Missing), ListenError> {
    let Inherited {
        listeners: passed,
        useless,
        missing: units,
        metrics: _,
    } = inherited;
    if passed.is_empty() && useless.is_empty() {
        let (addresses, of_workers) = (&config.listen, config.worker_listen.as_ref());
        let wanted = bind::wanted(addresses, of_workers, config.workers);
        let (listeners, mut refused) = bind::bind(wanted).await;
        if listeners.is_empty() && !refused.is_empty() {
            return Err(match refused.len() {
                1 => refused.swap_remove(0).error,
                _ => ListenError::Nowhere(refused.iter().map(|r| r.error.to_string()).collect()),
            });
        }
        bind::complain(&refused);
        return Ok((listeners, Missing::of_addresses(refused)));
    }
    let mut errors: Vec<_> = useless.into_iter().map(ListenError::from).collect();
    let mut listeners = Vec::new();
    for listener in passed {
        // Which unit it is from does not matter: the port tells.
        let port_of = config.worker_listen.as_ref().and_then(|ports| {
            let port = listener.port()?;
            ports.slot_at(port, config.workers)
        });
        match Listener::of_systemd(listener) {
            Ok(listener) => listeners.push(listener.of_worker(port_of)),
            Err(error) => errors.push(ListenError::Watch(error)),
        }
    }
    if listeners.is_empty() {
        return Err(errors.swap_remove(0));
    }
    for error in errors {
        warn!("{error}; the other listeners serve");
    }
    for unit in &units {
        warn!(
            "{}; 'systemctl status {unit}' tells why; the other listeners serve",
            absent(unit)
        );
    }
    let opened: Vec<_> = listeners.iter().map(Listener::port_of).collect();
    let ports = unopened_ports(config, &opened, &units);
    if !ports.is_empty() {
        warn!("{}; the other listeners serve", unopened(&ports));
    }
    Ok((listeners, Missing::of_systemd(units, ports)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::time::timeout;

    use super::super::bind::bind_tcp;
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
