//! The signals that the server handles.
//!
//! They wait all the time, for every thread (`pthread_sigmask(3)`), and are read from a descriptor (`signalfd(2)`). So
//! there is no moment in which one is lost: what nobody has read when another program takes this process over, that one
//! reads, for an exec changes neither what waits nor the mask.

use std::io;

use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::process;

/// What a signal makes the server do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    Stop,
    Reopen,
    /// It is told what it could have meant.
    Nothing,
}

/// Those that have not been handled yet. They [are held](process::hold_signals).
#[derive(Debug)]
pub(super) struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// To be called where the runtime is.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let waiting = SignalFd::with_flags(&process::handled_signals(), flags)?;
        #[expect(
            deprecated,
            reason = "a descriptor that is owned stays open; what is advised instead is unsafe"
        )]
        let waiting = AsyncFd::with_interest(waiting, Interest::READABLE)?;
        Ok(Self(waiting))
    }

    /// The next one. Nothing is lost if this is dropped.
    pub(super) async fn recv(&mut self) -> SignalAction {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                // The runtime is ending.
                return SignalAction::Stop;
            };
            match ready.get_inner().read_signal() {
                Ok(Some(read)) => return action(&read),
                // It fails for no reason that another attempt would mend.
                Ok(None) | Err(_) => ready.clear_ready(),
            }
        }
    }

    pub(super) async fn stop_again(&mut self) {
        while self.recv().await != SignalAction::Stop {}
    }
}

fn action(read: &siginfo) -> SignalAction {
    let number = i32::try_from(read.ssi_signo).ok();
    match number.and_then(|number| Signal::try_from(number).ok()) {
        Some(Signal::SIGTERM | Signal::SIGINT) => SignalAction::Stop,
        Some(Signal::SIGUSR1) => SignalAction::Reopen,
        // SIGHUP: what a terminal that is closed sends, and what makes other servers read their configuration.
        _ => SignalAction::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::raise;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_came_before_anybody_listened_is_heard_as_what_comes_later() {
        process::hold_signals().unwrap();
        // To this thread alone: the others hold none.
        let send = |signal| raise(signal).unwrap();
        send(Signal::SIGHUP);
        let mut signals = Signals::new().unwrap();
        assert_eq!(signals.recv().await, SignalAction::Nothing);
        for (signal, expected) in [
            (Signal::SIGTERM, SignalAction::Stop),
            (Signal::SIGUSR1, SignalAction::Reopen),
            (Signal::SIGINT, SignalAction::Stop),
        ] {
            send(signal);
            assert_eq!(signals.recv().await, expected, "{signal}");
        }
        let nothing = timeout(Duration::from_millis(20), signals.recv()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        // Another one, as in another program: what the first has not read is there.
        send(Signal::SIGTERM);
        drop(signals);
        let mut again = Signals::new().unwrap();
        assert_eq!(again.recv().await, SignalAction::Stop);
        process::release_signals().unwrap();
    }
}
