//! Standard output as a sink, unbuffered: the master and its workers share it, and only whole lines
//! in one write each do not mix.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

use super::queue::LineWriter;

/// Standard output. Whoever closes it loses lines, which are counted; the server goes on.
pub(super) struct Terminal(File);

impl Terminal {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }
}

impl LineWriter for Terminal {
    fn write_line(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while !rest.is_empty() {
            match self.0.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program that shares the terminal can make it non-blocking for all.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None);
                }
                Err(_) => return false,
            }
        }
        true
    }
}
