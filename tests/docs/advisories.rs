//! Every advisory in docs/ADVISORIES.md has its test, and every test of an advisory its row.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{PROJECT, read};

/// The names of all black-box tests.
fn black_box_tests() -> BTreeSet<String> {
    let files = fs::read_dir(Path::new(PROJECT).join("tests/it")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let sources = sources.map(|path| fs::read_to_string(path).unwrap());
    let names = sources.flat_map(|source| {
        let tests = source.split("#[test]\nfn ").skip(1);
        let names = tests.map(|test| test.split('(').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    });
    names.collect()
}

/// An id as tests spell it.
fn spelled(id: &str) -> String {
    id.to_lowercase().replace('-', "_")
}

#[test]
fn every_advisory_has_a_test_and_every_test_of_one_has_a_row() {
    let page = read("docs/ADVISORIES.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| CVE-") || line.starts_with("| GHSA-"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20, "{}", rows.len());
    let tests = black_box_tests();
    let mut named = BTreeSet::new();
    for row in &rows {
        let [id, _, _, _, row_tests] = row[..] else {
            panic!("not five cells: {row:?}");
        };
        let row_tests: Vec<_> = row_tests.split('`').skip(1).step_by(2).collect();
        assert!(!row_tests.is_empty(), "{id} has no test");
        for test in row_tests {
            assert!(tests.contains(test), "{id}: there is no test {test}");
            let of_others = test.contains("_cve_") || test.contains("_ghsa_");
            assert!(
                !of_others || test.contains(&spelled(id)),
                "{id}: {test} is of another"
            );
            named.insert(test.to_owned());
        }
    }
    let ids = |test: &&String| test.contains("_cve_") || test.contains("_ghsa_");
    for test in tests.iter().filter(ids) {
        assert!(named.contains(test), "{test} has no row");
    }
    // What the text below the table names.
    let (_, text) = page.rsplit_once("|\n\n").unwrap();
    for word in text.split('`').skip(1).step_by(2) {
        let is_test = word.contains('_') && !word.contains(['/', '-']) && !word.starts_with("__");
        assert!(!is_test || tests.contains(word), "there is no test {word}");
    }
}
