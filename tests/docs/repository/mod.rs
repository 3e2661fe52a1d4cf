//! `scripts/apt-repo`: what it makes is signed and complete, grows and loses nothing, and what it refuses, it refuses
//! before it changes anything. The packages are made up; machines that install from a repository are in
//! tests/package/repository.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use sha2::{Digest, Sha256};

mod publisher;
mod refusals;

use publisher::Publisher;

const URL: &str = "https://packages.example.com";

/// Every file below a directory, by its path there, with its bytes.
fn files(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn sum(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// What a Release has under SHA256: path and sum.
fn listed(release: &str) -> Vec<(String, String)> {
    let (_, list) = release.split_once("\nSHA256:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with(' '));
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[2].to_owned(), words[0].to_owned())
        })
        .collect()
}

/// `name version` of what an index offers.
fn offered(tree: &Path, architecture: &str) -> BTreeSet<String> {
    let index = tree.join(format!("dists/stable/main/binary-{architecture}/Packages"));
    let index = fs::read_to_string(index).unwrap();
    let field = |entry: &str, name: &str| {
        let mut values = entry.lines().filter_map(|line| line.strip_prefix(name));
        values.next().unwrap().to_owned()
    };
    index
        .split("\n\n")
        .filter(|entry| !entry.trim().is_empty())
        .map(|entry| {
            format!(
                "{} {}",
                field(entry, "Package: "),
                field(entry, "Version: ")
            )
        })
        .collect()
}

#[test]
fn a_repository_is_signed_and_complete_and_has_only_the_public_key() {
    let publisher = Publisher::new();
    let key = publisher.key("packages", "never");
    let amd64 = publisher.package("1.0-1", "amd64", "");
    publisher.package_named("my-app-dbgsym", "1.0-1", "amd64", "");
    let contents = format!("{{\"content\": \"{}\"}}", sum(&fs::read(&amd64).unwrap()));
    fs::write(amd64.with_extension("cdx.json"), contents).unwrap();
    let arm64 = publisher.package("1.0-1", "arm64", "");
    let said = publisher.publish(&["--key", &key, "--url", URL], &[&amd64, &arm64]);
    assert!(said.ok, "{}", said.text);
    assert!(
        said.text.contains("my-app_1.0-1_arm64 has no symbols"),
        "{}",
        said.text
    );
    assert!(said.text.ends_with("apt install my-app\n"), "{}", said.text);

    let tree = publisher.tree();
    let all = files(&tree);
    publisher.verify("dists/stable/InRelease", None);
    publisher.verify("dists/stable/Release.gpg", Some("dists/stable/Release"));
    publisher.verify(
        "dists/stable/SHA256SUMS.asc",
        Some("dists/stable/SHA256SUMS"),
    );

    let release = fs::read_to_string(tree.join("dists/stable/Release")).unwrap();
    for line in [
        "Architectures: amd64 arm64",
        "Suite: stable",
        "Acquire-By-Hash: yes",
    ] {
        assert!(release.lines().any(|it| it == line), "{line}: {release}");
    }
    assert!(!release.contains("Valid-Until"), "{release}");
    let listed = listed(&release);
    assert_eq!(listed.len(), 6, "three of each architecture: {release}");
    for (path, sum_of_it) in &listed {
        assert_eq!(sum(&all[&format!("dists/stable/{path}")]), *sum_of_it);
        let (folder, _) = path.rsplit_once('/').unwrap();
        assert!(all.contains_key(&format!("dists/stable/{folder}/by-hash/SHA256/{sum_of_it}")));
    }
    let both = ["my-app 1.0-1", "my-app-dbgsym 1.0-1"].map(str::to_owned);
    assert_eq!(offered(&tree, "amd64"), BTreeSet::from(both));
    assert_eq!(
        offered(&tree, "arm64"),
        BTreeSet::from(["my-app 1.0-1".to_owned()])
    );

    // All that can be taken from the pool is in the list of sums.
    let sums = fs::read_to_string(tree.join("dists/stable/SHA256SUMS")).unwrap();
    let pool = all.iter().filter(|(path, _)| path.starts_with("pool/"));
    let expected: Vec<_> = pool
        .map(|(path, bytes)| format!("{}  {}", sum(bytes), path.rsplit('/').next().unwrap()))
        .collect();
    assert_eq!(expected.len(), 4, "{expected:?}");
    assert_eq!(
        sums.lines().collect::<BTreeSet<_>>(),
        expected.iter().map(String::as_str).collect()
    );

    // apt's own user and a web server's may read all of it; nothing is left of how it was made.
    for (path, bytes) in &all {
        let mode = fs::metadata(tree.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{path}");
        assert!(!path.contains(".new"), "{path}");
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("PRIVATE KEY"), "{path}");
    }
    let sources = fs::read_to_string(tree.join("my-app.sources")).unwrap();
    for line in [
        "Types: deb",
        &format!("URIs: {URL}"),
        "Suites: stable",
        "Components: main",
        "Signed-By:",
        " -----BEGIN PGP PUBLIC KEY BLOCK-----",
        " .",
    ] {
        assert!(sources.lines().any(|it| it == line), "{line}: {sources}");
    }
}

#[test]
fn a_newer_version_comes_beside_the_older_one_and_key_and_url_are_remembered() {
    let publisher = Publisher::new();
    let key = publisher.key("packages", "never");
    let old = publisher.package("1.0-1", "amd64", "");
    let said = publisher.publish(&["--key", &key, "--url", URL], &[&old]);
    assert!(said.ok, "{}", said.text);
    let tree = publisher.tree();
    let before = files(&tree);

    // Whoever reads it meanwhile finds what the signed list names, be it the old one or the new one.
    let new = publisher.package("1.1-1", "amd64", "");
    let done = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Relaxed) {
                let release = fs::read_to_string(tree.join("dists/stable/InRelease")).unwrap();
                for (path, sum_of_it) in listed(&release) {
                    let (folder, _) = path.rsplit_once('/').unwrap();
                    let path = format!("dists/stable/{folder}/by-hash/SHA256/{sum_of_it}");
                    let bytes = fs::read(tree.join(&path));
                    assert_eq!(
                        sum(&bytes.unwrap_or_else(|e| panic!("{path}: {e}"))),
                        sum_of_it
                    );
                }
                reads += 1;
            }
            reads
        });
        let said = publisher.publish(&["--valid-days", "14"], &[&new, &old]);
        done.store(true, Relaxed);
        assert!(reader.join().unwrap() > 1);
        said
    });
    assert!(said.ok, "{}", said.text);
    let both = ["my-app 1.0-1", "my-app 1.1-1"].map(str::to_owned);
    assert_eq!(offered(&tree, "amd64"), BTreeSet::from(both));
    let after = files(&tree);
    assert_eq!(before["my-app.sources"], after["my-app.sources"]);
    assert_eq!(before["my-app.asc"], after["my-app.asc"]);
    publisher.verify("dists/stable/InRelease", None);
    let release = String::from_utf8(after["dists/stable/Release"].clone()).unwrap();
    assert!(release.contains("\nValid-Until: "), "{release}");
    for (path, bytes) in &before {
        if path.starts_with("pool/") || path.contains("/by-hash/") {
            assert_eq!(after.get(path), Some(bytes), "{path}");
        }
    }

    // What was deleted by hand is gone after the next time.
    let old = before
        .keys()
        .find(|path| path.ends_with("/my-app_1.0-1_amd64.deb"));
    fs::remove_file(tree.join(old.unwrap())).unwrap();
    let said = publisher.publish(&["--again"], &[]);
    assert!(said.ok, "{}", said.text);
    assert_eq!(
        offered(&tree, "amd64"),
        BTreeSet::from(["my-app 1.1-1".to_owned()])
    );
    // So are the days, until somebody ends them.
    let ends = || {
        let release = fs::read_to_string(tree.join("dists/stable/Release")).unwrap();
        release.contains("\nValid-Until: ")
    };
    assert!(ends() && said.text.contains("for 14 days"), "{}", said.text);
    let said = publisher.publish(&["--again", "--valid-days", "never"], &[]);
    assert!(said.ok && !ends(), "{}", said.text);
}

#[test]
fn two_keys_sign_while_one_replaces_the_other() {
    let publisher = Publisher::new();
    let old = publisher.key("old", "never");
    let package = publisher.package("1.0-1", "amd64", "");
    assert!(publisher.publish(&["--key", &old], &[&package]).ok);
    let known_to_machines = fs::read(publisher.tree().join("my-app.asc")).unwrap();

    let new = publisher.key("new", "1y");
    let said = publisher.publish(&["--key", &new, "--again"], &[]);
    let remedy = format!("KEY={old},{new}");
    assert!(!said.ok && said.text.contains(&remedy), "{}", said.text);
    assert_eq!(
        fs::read(publisher.tree().join("my-app.asc")).unwrap(),
        known_to_machines
    );

    let said = publisher.publish(&["--key", &format!("{old},{new}"), "--again"], &[]);
    assert!(said.ok, "{}", said.text);
    assert!(said.text.contains("a key expires on "), "{}", said.text);
    publisher.verify_with(&known_to_machines, "dists/stable/InRelease", None);
    // Who has the key of today is served when the old one is not used any more.
    let of_both = fs::read(publisher.tree().join("my-app.asc")).unwrap();
    let said = publisher.publish(&["--key", &new, "--again"], &[]);
    assert!(said.ok, "{}", said.text);
    publisher.verify_with(&of_both, "dists/stable/InRelease", None);
}
