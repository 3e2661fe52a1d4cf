//! Who publishes packages: keys, packages and a repository of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::PROJECT;

/// What a command printed, standard error included, and whether it succeeded.
pub(super) struct Said {
    pub(super) ok: bool,
    pub(super) text: String,
}

/// All below one directory, which goes with the value.
pub(super) struct Publisher {
    folder: TempDir,
}

impl Publisher {
    /// A person who has nothing yet.
    pub(super) fn new() -> Self {
        // Short: gpg's socket has its name from it.
        let folder = TempDir::with_prefix_in("repo", "/tmp").unwrap();
        let home = folder.path().join("gpg");
        for name in ["gpg", "built", "scripts"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        run(Command::new("chmod").arg("700").arg(&home));
        // Nobody is there to be asked.
        fs::write(home.join("gpg-agent.conf"), "pinentry-program /bin/false\n").unwrap();
        // The script takes the directory above its own for the sources: there, nothing was built.
        let script = folder.path().join("scripts/apt-repo");
        fs::copy(Path::new(PROJECT).join("scripts/apt-repo"), script).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the repository is made.
    pub(super) fn tree(&self) -> PathBuf {
        self.path().join("tree")
    }

    pub(super) fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", self.path().join("gpg")).arg("--batch");
        gpg
    }

    /// Makes a key without a passphrase; its fingerprint.
    pub(super) fn key(&self, name: &str, expires: &str) -> String {
        self.key_with("", name, expires)
    }

    pub(super) fn key_with(&self, passphrase: &str, name: &str, expires: &str) -> String {
        let said = run(self
            .gpg()
            .args(["--status-fd", "1", "--pinentry-mode", "loopback"])
            .args(["--passphrase", passphrase])
            .args(["--quick-generate-key", name, "ed25519", "sign", expires]));
        let (_, created) = said.split_once(" KEY_CREATED P ").unwrap();
        created.split_whitespace().next().unwrap().to_owned()
    }

    /// Makes a package of my-app; `text` tells it from another of the same version.
    pub(super) fn package(&self, version: &str, architecture: &str, text: &str) -> PathBuf {
        self.package_named("my-app", version, architecture, text)
    }

    pub(super) fn package_named(
        &self,
        name: &str,
        version: &str,
        architecture: &str,
        text: &str,
    ) -> PathBuf {
        let made = self.path().join("package");
        fs::create_dir_all(made.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nSource: my-app\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: Somebody <somebody@example.com>\nDescription: for a test{text}\n"
        );
        fs::write(made.join("DEBIAN/control"), control).unwrap();
        let folder = self.path().join(format!("built{text}"));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}_{version}_{architecture}.deb"));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "-b"])
            .arg(&made)
            .arg(&file)
            .env("SOURCE_DATE_EPOCH", "1"));
        file
    }

    /// The script, as this person calls it.
    pub(super) fn script(&self) -> Command {
        let mut script = Command::new(self.path().join("scripts/apt-repo"));
        script
            .env("GNUPGHOME", self.path().join("gpg"))
            .env_remove("CARGO_TARGET_DIR");
        script
    }

    /// `scripts/apt-repo OPTIONS tree PACKAGES`.
    pub(super) fn publish(&self, options: &[&str], packages: &[&Path]) -> Said {
        let mut script = self.script();
        said(script.args(options).arg(self.tree()).args(packages))
    }

    /// A signature holds for whoever has the published key and nothing else.
    #[track_caller]
    pub(super) fn verify(&self, signature: &str, file: Option<&str>) {
        let key = fs::read(self.tree().join("my-app.asc")).unwrap();
        self.verify_with(&key, signature, file);
    }

    #[track_caller]
    pub(super) fn verify_with(&self, key: &[u8], signature: &str, file: Option<&str>) {
        let armored = self.path().join("key.asc");
        let ring = self.path().join("key.gpg");
        fs::write(&armored, key).unwrap();
        run(self
            .gpg()
            .args(["--yes", "--output"])
            .arg(&ring)
            .arg("--dearmor")
            .arg(armored));
        let verified = said(
            self.gpg()
                .args(["--no-default-keyring", "--status-fd", "1", "--keyring"])
                .arg(ring)
                .arg("--verify")
                .args([Some(signature), file].into_iter().flatten())
                .current_dir(self.tree()),
        );
        // One good signature is enough for apt, whatever others there are.
        assert!(verified.text.contains("VALIDSIG"), "{}", verified.text);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.path().join("gpg"))
            .args(["--kill", "all"])
            .status();
    }
}

pub(super) fn said(command: &mut Command) -> Said {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e} (`make test-deps` installs it)"));
    let text = [output.stdout, output.stderr].concat();
    Said {
        ok: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let said = said(command);
    assert!(said.ok, "{command:?}: {}", said.text);
    said.text
}
