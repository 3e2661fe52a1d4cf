//! The pages lead to what is there: files, targets of `make`, what the package installs, the version.

use std::collections::BTreeSet;
use std::path::Path;

use super::{PROJECT, read};

/// Every page, but for those of folders with their own tools.
const PAGES: [&str; 11] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/APPLICATION.md",
    "docs/METRICS.md",
    "docs/MIGRATING.md",
    "docs/PERFORMANCE.md",
    "docs/RELEASING.md",
    "docs/TESTING.md",
];

#[test]
fn every_link_leads_to_a_file() {
    for page in PAGES {
        let folder = Path::new(PROJECT).join(page);
        let folder = folder.parent().unwrap();
        let text = read(page);
        let targets = text.split("](").skip(1);
        let targets = targets.map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{page}: {target}");
        }
    }
}

/// What `make help` lists.
fn listed_targets() -> BTreeSet<String> {
    let makefile = read("Makefile");
    let lines = makefile
        .lines()
        .filter(|line| line.contains(": ") && line.contains("## "));
    lines
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn make_help_lists_every_target_that_a_page_names() {
    let listed = listed_targets();
    assert!(listed.contains("test"), "{listed:?}");
    for page in PAGES {
        let text = read(page);
        // In a line of code, or in a block of it.
        let calls = ["`make ", "\n    make "].map(|before| text.split(before).skip(1));
        for call in calls.into_iter().flatten() {
            let end = call.find(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            let target = &call[..end.unwrap_or(call.len())];
            assert!(
                target.is_empty() || listed.contains(target),
                "{page}: make {target}"
            );
        }
    }
}

/// The paths that the package installs.
fn installed() -> Vec<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let assets = &manifest["package"]["metadata"]["deb"]["assets"];
    let mut paths: Vec<_> = assets
        .as_array()
        .unwrap()
        .iter()
        .map(|asset| {
            let [from, to] = [&asset[0], &asset[1]].map(|path| path.as_str().unwrap());
            let name = if to.ends_with('/') {
                from.rsplit('/').next().unwrap()
            } else {
                ""
            };
            format!("/{to}{name}")
        })
        .collect();
    // cargo-deb takes them from systemd/ by their names.
    let units = std::fs::read_dir(Path::new(PROJECT).join("systemd")).unwrap();
    paths.extend(units.map(|unit| unit.unwrap().file_name().into_string().unwrap()));
    paths
}

/// The paths below /etc and /usr, and the units, that a text names.
fn named_files(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/.-_~".contains(c);
    let words = text.split(|c: char| !is_part(c));
    let words = words.map(|word| word.trim_end_matches(['.', '/']));
    words
        .filter(|word| {
            ["/etc/", "/usr/"].iter().any(|top| word.starts_with(top))
                || (word.starts_with("my-app") && word.contains(".s"))
        })
        .collect()
}

#[test]
fn the_files_that_the_manual_and_the_readme_list_are_in_the_package() {
    let installed = installed();
    let manual = read("debian/my-app.8");
    let (_, manual) = manual.split_once(".SH FILES").unwrap();
    let readme = read("README.md");
    let (_, table) = readme.split_once("| where | what |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for text in [manual, table] {
        let files = named_files(text);
        assert!(files.len() > 4, "{files:?}");
        for file in files {
            let folder = format!("{file}/");
            assert!(
                installed
                    .iter()
                    .any(|path| path == file || path.starts_with(&folder)),
                "{file} is not in the package"
            );
        }
    }
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let first = |page: &str, mark: &str| {
        let text = read(page);
        let line = text.lines().find(|line| line.starts_with(mark));
        line.unwrap().to_owned()
    };
    let changelog = first("CHANGELOG.md", "## ");
    assert!(
        changelog.starts_with(&format!("## {version}")),
        "{changelog}"
    );
    let debian = first("debian/changelog", "my-app (");
    assert!(
        debian.starts_with(&format!("my-app ({version}-1) ")),
        "{debian}"
    );
}
