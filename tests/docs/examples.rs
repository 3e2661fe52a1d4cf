//! The code in the pages is part of a program that the compiler, the lints and the tests have seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::documents::{fenced, pages};
use super::{PROJECT, read};

/// Each page with code: the language, and the files, or folders of files, that have it.
const CODE: [(&str, &str, &[&str]); 6] = [
    ("docs/APPLICATION.md", "ini", &["tests/package/sandbox.rs"]),
    ("README.md", "rust", &["examples"]),
    (
        "README.md",
        "html",
        &["tests/clients/page/node/script.html"],
    ),
    ("docs/MIGRATING.md", "rust", &["examples/migrating.rs"]),
    (
        "docs/APPLICATION.md",
        "rust",
        &["examples/messenger", "tests/it/messenger.rs"],
    ),
    (
        "docs/APPLICATION.md",
        "js",
        &[
            "examples/messenger/window.mjs",
            "tests/clients/messenger.mjs",
        ],
    ),
];

/// What else stands in fenced blocks, and where it is tried.
const OTHERS: [(&str, &str, &str); 5] = [
    (
        "README.md",
        "html",
        "tests/clients/page/node/script.html is such a page",
    ),
    ("README.md", "js", "tests/clients/readme.mjs runs it"),
    (
        "docs/OPERATING.md",
        "yaml",
        "read as cloud-init would, below",
    ),
    (
        "docs/SCALING.md",
        "toml",
        "tests/docs/scaling.rs has the program read it",
    ),
    (
        "docs/PERFORMANCE.md",
        "text",
        "what the benchmark has printed",
    ),
];

/// The lines of a text without the blanks around them, and without empty ones.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The inside of each block of a language in a page.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
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

#[test]
fn every_fenced_block_of_a_page_is_tried_somewhere() {
    let code = CODE.iter().map(|(page, language, _)| (*page, *language));
    let others = OTHERS.iter().map(|(page, language, _)| (*page, *language));
    let known: BTreeSet<_> = code.chain(others).collect();
    for (page, text) in pages() {
        for (language, inside) in fenced(&text) {
            let is_shell = ["", "sh", "bash", "shell", "console"].contains(&language.as_str());
            assert!(
                is_shell || known.contains(&(page.as_str(), language.as_str())),
                "{page}: nobody tries this {language}. If it is part of a program, add page, language and file to CODE in \
                 tests/docs/examples.rs, else to OTHERS, with where it is tried:\n{inside}"
            );
        }
    }
}

/// A list of commands, each a text; what is fetched is what is installed.
#[test]
fn cloud_init_gets_a_list_of_commands() {
    let page = read("docs/OPERATING.md");
    let text = blocks(&page, "yaml")[0];
    assert!(text.starts_with("#cloud-config\n"), "{text}");
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.argv[1])))";
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", script, text]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{errors} (Ansible, which `make test-deps` installs, brings yaml)"
    );
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let commands = read["runcmd"].as_array().unwrap();
    let commands: Vec<_> = commands.iter().map(|c| c.as_str().unwrap()).collect();
    let file = |command: &str| {
        let words = command.split(' ');
        let mut paths = words.filter(|word| word.starts_with('/'));
        paths.next().unwrap().to_owned()
    };
    let (first, last) = (commands[0], commands[commands.len() - 1]);
    assert!(first.starts_with("curl ") && last.starts_with("apt-get install -y /"));
    assert_eq!(file(first), file(last));
}
