//! What `my-app check` finds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Machine;

/// The report of a check.
pub struct Report {
    pub exit: u64,
    json: Value,
}

impl Machine {
    /// Runs `my-app check` as root.
    #[track_caller]
    pub fn check(&self) -> Report {
        let said = self.sh("my-app check --json || echo $?");
        let (json, exit) = said.rsplit_once('}').unwrap();
        Report {
            exit: exit.trim().parse().unwrap_or_default(),
            json: serde_json::from_str(&format!("{json}}}")).unwrap_or_else(|_| panic!("{said}")),
        }
    }
}

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.json["findings"].as_array().unwrap().iter()
    }

    /// The words for what was found.
    pub fn ids(&self) -> BTreeSet<&str> {
        let ids = self.findings().map(|it| it["id"].as_str().unwrap());
        // Some machines for tests allow few open files.
        ids.filter(|id| *id != "service-files").collect()
    }

    /// The finding of that name.
    pub fn get(&self, id: &str) -> Option<&Value> {
        self.findings().find(|it| it["id"] == id)
    }

    /// A part of that finding, as a text.
    #[track_caller]
    pub fn text(&self, id: &str, part: &str) -> &str {
        let finding = self
            .get(id)
            .unwrap_or_else(|| panic!("no {id}: {}", self.json));
        finding[part].as_str().unwrap()
    }
}
