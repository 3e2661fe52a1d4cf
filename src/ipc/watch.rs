//! Waits for descriptors for which tokio has no type, or which are shared.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime tell when a non-blocking descriptor is ready. Shared (`Rc<OwnedFd>`), it outlives the watch.
///
/// # Errors
/// When the descriptor cannot be watched, as files cannot (`epoll_ctl(2)`, `EPERM`).
#[expect(
    deprecated,
    reason = "what is to replace it is unsafe, for types whose descriptor may change or be closed; no `AsFd` of ours does"
)]
pub(crate) fn watch<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(fd, interest)
}
