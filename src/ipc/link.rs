//! The link between the master and one worker: a `SOCK_SEQPACKET` pair that carries messages and,
//! beside them, descriptors (`SCM_RIGHTS`, unix(7)).
//!
//! One message is one packet, so that messages of concurrent senders never mix and a reader never
//! waits for the rest of one. Whoever reads end-of-file knows that the other side is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::wire::link::MAX_HEAD;

/// The largest message, in bytes: a head and the little around it.
const MAX_MESSAGE: usize = MAX_HEAD + 4 * 1024;

/// A link broke, or what came over it made no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
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
pub(crate) struct Link {
    /// tokio has no type for `SOCK_SEQPACKET`. This one is only asked whether the socket is ready;
    /// every packet goes through rustix.
    socket: UnixDatagram,
}

/// Where a reader of a [`Link`] receives its packets.
#[derive(Debug)]
pub(crate) struct Inbox(Box<[u8]>);

impl Default for Inbox {
    fn default() -> Self {
        Self(vec![0; MAX_MESSAGE].into())
    }
}

/// The two ends of a new link, as descriptors: one to keep, one to give to a new process.
///
/// # Errors
/// When the kernel has no more descriptors.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
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
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::from_std(fd.into())?,
        })
    }

    /// Sends a message, and a descriptor beside it; waits while the other side does not read.
    ///
    /// # Errors
    /// [`LinkError::Closed`] when the other side is gone.
    pub(crate) async fn send<M: Serialize>(
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
    pub(crate) async fn recv<M: DeserializeOwned>(
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

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
impl Link {
    /// What the other side says next.
    pub(crate) async fn heard<M: DeserializeOwned>(&self) -> (M, Option<OwnedFd>) {
        let deadline = std::time::Duration::from_secs(20);
        let mut inbox = Inbox::default();
        let heard = tokio::time::timeout(deadline, self.recv(&mut inbox)).await;
        heard.unwrap().unwrap()
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
    use crate::wire::link::{Handoff, ToMaster, ToWorker};
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
            age_ms: 3,
            head: b"GET".to_vec(),
            ..Handoff::of_a_new_session()
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
            master
                .send(&ToWorker::Ping { taken_out: false }, None)
                .await,
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
