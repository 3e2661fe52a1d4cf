//! A client's connection, TCP or Unix, as master and workers hold it and pass it on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{SendFlags, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::wire::link::Origin;

/// The kernel would let the buffer of a client that reads nothing grow for seconds, which looks like
/// progress; of a fixed size it takes more only when the client took some. The kernel doubles the
/// number (socket(7), `SO_SNDBUF`): at 100 ms from here a client still gets 4 MB a second.
pub(crate) const SEND_BUFFER: usize = 256 * 1024;

/// Makes a TCP socket send small packets at once (each of Engine.IO's is awaited by somebody), notice a
/// peer that vanished without a word, and keep its send buffer's size. Of a listener, all connections
/// have it from the beginning: three calls less for each.
///
/// # Errors
/// When the kernel refuses one of the options.
pub(crate) fn tune(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
    Ok(())
}

/// A client's, a proxy's or another worker's connection.
#[derive(Debug)]
pub(crate) enum Conn {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket, or a socket pair.
    Unix(UnixStream),
}

impl Conn {
    /// Takes a descriptor over. Its file description is non-blocking already: it was accepted so.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub(crate) fn from_fd(fd: OwnedFd, origin: Origin) -> io::Result<Self> {
        match origin {
            Origin::Tcp(_) => TcpStream::from_std(fd.into()).map(Self::Tcp),
            Origin::Unix | Origin::Worker => UnixStream::from_std(fd.into()).map(Self::Unix),
        }
    }

    /// Gives the descriptor up, for somebody else to watch.
    ///
    /// # Errors
    /// When the runtime does not let it go.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }

    /// Ends the connection in both directions now, whatever is still queued.
    pub(crate) fn abort(&self) {
        // It fails only on a connection that is over already.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Both);
    }

    /// Writes as much as the kernel takes now, without asking whether the socket is "writable":
    /// it is called so only when a third of its buffer is free, and left to itself that buffer
    /// grows to megabytes.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes nothing.
    pub(crate) fn push(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(self, bytes, flags)?)
    }

    /// Waits until there is something to read, or an end.
    ///
    /// # Errors
    /// When the runtime is ending.
    pub(crate) async fn readable(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Self::Unix(stream) => stream.ready(Interest::READABLE).await,
        }
    }

    /// Waits until the connection is reset, or fails otherwise.
    pub(crate) async fn failed(&self) {
        // An error of the runtime's ends the wait as well.
        let _ = match self {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
        };
    }

    /// Reads by `act`; `WouldBlock` lets [`Conn::readable`] wait again.
    ///
    /// # Errors
    /// Those of `act`.
    pub(crate) fn try_read_with<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || act(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || act(stream.as_fd())),
        }
    }
}

impl From<Conn> for engineioxide::Conn {
    fn from(conn: Conn) -> Self {
        match conn {
            Conn::Tcp(stream) => Self::Tcp(stream),
            Conn::Unix(stream) => Self::Unix(stream),
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

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither kind buffers anything in this process.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
