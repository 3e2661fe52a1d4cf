//! The list of what is in a package (`scripts/sbom`) is complete: it has the crates whose licenses the package has, as
//! Cargo.lock pins them. What is in the program itself is compared in tests/package/archive.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::dependencies::crates;
use super::{PROJECT, read};

/// A component of the list.
struct Component {
    name: String,
    version: String,
    whole: Value,
}

struct Contents {
    components: Vec<Component>,
    whole: Value,
}

impl Contents {
    /// What the script says of a package of this version for an architecture.
    fn of(architecture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: my-app\nVersion: 1.0-1\nArchitecture: {architecture}\nMaintainer: Somebody <a@example.com>\n\
             Description: for a test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let package = folder.path().join("my-app.deb");
        run(Command::new("dpkg-deb").arg("-b").arg(&tree).arg(&package));
        let mut script = Command::new(format!("{PROJECT}/scripts/sbom"));
        let printed = run(script.arg(&package).env("SOURCE_DATE_EPOCH", "1700000000"));
        let whole: Value = serde_json::from_str(&printed).unwrap();
        let components = whole["components"].as_array().unwrap().iter();
        let components = components.map(|whole| Component {
            name: whole["name"].as_str().unwrap().to_owned(),
            version: whole["version"].as_str().unwrap_or_default().to_owned(),
            whole: whole.clone(),
        });
        Self {
            components: components.collect(),
            whole,
        }
    }

    /// Those of the registry.
    fn crates(&self) -> impl Iterator<Item = &Component> {
        let purl = |it: &&Component| it.whole["purl"].as_str().unwrap_or_default().to_owned();
        self.components
            .iter()
            .filter(move |it| purl(it).starts_with("pkg:cargo/"))
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_has_each_crate_whose_license_the_package_has_as_the_lock_pins_it() {
    let text = read("debian/licenses");
    let (table, _) = text.split_once("-----").unwrap();
    let lines = table.lines().filter_map(|line| line.strip_prefix("    "));
    let licensed: BTreeSet<_> = lines
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert!(licensed.len() > 60, "{licensed:?}");

    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let checksums: BTreeMap<_, _> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| {
            let text = |key: &str| it.get(key).and_then(toml::Value::as_str);
            let crate_of_it = format!("{} {}", text("name")?, text("version")?);
            Some((crate_of_it, text("checksum")?))
        })
        .collect();
    // As the test of allowed licenses reads them.
    let known: BTreeMap<_, _> = crates()
        .into_iter()
        .map(|it| (format!("{} {}", it.name, it.version), it.license))
        .collect();

    for architecture in ["amd64", "arm64"] {
        let contents = Contents::of(architecture);
        let listed: BTreeSet<_> = contents
            .crates()
            .map(|it| format!("{} {}", it.name, it.version))
            .collect();
        assert_eq!(listed, licensed, "{architecture}");
        for it in contents.crates() {
            let name = format!("{} {}", it.name, it.version);
            let purl = format!("pkg:cargo/{}@{}", it.name, it.version.replace('+', "%2B"));
            assert_eq!(it.whole["purl"], purl);
            assert_eq!(it.whole["hashes"][0]["alg"], "SHA-256");
            assert_eq!(it.whole["hashes"][0]["content"], checksums[&name], "{name}");
            let license = known[&name].replace('/', " OR ");
            assert_eq!(it.whole["licenses"][0]["expression"], license, "{name}");
        }
    }
}

#[test]
fn it_is_cyclonedx_that_says_what_needs_what() {
    let contents = Contents::of("amd64");
    let whole = &contents.whole;
    assert_eq!(whole["bomFormat"], "CycloneDX");
    assert_eq!(whole["specVersion"], "1.5");
    assert_eq!(whole["version"], 1);
    assert!(
        whole["serialNumber"]
            .as_str()
            .unwrap()
            .starts_with("urn:uuid:")
    );
    let metadata = &whole["metadata"];
    assert_eq!(metadata["timestamp"], "2023-11-14T22:13:20Z");
    let program = &metadata["component"];
    assert_eq!(program["type"], "application");
    assert_eq!(program["version"], "1.0-1");
    assert_eq!(program["purl"], "pkg:deb/my-app/my-app@1.0-1?arch=amd64");
    // The package that it belongs to.
    assert_eq!(program["hashes"][0]["content"].as_str().unwrap().len(), 64);

    let names: BTreeSet<_> = contents
        .components
        .iter()
        .map(|it| (&it.name, &it.version))
        .collect();
    assert_eq!(names.len(), contents.components.len(), "twice");
    // What is ours is in no registry, though a crate of that name is.
    let engine = contents
        .components
        .iter()
        .find(|it| it.name == "engineioxide");
    let engine = &engine.unwrap().whole;
    assert!(engine.get("purl").is_none(), "{engine}");
    let rust = contents.components.iter().find(|it| it.name == "rust-std");
    assert_ne!(rust.unwrap().version, "");

    let reference = |it: &Value| it["bom-ref"].as_str().unwrap().to_owned();
    let mut references: BTreeSet<_> = contents
        .components
        .iter()
        .map(|it| reference(&it.whole))
        .collect();
    assert_eq!(references.len(), contents.components.len());
    let all = references.clone();
    references.insert(reference(program));
    let mut needed = BTreeSet::new();
    for entry in whole["dependencies"].as_array().unwrap() {
        let it = entry["ref"].as_str().unwrap();
        assert!(references.remove(it), "{it} twice, or no component");
        let needs = entry["dependsOn"].as_array().unwrap();
        needed.extend(needs.iter().map(|it| it.as_str().unwrap().to_owned()));
    }
    assert!(references.is_empty(), "{references:?}");
    // Nothing is in it that nothing needs.
    assert_eq!(needed, all);
}
