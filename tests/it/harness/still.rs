//! What a worker would read if it did not stand still.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;

use rustix::net::{AddressFamily, RecvFlags, SocketType, recv, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{SOON, eventually, signal_process};

/// Enough for what comes within some minutes.
const MUCH: usize = 1 << 20;

/// A worker under SIGSTOP, and its ends of its link and of the bus (`pidfd_getfd(2)`).
pub struct Still {
    pub pid: u32,
    link: OwnedFd,
    bus: OwnedFd,
}

impl Still {
    #[track_caller]
    pub fn stop(pid: u32) -> Self {
        signal_process(pid, "STOP");
        eventually("it stands still", SOON, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(')').next().unwrap().trim().starts_with('T')
        });
        let own = sockets(pid);
        let of_type = |kind| {
            let fits = |it: &&OwnedFd| sockopt::socket_type(it) == Ok(kind);
            let mut fitting = own.iter().filter(fits);
            let one = fitting.next().expect("one of this kind");
            assert!(fitting.next().is_none(), "another one of this kind");
            one.try_clone().unwrap()
        };
        Self {
            pid,
            link: of_type(SocketType::SEQPACKET),
            bus: of_type(SocketType::STREAM),
        }
    }

    /// Takes the messages that lie in its link: it will never read them.
    pub fn take_messages(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; MUCH];
        let mut all = Vec::new();
        while let Ok((_, length @ 1..)) = recv(&self.link, &mut *buffer, RecvFlags::DONTWAIT) {
            all.push(buffer[..length].to_vec());
        }
        all
    }

    /// The frames that lie in its bus, and stay there.
    #[track_caller]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; MUCH];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let length = recv(&self.bus, &mut *buffer, flags).map_or(0, |(_, length)| length);
        let mut rest = &buffer[..length];
        let mut all = Vec::new();
        while let Some((length, _)) = rest.split_first_chunk() {
            // A frame's length is that of all that follows it.
            let length = 4 + u32::from_le_bytes(*length) as usize;
            assert!(rest.len() >= length, "half a frame: {rest:?}");
            all.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "{rest:?}");
        all
    }

    pub fn go_on(&self) {
        signal_process(self.pid, "CONT");
    }
}

/// Its Unix sockets that somebody else made: those that it has from the master.
fn sockets(pid: u32) -> Vec<OwnedFd> {
    let number = i32::try_from(pid).unwrap();
    let pidfd = pidfd_open(Pid::from_raw(number).unwrap(), PidfdFlags::empty()).unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.map(|entry| entry.unwrap());
    let sockets =
        open.filter(|it| fs::metadata(it.path()).is_ok_and(|it| it.file_type().is_socket()));
    let numbers = sockets.map(|it| it.file_name().to_str().unwrap().parse().unwrap());
    let copies = numbers.map(|fd| pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).unwrap());
    copies
        .filter(|it| sockopt::socket_domain(it) == Ok(AddressFamily::UNIX))
        .filter(|it| {
            sockopt::socket_peercred(it).is_ok_and(|made| made.pid.as_raw_nonzero().get() != number)
        })
        .collect()
}
