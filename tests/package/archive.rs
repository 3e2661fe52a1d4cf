//! The package itself: what Debian's own tools say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use memchr::memmem;
use serde_json::Value;

use super::harness::*;

on_every_release!(lintian_finds_nothing, piuparts_finds_nothing);

fn lintian_finds_nothing(release: &'static Release) {
    let said = with_rootfs(
        release,
        &["lintian"],
        "cp $2/my-app.deb $1/var/tmp/
         systemd-nspawn --quiet --register=no --keep-unit --private-network -D $1 \
             sh -c 'lintian --version; lintian --allow-root --fail-on none --color never --info --tag-display-limit 0 /var/tmp/my-app.deb' </dev/null",
    );
    let found: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("E: ") || line.starts_with("W: "))
        .collect();
    assert!(found.is_empty(), "{said}");
    saw(release, "lintian", said.lines().next().unwrap());
}

/// Install, upgrade from the version before, and purge, on a small Debian without systemd: nothing
/// fails, and nothing is left.
fn piuparts_finds_nothing(release: &'static Release) {
    let rootfs = rootfs(release);
    let mirror = fs::read_to_string(rootfs.join("mirror")).unwrap();
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let log = scratch.path().join("log");
    let archive = scratch.path().join("archive");
    an_archive(&archive);
    let output = Command::new("piuparts")
        .arg("--basetgz")
        .arg(rootfs.join("minimal.tar.gz"))
        .args(["--distribution", release.name])
        .args(["--mirror", &format!("{} main", mirror.trim())])
        // Where it finds the version before.
        .arg("--bindmount")
        .arg(&archive)
        .arg("--extra-repo")
        .arg(format!("deb [trusted=yes] file:{} ./", archive.display()))
        // Made by others meanwhile: by logrotate, which piuparts runs, and by debconf.
        .args(["--ignore", "/var/lib/logrotate/status"])
        .args(["--ignore", "/var/cache/debconf/tmp.ci/"])
        .args(["--no-eatmydata", "--tmpdir"])
        .arg(scratch.path())
        .arg("--log-file")
        .arg(&log)
        .arg(share().join("my-app-next.deb"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("piuparts is installed (`make test-deps` does it)");
    let said = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
    assert!(output.status.success(), "{tail}");
    let upgraded = said
        .lines()
        .find(|line| line.contains("my-app (99.") && line.contains(" over ("));
    saw(
        release,
        "piuparts",
        upgraded.expect("piuparts upgrades").trim(),
    );
}

#[test]
fn it_needs_little_and_is_small() {
    let package = the_package();
    let field = |name| {
        let output = Command::new("dpkg-deb")
            .arg("-f")
            .arg(&package)
            .arg(name)
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    let depends = field("Depends");
    let (libc, rest) = depends.split_once(", ").unwrap();
    assert_eq!(rest, "systemd-standalone-sysusers | systemd-sysusers");
    // Debian 12 has 2.36, Ubuntu 24.04 has 2.39, Debian 13 has 2.41.
    let version = libc
        .strip_prefix("libc6 (>= 2.")
        .unwrap()
        .trim_end_matches(')');
    assert!(version.parse::<u32>().unwrap() <= 36, "{depends}");
    let size = fs::metadata(&package).unwrap().len();
    assert!(size < 4_500_000, "{size}");
    println!("    saw: {size} bytes, Depends: {depends}");
}

#[test]
fn nothing_is_hidden_from_lintian() {
    let output = Command::new("dpkg-deb")
        .arg("--contents")
        .arg(the_package())
        .output();
    let files = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(
        files.contains("/usr/bin/my-app\n") && !files.contains("lintian"),
        "{files}"
    );
}

#[test]
fn two_builds_of_a_commit_are_the_same_bytes() {
    let again = the_package_again();
    let same = fs::read(the_package()).unwrap() == fs::read(&again).unwrap();
    let again = again.display();
    assert!(
        same,
        "my-app.deb and {again} differ; is my-app.deb from this commit?"
    );
}

/// `name version` of the crates of Cargo.lock that have code in the program: those whose folder stands in its
/// line tables.
fn crates_with_code() -> BTreeSet<String> {
    let program = fs::read(the_program()).unwrap();
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let foreign = packages.iter().filter(|p| p.get("source").is_some());
    let is_in_it = |name: &str, version: &str| {
        let folder = format!("/{name}-{version}");
        memmem::find_iter(&program, &folder).any(|at| {
            let next = program.get(at + folder.len()).copied().unwrap_or(0);
            // Not 1.2.3 of 1.2.30.
            !(next.is_ascii_alphanumeric() || b".-+".contains(&next))
        })
    };
    foreign
        .map(|package| ["name", "version"].map(|key| package[key].as_str().unwrap()))
        .filter(|[name, version]| is_in_it(name, version))
        .map(|words| words.join(" "))
        .collect()
}

/// `scripts/build-deb` left it beside the package, where it was built.
fn the_list_of_contents() -> Value {
    let name = run(Command::new("dpkg-deb")
        .args([
            "--showformat",
            "${Package}_${Version}_${Architecture}.cdx.json",
        ])
        .arg("-W")
        .arg(the_package()));
    let list = fs::read_to_string(target().join("debian").join(name)).unwrap();
    serde_json::from_str(&list).unwrap()
}

#[test]
fn all_that_is_in_the_program_is_in_the_list_of_contents() {
    let list = the_list_of_contents();
    let package = run(Command::new("sha256sum").arg(the_package()));
    let sum = &list["metadata"]["component"]["hashes"][0]["content"];
    assert!(package.starts_with(sum.as_str().unwrap()), "another build");
    let listed: BTreeSet<_> = list["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| ["name", "version"].map(|key| it[key].as_str().unwrap_or_default()))
        .collect();
    let names: BTreeSet<_> = listed.iter().map(|words| words.join(" ")).collect();
    let missing: Vec<_> = crates_with_code().difference(&names).cloned().collect();
    assert_eq!(missing, [""; 0]);

    // The browser's client says its version in its first line. It is in both or in neither.
    let program = the_file_in_the_package("usr/bin/my-app");
    let client = listed.iter().find(|[name, _]| *name == "socket.io-client");
    let in_the_program = memmem::find(&program, b" * Socket.IO v").map(|at| {
        let version = program[at + 14..].split(|byte| byte.is_ascii_whitespace());
        String::from_utf8_lossy(version.into_iter().next().unwrap()).into_owned()
    });
    let in_the_list = client.map(|[_, version]| (*version).to_owned());
    assert_eq!(in_the_program, in_the_list, "the browser's client");
    println!(
        "    saw: {} components, the browser's client: {in_the_list:?}",
        listed.len()
    );
}

/// The license texts that the package has for each crate, by `name version`.
fn texts_in_the_package() -> BTreeMap<String, String> {
    let listing = the_file_in_the_package("usr/share/doc/my-app/licenses");
    let listing = String::from_utf8(listing).unwrap();
    let line = format!("{}\n", "-".repeat(80));
    let parts: Vec<_> = listing.split(&line).skip(1).collect();
    let mut texts = BTreeMap::<_, String>::new();
    for part in parts.chunks(2) {
        let [crates, text] = part else {
            panic!("the last crates have no text");
        };
        for line in crates.lines() {
            let (name, _file) = line.rsplit_once(" (").unwrap();
            texts.entry(name.to_owned()).or_default().push_str(text);
        }
    }
    texts
}

fn the_file_in_the_package(path: &str) -> Vec<u8> {
    let output = Command::new("sh")
        .args(["-c", "dpkg-deb --fsys-tarfile $0 | tar -xO ./$1"])
        .arg(the_package())
        .arg(path)
        .output();
    output.unwrap().stdout
}

#[test]
fn every_crate_in_the_program_has_its_license_in_the_package() {
    let texts = texts_in_the_package();
    let crates = crates_with_code();
    for name in &crates {
        let text = texts
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no text"));
        let grants = [
            "Permission is ",
            "Permission to use",
            "Redistribution",
            "Apache License",
        ];
        assert!(
            grants.iter().any(|words| text.contains(words)),
            "{name}: {text}"
        );
    }
    // Some have no code of their own: macros, constants, what was inlined away.
    assert!(crates.len() > 60, "few crates were found: {crates:?}");
    println!(
        "    saw: {} crates with code, {} with texts",
        crates.len(),
        texts.len()
    );
}
