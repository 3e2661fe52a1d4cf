//! A connection that the engine owns: TCP or a Unix socket, read through tokio's reactor, written directly.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection of a client, or of a proxy.
#[derive(Debug)]
pub enum Conn {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Conn {
    /// Reads into `buf`; without an error and without bytes the peer has finished.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    /// Has the next bytes' arrival wake `cx`, unless they may be there already.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Writes what the socket takes at once. It is asked directly: a slow reader may have made a little room, too
    /// little for the reactor to tell (a third of the buffer must be free).
    pub(crate) fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let [piece] = pieces {
            return Ok(rustix::net::send(self, piece, flags)?);
        }
        let mut nothing = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(self, pieces, &mut nothing, flags)?)
    }

    /// Has room for writing wake `cx`, after a write that found none.
    pub(crate) fn wait_writable(&self, cx: &mut Context<'_>) {
        // The reactor believes that there is room until it is told otherwise.
        let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let waits = match self {
            Self::Tcp(stream) => {
                let _ = stream.try_io(Interest::WRITABLE, full);
                stream.poll_write_ready(cx)
            }
            Self::Unix(stream) => {
                let _ = stream.try_io(Interest::WRITABLE, full);
                stream.poll_write_ready(cx)
            }
        };
        if waits.is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Waits until there is room for writing.
    pub(crate) async fn writable(&self) {
        std::future::poll_fn(|cx| {
            match self {
                Self::Tcp(stream) => stream.poll_write_ready(cx),
                Self::Unix(stream) => stream.poll_write_ready(cx),
            }
            .map(drop)
        })
        .await;
    }

    /// Ends one direction, or both, of the connection (shutdown(2)).
    pub(crate) fn shut(&self, how: Shutdown) {
        // It may have ended by itself.
        let _ = rustix::net::shutdown(self, how);
    }

    /// The bare descriptor, no longer watched.
    ///
    /// # Errors
    /// When the reactor does not let go of it.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
