//! The dependencies are what deny.toml allows: their licenses, where they come from, one version of each.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::{PROJECT, read};

/// What is allowed.
fn policy() -> toml::Table {
    read("deny.toml").parse().unwrap()
}

fn strings(list: &toml::Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|entry| entry.as_str().unwrap()).collect()
}

/// A crate that is built on a platform of deny.toml, for whatever purpose; the workspace's own, too.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: String,
}

pub(super) fn crates() -> Vec<Crate> {
    let policy = policy();
    let targets = strings(&policy["graph"]["targets"]);
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--quiet"])
        .args(["--edges", "all", "--no-dedupe", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .args(targets.iter().flat_map(|target| ["--target", target]))
        .current_dir(PROJECT)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    // The same one stands wherever it is needed. Behind the version is what kind of crate it is.
    let lines: BTreeSet<_> = lines
        .lines()
        .filter_map(|line| line.split_once('|'))
        .collect();
    let crates: Vec<_> = lines
        .into_iter()
        .map(|(package, license)| {
            let mut words = package.split(' ');
            let version = words.nth(1).unwrap().strip_prefix('v').unwrap();
            Crate {
                name: package.split(' ').next().unwrap().to_owned(),
                version: version.to_owned(),
                license: license.to_owned(),
            }
        })
        .collect();
    assert!(crates.len() > 100, "{crates:#?}");
    crates
}

/// Whether a license expression (SPDX; old crates write a slash for OR) holds with the licenses that are
/// allowed. An exception (`WITH`) only adds to what its license allows.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any(&mut rest, allowed);
    assert!(rest.is_empty(), "not understood: {expression:?}");
    result
}

fn any(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = all(words, allowed);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        result |= all(words, allowed);
    }
    result
}

fn all(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = one(words, allowed);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        result &= one(words, allowed);
    }
    result
}

fn one(words: &mut &[&str], allowed: &[&str]) -> bool {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let result = any(words, allowed);
            assert_eq!(words.first(), Some(&")"));
            *words = &words[1..];
            result
        }
        [license, "WITH", _, rest @ ..] | [license, rest @ ..] => {
            *words = rest;
            allowed.contains(license)
        }
        [] => false,
    }
}

#[test]
fn license_expressions_are_understood() {
    let allowed = ["MIT", "BSD-3-Clause", "Apache-2.0"];
    for (expression, answer) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("MIT/Zlib", true),
        ("Zlib OR MIT AND BSD-3-Clause", true),
        ("(MIT OR Zlib) AND NCSA", false),
        ("(MIT OR Zlib) AND (BSD-3-Clause OR Zlib)", true),
        ("Apache-2.0 WITH LLVM-exception AND Zlib", false),
        ("Apache-2.0 WITH LLVM-exception AND MIT", true),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), answer, "{expression}");
    }
}

#[test]
fn every_license_is_allowed() {
    let policy = policy();
    let allowed = strings(&policy["licenses"]["allow"]);
    let crates = crates();
    let refused: Vec<_> = crates
        .iter()
        .filter(|c| !is_allowed(&c.license, &allowed))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn all_come_from_the_one_registry() {
    let policy = policy();
    let allowed = strings(&policy["sources"]["allow-registry"]);
    let lock = read("Cargo.lock");
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let sources: BTreeSet<_> = sources.map(|source| source.trim_matches('"')).collect();
    assert!(!sources.is_empty());
    for source in sources {
        let registry = source.strip_prefix("registry+");
        assert!(
            registry.is_some_and(|url| allowed.contains(&url)),
            "{source}"
        );
    }
}

#[test]
fn there_is_one_version_of_each_but_for_the_known_ones() {
    let policy = policy();
    let skipped = policy["bans"]["skip"].as_array().unwrap().iter();
    // `name@1.2` means every version 1.2.x, as cargo would take it.
    let mut skipped: BTreeMap<_, _> = skipped
        .map(|entry| entry["crate"].as_str().unwrap().split_once('@').unwrap())
        .map(|(name, version)| ((name, format!("{version}.")), 0))
        .collect();
    let crates = crates();
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for c in &crates {
        let known = skipped
            .iter_mut()
            .find(|((name, version), _)| *name == c.name && c.version.starts_with(version));
        match known {
            Some((_, times)) => *times += 1,
            None => {
                versions.entry(&c.name).or_default().insert(&c.version);
            }
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "{versions:#?}");
    skipped.retain(|_, times| *times == 0);
    assert!(skipped.is_empty(), "not needed any more: {skipped:#?}");
}
