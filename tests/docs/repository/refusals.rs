//! What cannot be done is said with its remedy, and nothing is changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::publisher::{Publisher, Said, said};
use super::{files, sum};

#[track_caller]
fn assert_refused(said: &Said, words: &[&str]) {
    assert!(!said.ok, "{}", said.text);
    for words in words {
        assert!(said.text.contains(words), "{words:?}: {}", said.text);
    }
    let lines = said.text.lines();
    let other = lines.filter(|line| !line.starts_with("apt-repo: "));
    assert_eq!(other.count(), 0, "{}", said.text);
}

#[test]
fn a_key_that_cannot_sign_changes_nothing() {
    let publisher = Publisher::new();
    let package = publisher.package("1.0-1", "amd64", "");
    let make_one = "gpg --quick-generate-key 'my-app packages' ed25519 sign never";
    let nothing = "nothing was changed";

    assert_refused(
        &publisher.publish(&[], &[&package]),
        &["KEY=", make_one, nothing],
    );
    let unknown = "0123456789012345678901234567890123456789";
    assert_refused(
        &publisher.publish(&["--key", unknown], &[&package]),
        &["gpg has no private key", unknown, make_one, nothing],
    );
    let locked = publisher.key_with("a passphrase", "locked", "never");
    assert_refused(
        &publisher.publish(&["--key", &locked], &[&package]),
        &[
            "gpg does not sign with",
            &locked,
            "passphrase",
            "GPG_TTY",
            nothing,
        ],
    );
    let expired = publisher.key("expired", "seconds=1");
    let is_over = || {
        let list = said(
            publisher
                .gpg()
                .args(["--list-keys", "--with-colons", &expired]),
        );
        list.text.contains("pub:e:")
    };
    let began = std::time::Instant::now();
    while !is_over() {
        assert!(began.elapsed().as_secs() < 20, "a key of one second holds");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_refused(
        &publisher.publish(&["--key", &expired], &[&package]),
        &["has expired", &expired, "--quick-set-expire", nothing],
    );
    for name in ["one", "another"] {
        publisher.key(&format!("twice {name}"), "never");
    }
    assert_refused(
        &publisher.publish(&["--key", "twice"], &[&package]),
        &["more than one key"],
    );
    assert!(!publisher.tree().exists());
}

#[test]
fn what_was_released_stays_as_it_is() {
    let publisher = Publisher::new();
    let key = publisher.key("packages", "never");
    let package = publisher.package("1.0-1", "amd64", "");
    let other = publisher.package("1.0-1", "amd64", "-other");
    let twice = publisher.publish(&["--key", &key], &[&package, &other]);
    assert_refused(&twice, &["have the same version and are not the same"]);
    assert!(!publisher.tree().exists());

    let said = publisher.publish(&["--key", &key], &[&package]);
    assert!(said.ok, "{}", said.text);
    let before = files(&publisher.tree());
    assert_refused(
        &publisher.publish(&[], &[&other]),
        &["another my-app_1.0-1_amd64.deb", "a version of its own"],
    );

    let newer = publisher.package("1.1-1", "amd64", "");
    fs::write(newer.with_extension("cdx.json"), sum(b"another build")).unwrap();
    assert_refused(
        &publisher.publish(&[], &[&newer]),
        &["my-app_1.1-1_amd64.cdx.json tells the contents of another build"],
    );
    assert_refused(
        &publisher.publish(&["--again", "--url", "packages.example.com"], &[]),
        &["--url begins with"],
    );
    for days in ["0", "08", "soon"] {
        assert_refused(
            &publisher.publish(&["--again", "--valid-days", days], &[]),
            &["--valid-days is a number of days"],
        );
    }
    // Somebody else is at it.
    let mut held = Command::new("flock");
    held.arg(publisher.tree())
        .arg(publisher.script().get_program());
    held.env("GNUPGHOME", publisher.path().join("gpg"));
    held.arg("--again").arg(publisher.tree());
    assert_refused(
        &super::publisher::said(&mut held),
        &["another one is at work"],
    );
    assert_eq!(files(&publisher.tree()), before);
}

#[test]
fn what_is_no_package_or_no_repository_is_refused() {
    let publisher = Publisher::new();
    let key = publisher.key("packages", "never");
    let package = publisher.package("1.0-1", "amd64", "");
    let publish = |packages: &[&Path]| publisher.publish(&["--key", &key], packages);
    assert_refused(&publish(&[]), &["no package was built: make deb"]);
    assert_refused(
        &publish(&[Path::new("/nowhere.deb")]),
        &["there is no /nowhere.deb"],
    );
    let text = publisher.path().join("text.deb");
    fs::write(&text, "no package").unwrap();
    assert_refused(&publish(&[&text]), &["text.deb is no Debian package"]);
    assert!(!publisher.tree().exists());

    // A directory that somebody uses for something else.
    fs::create_dir(publisher.tree()).unwrap();
    fs::write(publisher.tree().join("photo.jpeg"), "dear").unwrap();
    assert_refused(&publish(&[&package]), &["is no repository of my-app"]);
    assert_eq!(files(&publisher.tree()).len(), 1);
    fs::remove_dir_all(publisher.tree()).unwrap();
    fs::write(publisher.tree(), "a file").unwrap();
    assert_refused(&publish(&[&package]), &["is no directory"]);
}

/// A directory with the commands of this machine, but for one.
fn all_commands_but(missing: &str, folder: PathBuf) -> PathBuf {
    fs::create_dir(&folder).unwrap();
    for bin in ["/usr/bin", "/bin"] {
        for entry in fs::read_dir(bin).unwrap().flatten() {
            if entry.file_name() != missing {
                // Both have the same commands where /bin is a link.
                let _ = symlink(entry.path(), folder.join(entry.file_name()));
            }
        }
    }
    folder
}

#[test]
fn a_tool_that_is_not_there_is_named_with_its_package() {
    let publisher = Publisher::new();
    let package = publisher.package("1.0-1", "amd64", "");
    for (tool, remedy) in [
        ("gpg", "apt install gpg"),
        ("apt-ftparchive", "apt install apt-utils"),
    ] {
        let commands = all_commands_but(tool, publisher.path().join(format!("without-{tool}")));
        let mut script = publisher.script();
        let script = script
            .env("PATH", commands)
            .arg(publisher.tree())
            .arg(&package);
        let said = said(script);
        assert_refused(&said, &[&format!("{tool} is not here"), remedy]);
    }
    assert!(!publisher.tree().exists());
}
