//! The code in the pages is part of a program that the compiler, the lints and the tests have seen.

use std::fs;
use std::path::Path;

use super::{PROJECT, read};

/// Each page with code: the language, and the files, or folders of files, that have it.
const CODE: [(&str, &str, &[&str]); 4] = [
    ("README.md", "rust", &["examples"]),
    ("docs/MIGRATING.md", "rust", &["examples/migrating.rs"]),
    (
        "docs/APPLICATION.md",
        "rust",
        &["examples/messenger", "tests/it/messenger.rs"],
    ),
    (
        "docs/APPLICATION.md",
        "js",
        &["tests/clients/messenger.mjs"],
    ),
];

/// The lines of a text without the blanks around them, and without empty ones.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The inside of each block of a language in a page.
pub(super) fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let begin = format!("```{language}\n");
    let parts = page.split(begin.as_str()).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap())
        .collect()
}

/// The files at a path, a folder's with those of its folders.
fn sources(path: &Path) -> Vec<String> {
    if !path.is_dir() {
        return vec![fs::read_to_string(path).unwrap()];
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries.flat_map(|entry| sources(&entry.path())).collect()
}

#[test]
fn the_code_of_the_pages_is_part_of_what_is_built_and_tested() {
    for (page, language, places) in CODE {
        let text = read(page);
        let blocks = blocks(&text, language);
        assert!(!blocks.is_empty(), "{page} has lost its {language}");
        let files = places
            .iter()
            .flat_map(|place| sources(&Path::new(PROJECT).join(place)));
        let files: Vec<_> = files.collect();
        for block in blocks.into_iter().map(lines) {
            let found = files.iter().any(|file| {
                let file = lines(file);
                file.windows(block.len()).any(|window| window == block)
            });
            assert!(
                found,
                "{page}: this {language} stands, line for line, in no file of {places:?}:\n{}",
                block.join("\n")
            );
        }
    }
}
