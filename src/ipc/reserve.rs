//! Descriptors that clients do not get.
//!
//! A new descriptor has the lowest number that is free (open(2)). So one with a high number tells, without any
//! counting, that few are left: those are for what the server itself needs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Resource, getrlimit};

/// Where the numbers begin that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserve {
    /// For requests of sessions that there are: no new session gets these.
    requests: u64,
    /// For connections between workers, and those that change workers: no client's new one gets these.
    handoffs: u64,
    /// For starting workers: nothing else gets these.
    supervision: u64,
}

impl Reserve {
    /// The master's: it must be able to replace all its workers at a time.
    pub(crate) fn of_the_master(workers: u16) -> Self {
        Self::master(limit(), workers)
    }

    /// A worker's.
    pub(crate) fn of_a_worker() -> Self {
        Self::worker(limit())
    }

    /// Of which nothing is left but for starting workers.
    #[cfg(test)]
    pub(crate) fn exhausted() -> Self {
        Self {
            requests: 0,
            handoffs: 0,
            supervision: 0,
        }
    }

    fn master(limit: u64, workers: u16) -> Self {
        // A worker has a link, a bus and a process; what it is started with is closed again.
        let supervision = (8 + 4 * u64::from(workers)).min(limit / 4);
        let supervision = limit - supervision;
        let handoffs = supervision - (limit / 8).min(64);
        Self {
            requests: handoffs,
            handoffs,
            supervision,
        }
    }

    fn worker(limit: u64) -> Self {
        let kept = (limit / 16).min(64);
        Self {
            // A poll takes two: its connection, and to watch that.
            requests: limit - kept - (limit / 8).min(256),
            handoffs: limit - kept,
            supervision: limit,
        }
    }

    /// May a session be opened over this, a client's new connection?
    pub(crate) fn has_room_for_session(self, conn: impl AsFd) -> bool {
        number(conn) < self.requests
    }

    /// May this be a client's new connection?
    pub(crate) fn has_room_for(self, conn: impl AsFd) -> bool {
        number(conn) < self.handoffs
    }

    /// May this be a client's new connection that has to wait? The last quarter is for those that need not.
    pub(crate) fn has_room_to_wait(self, conn: impl AsFd) -> bool {
        number(conn) < self.handoffs / 4 * 3
    }

    /// May this be a connection that goes to another worker?
    pub(crate) fn has_room_for_handoff(self, conn: impl AsFd) -> bool {
        number(conn) < self.supervision
    }

    /// The same connection under the lowest free number, if it may be a client's now.
    pub(crate) fn renumber(self, conn: &OwnedFd) -> Option<OwnedFd> {
        let lower = rustix::io::fcntl_dupfd_cloexec(conn, 0).ok()?;
        self.has_room_for(&lower).then_some(lower)
    }
}

fn number(fd: impl AsFd) -> u64 {
    // None is negative.
    u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(u64::MAX)
}

/// How many this process may have.
fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_little_of_many_and_never_more_than_half() {
        for (limit, workers, handoffs, supervision) in [
            (64, 2, 40, 48),
            (1024, 4, 936, 1000),
            (1 << 20, 8, (1 << 20) - 104, (1 << 20) - 40),
            (1024, 4096, 704, 768),
            (0, 1, 0, 0),
        ] {
            let expected = Reserve {
                requests: handoffs,
                handoffs,
                supervision,
            };
            assert_eq!(Reserve::master(limit, workers), expected, "{limit}");
        }
        let worker = |limit| {
            let Reserve {
                requests, handoffs, ..
            } = Reserve::worker(limit);
            (requests, handoffs)
        };
        assert_eq!(worker(64), (52, 60));
        assert_eq!(worker(200), (163, 188));
        assert_eq!(worker(1 << 20), ((1 << 20) - 320, (1 << 20) - 64));
    }

    #[test]
    fn a_connection_moves_down_when_a_lower_number_is_free() {
        let (low, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&low, 500).unwrap();
        let reserve = |handoffs| Reserve {
            requests: 400,
            handoffs,
            supervision: 600,
        };
        assert!(!reserve(500).has_room_for(&high) && reserve(501).has_room_for(&high));
        assert!(reserve(500).has_room_for_handoff(&high));
        assert!(!reserve(501).has_room_for_session(&high) && reserve(0).has_room_for_session(&low));
        assert!(
            reserve(500)
                .renumber(&high)
                .is_some_and(|fd| number(&fd) < 500)
        );
        assert!(reserve(0).renumber(&high).is_none());
    }
}
