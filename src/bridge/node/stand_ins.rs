//! Ids of Node's sockets, which are longer than ours, under names that our workers can hold.
//!
//! A stand-in is made from the id alone: it is the same on every machine and after every start. What it stands for is
//! known to who has seen the id, for the last [`MOST`] of them.

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use socketioxide_core::Sid;

/// So many are known at one time.
const MOST: usize = 100_000;
/// A longer id is none of a socket, in bytes.
const LONGEST: usize = 256;
/// Of the digest so many bytes are the 16 characters of an id.
const BYTES: usize = 12;

/// Who stands for whom.
#[derive(Debug, Default)]
pub(super) struct StandIns {
    ids: HashMap<Sid, Box<str>>,
    /// In the order in which they were seen first.
    seen: VecDeque<Sid>,
}

impl StandIns {
    /// The stand-in for an id of Node's, which is remembered.
    pub(super) fn of(&mut self, id: &str) -> Option<Sid> {
        if id.len() > LONGEST {
            return None;
        }
        let digest = Sha256::digest(id.as_bytes());
        let text = URL_SAFE_NO_PAD.encode(digest.get(..BYTES)?);
        let stand_in: Sid = text.parse().ok()?;
        if !self.ids.contains_key(&stand_in) {
            if self.seen.len() >= MOST
                && let Some(oldest) = self.seen.pop_front()
            {
                self.ids.remove(&oldest);
            }
            self.seen.push_back(stand_in);
            self.ids.insert(stand_in, id.into());
        }
        Some(stand_in)
    }

    /// Whom it stands for, if it stands for anybody who is known.
    pub(super) fn real(&self, stand_in: Sid) -> Option<&str> {
        self.ids.get(&stand_in).map(AsRef::as_ref)
    }

    /// The room that Node's servers know by this name: an id's stand-in is that id's own room.
    pub(super) fn room<'a>(&'a self, room: &'a str) -> &'a str {
        let id = room.parse().ok().and_then(|id| self.real(id));
        id.unwrap_or(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_always_the_same_and_leads_back() {
        let (mut one, mut other) = (StandIns::default(), StandIns::default());
        let id = "Gz-Zo2Zt1mt1IXbjAAAB";
        let stand_in = one.of(id).unwrap();
        assert_eq!(other.of(id), Some(stand_in));
        assert_eq!(one.real(stand_in), Some(id));
        assert_eq!(one.room(stand_in.as_str()), id);
        assert_eq!(one.room("lobby"), "lobby");
        assert_eq!(one.of(&"x".repeat(300)), None);
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_is_forgotten() {
        let mut all = StandIns::default();
        let first = all.of("first").unwrap();
        for n in 0..MOST {
            all.of(&n.to_string());
        }
        assert_eq!(all.real(first), None);
        assert_eq!(all.ids.len(), MOST);
        assert_eq!(all.seen.len(), MOST);
    }
}
