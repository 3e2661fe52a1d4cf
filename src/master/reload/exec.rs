//! The step from one program to the next in the same process, from both of its sides.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use super::program::Program;
use crate::ipc::carrier::{CarrierError, Luggage};
use crate::master::hub::HubError;
use crate::process;
use crate::wire::handover::{HandoverError, State};
use crate::wire::session_id::EntropyError;

/// What is handed over cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// Standard input cannot be taken.
    #[error("standard input cannot be taken: {0}")]
    Stdin(#[source] io::Error),
    /// Something did not come along.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// What came along cannot be read.
    #[error(transparent)]
    State(#[from] HandoverError),
    /// The bus.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// No key for the session ids.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The configuration that came along cannot be read.
    #[error("the configuration of the running server: {0}")]
    Config(#[from] serde_json::Error),
    /// What came along cannot be used.
    #[error("{0} of the running server cannot be used: {1}")]
    Part(&'static str, #[source] io::Error),
}

/// Executes the program, which finds `stdin` as its standard input. Returns only if that fails, and then nothing has
/// changed. Every other descriptor is closed by it. To be called on the main thread: the workers live as long as that.
///
/// # Errors
/// Always.
pub(super) fn exec(program: &Program, stdin: OwnedFd) -> io::Result<Infallible> {
    let path = program.path()?.as_os_str().to_owned();
    let args = [OsString::from(process::NAME)]
        .into_iter()
        .chain(program.to_resume());
    let args = args.map(c_string).collect::<io::Result<Vec<_>>>()?;
    // Not by `std`, which sets signals to what they were for its parent, before a call that may fail.
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut variable = name;
        variable.push("=");
        variable.push(value);
        c_string(variable)
    });
    let environment = environment.collect::<io::Result<Vec<_>>>()?;
    let path = c_string(path)?;
    // Before, for there may be no descriptor left for it afterwards: what is in the carrier would stay open in there.
    let nothing = File::open("/dev/null")?;
    let failed = rustix::stdio::dup2_stdin(stdin)
        .map_err(io::Error::from)
        .and_then(|()| Ok(nix::unistd::execve(&path, &args, &environment)?));
    rustix::stdio::dup2_stdin(nothing)?;
    failed
}

fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

/// Takes what the program before has handed over.
///
/// # Errors
/// When it is not there, or cannot be read.
pub(crate) fn receive() -> Result<(State, Luggage), ResumeError> {
    let mut luggage = Luggage::receive(process::take_stdin().map_err(ResumeError::Stdin)?)?;
    let state = State::decode(&luggage.take_state())?;
    Ok((state, luggage))
}
