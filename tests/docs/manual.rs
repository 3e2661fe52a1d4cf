//! The manual, `--help`, the shipped configuration and README say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::read;

/// The manual without the escapes of hyphens.
fn manual() -> String {
    read("debian/my-app.8").replace("\\-", "-")
}

/// The inside of a section of the manual.
fn section(name: &str) -> String {
    let manual = manual();
    let mut parts = manual.split(".SH ").skip(1);
    let part = parts
        .find(|part| part.lines().next().unwrap().trim_matches('"') == name)
        .unwrap_or_else(|| panic!("the manual has no section {name}"));
    part.split_once('\n').unwrap().1.to_owned()
}

/// What `my-app ARGUMENTS` prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_my-app"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The part of `--help` under a heading.
fn under<'h>(help: &'h str, heading: &str) -> impl Iterator<Item = &'h str> {
    let heading = format!("{heading}:");
    let lines = help
        .lines()
        .skip_while(move |line| *line != heading)
        .skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with(' '))
}

/// The long options that a text has.
pub(super) fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .map(ToOwned::to_owned)
        .collect()
}

/// The options in the lines that introduce one: `  -h, --help`.
fn options_of_help(help: &str) -> BTreeSet<String> {
    let lines = under(help, "Options").map(str::trim);
    lines
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| options(line).into_iter().next())
        .collect()
}

/// The commands that `--help` shows, each with its options.
pub(super) fn commands_of_help() -> BTreeMap<String, BTreeSet<String>> {
    let help = printed(&["--help"]);
    // What a command does may take a second line, which stands further to the right.
    let commands = under(&help, "Commands").filter_map(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with(' ') && !line.is_empty());
    let mut all: BTreeMap<_, _> = commands
        .map(|line| line.split(' ').next().unwrap())
        .map(|name| {
            (
                name.to_owned(),
                options_of_help(&printed(&[name, "--help"])),
            )
        })
        .collect();
    all.insert(String::new(), options_of_help(&help));
    all
}

/// Those of the manual's synopsis. `--help` and `--version` have a line of their own there.
fn commands_of_the_manual() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<_, BTreeSet<_>>::new();
    for part in section("SYNOPSIS").split(".SY ").skip(1) {
        let (name, rest) = part.split_once('\n').unwrap();
        let name = name.trim_matches('"').strip_prefix("my-app").unwrap();
        all.entry(name.trim().to_owned())
            .or_default()
            .extend(options(rest));
    }
    all
}

#[test]
fn the_manual_has_every_command_of_the_help_and_its_options() {
    let mut help = commands_of_help();
    for (name, options) in &mut help {
        if !name.is_empty() {
            options.remove("--help");
        }
    }
    assert_eq!(commands_of_the_manual(), help);
}

#[test]
fn the_manual_explains_every_option() {
    let explained = options(&section("OPTIONS"));
    for (name, options) in commands_of_help() {
        let missing: Vec<_> = options.difference(&explained).collect();
        assert!(missing.is_empty(), "my-app {name}: {missing:?}");
    }
}

/// The exit codes with their meanings, as `--help` has them.
fn exit_codes() -> Vec<(String, String)> {
    let help = printed(&["--help"]);
    let lines = under(&help, "Exit codes").filter(|line| !line.is_empty());
    let codes = lines.map(|line| line.trim().split_once(' ').unwrap());
    codes
        .map(|(code, meaning)| (code.to_owned(), meaning.trim().to_owned()))
        .collect()
}

#[test]
fn the_manual_and_the_readme_have_the_exit_codes_of_the_help() {
    let manual = section("EXIT STATUS");
    let entries = manual.split(".TP\n.B ").skip(1);
    let manual: Vec<_> = entries
        .map(|entry| entry.trim_end().split_once('\n').unwrap())
        .collect();
    let readme = read("README.md");
    let (_, readme) = readme.split_once("Exit codes: ").unwrap();
    let (readme, _) = readme.split_once(". ").unwrap();
    let codes = exit_codes();
    assert!(codes.len() > 3, "{codes:?}");
    assert_eq!(codes.len(), manual.len());
    for ((code, meaning), (in_manual, sentence)) in codes.iter().zip(manual) {
        assert_eq!(code, in_manual);
        // A sentence begins with a capital and ends with a full stop.
        let words = sentence.trim_end_matches('.').replace('\n', " ");
        let (first, rest) = words.split_at(1);
        let words = format!("{}{rest}", first.to_lowercase());
        assert!(
            meaning.starts_with(&words),
            "{code}: {meaning} / {sentence}"
        );
        let mut numbers = readme.split(|c: char| !c.is_ascii_digit());
        assert!(numbers.any(|number| number == code), "README: {code}");
    }
}

#[test]
fn the_files_of_the_help_are_in_the_manual() {
    let (help, files) = (printed(&["--help"]), section("FILES"));
    let lines = under(&help, "Files").filter(|line| !line.is_empty());
    for path in lines.map(|line| line.trim().split(' ').next().unwrap()) {
        assert!(files.contains(path), "{path}");
    }
}

/// The words for what `check` finds, as the program's source has them.
fn findings() -> Vec<String> {
    let source = read("src/cli/doctor/finding.rs");
    let (_, list) = source.split_once("enum Id {\n").unwrap();
    let (list, _) = list.split_once("\n}").unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','));
    let kebab = |name: &str| {
        let mut word = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                word.push('-');
            }
            word.push(c.to_ascii_lowercase());
        }
        word
    };
    names.map(kebab).collect()
}

#[test]
fn the_manual_has_every_word_for_what_check_finds() {
    let manual = section("WHAT CHECK FINDS");
    let words: BTreeSet<_> = quoted("x.8", &manual).into_iter().collect();
    let findings = findings();
    assert!(findings.len() > 20, "{findings:?}");
    for word in findings {
        assert!(words.contains(&word), "{word}");
    }
}

/// The keys that the shipped file shows, with their sections. A unit test of the configuration compares them
/// with those that the program knows, and their defaults.
fn shipped_keys() -> BTreeSet<String> {
    let sample = read("debian/my-app.toml");
    let mut keys = BTreeSet::new();
    let mut prefix = String::new();
    for line in sample.lines() {
        if let Some(section) = line.strip_prefix('[') {
            prefix = section.replace(']', ".");
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = key.trim_start_matches('#');
            if !key.starts_with(' ') {
                keys.insert(format!("{prefix}{key}"));
            }
        }
    }
    keys
}

/// The words in backquotes, or in the bold or slanted lines of a manual page.
fn quoted(page: &str, text: &str) -> Vec<String> {
    if page.ends_with(".8") {
        let lines = text.lines().filter(|line| line.starts_with('.'));
        let words = lines.flat_map(|line| line.split([' ', '"', ',']));
        return words.map(ToOwned::to_owned).collect();
    }
    let inside = text.split('`').skip(1).step_by(2);
    inside
        .map(|code| code.split(" = ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_key_that_a_page_names_is_in_the_shipped_configuration() {
    let keys = shipped_keys();
    let sections: BTreeSet<_> = keys.iter().filter_map(|key| key.split_once('.')).collect();
    let sections: BTreeSet<_> = sections.into_iter().map(|(section, _)| section).collect();
    let is_word = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let mut seen = 0;
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/DIFFERENCES.md",
        "docs/MIGRATING.md",
        "docs/OPERATING.md",
        "debian/my-app.8",
        "debian/my-app.toml",
        "src/cli/help.rs",
    ] {
        let text = read(page).replace("\\-", "-");
        for word in quoted(page, &text) {
            let Some((section, key)) = word.split_once('.') else {
                continue;
            };
            if sections.contains(section) && is_word(key) && key.len() > 2 {
                assert!(keys.contains(&word), "{page} names {word}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "only {seen} keys are named");
}

#[test]
fn the_keys_that_options_take_the_place_of_exist() {
    let (help, keys) = (printed(&["--help"]), shipped_keys());
    let places = help
        .split("Takes the place of the configuration's `")
        .skip(1);
    let named: Vec<_> = places.map(|rest| rest.split('`').next().unwrap()).collect();
    assert!(named.len() > 1, "{named:?}");
    for key in named {
        assert!(keys.contains(key), "{key}");
    }
}
