//! The tables of docs/SCALING.md are what the model computes.

use std::fs;
use std::process::Command;

use super::documents::{commands, fenced};
use super::read;

#[path = "../../examples/scaling/model.rs"]
mod model;
#[path = "../../examples/scaling/options.rs"]
mod options;

const PROGRAM: &str = "cargo run --example scaling -- ";

fn computed(arguments: &str) -> String {
    let words = ["scaling"].into_iter().chain(arguments.split(' '));
    let (machines, load, costs) = options::read(words).unwrap();
    model::table(machines, &load, &costs)
}

#[test]
fn the_tables_of_the_page_are_what_the_model_computes() {
    let (found, _) = commands();
    let tables = found
        .iter()
        .filter_map(|it| Some((it.text.strip_prefix(PROGRAM)?, it.prints.trim_end())));
    let tables: Vec<_> = tables.collect();
    assert!(tables.len() > 3, "docs/SCALING.md has lost its tables");
    for (arguments, shown) in tables {
        let computed = computed(arguments);
        assert_eq!(shown, computed.trim_end(), "{PROGRAM}{arguments}");
    }
}

#[test]
fn the_configuration_of_the_page_is_a_good_one() {
    let page = read("docs/SCALING.md");
    let blocks = fenced(&page).into_iter();
    let blocks: Vec<_> = blocks.filter(|(language, _)| language == "toml").collect();
    assert!(!blocks.is_empty());
    for (_, text) in blocks {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_my-app"));
        let checked = check.args(["check", "--json", "--config"]).arg(file.path());
        let report = checked.output().unwrap().stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let faults: Vec<_> = findings
            .iter()
            .filter(|it| it["id"] == "configuration")
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

/// What the constants were made from.
#[test]
fn the_model_agrees_with_what_was_measured() {
    let share = |machines: u32, size: f64, per_second: f64| {
        let words = format!(
            "scaling --sessions {per_second} --in-all --every 1 --size {size} --machines {machines}"
        );
        let (_, load, costs) = options::read(words.split(' ')).unwrap();
        model::Need::of(machines, &load, &costs).bus
    };
    // A full core of Redis, within a tenth: messages a second of a size, with so many machines.
    for (machines, size, per_second) in [
        (2, 300.0, 455_000.0),
        (10, 300.0, 235_000.0),
        (100, 300.0, 31_000.0),
        (100, 4096.0, 4_600.0),
    ] {
        let share = share(machines, size, per_second);
        assert!((0.9..1.1).contains(&share), "{machines} {size}: {share}");
    }
}

#[test]
fn nonsense_is_refused() {
    for words in [
        "--machines 0",
        "--machines 5000",
        "--every 0",
        "--size many",
        "--batch -1",
    ] {
        let words = ["scaling"].into_iter().chain(words.split(' '));
        assert!(options::read(words).is_err());
    }
}
