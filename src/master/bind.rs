//! Listeners of our own, where systemd passes none.
//!
//! Each address has its own fate: one that is taken, or that this machine does not have yet, is told and
//! tried again, while the others serve. A name may have several addresses.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::{TcpSocket, lookup_host};
use tokio::time::sleep;
use tracing::{info, warn};

use super::listeners::{ListenError, Listener, SocketFile};
use super::router::Router;
use crate::config::{ListenAddr, WorkerListen, runtime_directory};

/// The kernel caps it at net.core.somaxconn (listen(2)).
const BACKLOG: u32 = 65_535;

/// How often what could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Something to listen at, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) place: Place,
    /// The worker whose own port it is.
    pub(super) port_of: Option<u16>,
}

/// Something to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// As it was configured: a name that was not looked up yet, or a path.
    Configured(ListenAddr),
    /// One address of a name.
    Address(ListenAddr, SocketAddr),
}

impl Place {
    pub(super) fn configured(&self) -> &ListenAddr {
        match self {
            Self::Configured(configured) | Self::Address(configured, _) => configured,
        }
    }

    pub(super) fn error(&self, source: io::Error) -> ListenError {
        ListenError::Bind {
            place: self.to_string(),
            source,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configured(configured) => write!(f, "{configured}"),
            Self::Address(configured, address) => {
                let (configured, address) = (configured.to_string(), address.to_string());
                if configured == address {
                    f.write_str(&address)
                } else {
                    write!(f, "{configured} ({address})")
                }
            }
        }
    }
}

/// Where nobody listens although somebody should.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) wanted: Wanted,
    pub(super) error: ListenError,
}

impl Refused {
    pub(super) fn place(&self) -> String {
        self.wanted.place.to_string()
    }

    pub(super) fn configured(&self) -> String {
        self.wanted.place.configured().to_string()
    }
}

/// All that the configuration names: the addresses for everybody, and the workers' own.
pub(super) fn wanted(
    addresses: &[ListenAddr],
    of_workers: Option<&WorkerListen>,
    workers: u16,
) -> Vec<Wanted> {
    let for_all = addresses.iter().map(|address| (address.clone(), None));
    let own = (0..workers).filter_map(|slot| Some((of_workers?.of(slot)?, Some(slot))));
    let wanted = for_all.chain(own).map(|(address, port_of)| Wanted {
        place: Place::Configured(address),
        port_of,
    });
    wanted.collect()
}

/// Binds all that is wanted: the listeners that could be had, and what could not. The ports of the workers are bound
/// here, too: their listeners live longer than they, so that nobody is refused while one is replaced.
pub(super) async fn bind(wanted: Vec<Wanted>) -> (Vec<Listener>, Vec<Refused>) {
    let (mut listeners, mut refused) = Default::default();
    for wanted in wanted {
        try_place(wanted, &mut listeners, &mut refused).await;
    }
    (listeners, refused)
}

/// Tries again what is in `missing`, for ever; what can be had goes to the router.
pub(super) async fn keep_trying(missing: &RefCell<Vec<Refused>>, router: &Rc<Router>) {
    while !missing.borrow().is_empty() {
        sleep(RETRY).await;
        let again: Vec<_> = missing.borrow().iter().map(|r| r.wanted.clone()).collect();
        let mut still_refused = Vec::new();
        for wanted in again {
            let mut listeners = Vec::new();
            try_place(wanted.clone(), &mut listeners, &mut still_refused).await;
            if !listeners.is_empty() {
                info!("listening on {} now", wanted.place);
            }
            for listener in listeners {
                router.listen(listener);
            }
        }
        missing.replace(still_refused);
    }
}

/// Says what could not be had.
pub(super) fn complain(refused: &[Refused]) {
    let seconds = RETRY.as_secs();
    for Refused { error, .. } in refused {
        warn!("{error}; the other listeners serve, and it is tried again every {seconds} s");
    }
}

async fn try_place(wanted: Wanted, listeners: &mut Vec<Listener>, refused: &mut Vec<Refused>) {
    let Wanted { place, port_of } = wanted;
    let attempts = match &place {
        Place::Configured(ListenAddr::Unix(path)) => {
            // For the proxy's group; others have no business here.
            vec![(place.clone(), bind_unix(path, 0o660, &place))]
        }
        Place::Address(_, address) => vec![(place.clone(), bind_address(*address, &place))],
        Place::Configured(configured @ ListenAddr::Tcp(name)) => match addresses(name).await {
            Ok(addresses) => addresses
                .into_iter()
                .map(|address| {
                    let place = Place::Address(configured.clone(), address);
                    let listener = bind_address(address, &place);
                    (place, listener)
                })
                .collect(),
            Err(error) => vec![(place.clone(), Err(place.error(error)))],
        },
    };
    for (place, listener) in attempts {
        match listener {
            Ok(listener) => {
                listener.serve_for(Some(place.configured().clone()), port_of);
                listeners.push(listener);
            }
            Err(error) => {
                let wanted = Wanted { place, port_of };
                refused.push(Refused { wanted, error });
            }
        }
    }
}

/// The addresses of a name, each once.
pub(super) async fn addresses(name: &str) -> io::Result<BTreeSet<SocketAddr>> {
    Ok(lookup_host(name).await?.collect())
}

fn bind_address(address: SocketAddr, place: &Place) -> Result<Listener, ListenError> {
    let listener = bind_tcp(address).and_then(Listener::tcp);
    listener.map_err(|error| place.error(error))
}

/// Opens a TCP listener.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the connections of its predecessor.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Opens the control socket, which the service's group may use as well. A directory below which it is to be by hand is
/// made, for this user alone.
pub(super) fn bind_control(path: &Path) -> Result<Listener, ListenError> {
    bind_own(path, 0o660)
}

/// Opens the bus's socket, likewise; it is for this user alone.
pub(super) fn bind_bus(path: &Path) -> Result<Listener, ListenError> {
    bind_own(path, 0o600)
}

fn bind_own(path: &Path, mode: u32) -> Result<Listener, ListenError> {
    let place = Place::Configured(ListenAddr::Unix(path.to_owned()));
    if path.parent() == Some(&runtime_directory()) {
        make_own_directory(&runtime_directory()).map_err(|error| place.error(error))?;
    }
    bind_unix(path, mode, &place)
}

/// Makes a directory that only this user may enter. One that is there must be so already: below /tmp anybody may have
/// made it.
fn make_own_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(path)?;
    let others_may = Mode::RWXG | Mode::RWXO;
    let is_own = found.uid() == rustix::process::geteuid().as_raw()
        && !Mode::from_raw_mode(found.mode()).intersects(others_may);
    if found.is_dir() && is_own {
        return Ok(());
    }
    let error = format!("{} is not this user's alone", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, error))
}

/// Does somebody listen there? Asked without waiting: a server that is stopped answers nobody.
fn is_answered(path: &Path) -> bool {
    let connected = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
    .and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?));
    connected != Err(Errno::CONNREFUSED)
}

/// Opens a Unix socket, in the place of one that nobody listens on any more.
fn bind_unix(path: &Path, mode: u32, place: &Place) -> Result<Listener, ListenError> {
    let failed = |source| place.error(source);
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                place: place.to_string(),
            });
        }
        Ok(_) if is_answered(path) => {
            return Err(ListenError::InUse {
                place: place.to_string(),
            });
        }
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile::new(path);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    // std's backlog is smaller; listen(2) may be called again.
    rustix::net::listen(&listener, BACKLOG.try_into().unwrap_or(i32::MAX))
        .map_err(|error| failed(error.into()))?;
    Listener::unix(listener, Some(file)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(name: &str) -> ListenAddr {
        ListenAddr::Tcp(name.to_owned())
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_costs_no_other() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap().to_string();
        // 192.0.2.0/24 is for documents (RFC 5737): no machine has such an address.
        let addresses = [
            tcp(&taken),
            tcp("192.0.2.1:1"),
            tcp("no.invalid:1"),
            tcp("127.0.0.1:0"),
        ];
        let (listeners, refused) = bind(wanted(&addresses, None, 1)).await;
        assert_eq!(listeners.len(), 1);
        let said: Vec<_> = refused.iter().map(|r| r.error.to_string()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(
            said[0].starts_with(&format!("cannot listen on {taken}: ")),
            "{said:?}"
        );
        assert!(
            said[1].starts_with("cannot listen on 192.0.2.1:1: "),
            "{said:?}"
        );
        assert!(
            said[2].starts_with("cannot listen on no.invalid:1: "),
            "{said:?}"
        );
    }

    #[tokio::test]
    async fn each_worker_gets_a_port_and_one_that_is_taken_costs_no_other() {
        // Three ports in a row, and the second is taken.
        let (ports, held) = (0..100)
            .find_map(|_| {
                let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let port = first.local_addr().unwrap().port();
                let second = std::net::TcpListener::bind(("127.0.0.1", port.checked_add(1)?));
                let third = std::net::TcpListener::bind(("127.0.0.1", port.checked_add(2)?));
                let (second, _) = (second.ok()?, third.ok()?);
                Some((format!("127.0.0.1:{port}"), second))
            })
            .unwrap();
        let ports: WorkerListen = ports.parse().unwrap();
        let (listeners, refused) = bind(wanted(&[], Some(&ports), 3)).await;
        let of: Vec<_> = listeners.iter().map(Listener::port_of).collect();
        assert_eq!(of, [Some(0), Some(2)]);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].place(), held.local_addr().unwrap().to_string());
        assert_eq!(refused[0].wanted.port_of, Some(1));
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_ones_own() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("own");
        make_own_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        make_own_directory(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = make_own_directory(&path).unwrap_err().to_string();
        assert!(error.ends_with("is not this user's alone"), "{error}");
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(make_own_directory(&link).is_err());
    }

    #[test]
    fn an_address_of_a_name_is_told_with_the_name() {
        let address = ([127, 0, 0, 1], 80).into();
        let named = Place::Address(tcp("localhost:80"), address);
        assert_eq!(named.to_string(), "localhost:80 (127.0.0.1:80)");
        let same = Place::Address(tcp("127.0.0.1:80"), address);
        assert_eq!(same.to_string(), "127.0.0.1:80");
    }
}
