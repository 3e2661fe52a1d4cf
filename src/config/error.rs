//! What can be wrong with a configuration, in the words that the operator reads.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The size above which a file is no configuration, in bytes: a mistyped path may name anything.
pub(super) const MAX_FILE_SIZE: u64 = 1 << 20;

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line of the file, from 1.
    pub line: usize,
    /// The full name of the key, such as `engine.ping_interval`; none for a fault of TOML's syntax.
    pub key: Option<String>,
    /// The offending value as the file writes it, shortened to be shown.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// All the mistakes of one configuration file, at least one, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Puts `faults` in order. An empty list makes no sense, but does no harm.
    pub(super) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.line);
        Self(faults)
    }

    /// The mistakes, in the order of their lines.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, "", self)
    }
}

impl std::error::Error for Faults {}

/// Why there is no configuration. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is missing, or the system does not let this process read it.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is far larger than any configuration, so it is probably not one.
    #[error("{}: over {MAX_FILE_SIZE} bytes, so this is not a configuration", path.display())]
    TooLarge {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// TOML is UTF-8 by definition.
    #[error("{}: line {line}: not UTF-8 text; save the file in that encoding", path.display())]
    NotUtf8 {
        /// The file that was asked for.
        path: PathBuf,
        /// The line of the first wrong byte, from 1.
        line: usize,
    },
    /// The file was read and is wrong. The text has one line for each fault.
    #[error("{}", Located { path, faults })]
    Faults {
        /// The file that was asked for.
        path: PathBuf,
        /// Everything that is wrong with it.
        faults: Faults,
    },
}

/// Faults with the file's name before each, the form that editors and `grep` understand.
struct Located<'a> {
    path: &'a PathBuf,
    faults: &'a Faults,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &format!("{}: ", self.path.display()), self.faults)
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, prefix: &str, faults: &Faults) -> fmt::Result {
    for (index, fault) in faults.iter().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        write!(f, "{separator}{prefix}{fault}")?;
    }
    Ok(())
}
