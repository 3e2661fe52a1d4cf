//! The pages lead to what is there: files, targets of `make`, what the package installs, the version.

use std::collections::BTreeSet;
use std::path::Path;

use super::{PROJECT, read};

/// Every page, but for those of folders with their own tools.
const PAGES: [&str; 16] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/ADVISORIES.md",
    "docs/APPLICATION.md",
    "docs/CONTROL.md",
    "docs/DIFFERENCES.md",
    "docs/METRICS.md",
    "docs/MIGRATING.md",
    "docs/OPERATING.md",
    "docs/PERFORMANCE.md",
    "docs/RELEASING.md",
    "docs/SCALING.md",
    "docs/TESTING.md",
];

/// What a link to a heading of this page may end with, as GitHub makes it of the heading's words.
fn anchors(page: &str) -> BTreeSet<String> {
    let text = read(page);
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#')
    });
    lines
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    for page in PAGES {
        let folder = Path::new(PROJECT).join(page);
        let folder = folder.parent().unwrap();
        let text = read(page);
        let links = text.split("](").skip(1);
        let links = links.map(|rest| rest.split(')').next().unwrap());
        let pictures = text.split("<img src=\"").skip(1);
        let pictures = pictures.map(|rest| rest.split('"').next().unwrap());
        let targets = links.chain(pictures);
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = folder.join(file);
            assert!(path.exists(), "{page}: {target}");
            if !heading.is_empty() {
                let path = if file.is_empty() {
                    Path::new(page)
                } else {
                    &path
                };
                let anchors = anchors(path.to_str().unwrap());
                assert!(
                    anchors.contains(heading),
                    "{page}: {target}, of {anchors:?}"
                );
            }
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
fn the_files_that_the_manual_and_the_guide_list_are_in_the_package() {
    let installed = installed();
    let manual = read("debian/my-app.8");
    let (_, manual) = manual.split_once(".SH FILES").unwrap();
    let guide = read("docs/OPERATING.md");
    let (_, table) = guide.split_once("| where | what |\n").unwrap();
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
