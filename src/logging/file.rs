//! The log file as a sink: appended to by all processes, rotated by others, and never in the way.
//!
//! A line is one `write` to a file in append mode, so lines of several processes do not mix. A file
//! that cannot be written costs lines, which are counted. One of the processes says so when it begins,
//! and when it is over each says what it has lost. Of a file that cannot be opened that one is the
//! master, who looks for it every second; of others, such as a full disk, whoever finds out first.
//! Directories are never created and files never deleted or cut here.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::lost;
use super::queue::LineWriter;

/// How often it is looked whether the path still names the open file: one `stat` a second.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Readable for the group, as Debian's logs are for `adm`; clients' addresses are not for
/// everybody.
const MODE: u32 = 0o640;

/// Why the file cannot be written now, if it cannot.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn get(&self) -> Option<String> {
        // Whoever panicked did not while it was held.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, why: Option<&str>) {
        let why = why.map(ToOwned::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// A file that lines are appended to. `N` tells the operator what happened, on other sinks.
pub(super) struct LogFile<N> {
    path: PathBuf,
    open: Option<File>,
    checked: Instant,
    /// Set by others to have the path looked at before the next line.
    reopen: Arc<AtomicBool>,
    /// Whether the file ends within a line.
    torn: bool,
    /// While the file cannot be written: how many lines that has cost.
    outage: Option<u64>,
    /// Why it cannot be, for others to see.
    trouble: Trouble,
    /// Whether this process said that it cannot be written.
    told: bool,
    /// Whether this process says it for all others, too, when the file cannot be opened.
    speaks_for_all: bool,
    notify: N,
}

impl<N: Fn(String) + Send + 'static> LogFile<N> {
    /// The file of that path, which is to be [opened](Self::open).
    pub(super) fn new(path: PathBuf, reopen: Arc<AtomicBool>, notify: N) -> Self {
        Self {
            path,
            open: None,
            checked: Instant::now(),
            reopen,
            torn: false,
            outage: None,
            trouble: Trouble::default(),
            told: false,
            speaks_for_all: false,
            notify,
        }
    }

    /// Makes this process the one that says when the file cannot be opened.
    pub(super) fn speak_for_all(&mut self) {
        self.speaks_for_all = true;
    }

    /// What others may look at.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Opens the file, or says why not and tries again later.
    pub(super) fn open(&mut self) {
        self.look();
    }

    /// Makes the file that the path names the open one.
    fn look(&mut self) {
        self.checked = Instant::now();
        if self.open.as_ref().is_some_and(|open| self.is_named(open)) {
            return;
        }
        self.torn = false;
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            // A pipe that nobody reads must not hold this thread; it means nothing for a file.
            .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
            .open(&self.path);
        self.open = match opened {
            Ok(file) => Some(file),
            Err(error) => {
                let path = self.path.display();
                let message = format!(
                    "log file: cannot open {path}: {}; lines are lost until it can be opened",
                    reason(&error)
                );
                // A descriptor is missing in one process; all else is missing in all of them.
                let concerns_all = Errno::from_io_error(&error) != Some(Errno::MFILE);
                self.begin_outage(&message, self.speaks_for_all || !concerns_all);
                None
            }
        };
    }

    fn is_named(&self, open: &File) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (fs::metadata(&self.path), open.metadata()) {
            (Ok(named), Ok(open)) => identity(named) == identity(open),
            _ => false,
        }
    }

    fn try_line(&mut self, line: &[u8]) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let ended = if self.torn {
            [b"\n", line].concat().into()
        } else {
            Cow::Borrowed(line)
        };
        let written = loop {
            match open.write(&ended) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let error = match written {
            Ok(count) if count == ended.len() => {
                self.torn = false;
                return true;
            }
            // The disk took a part of the line and is full now; the next write would tell.
            Ok(count) => {
                self.torn = self.torn || count > 0;
                io::ErrorKind::StorageFull.into()
            }
            Err(error) => error,
        };
        let message = if error.kind() == io::ErrorKind::StorageFull {
            "log file: No space left on device; lines are lost until there is space".to_owned()
        } else {
            format!(
                "log file: {}; lines are lost until it can be written",
                reason(&error)
            )
        };
        let is_first = self.outage.is_none() && self.is_first();
        self.begin_outage(&message, is_first);
        false
    }

    /// Lines are lost from now on, which this process says, or another one does.
    fn begin_outage(&mut self, message: &str, is_mine: bool) {
        if self.outage.is_none() {
            self.outage = Some(0);
            self.trouble.set(Some(message));
            self.told = is_mine;
            if is_mine {
                (self.notify)(message.to_owned());
            }
        }
    }

    fn end_outage(&mut self) {
        let Some(count) = self.outage.take() else {
            return;
        };
        self.trouble.set(None);
        let _ = self.open.as_ref().map(File::unlock);
        if self.told || count > 0 {
            (self.notify)(format!(
                "log file: it can be written again; {}",
                lost(count)
            ));
        }
    }

    /// Whether no other process has told of this file's trouble: whoever does locks it until it is
    /// over. Devices have no lock, for any program of the machine may use them.
    fn is_first(&self) -> bool {
        let Some(open) = &self.open else { return true };
        let is_file = open.metadata().is_ok_and(|metadata| metadata.is_file());
        !(is_file && matches!(open.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

impl<N: Fn(String) + Send + 'static> LineWriter for LogFile<N> {
    fn write_line(&mut self, line: &[u8]) -> bool {
        if self.reopen.swap(false, Ordering::Relaxed) || self.checked.elapsed() >= CHECK_INTERVAL {
            self.look();
        }
        let written = self.try_line(line);
        if written {
            self.end_outage();
        } else {
            self.outage = self.outage.map(|count| count + 1);
        }
        written
    }

    fn look_after(&mut self) {
        let was_open = self.open.is_some();
        if self.checked.elapsed() >= CHECK_INTERVAL {
            self.look();
        }
        // Whether there is space again, only a line can tell.
        if !was_open && self.open.is_some() {
            self.end_outage();
        }
    }
}

/// What the system said, without the number that the standard library adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests;
