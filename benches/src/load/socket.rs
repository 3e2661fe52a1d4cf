//! A client's connection: what it reads is parsed where it lies, what it writes never waits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};

use super::LoadError;
use crate::address::Address;

pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    /// What came and was not whole yet.
    partial: Vec<u8>,
}

impl Socket {
    /// Connects, over TCP from `source`: each address has ports of its own, and those of sessions that
    /// have ended are taken for a minute (TIME-WAIT, RFC 9293 section 3.6.1).
    pub(crate) fn connect(to: &Address, source: IpAddr) -> io::Result<Self> {
        let fd = match to {
            Address::Tcp(to) => {
                let family = AddressFamily::INET;
                let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                bind(&fd, &SocketAddr::new(source, 0))?;
                connect(&fd, to)?;
                sockopt::set_tcp_nodelay(&fd, true)?;
                fd
            }
            Address::Unix(path) => UnixStream::connect(path)?.into(),
        };
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd,
            partial: Vec::new(),
        })
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), LoadError> {
        match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
            Ok(count) if count == bytes.len() => Ok(()),
            // Fewer bytes are under way than a socket's buffer holds.
            Ok(_) | Err(Errno::AGAIN) => Err(LoadError::Stuck),
            Err(error) => Err(LoadError::Socket(error.into())),
        }
    }

    /// Reads what there is with one call and gives it, behind what was left before, to `parse`, which
    /// tells how much of it was whole.
    pub(crate) fn read<T>(
        &mut self,
        buffer: &mut [u8],
        parse: impl FnOnce(&[u8]) -> Result<(usize, T), LoadError>,
    ) -> Result<Option<T>, LoadError> {
        let count = match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Err(LoadError::Closed),
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(LoadError::Socket(error.into())),
        };
        let came = buffer.get(..count).unwrap_or_default();
        if self.partial.is_empty() {
            let (whole, made) = parse(came)?;
            self.partial
                .extend_from_slice(came.get(whole..).unwrap_or_default());
            return Ok(Some(made));
        }
        self.partial.extend_from_slice(came);
        let (whole, made) = parse(&self.partial)?;
        self.partial.drain(..whole);
        Ok(Some(made))
    }
}
