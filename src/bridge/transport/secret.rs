//! The password. It is read anew at each attempt, so that a new one needs no restart, and shown nowhere.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of systemd's credential: `LoadCredential=bridge-password:/etc/my-app/bridge-password`.
const CREDENTIAL: &str = "bridge-password";
/// More is no password, in bytes.
const LONGEST: u64 = 4096;
/// Permissions with which others read it, or the group writes it (chmod(2)).
const TOO_OPEN: u32 = 0o027;

/// A password. It has no text but its own.
pub(super) struct Secret(String);

impl Secret {
    /// The password itself.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there is no password. No text holds a piece of it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file cannot be read.
    #[error(
        "cannot read the password in {0}: {1}; is the path right, and may this process' user read it?"
    )]
    Read(String, String),
    /// Nothing is in it.
    #[error("{0} is empty; write the password into it, or take bridge.secret_file away")]
    Empty(String),
    /// It is more than one line.
    #[error("{0} has more than one line; write the password alone into it")]
    Lines(String),
    /// It is no text, or too long.
    #[error("{0} is no password: text of 4096 bytes at most")]
    Text(String),
}

/// Where the password is.
#[derive(Debug)]
pub(crate) struct Secrets {
    path: Option<PathBuf>,
    /// A credential that is not there is none; a file that was named is to be there.
    named: bool,
    warned: AtomicBool,
}

impl Secrets {
    /// `[bridge] secret_file`, or else systemd's credential, if this process has one.
    pub(crate) fn new(file: Option<&Path>) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        Self::of(file, credentials.map(PathBuf::from))
    }

    fn of(file: Option<&Path>, credentials: Option<PathBuf>) -> Self {
        let credential = credentials.map(|folder| folder.join(CREDENTIAL));
        Self {
            path: file.map(Path::to_owned).or(credential),
            named: file.is_some(),
            warned: AtomicBool::new(false),
        }
    }

    /// The password, if there is one, as it is now. Who else may read it is warned about once.
    ///
    /// # Errors
    /// It is there, or was named, and is no password.
    pub(super) fn read(&self) -> Result<Option<Secret>, SecretError> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let name = || path.display().to_string();
        let (text, mode) = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.named => {
                return Ok(None);
            }
            Err(error) => return Err(SecretError::Read(name(), error.to_string())),
            Ok(read) => read,
        };
        if mode & TOO_OPEN != 0 && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "others may read or change the password in {}: its mode is {:03o}; chmod 640, and give it to \
                 root and the group of my-app",
                path.display(),
                mode & 0o777
            );
        }
        let text = text.ok_or_else(|| SecretError::Text(name()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            // The unit has an empty credential where nobody wrote one.
            return if self.named {
                Err(SecretError::Empty(name()))
            } else {
                Ok(None)
            };
        }
        if line.contains(['\n', '\r']) {
            return Err(SecretError::Lines(name()));
        }
        if line.contains('\0') {
            return Err(SecretError::Text(name()));
        }
        Ok(Some(Secret(line.to_owned())))
    }
}

/// What is in it, if it is a short text, and its mode.
fn read(path: &Path) -> io::Result<(Option<String>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let short = u64::try_from(bytes.len()).is_ok_and(|len| len <= LONGEST);
    let text = short.then(|| String::from_utf8(bytes).ok()).flatten();
    Ok((text, mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn secret(secrets: &Secrets) -> Result<Option<String>, String> {
        let read = secrets.read();
        read.map(|secret| secret.map(|secret| secret.reveal().to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_goes_before_the_credential_and_both_are_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let credentials = Secrets::of(None, Some(dir.path().to_owned()));
        assert_eq!(secret(&credentials), Ok(None));
        fs::write(dir.path().join(CREDENTIAL), "\n").unwrap();
        assert_eq!(secret(&credentials), Ok(None));
        fs::write(dir.path().join(CREDENTIAL), "from systemd\n").unwrap();
        assert_eq!(secret(&credentials), Ok(Some("from systemd".to_owned())));
        let both = Secrets::of(Some(&file), Some(dir.path().to_owned()));
        assert!(secret(&both).unwrap_err().contains("No such file"));
        for password in ["first", " with blanks ", "as \"it\" is#"] {
            fs::write(&file, format!("{password}\r\n")).unwrap();
            assert_eq!(secret(&both), Ok(Some(password.to_owned())));
        }
        assert_eq!(secret(&Secrets::of(None, None)), Ok(None));
    }

    #[test]
    fn what_is_no_password_is_told_without_a_piece_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let secrets = Secrets::of(Some(&file), None);
        let long = vec![b'x'; 5000];
        for (text, why) in [
            ("".as_bytes(), "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\nhunter3\n", "more than one line"),
            (b"hunter2\0", "no password"),
            (b"hunter2\xff", "no password"),
            (&long, "no password"),
        ] {
            fs::write(&file, text).unwrap();
            let error = secret(&secrets).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    #[test]
    fn it_is_shown_nowhere() {
        assert_eq!(
            format!("{:?}", Some(Secret("hunter2".into()))),
            "Some(Secret)"
        );
    }
}
