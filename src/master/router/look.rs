//! Looks at what a connection begins with, and leaves it where it is (`MSG_PEEK`, recv(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::time::{Instant, timeout_at};

use super::Router;
use super::connections::Entry;
use super::decision::{Seen, decide};
use crate::ipc::watch::watch;
use crate::wire::request_line::{self, Peeked};
use crate::wire::session_id::{self, Home};

impl Router {
    /// What a connection wants; nothing if that cannot be told before `deadline`.
    pub(super) async fn see(&self, entry: &Entry, deadline: Instant) -> io::Result<Option<Seen>> {
        // Most requests are there as soon as their connections are.
        if let Ok(seen) = self.peek(entry.conn.as_fd()) {
            return Ok(Some(seen));
        }
        // Boxed, for few have to wait.
        let seen = Box::pin(timeout_at(deadline, self.look(entry))).await;
        seen.ok().transpose()
    }

    /// Waits until it can be told what a connection wants.
    ///
    /// After half a line and an end-of-file the socket stays readable for ever, so that waiting
    /// for "readable" alone would never wait again.
    async fn look(&self, entry: &Entry) -> io::Result<Seen> {
        let conn = watch(Rc::clone(&entry.conn), Interest::READABLE)?;
        loop {
            let Ok(mut ready) = conn.readable().await else {
                return Ok(Seen::Closed);
            };
            let is_read_closed = ready.ready().is_read_closed();
            match ready.try_io(|conn| self.peek(conn.as_fd())) {
                Ok(Ok(seen)) => return Ok(seen),
                Ok(Err(_)) => return Ok(Seen::Closed),
                Err(_) if is_read_closed => return Ok(Seen::Closed),
                Err(_) => {}
            }
        }
    }

    /// `WouldBlock`: there is only a part of a line yet.
    pub(super) fn peek(&self, fd: BorrowedFd<'_>) -> io::Result<Seen> {
        let mut window = self.window.borrow_mut();
        let (count, _) = rustix::net::recv(fd, &mut window[..], RecvFlags::PEEK)?;
        if count == 0 {
            return Ok(Seen::Closed);
        }
        match request_line::read(window.get(..count).unwrap_or_default()) {
            Peeked::Line(line) => Ok(decide(&line, &self.config.engine, |sid| self.home_of(sid))),
            Peeked::Garbage => Ok(Seen::Garbage),
            Peeked::TooLong => Ok(Seen::TooLong),
            Peeked::Partial => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Who has, or had, a session.
    fn home_of(&self, sid: &str) -> Option<Home> {
        let tagged = self.pool.keyring().open(sid).map(|(_, home)| home);
        let bare = || {
            let known = self.config.engine.allow_eio3 && session_id::is_bare(sid);
            let bare = sid.as_bytes().try_into().ok().filter(|_| known)?;
            self.pool.eio3_home(bare)
        };
        tagged.or_else(bare)
    }
}
