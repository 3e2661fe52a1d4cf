//! A machine that knows nothing but the three lines of the README gets the server from a repository of packages, and
//! its next version, and takes nothing that the repository's key did not sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::harness::*;

on_every_release!(machines_install_from_the_repository_and_believe_its_key_alone);

/// A repository that every machine sees below /srv/share, and the keys of who makes it.
struct Repository {
    gpg: TempDir,
    name: String,
}

impl Repository {
    fn new(release: &Release) -> Self {
        let gpg = TempDir::with_prefix_in("repo", "/tmp").unwrap();
        let name = format!("repository-{}", release.name);
        Self { gpg, name }
    }

    fn folder(&self) -> PathBuf {
        share().join(&self.name)
    }

    /// Where a machine has it.
    fn there(&self) -> String {
        format!("/srv/share/{}", self.name)
    }

    /// Makes a key; its fingerprint.
    fn key(&self, name: &str) -> String {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--status-fd", "1", "--passphrase", ""])
            .args(["--quick-generate-key", name, "ed25519", "sign", "never"]);
        let said = run(gpg.env("GNUPGHOME", self.gpg.path()));
        let (_, made) = said.split_once(" KEY_CREATED P ").unwrap();
        made.split_whitespace().next().unwrap().to_owned()
    }

    /// What `make repo` does with packages; without any, with those of `make deb`.
    fn publish(&self, options: &[&str], packages: &[&Path]) {
        run(Command::new(project().join("scripts/apt-repo"))
            .args(options)
            .arg(self.folder())
            .args(packages)
            .env("GNUPGHOME", self.gpg.path())
            .env("CARGO_TARGET_DIR", target()));
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.gpg.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// The lines of the README that have `word` among them, as they stand there.
fn lines_of_the_readme(word: &str) -> String {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let found = readme
        .split("\n\n")
        .find(|block| block.starts_with("    ") && block.contains(word));
    found
        .unwrap_or_else(|| panic!("no lines with {word}"))
        .to_owned()
}

/// Serves a directory of the machine at a port of its own.
fn serve(machine: &Machine, directory: &str, port: u16) {
    machine.sh(&format!(
        "systemd-run -q --unit=files-{port} node /opt/tests/package/files.mjs {directory} {port}"
    ));
    let url = format!("http://127.0.0.1:{port}/my-app.sources");
    eventually("files are served", SOON, || machine.status(&url) == "200");
}

/// What apt says when it must not believe; nothing is installed then.
#[track_caller]
fn assert_refused(machine: &Machine, what: &str, script: &str, words: &str) {
    let said = machine.try_sh(script);
    assert!(
        !said.ok && said.text.contains(words),
        "{what}: {}",
        said.text
    );
    let installed = machine.try_sh("apt-get install my-app || true; dpkg -s my-app");
    assert!(!installed.ok, "{what}: {}", installed.text);
    let line = said.text.lines().find(|line| line.contains(words));
    machine.saw(what, line.unwrap());
}

fn machines_install_from_the_repository_and_believe_its_key_alone(release: &'static Release) {
    let repository = Repository::new(release);
    let key = repository.key("packages");
    let url = "http://127.0.0.1:8000";
    repository.publish(&["--key", &key, "--url", url], &[]);
    let there = repository.there();

    let machine = Machine::with_nginx(release);
    // Debian's mirrors cannot be reached from here. Nobody is there to say yes.
    machine.sh("mv /etc/apt/sources.list* /root/
         mkdir /etc/apt/sources.list.d
         rm -rf /var/lib/apt/lists/*
         echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/99yes");
    serve(&machine, &there, 8000);

    strangers_are_refused(&machine, &repository);

    // Over HTTP.
    let from_a_server = lines_of_the_readme("curl -fsSo /etc/apt/sources.list.d/my-app.sources");
    let from_a_server = from_a_server.replace("https://packages.example.com", url);
    machine.sh(&from_a_server);
    machine.assert_active();
    machine.echo_every_way("http://127.0.0.1");
    let version = machine.sh("dpkg-query -W -f '${Version}' my-app");
    machine.sh("journalctl -q -u files-8000 -o cat | grep -q '^200 .*/by-hash/SHA256/'");
    machine.saw("installed over HTTP", &version);

    // Symbols are found by the program's own mark.
    machine.sh("apt-get install -q my-app-dbgsym && ls /usr/lib/debug/.build-id/*/*.debug");

    // The next version comes as every other update does, and the one before can still be had.
    repository.publish(&[], &[&share().join("my-app-next.deb")]);
    machine.sh("apt-get update && apt-get upgrade -q");
    let next = machine.sh("dpkg-query -W -f '${Version}' my-app");
    assert_eq!(next, format!("99.{version}"));
    machine.assert_active();
    machine.echo("http://127.0.0.1", "upgrade");
    machine.sh(&format!(
        "cd /tmp && apt-get download my-app={version} && cmp my-app_{version}_*.deb /srv/share/my-app.deb"
    ));
    machine.saw(
        "after the next one was published",
        machine.sh("apt-cache madison my-app"),
    );

    // From a disk.
    machine.sh(&format!(
        "systemctl stop files-8000
         apt-get purge -q my-app && rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*
         ln -s {there} /mnt/packages"
    ));
    machine.sh(&lines_of_the_readme("file:/mnt/packages"));
    machine.assert_active();
    machine.echo("http://127.0.0.1", "websocket");
}

/// A key that did not sign, an index and a package that are not those that were signed.
fn strangers_are_refused(machine: &Machine, repository: &Repository) {
    let there = repository.there();
    let sources = "/etc/apt/sources.list.d/my-app.sources";
    let stranger = repository.key("stranger");
    let mut gpg = Command::new("gpg");
    let key = run(gpg
        .args(["--batch", "--armor", "--export", &stranger])
        .env("GNUPGHOME", repository.gpg.path()));
    machine.write("/etc/apt/keyrings/stranger.asc", &key);
    assert_refused(
        machine,
        "another key",
        &format!(
            "sed '/^Signed-By:/,$d' {there}/my-app.sources >{sources}
             echo 'Signed-By: /etc/apt/keyrings/stranger.asc' >>{sources}
             apt-get update"
        ),
        "is not signed",
    );

    machine.sh(&format!(
        "cp -a {there} /srv/index && cp -a {there} /srv/package
         for file in $(find /srv/index/dists -path '*/main/*' -type f); do
             printf 'Package: worse\\n' | dd of=$file conv=notrunc status=none
         done
         printf worse | dd of=$(ls /srv/package/pool/main/*/my-app/my-app_*.deb) bs=1 seek=9999 conv=notrunc status=none"
    ));
    let use_it = |port: u16| {
        format!(
            "rm -rf /var/lib/apt/lists/*
             sed 's,^URIs: .*,URIs: http://127.0.0.1:{port},' {there}/my-app.sources >{sources}"
        )
    };
    serve(machine, "/srv/index", 8001);
    assert_refused(
        machine,
        "an index that was changed",
        &format!("{}\napt-get update", use_it(8001)),
        "Hash Sum mismatch",
    );
    serve(machine, "/srv/package", 8002);
    machine.sh(&format!("{}\napt-get update", use_it(8002)));
    assert_refused(
        machine,
        "a package that was changed",
        "apt-get install my-app",
        "Hash Sum mismatch",
    );
    machine.sh(&format!("rm -rf {sources} /var/lib/apt/lists/*"));
}
