//! The signals that the server handles.

use std::io;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal makes the server do.
pub(super) enum SignalAction {
    Stop,
    Reopen,
    /// It is told what it could have meant.
    Nothing,
}

/// All of them wait from now on, even for another program in this process, which [releases](release) them when it can
/// handle them: at their default they would end it. Those of this thread alone: an exec leaves no other.
///
/// # Errors
/// See `pthread_sigmask(3)`.
pub(super) fn hold() -> io::Result<()> {
    Ok(handled().thread_block()?)
}

/// They wait no longer.
///
/// # Errors
/// See `pthread_sigmask(3)`.
pub(super) fn release() -> io::Result<()> {
    Ok(handled().thread_unblock()?)
}

fn handled() -> SigSet {
    use nix::sys::signal::Signal;
    let all = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ];
    all.into_iter().collect()
}

/// The signals that the server handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    /// What a terminal that is closed sends, and what makes other servers read their configuration.
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn recv(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.reopen.recv() => SignalAction::Reopen,
            _ = self.hangup.recv() => SignalAction::Nothing,
        }
    }

    pub(super) async fn stop_again(&mut self) {
        while !matches!(self.recv().await, SignalAction::Stop) {}
    }
}
