//! The package itself: what Debian's own tools say of it.

use std::fs;
use std::process::Command;

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
    assert!(size < 4_000_000, "{size}");
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
