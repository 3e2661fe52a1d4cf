//! Where a bridge that somebody else started comes in: a socket with a path.
//!
//! Under systemd the bridge is a service of its own (my-app-bridge.service), so that the network is in another sandbox
//! than the application. The socket is in a directory that only the service's user enters, and has mode 0600; and who
//! connects is asked for: nobody but that user and root has business on the bus.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::super::bind;
use super::super::listeners::{ListenError, Listener};
use super::{Hub, Left};

/// How often a socket that could not be had is tried again, and the pause after an accept that failed.
const RETRY: Duration = Duration::from_secs(5);

impl Hub {
    /// Lets bridges in at `path`, for ever. While the socket cannot be had it is tried again, and `complain` is told
    /// once.
    pub(crate) async fn listen(self: Rc<Self>, path: PathBuf, complain: impl Fn(String)) {
        let mut told = false;
        // One that the program before this one had let in.
        spawn_local(Rc::clone(&self).serve_who_was_let_in());
        loop {
            match self.open_door(&path) {
                Ok(listener) => {
                    self.accept(&listener).await;
                    self.door.take();
                }
                Err(error) if !told => {
                    told = true;
                    warn!("{error}; no bridge can come, and it is tried again");
                    complain(error.to_string());
                }
                Err(error) => debug!(%error, "the bus's socket"),
            }
            sleep(RETRY).await;
        }
    }

    /// The socket at this path: the one that is open already, if it is that.
    fn open_door(&self, path: &Path) -> Result<Rc<Listener>, ListenError> {
        let mut door = self.door.borrow_mut();
        let place = format!("unix:{}", path.display());
        if let Some(open) = door.take_if(|it| it.place() == place) {
            return Ok(Rc::clone(door.insert(open)));
        }
        // Another one goes with its file.
        *door = None;
        Ok(Rc::clone(door.insert(Rc::new(bind::bind_bus(path)?))))
    }

    async fn serve_who_was_let_in(self: Rc<Self>) {
        let pid = self.bridge().pid;
        let left = self.resume_bridge().await;
        if let Some(pid) = pid {
            say_why(pid, &left);
        }
    }

    /// Until accepting fails.
    async fn accept(self: &Rc<Self>, listener: &Listener) {
        loop {
            let conn = match listener.accept().await {
                Ok((conn, _)) => conn,
                Err(error) => return debug!(%error, "accept for the bridge"),
            };
            match admit(conn) {
                Ok((stream, pid)) => {
                    let hub = Rc::clone(self);
                    spawn_local(async move {
                        info!("Bridge {pid} is on the bus");
                        say_why(pid, &hub.serve_bridge(pid, stream).await);
                    });
                }
                Err(error) => warn!(%error, "somebody who is no bridge was at the bus's socket"),
            }
        }
    }
}

fn say_why(pid: u32, left: &Left) {
    match left {
        Left::Closed => info!("Bridge {pid} left the bus"),
        Left::GivenUp(why) => warn!(pid, why, "a bridge was given up"),
    }
}

/// The connection, if its other end is this user's or root's, and the process there.
fn admit(conn: OwnedFd) -> io::Result<(UnixStream, u32)> {
    let stream = std::os::unix::net::UnixStream::from(conn);
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&peer.uid()) {
        let error = format!("user {} may not join the bus", peer.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
    }
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok((stream, pid.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::carrier::{Carrier, Luggage};
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use crate::ipc::bus::Reader;
    use crate::wire::frame::{Body, Frame, Role};
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_bridge_comes_in_by_the_socket_which_is_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.sock");
        // One that a server left that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let test = async {
            let hub = Rc::<Hub>::default();
            let complaints = Rc::<RefCell<Vec<String>>>::default();
            let list = |what: &Rc<RefCell<Vec<String>>>| {
                let what = Rc::clone(what);
                move |it| what.borrow_mut().push(it)
            };
            spawn_local(Rc::clone(&hub).listen(path.clone(), list(&complaints)));
            let stream = loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let (read, mut write) = stream.into_split();
            let hello = Frame {
                to: None,
                from: "bridge__________".parse().unwrap(),
                body: Body::Hello(Role::Bridge),
            };
            write.write_all(&hello.encode().unwrap()).await.unwrap();
            let frame = Reader::new(read).next().await.unwrap();
            let body = Frame::decode(&frame).unwrap().body;
            assert!(matches!(body, Body::Welcome(_)), "{body:?}");
            assert_eq!(hub.bridge().pid, Some(std::process::id()));
            // Another server's is left alone.
            let other = Rc::<Hub>::default();
            spawn_local(other.listen(path.clone(), list(&complaints)));
            while complaints.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            assert!(complaints.borrow()[0].contains("bus.sock"));
        };
        let local = LocalSet::new();
        let test = local.run_until(test);
        timeout(Duration::from_secs(10), test).await.unwrap();
    }

    #[tokio::test]
    async fn its_socket_goes_on_in_another_program_with_who_waits_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.sock");
        let hub = Hub::default();
        hub.open_door(&path).unwrap();
        let waits = UnixStream::connect(&path).await.unwrap();
        let (mut carrier, far) = Carrier::new().unwrap();
        let state = hub.pack(&mut carrier).unwrap();
        carrier.finish(b"").unwrap();
        // As at execve(2), where nothing is dropped.
        std::mem::forget(hub.door.take());
        let mut luggage = Luggage::receive(far).unwrap();
        let hub = Hub::adopt(state, &mut luggage).unwrap();
        assert_eq!(luggage.left(), 0);
        let door = hub.open_door(&path).unwrap();
        let accepted = timeout(Duration::from_secs(10), door.accept()).await;
        accepted.unwrap().unwrap();
        drop((waits, door, hub));
        assert!(!path.exists(), "it goes with the last of them");
    }
}
