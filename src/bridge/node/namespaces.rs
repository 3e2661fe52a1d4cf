//! Which namespaces this machine's workers have.

use std::collections::{HashMap, HashSet};

use socketioxide_core::{Sid, Str};

use super::channels::Channels;

/// So many are spoken with Node servers: clients may make any number of them.
const MOST: usize = 10_000;
/// A longer name is not spoken with Node servers, in bytes.
const LONGEST: usize = 1_024;

/// The namespaces of all workers of this machine.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    of: HashMap<Sid, HashSet<Str>>,
    /// How many workers have each.
    counts: HashMap<Str, usize>,
    /// The namespaces, by the patterns of their broadcasts.
    patterns: HashMap<String, Str>,
}

/// What became of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// This machine has it now.
    New,
    /// It has it no more.
    Gone,
    /// It has it, and there are too many to speak of it.
    TooMany,
}

impl Namespaces {
    /// A worker has this one now.
    pub(super) fn add(&mut self, worker: Sid, ns: &Str, key: &str) -> Change {
        if !self.counts.contains_key(ns) && (self.counts.len() >= MOST || ns.len() > LONGEST) {
            return Change::TooMany;
        }
        if !self.of.entry(worker).or_default().insert(ns.clone()) {
            return Change::None;
        }
        let count = self.counts.entry(ns.clone()).or_default();
        *count += 1;
        if *count > 1 {
            return Change::None;
        }
        let pattern = Channels::new(key, ns).pattern();
        self.patterns.insert(pattern, ns.clone());
        Change::New
    }

    /// A worker has this one no more.
    pub(super) fn remove(&mut self, worker: Sid, ns: &Str, key: &str) -> Change {
        let had = self.of.get_mut(&worker).is_some_and(|of| of.remove(ns));
        if had {
            self.less(ns, key)
        } else {
            Change::None
        }
    }

    /// Only these workers are left. Which namespaces are gone?
    pub(super) fn keep(&mut self, workers: &HashSet<Sid>, key: &str) -> Vec<Str> {
        let gone = self.of.extract_if(|worker, _| !workers.contains(worker));
        let lost: Vec<Str> = gone.flat_map(|(_, of)| of).collect();
        let mut gone = lost;
        gone.retain(|ns| self.less(ns, key) == Change::Gone);
        gone
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Str> {
        self.counts.keys()
    }

    /// Whose broadcasts come by this pattern?
    pub(super) fn by_pattern(&self, pattern: &str) -> Option<&Str> {
        self.patterns.get(pattern)
    }

    fn less(&mut self, ns: &Str, key: &str) -> Change {
        match self.counts.get_mut(ns) {
            Some(count) if *count > 1 => {
                *count -= 1;
                Change::None
            }
            Some(_) => {
                self.counts.remove(ns);
                self.patterns.remove(&Channels::new(key, ns).pattern());
                Change::Gone
            }
            None => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: u8) -> Sid {
        format!("worker_{n:09}").parse().unwrap()
    }

    #[test]
    fn a_namespace_is_there_while_any_worker_has_it() {
        let mut all = Namespaces::default();
        let (one, two) = (worker(1), worker(2));
        let chat = Str::from("/chat");
        assert_eq!(all.add(one, &chat, "k"), Change::New);
        assert_eq!(all.add(one, &chat, "k"), Change::None, "told again");
        assert_eq!(all.add(two, &chat, "k"), Change::None);
        assert_eq!(all.by_pattern("k#/chat#*"), Some(&chat));
        assert_eq!(all.remove(one, &chat, "k"), Change::None);
        assert_eq!(all.remove(one, &chat, "k"), Change::None, "told again");
        let gone = all.keep(&HashSet::from([one]), "k");
        assert_eq!(gone, std::slice::from_ref(&chat));
        assert_eq!((all.all().count(), all.by_pattern("k#/chat#*")), (0, None));
    }

    #[test]
    fn what_clients_make_up_is_bounded() {
        let mut all = Namespaces::default();
        for n in 0..MOST {
            assert_eq!(all.add(worker(1), &n.to_string().into(), "k"), Change::New);
        }
        assert_eq!(all.add(worker(1), &"more".into(), "k"), Change::TooMany);
        let long = "n".repeat(LONGEST + 1).into();
        assert_eq!(
            Namespaces::default().add(worker(1), &long, "k"),
            Change::TooMany
        );
    }
}
