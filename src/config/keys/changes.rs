//! What two configurations differ in, and whether that needs new workers.

use super::KEYS;
use crate::config::Config;

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The keys that have other values, in the order of the documentation.
    pub(crate) keys: Vec<&'static str>,
    /// Does one of them hold only for workers that start with it?
    pub(crate) need_new_workers: bool,
}

impl Changes {
    /// Can all of it take effect in the workers that there are? Where nothing has changed there is nothing to take effect.
    pub(crate) fn are_live(&self) -> bool {
        !self.keys.is_empty() && !self.need_new_workers
    }
}

impl Config {
    /// What is other here than it was `before`.
    ///
    /// # Errors
    /// When one of them cannot be written as JSON, as workers get it.
    pub(crate) fn changes(&self, before: &Self) -> serde_json::Result<Changes> {
        let (now, then) = (serde_json::to_value(self)?, serde_json::to_value(before)?);
        let differs = |name: &str| {
            let pointer = format!("/{}", name.replace('.', "/"));
            now.pointer(&pointer) != then.pointer(&pointer)
        };
        let mut changes = Changes::default();
        for key in KEYS.iter().filter(|key| differs(key.name)) {
            changes.keys.push(key.name);
            changes.need_new_workers |= !key.live;
        }
        // Workers count the clients of each address from their start on, or never.
        let counts = |config: &Self| config.limits.max_connections_per_address > 0;
        changes.need_new_workers |= counts(self) != counts(before);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::parse;

    fn changes(before: &str, now: &str) -> Changes {
        let read = |text| parse(text).unwrap().config;
        read(now).changes(&read(before)).unwrap()
    }

    #[test]
    fn every_key_is_compared_by_its_own_value() {
        let json = serde_json::to_value(Config::default()).unwrap();
        for key in KEYS {
            let pointer = format!("/{}", key.name.replace('.', "/"));
            assert!(json.pointer(&pointer).is_some(), "{}", key.name);
        }
    }

    #[test]
    fn what_has_changed_is_named_and_whether_it_needs_new_workers() {
        assert_eq!(changes("", "workers = 0"), Changes::default());
        assert!(!changes("", "").are_live());
        let live = changes("drain = \"1s\"", "[log]\nlevel = \"debug\"");
        assert_eq!(live.keys, ["drain", "log.level"]);
        assert!(live.are_live());
        let both = changes("", "[log]\nlevel = \"debug\"\n[engine]\npath = \"/x\"");
        assert_eq!(both.keys, ["engine.path", "log.level"]);
        assert!(!both.are_live());
    }

    #[test]
    fn another_limit_for_each_address_is_live_and_the_first_one_is_not() {
        let limit = |most: u32| format!("limits.max_connections_per_address = {most}");
        assert!(changes(&limit(2), &limit(3)).are_live());
        assert!(!changes(&limit(2), &limit(0)).are_live());
        assert!(!changes("", &limit(3)).are_live());
    }

    #[test]
    fn the_documentation_names_those_that_need_no_new_workers() {
        let text = include_str!("../../../docs/OPERATING.md");
        let (_, after) = text.split_once("These keys need no new workers: ").unwrap();
        let (list, _) = after.split_once("\n\n").unwrap();
        let documented: Vec<_> = list.split('`').skip(1).step_by(2).collect();
        let live = KEYS.iter().filter(|key| key.live).map(|key| key.name);
        assert_eq!(documented, live.collect::<Vec<_>>());
    }
}
