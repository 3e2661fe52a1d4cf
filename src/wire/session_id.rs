//! Session ids that route themselves.
//!
//! The engine draws a 16-character id and shows the same value to applications as the socket's
//! id. Outside the engine a polling session of revision 4 is therefore called
//!
//! ```text
//! <16: the engine's id><2: machine><2: generation><2: slot><8: MAC>
//! ```
//!
//! all of it URL-safe base64; the MAC is the first 48 bits of HMAC-SHA-256 over everything before
//! it, under a key that the master draws at its start. Whoever has seen a socket's id in a
//! broadcast cannot post into its session, and routing a request needs no table.
//!
//! Session ids are secrets: nothing here is ever logged.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The length of an id that engineioxide draws, in characters.
pub(crate) const BARE_LEN: usize = 16;
const HOME_LEN: usize = 6;
const MAC_LEN: usize = 8;
/// The length of an id as clients of revision 4 see it, in characters.
pub(crate) const TAGGED_LEN: usize = BARE_LEN + HOME_LEN + MAC_LEN;

/// Machine, generation and slot have two characters each: 12 bits.
pub(crate) const FIELD_LIMIT: u16 = 1 << 12;

/// The worker that has a session: its generation and its slot, both below [`FIELD_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Home {
    /// Which start or reload of the server.
    pub generation: u16,
    /// Which of its workers.
    pub slot: u16,
}

/// What the key is drawn from could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gives no random numbers: {0}")]
pub(crate) struct EntropyError(#[from] getrandom::Error);

/// The key of this start of the server, and the machine's number: enough to name sessions and to
/// recognise the names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keyring {
    key: [u8; 32],
    machine: u16,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(machine {})", self.machine)
    }
}

impl Keyring {
    /// Draws a key. `machine` is taken modulo [`FIELD_LIMIT`].
    ///
    /// # Errors
    /// When the kernel has no random numbers to give.
    pub(crate) fn draw(machine: u16) -> Result<Self, EntropyError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            key,
            machine: machine % FIELD_LIMIT,
        })
    }

    /// The machine's number, below [`FIELD_LIMIT`].
    #[must_use]
    pub(crate) fn machine(&self) -> u16 {
        self.machine
    }

    /// The two characters behind the engine's id in the names of this machine's sessions: by them a proxy knows the
    /// machine.
    #[must_use]
    pub(crate) fn machine_characters(&self) -> String {
        let mut characters = String::with_capacity(2);
        push_field(&mut characters, self.machine);
        characters
    }

    /// The name, outside the engine, of the session that the engine calls `bare`.
    #[must_use]
    pub(crate) fn tag(&self, bare: &str, home: Home) -> String {
        let mut sid = String::with_capacity(TAGGED_LEN);
        sid.push_str(bare);
        for field in [self.machine, home.generation, home.slot] {
            push_field(&mut sid, field);
        }
        let mac = self.mac(sid.as_bytes());
        BASE64.encode_string(mac, &mut sid);
        sid
    }

    /// The engine's name for a session and the worker that has it; `None` for a name that this
    /// server never gave.
    #[must_use]
    pub(crate) fn open<'a>(&self, sid: &'a str) -> Option<(&'a str, Home)> {
        if sid.len() != TAGGED_LEN || !sid.bytes().all(is_base64) {
            return None;
        }
        let (named, mac) = sid.split_at_checked(BARE_LEN + HOME_LEN)?;
        let mac = BASE64.decode(mac).ok()?;
        let mut hmac = self.hmac();
        hmac.update(named.as_bytes());
        // Compares in constant time.
        hmac.verify_truncated_left(&mac).ok()?;
        let (bare, home) = named.split_at_checked(BARE_LEN)?;
        let (machine, home) = home.split_at_checked(2)?;
        let (generation, slot) = home.split_at_checked(2)?;
        if read_field(machine)? != self.machine {
            return None;
        }
        Some((
            bare,
            Home {
                generation: read_field(generation)?,
                slot: read_field(slot)?,
            },
        ))
    }

    fn mac(&self, named: &[u8]) -> [u8; 6] {
        let mut hmac = self.hmac();
        hmac.update(named);
        let full: [u8; 32] = hmac.finalize().into_bytes().into();
        let mut mac = [0; 6];
        mac.iter_mut()
            .zip(full)
            .for_each(|(short, long)| *short = long);
        mac
    }

    fn hmac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new(&self.block())
    }

    /// HMAC pads its key with zeros to the hash's block (RFC 2104); padding it here makes the
    /// constructor one that cannot fail.
    fn block(&self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block
            .iter_mut()
            .zip(self.key)
            .for_each(|(to, from)| *to = from);
        block
    }
}

/// Does this look like an id that the engine drew (and revision 3 clients show)?
#[must_use]
pub(crate) fn is_bare(sid: &str) -> bool {
    sid.len() == BARE_LEN && sid.bytes().all(is_base64)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

fn push_field(sid: &mut String, field: u16) {
    for index in [field >> 6 & 63, field & 63] {
        let letter = ALPHABET.get(usize::from(index)).copied().unwrap_or(b'A');
        sid.push(char::from(letter));
    }
}

fn read_field(text: &str) -> Option<u16> {
    text.bytes().try_fold(0, |value: u16, letter| {
        let index = ALPHABET.iter().position(|&l| l == letter)?;
        Some(value << 6 | u16::try_from(index).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "AAECAwQFBgcICQoL";
    const HOME: Home = Home {
        generation: 7,
        slot: 4095,
    };

    #[test]
    fn a_tagged_id_opens_to_what_it_was_made_of() {
        let keyring = Keyring::draw(4095).unwrap();
        let sid = keyring.tag(BARE, HOME);
        assert_eq!(sid.len(), TAGGED_LEN);
        assert_eq!(keyring.open(&sid), Some((BARE, HOME)));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let keyring = Keyring::draw(1).unwrap();
        let sid = keyring.tag(BARE, HOME);
        for at in 0..sid.len() {
            let mut forged = sid.clone().into_bytes();
            forged[at] = if forged[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(
                keyring.open(&String::from_utf8(forged).unwrap()),
                None,
                "{at}"
            );
        }
    }

    #[test]
    fn a_truncated_a_longer_and_a_bare_id_are_unknown() {
        let keyring = Keyring::draw(1).unwrap();
        let sid = keyring.tag(BARE, HOME);
        for cut in 0..sid.len() {
            assert_eq!(keyring.open(&sid[..cut]), None);
        }
        assert_eq!(keyring.open(&format!("{sid}A")), None);
        assert_eq!(keyring.open("äääääääääääääää"), None);
        assert!(is_bare(BARE) && !is_bare(&sid));
    }

    #[test]
    fn another_starts_key_opens_nothing() {
        let sid = Keyring::draw(1).unwrap().tag(BARE, HOME);
        assert_eq!(Keyring::draw(1).unwrap().open(&sid), None);
    }

    #[test]
    fn a_keyring_survives_the_link() {
        let keyring = Keyring::draw(9).unwrap();
        let copy: Keyring = postcard::from_bytes(&postcard::to_stdvec(&keyring).unwrap()).unwrap();
        assert_eq!(copy.open(&keyring.tag(BARE, HOME)), Some((BARE, HOME)));
    }
}
