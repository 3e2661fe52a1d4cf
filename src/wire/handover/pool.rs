//! What the pool has of the workers, and of the sessions on their way.

use serde::{Deserialize, Serialize};

use crate::wire::client::ClientKey;
use crate::wire::session_id::{BARE_LEN, Home, Keyring};

/// The pool.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolState {
    /// The key of all session ids, and the machine's number.
    pub keyring: Option<Keyring>,
    /// The generation that gets what is new.
    pub current: u16,
    /// Who was chosen last.
    pub last: Option<Home>,
    /// The number of the next reservation.
    pub next_reservation: u64,
    /// The sessions that are counted somewhere, and not open yet.
    pub reservations: Vec<ReservationState>,
    /// The sessions of revision 3, whose ids do not tell where they are.
    pub eio3: Vec<([u8; BARE_LEN], Home)>,
    /// Is the machine taken out?
    pub taken_out: bool,
}

/// A session that is counted for a worker because another one, or itself, asked where it shall be opened.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReservationState {
    /// Its number.
    pub number: u64,
    /// For whom it is counted.
    pub member: Home,
    /// Who asked.
    pub asker: Home,
    /// Whose it is, if that is known.
    pub client: Option<ClientKey>,
}
