//! Certificates as an organisation's own authority signs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An authority, and a certificate of it for a server. They are gone with the value.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// For these names: `DNS:localhost,IP:127.0.0.1`.
    #[track_caller]
    pub fn of(names: &str) -> Self {
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let dir = this.dir.path();
        // Servers that are somebody else read them, too.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir, mode).unwrap();
        let extensions = format!(
            "basicConstraints=CA:FALSE\nsubjectAltName={names}\nextendedKeyUsage=serverAuth\n"
        );
        fs::write(dir.join("extensions"), extensions).unwrap();
        for line in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem \
             -subj /CN=authority -addext basicConstraints=critical,CA:TRUE",
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr \
             -subj /CN=server",
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
             -out server.pem",
        ] {
            let mut command = Command::new("openssl");
            command.args(line.split_whitespace()).current_dir(dir);
            let output = command.output().expect("openssl is installed");
            assert!(output.status.success(), "{line}: {output:?}");
        }
        this
    }

    /// Who signed it.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// Its key, copied for `whom` to read: servers refuse keys that others can read.
    pub(super) fn key_for(&self, folder: &Path) -> PathBuf {
        let copy = folder.join("server.key");
        fs::copy(self.dir.path().join("server.key"), &copy).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&copy, mode).unwrap();
        copy
    }
}
