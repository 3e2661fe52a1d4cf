//! The link between the master and one worker: a `SOCK_SEQPACKET` pair that carries messages and,
//! beside them, descriptors (`SCM_RIGHTS`, unix(7)).
//!
//! One message is one packet, so that messages of concurrent senders never mix and a reader never
//! waits for the rest of one. Whoever reads end-of-file knows that the other side is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::session_id::{BARE_LEN, Home, Keyring};

/// The largest head of a request that a [`Handoff`] may carry, in bytes; no worker reads a larger
/// one.
pub const MAX_HEAD: usize = 32 * 1024;

/// The largest message, in bytes: a head and the little around it.
const MAX_MESSAGE: usize = MAX_HEAD + 4 * 1024;

/// What the master says to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message. Beside it comes a memfd with the configuration as JSON.
    Welcome(Welcome),
    /// The second message. Beside it comes the worker's end of the [bus](super::bus).
    Bus,
    /// A connection, beside the message, is the worker's from now on.
    Take(Handoff),
    /// The answer to [`ToMaster::Eio3Open`] and [`ToMaster::Eio3Find`].
    Eio3 {
        /// The question's number.
        ticket: u64,
        /// Who has the session, if anybody.
        home: Option<Home>,
    },
    /// The answer to [`ToMaster::Reserve`].
    Home {
        /// The question's number.
        ticket: u64,
        /// Where the session is to be opened; nowhere if there is no room for one more.
        place: Option<Place>,
    },
    /// Are you alive? Answered by [`ToMaster::Pong`].
    Ping,
    /// End all sessions, spread over this many milliseconds, and leave.
    Stop {
        /// Milliseconds.
        within_ms: u32,
    },
}

/// What a worker says to the master.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMaster {
    /// The worker accepts connections.
    Ready,
    /// The answer to [`ToWorker::Ping`].
    Pong,
    /// The worker's counts, sent soon after they changed.
    Report {
        /// The counts.
        counts: Report,
        /// The [reservations](Place::reservation) of which it is known what became: either the session is
        /// among the counts, or there is none. It may be told more than once, by either worker.
        released: Vec<u64>,
    },
    /// Which worker is to have a session that a client asks for over a connection that is in use already?
    Reserve {
        /// Repeated in the answer.
        ticket: u64,
        /// Who the client is, if that is known.
        client: Option<IpAddr>,
    },
    /// A revision 3 session was opened by polling: requests for it will name it by this bare id.
    Eio3Open {
        /// Repeated in the answer.
        ticket: u64,
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// That session is gone.
    Eio3Close {
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// Who has this revision 3 session?
    Eio3Find {
        /// Repeated in the answer.
        ticket: u64,
        /// The engine's id.
        sid: [u8; BARE_LEN],
    },
    /// The connection beside the message belongs to another worker.
    Pass {
        /// Whose it is. If that worker is gone, the connection is closed.
        to: Home,
        /// What it is.
        handoff: Handoff,
        /// The [reservation](Place::reservation) for the session that it opens. From here on that session
        /// is counted as one of a dispatched connection.
        reservation: Option<u64>,
    },
}

/// Where a session is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The worker that is to have it.
    pub home: Home,
    /// The number under which the master counts the session until it is told what became of it.
    pub reservation: u64,
}

/// How a worker begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The worker's generation and slot.
    pub home: Home,
    /// How many workers there are.
    pub workers: u16,
    /// The key of all session ids.
    pub keyring: Keyring,
}

/// A connection that changes hands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handoff {
    /// Who is at the other end.
    pub origin: Origin,
    /// Was it dispatched as a new session, so that a session is counted for it until the worker
    /// says what became of it?
    pub opens: bool,
    /// Has another worker let its first request in? Then nobody is asked again.
    pub admitted: bool,
    /// How long ago it was accepted, in milliseconds: its head has that much less time to arrive.
    pub age_ms: u32,
    /// A request head that was already read from it; mostly empty.
    pub head: Vec<u8>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A client or a proxy, over TCP.
    Tcp(SocketAddr),
    /// A proxy on this machine, over the Unix socket.
    Unix,
    /// Another worker of ours, with requests for sessions of this one.
    Worker,
}

/// A worker's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Handoffs received since the start.
    pub taken: u64,
    /// Of those that were dispatched as a new session: how many became one, or did not.
    pub resolved: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Open connections of clients.
    pub connections: u64,
}

/// A link broke, or what came over it made no sense.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side is gone.
    #[error("the other side of the link is gone")]
    Closed,
    /// A system call failed.
    #[error("the link failed: {0}")]
    Io(#[from] io::Error),
    /// A packet that is no message: two versions of the program on one link.
    #[error("not a message: {0}")]
    Codec(#[from] postcard::Error),
    /// A packet longer than any message.
    #[error("a message was cut off")]
    Truncated,
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    /// tokio has no type for `SOCK_SEQPACKET`. This one is only asked whether the socket is ready;
    /// every packet goes through rustix.
    socket: UnixDatagram,
}

/// Where a reader of a [`Link`] receives its packets.
#[derive(Debug)]
pub struct Inbox(Box<[u8]>);

impl Default for Inbox {
    fn default() -> Self {
        Self(vec![0; MAX_MESSAGE].into())
    }
}

/// The two ends of a new link, as descriptors: one to keep, one to give to a new process.
///
/// # Errors
/// When the kernel has no more descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

impl Link {
    /// Makes a link of its end.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::from_std(fd.into())?,
        })
    }

    /// Sends a message, and a descriptor beside it; waits while the other side does not read.
    ///
    /// # Errors
    /// [`LinkError::Closed`] when the other side is gone.
    pub async fn send<M: Serialize>(
        &self,
        message: &M,
        passed: Option<BorrowedFd<'_>>,
    ) -> Result<(), LinkError> {
        let bytes = postcard::to_stdvec(message)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(LinkError::Truncated);
        }
        self.socket
            .async_io(Interest::WRITABLE, || {
                send_packet(self.socket.as_fd(), &bytes, passed)
            })
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LinkError::Closed,
                _ => LinkError::Io(error),
            })
    }

    /// Waits for a message. Its descriptor is missing if this process has no place for one more.
    ///
    /// # Errors
    /// [`LinkError::Closed`] when the other side is gone.
    pub async fn recv<M: DeserializeOwned>(
        &self,
        Inbox(buffer): &mut Inbox,
    ) -> Result<(M, Option<OwnedFd>), LinkError> {
        let (len, passed, whole) = self
            .socket
            .async_io(Interest::READABLE, || {
                recv_packet(self.socket.as_fd(), buffer)
            })
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionReset => LinkError::Closed,
                _ => LinkError::Io(error),
            })?;
        if !whole {
            return Err(LinkError::Truncated);
        }
        // A packet is never empty, so this is end-of-file.
        match buffer.get(..len) {
            None | Some([]) => Err(LinkError::Closed),
            Some(packet) => Ok((postcard::from_bytes(packet)?, passed)),
        }
    }
}

fn send_packet(to: BorrowedFd<'_>, bytes: &[u8], passed: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = passed.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(to, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

fn recv_packet(
    from: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>, bool)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(from, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut passed = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            passed = fds.next();
        }
    }
    // Of a descriptor that found no place in this process (CTRUNC) only the message is left.
    Ok((
        received.bytes,
        passed,
        !received.flags.contains(ReturnFlags::TRUNC),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn links() -> (Link, Link) {
        let (a, b) = pair().unwrap();
        (Link::new(a).unwrap(), Link::new(b).unwrap())
    }

    #[tokio::test]
    async fn a_descriptor_travels_beside_its_message() {
        let (master, worker) = links();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let handoff = Handoff {
            origin: Origin::Unix,
            opens: true,
            admitted: false,
            age_ms: 3,
            head: b"GET".to_vec(),
        };
        master
            .send(&ToWorker::Take(handoff), Some(ours.as_fd()))
            .await
            .unwrap();
        let (message, passed) = worker
            .recv::<ToWorker>(&mut Inbox::default())
            .await
            .unwrap();
        assert!(matches!(message, ToWorker::Take(Handoff { head, .. }) if head == b"GET"));
        drop(ours);
        drop(passed.unwrap());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "both copies are closed");
    }

    #[tokio::test]
    async fn the_end_of_the_other_side_is_noticed() {
        let (master, worker) = links();
        drop(worker);
        assert!(matches!(
            master.recv::<ToMaster>(&mut Inbox::default()).await,
            Err(LinkError::Closed)
        ));
        assert!(matches!(
            master.send(&ToWorker::Ping, None).await,
            Err(LinkError::Closed)
        ));
    }

    #[tokio::test]
    async fn a_foreign_packet_is_an_error() {
        let (a, b) = pair().unwrap();
        let link = Link::new(a).unwrap();
        send_packet(b.as_fd(), &[0xff; 8], None).unwrap();
        assert!(matches!(
            link.recv::<ToMaster>(&mut Inbox::default()).await,
            Err(LinkError::Codec(_))
        ));
        send_packet(b.as_fd(), &vec![0; MAX_MESSAGE + 1], None).unwrap();
        assert!(matches!(
            link.recv::<ToMaster>(&mut Inbox::default()).await,
            Err(LinkError::Truncated)
        ));
    }
}
