//! The program that a reload executes: where it is, and with which arguments.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The hidden words of the command line that say what a process of the server is to do.
const MASTER: &str = "master";
const RESUME: &str = "--resume";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// None: the system does not tell.
    path: Option<PathBuf>,
    /// As they were typed.
    args: Vec<OsString>,
}

impl Program {
    /// This one. The path is asked for at the first start: later it is that of a file which was replaced.
    pub(crate) fn this() -> Self {
        Self {
            path: std::env::current_exe().ok(),
            args: typed(std::env::args_os()),
        }
    }

    /// The one that was started first, which was at `path`.
    pub(crate) fn started_at(path: PathBuf) -> Self {
        Self {
            path: Some(path),
            ..Self::this()
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// When the system does not tell, as where there is no /proc.
    pub(crate) fn path(&self) -> io::Result<&Path> {
        self.path.as_deref().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the system does not tell where this program is",
            )
        })
    }

    /// The file that runs, by its device and inode; none: the system does not tell. One that took its place has others.
    pub(crate) fn file() -> Option<(u64, u64)> {
        let file = std::fs::metadata("/proc/self/exe").ok()?;
        Some((file.dev(), file.ino()))
    }

    /// The file at the path, and when it was written: one that was written over is another, too. None: there is no file.
    pub(crate) fn at_path(&self) -> Option<(u64, u64, u64, (i64, i64))> {
        let file = std::fs::metadata(self.path.as_deref()?).ok()?;
        let written = (file.mtime(), file.mtime_nsec());
        Some((file.dev(), file.ino(), file.len(), written))
    }

    /// The arguments of a program that takes this process over.
    pub(crate) fn to_resume(&self) -> Vec<OsString> {
        self.with(&[MASTER, RESUME])
    }

    /// The arguments of one that is tried.
    pub(crate) fn to_try(&self) -> Vec<OsString> {
        self.with(&["trial"])
    }

    fn with(&self, words: &[&str]) -> Vec<OsString> {
        let words = words.iter().map(OsString::from);
        words.chain(self.args.iter().cloned()).collect()
    }
}

/// What was typed behind the program's name: without the words that we put there.
fn typed(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.skip(1).peekable();
    for word in [MASTER, RESUME] {
        args.next_if(|it| it == word);
    }
    args.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_stays_the_same_over_any_number_of_reloads() {
        let line = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let program = |typed_line: &str| Program {
            path: None,
            args: typed(line(typed_line).into_iter()),
        };
        let first = program("my-app --config a.toml --workers 2");
        let resumed = "master --resume --config a.toml --workers 2";
        assert_eq!(first.to_resume(), line(resumed));
        for again in [
            "my-app: master --config a.toml --workers 2",
            &format!("my-app: {resumed}"),
        ] {
            assert_eq!(program(again), first, "{again}");
        }
        assert_eq!(first.to_try(), line("trial --config a.toml --workers 2"));
        assert!(program("my-app").args.is_empty());
    }
}
