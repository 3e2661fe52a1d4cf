//! From a path to a configuration: which file is read, and what holds when there is none.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, MAX_FILE_SIZE};
use super::{Config, keys};

/// Where the package puts the configuration.
pub(crate) const STANDARD_FILE: &str = "/etc/my-app/my-app.toml";

/// A configuration and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read; `None` when all are defaults.
    pub file: Option<PathBuf>,
    given: Vec<&'static str>,
}

impl Loaded {
    /// Whether the file sets the key of this full name, such as `engine.path`, itself.
    #[must_use]
    pub(crate) fn sets(&self, key: &str) -> bool {
        self.given.contains(&key)
    }
}

/// [`Config::load`] with its surroundings as arguments.
pub(super) fn load(
    path: Option<&Path>,
    standard: &Path,
    under_systemd: bool,
) -> Result<Loaded, ConfigError> {
    let file = path.unwrap_or(standard);
    let text = match read(file) {
        // Only a file that nobody asked for may be absent, and only absent: one that cannot be read
        // says something, and a server that ignores it would run with other settings than written.
        Err(ConfigError::Read { source, .. })
            if path.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            return Ok(without_file(under_systemd));
        }
        text => text?,
    };
    let parsed = keys::parse(&text).map_err(|faults| ConfigError::Faults {
        path: file.to_owned(),
        faults,
    })?;
    Ok(Loaded {
        config: parsed.config,
        file: Some(file.to_owned()),
        given: parsed.given,
    })
}

fn without_file(under_systemd: bool) -> Loaded {
    let mut config = Config::default();
    // Run by hand, it cannot write where the package's service can.
    if !under_systemd {
        config.log.file = None;
        config.control.socket = Some(runtime_directory().join("control.sock"));
    }
    Loaded {
        config,
        file: None,
        given: Vec::new(),
    }
}

/// Where a server that is run by hand has its sockets: the user's own directory, which others cannot enter.
pub(crate) fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|path| path.is_absolute()) {
        Some(path) => path.join("my-app"),
        None => format!("/tmp/my-app-{}", rustix::process::geteuid().as_raw()).into(),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let mut limited = File::open(path).map_err(failed)?.take(MAX_FILE_SIZE + 1);
    let size = limited.read_to_end(&mut bytes).map_err(failed)?;
    if size as u64 > MAX_FILE_SIZE {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = 1 + good.filter(|byte| **byte == b'\n').count();
        ConfigError::NotUtf8 {
            path: path.to_owned(),
            line,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file with `content`, and its directory, which lives as long as the returned guard.
    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("my-app.toml");
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    fn nowhere() -> &'static Path {
        Path::new("/nonexistent/my-app.toml")
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        let error = load(Some(nowhere()), nowhere(), true)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/nonexistent/my-app.toml: cannot read"),
            "{error}"
        );
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let loaded = load(None, nowhere(), true).unwrap();
        assert_eq!((loaded.config, loaded.file), (Config::default(), None));
    }

    #[test]
    fn by_hand_the_log_goes_to_the_terminal_only_and_the_control_socket_is_the_users_own() {
        let loaded = load(None, nowhere(), false).unwrap();
        assert_eq!(loaded.config.log.file, None);
        let socket = runtime_directory().join("control.sock");
        assert_eq!(loaded.config.control.socket, Some(socket));
        let (_dir, path) = file(b"workers = 2");
        let loaded = load(None, &path, false).unwrap();
        assert_eq!(
            loaded.config,
            Config {
                workers: 2,
                ..Config::default()
            }
        );
    }

    #[test]
    fn the_standard_file_is_read_when_it_exists() {
        let (_dir, path) = file(b"workers = 2");
        let loaded = load(None, &path, true).unwrap();
        assert_eq!(
            (loaded.config.workers, loaded.file.as_deref()),
            (2, Some(path.as_path()))
        );
        assert!(loaded.sets("workers") && !loaded.sets("listen"));
    }

    #[test]
    fn a_standard_file_that_cannot_be_read_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(None, dir.path(), false).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }

    #[test]
    fn faults_name_the_file_on_every_line() {
        let (_dir, path) = file(b"a = 1\nb = 2\n");
        let error = load(Some(&path), nowhere(), true).unwrap_err().to_string();
        let path = path.display();
        assert_eq!(
            error,
            format!("{path}: line 1: a: unknown key\n{path}: line 2: b: unknown key")
        );
    }

    #[test]
    fn what_is_not_text_is_refused_with_the_line() {
        let (_dir, path) = file(b"workers = 1\n# caf\xe9\n");
        let error = load(Some(&path), nowhere(), true).unwrap_err();
        assert!(
            matches!(error, ConfigError::NotUtf8 { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_file_over_a_mebibyte_is_refused() {
        let (_dir, path) = file(&vec![b'\n'; 1 << 20]);
        assert!(load(Some(&path), nowhere(), true).is_ok());
        let (_dir, path) = file(&vec![b'\n'; (1 << 20) + 1]);
        let error = load(Some(&path), nowhere(), true).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    }
}
