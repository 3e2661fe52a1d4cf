//! The names of channels as Postgres takes them: identifiers of 63 bytes at most.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// The longest identifier, in bytes (`NAMEDATALEN` - 1).
const LONGEST: usize = 63;
/// Bytes of the hash in the name of a channel whose own is too long.
const HASH: usize = 12;

/// A channel's name on the wire: its own, or its beginning and a hash.
pub(super) fn short(name: &str) -> Cow<'_, str> {
    if name.len() <= LONGEST {
        return Cow::Borrowed(name);
    }
    let mut short = String::new();
    for c in name.chars() {
        if short.len() + c.len_utf8() + 1 + 2 * HASH > LONGEST {
            break;
        }
        short.push(c);
    }
    short.push('~');
    for byte in Sha256::digest(name).iter().take(HASH) {
        // A string takes all.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// As an identifier in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// The long names that were shortened.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, String>>);

impl Names {
    /// The name on the wire of a channel that is listened to.
    pub(super) fn on_the_wire(&self, name: &str) -> String {
        match short(name) {
            Cow::Borrowed(name) => name.to_owned(),
            Cow::Owned(short) => {
                let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                names.insert(short.clone(), name.to_owned());
                short
            }
        }
    }

    /// The channel with this name on the wire.
    pub(super) fn of(&self, on_the_wire: &str) -> String {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(on_the_wire).map(String::as_str);
        name.unwrap_or(on_the_wire).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_become_short_ones_that_differ_and_come_back() {
        let names = Names::default();
        for name in ["my-app/1/all", &"x".repeat(63)] {
            assert_eq!(names.on_the_wire(name), name);
            assert_eq!(names.of(name), name);
        }
        let long = ["a", "b", "\u{e9}"].map(|end| format!("{}{end}", "\u{e9}".repeat(40)));
        let short: Vec<_> = long.iter().map(|name| names.on_the_wire(name)).collect();
        for (long, short) in long.iter().zip(&short) {
            assert!(short.len() <= LONGEST, "{short}");
            assert_eq!(names.of(short), *long);
            assert_eq!(short.as_str(), super::short(long));
        }
        assert_ne!(short[0], short[1]);
    }

    #[test]
    fn a_name_stays_one_identifier() {
        assert_eq!(
            quoted("a\"; drop table x; --"),
            "\"a\"\"; drop table x; --\""
        );
    }
}
