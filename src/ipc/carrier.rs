//! A message of a process to itself over execve(2): descriptors, and bytes that say what they are.
//!
//! It lies in the queue of a socket pair, whose far end is the new program's standard input: what is in a queue
//! survives, and so all descriptors may be closed on exec. The bytes are in a memfd. Nothing here waits.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::wire::handover::Fd;

/// Descriptors of one packet (unix(7), `SCM_MAX_FD`).
const BATCH: usize = 253;
/// What the queue may hold, in bytes, if the system allows it. A packet takes less than one kilobyte.
const QUEUE: usize = 4 << 20;
/// A packet of descriptors.
const PASSED: u8 = b'd';
/// The last packet: how many descriptors there were, and the memfd.
const LAST: u8 = b's';

/// What came is not what was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarrierError {
    /// A system call failed.
    #[error("what the running server hands over cannot be received: {0}")]
    Io(#[from] io::Error),
    /// There is no more, and it is not complete.
    #[error("what the running server hands over is not complete")]
    Incomplete,
    /// Something else came.
    #[error("what comes on standard input is not of a running server")]
    Foreign,
    /// The limit of descriptors is too low.
    #[error(
        "descriptors that the running server hands over found no room: the limit of open files \
         (LimitNOFILE=) is too low"
    )]
    NoRoom,
    /// It was taken before, or never sent.
    #[error("the running server did not hand descriptor {} over", .0.0)]
    Missing(Fd),
}

/// Takes descriptors, and then the state.
#[derive(Debug)]
pub(crate) struct Carrier {
    /// None: it only counts.
    socket: Option<OwnedFd>,
    batch: Vec<OwnedFd>,
    count: u32,
}

impl Carrier {
    /// A carrier, and what is to be the new program's standard input.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // The system's limit is enough for most.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&near, QUEUE);
        let carrier = Self {
            socket: Some(near),
            ..Self::counting()
        };
        Ok((carrier, far))
    }

    /// One that gives places to descriptors and carries nothing: for a state that is only to be looked at.
    pub(crate) fn counting() -> Self {
        Self {
            socket: None,
            batch: Vec::new(),
            count: 0,
        }
    }

    /// Is it one that carries nothing?
    pub(crate) fn only_counts(&self) -> bool {
        self.socket.is_none()
    }

    /// Puts a descriptor in, which stays open here.
    ///
    /// # Errors
    /// When there are no more descriptors, or too many are on their way.
    pub(crate) fn put(&mut self, fd: BorrowedFd<'_>) -> io::Result<Fd> {
        let place = Fd(self.count);
        if self.socket.is_some() {
            // In batches, so that no more of this process's descriptors are in use than those of one.
            self.batch.push(rustix::io::fcntl_dupfd_cloexec(fd, 3)?);
            if self.batch.len() == BATCH {
                self.send_batch()?;
            }
        }
        self.count += 1;
        Ok(place)
    }

    /// Puts the state in. Whoever holds the far end has all of it then.
    ///
    /// # Errors
    /// When there is no memory, or too many descriptors are on their way.
    pub(crate) fn finish(mut self, state: &[u8]) -> io::Result<()> {
        self.send_batch()?;
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let mut file = File::from(rustix::fs::memfd_create(
            "my-app-state",
            MemfdFlags::CLOEXEC,
        )?);
        file.write_all(state)?;
        let [a, b, c, d] = self.count.to_le_bytes();
        send(socket, &[LAST, a, b, c, d], &[file.as_fd()])
    }

    fn send_batch(&mut self) -> io::Result<()> {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.batch.is_empty()) else {
            return Ok(());
        };
        let fds: Vec<_> = self.batch.iter().map(AsFd::as_fd).collect();
        send(socket, &[PASSED], &fds)?;
        self.batch.clear();
        Ok(())
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags);
    match sent {
        Ok(_) => Ok(()),
        // More than the limit of descriptors (unix(7), ETOOMANYREFS).
        Err(Errno::TOOMANYREFS) => Err(io::Error::other(
            "too many open connections to pass on at once: a higher limit of open files (LimitNOFILE=) would allow it",
        )),
        Err(Errno::AGAIN) => Err(io::Error::other(
            "too many open connections to pass on at once: a higher net.core.wmem_max would allow it",
        )),
        Err(error) => Err(error.into()),
    }
}

/// What a carrier brought.
#[derive(Debug)]
pub(crate) struct Luggage {
    state: Vec<u8>,
    fds: Vec<Option<OwnedFd>>,
}

impl Luggage {
    /// Receives all that was sent. It has been sent already: nothing waits.
    ///
    /// # Errors
    /// When it is not complete, or something else.
    pub(crate) fn receive(stdin: OwnedFd) -> Result<Self, CarrierError> {
        // It is closed with what nobody takes out of it.
        let socket = stdin;
        let mut fds = Vec::new();
        loop {
            match receive(&socket)? {
                Packet::Passed(passed) => fds.extend(passed.into_iter().map(Some)),
                Packet::Last { count, file } if count as usize == fds.len() => {
                    let mut state = Vec::new();
                    let mut file = File::from(file);
                    file.rewind()?;
                    file.read_to_end(&mut state)?;
                    return Ok(Self { state, fds });
                }
                Packet::Last { .. } => return Err(CarrierError::Incomplete),
            }
        }
    }

    /// What the descriptors are.
    pub(crate) fn state(&self) -> &[u8] {
        &self.state
    }

    /// The bytes of the state, which are not needed here any more.
    pub(crate) fn take_state(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state)
    }

    /// A descriptor, once.
    ///
    /// # Errors
    /// When it was taken before, or never sent.
    pub(crate) fn take(&mut self, fd: Fd) -> Result<OwnedFd, CarrierError> {
        let place = usize::try_from(fd.0).ok();
        let slot = place.and_then(|place| self.fds.get_mut(place));
        slot.and_then(Option::take).ok_or(CarrierError::Missing(fd))
    }

    /// How many nobody has taken.
    pub(crate) fn left(&self) -> usize {
        self.fds.iter().flatten().count()
    }
}

enum Packet {
    Passed(Vec<OwnedFd>),
    Last { count: u32, file: OwnedFd },
}

fn receive(socket: &OwnedFd) -> Result<Packet, CarrierError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = match rustix::net::recvmsg(socket, &mut slices, &mut control, flags) {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Err(CarrierError::Incomplete),
        Err(Errno::NOTSOCK) => return Err(CarrierError::Foreign),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(CarrierError::NoRoom);
    }
    match (bytes.get(..received.bytes), fds.pop()) {
        (Some([]), None) => Err(CarrierError::Incomplete),
        (Some([PASSED]), Some(last)) => {
            fds.push(last);
            Ok(Packet::Passed(fds))
        }
        (Some(&[LAST, a, b, c, d]), Some(file)) if fds.is_empty() => Ok(Packet::Last {
            count: u32::from_le_bytes([a, b, c, d]),
            file,
        }),
        _ => Err(CarrierError::Foreign),
    }
}

#[cfg(test)]
mod tests;
