//! What a master tells the program that takes its place in the same process (execve(2)): all that it has, as plain
//! values. Descriptors travel beside it, in the [carrier](crate::ipc::carrier).
//!
//! Each part of the master has a file here, and a field of [`State`]. Times are milliseconds of age, or of what
//! remains: clocks do not travel, but for the one that measures how long this takes.
//!
//! ```text
//! magic (8) · version (u32) · length (u64) · SHA-256 of all the rest (32) · the state, by postcard
//! ```
//!
//! Numbers are little-endian. The head is the same for ever, so that a program reads from any other which version
//! it speaks.

pub(crate) mod connections;
pub(crate) mod control;
pub(crate) mod hub;
pub(crate) mod listeners;
pub(crate) mod pool;
pub(crate) mod program;
pub(crate) mod workers;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::connections::ConnectionsState;
use self::control::ControlState;
use self::hub::HubState;
use self::listeners::ListenersState;
use self::pool::PoolState;
use self::program::ProgramState;
use self::workers::WorkersState;

/// Changes with every change of what [`State`] is in bytes.
pub(crate) const STATE_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"my-app\0H";
const SUM: usize = 32;
/// Before the sum: magic, version, length.
const BEFORE_SUM: usize = 8 + 4 + 8;
const HEAD: usize = BEFORE_SUM + SUM;

/// The place of a descriptor among those that travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Fd(pub u32);

/// All that a master has.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The program, its configuration, and why it is executed anew.
    pub program: ProgramState,
    /// The workers: their processes, links and what is told to them.
    pub workers: WorkersState,
    /// The loads of the workers, what is reserved, the key, the table of revision 3 ids.
    pub pool: PoolState,
    /// Connections that no worker has yet.
    pub connections: ConnectionsState,
    /// Where connections are accepted.
    pub listeners: ListenersState,
    /// The bus.
    pub hub: HubState,
    /// The control socket, what was counted, the log.
    pub control: ControlState,
}

/// A state that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandoverError {
    /// It is cut off, or something follows.
    #[error("the state of the running server has {found} bytes instead of {expected}")]
    Length {
        /// As it says.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// Something else.
    #[error("that is no state of a running server")]
    Magic,
    /// Of a program that is too new or too old.
    #[error(
        "the running server hands over its state in version {found}, and this program reads \
         version {STATE_VERSION}: it takes a restart"
    )]
    Version {
        /// As it says.
        found: u32,
    },
    /// A byte was changed on its way.
    #[error("the state of the running server was damaged on its way")]
    Damaged,
    /// Right to the byte, and no state.
    #[error("the state of the running server makes no sense: {0}")]
    Codec(#[from] postcard::Error),
}

impl State {
    /// As bytes.
    ///
    /// # Errors
    /// When it cannot be written, which is a fault of the program's.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, HandoverError> {
        let mut bytes = vec![0; HEAD];
        bytes = postcard::to_extend(self, bytes)?;
        let len = (bytes.len() - HEAD) as u64;
        let before = [&MAGIC[..], &STATE_VERSION.to_le_bytes(), &len.to_le_bytes()].concat();
        let sum = bytes.get(HEAD..).map(|body| sum(&before, body));
        if let (Some(head), Some(sum)) = (bytes.get_mut(..HEAD), sum) {
            head.copy_from_slice(&[&before[..], &sum].concat());
        }
        Ok(bytes)
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`State::encode`] made, or of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HandoverError> {
        let head = Head::read(bytes)?;
        if head.version != STATE_VERSION {
            return Err(HandoverError::Version {
                found: head.version,
            });
        }
        let (state, rest) = postcard::take_from_bytes(head.body)?;
        match rest {
            [] => Ok(state),
            _ => Err(HandoverError::Damaged),
        }
    }
}

struct Head<'a> {
    version: u32,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let short = || HandoverError::Length {
            expected: HEAD as u64,
            found: bytes.len() as u64,
        };
        let (before, rest) = bytes.split_first_chunk::<BEFORE_SUM>().ok_or_else(short)?;
        let (expected, body) = rest.split_first_chunk::<SUM>().ok_or_else(short)?;
        let (magic, numbers) = before.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(HandoverError::Magic);
        }
        let (version, len) = numbers.split_first_chunk::<4>().ok_or_else(short)?;
        let len = len.first_chunk().ok_or_else(short)?;
        let (version, len) = (u32::from_le_bytes(*version), u64::from_le_bytes(*len));
        if len != body.len() as u64 {
            return Err(HandoverError::Length {
                expected: len.saturating_add(HEAD as u64),
                found: bytes.len() as u64,
            });
        }
        if sum(before, body) != *expected {
            return Err(HandoverError::Damaged);
        }
        Ok(Self { version, body })
    }
}

fn sum(before: &[u8], body: &[u8]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
