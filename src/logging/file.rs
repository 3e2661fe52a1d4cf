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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
            told: false,
            speaks_for_all: false,
            notify,
        }
    }

    /// Makes this process the one that says when the file cannot be opened.
    pub(super) fn speak_for_all(&mut self) {
        self.speaks_for_all = true;
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
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    struct Setting {
        dir: tempfile::TempDir,
        reopen: Arc<AtomicBool>,
        said: Receiver<String>,
    }

    impl Setting {
        fn said(&self) -> Vec<String> {
            self.said.try_iter().collect()
        }
    }

    fn open(path: impl AsRef<Path>) -> (LogFile<impl Fn(String) + Send + 'static>, Setting) {
        let dir = tempfile::tempdir().unwrap();
        let (sender, said) = channel();
        let setting = Setting {
            dir,
            reopen: Arc::default(),
            said,
        };
        let path = setting.dir.path().join(path);
        let notify = move |message| drop(sender.send(message));
        let mut file = LogFile::new(path, Arc::clone(&setting.reopen), notify);
        file.speak_for_all();
        file.open();
        (file, setting)
    }

    /// The same file in another process.
    fn beside<N: Fn(String) + Send + 'static>(
        first: &LogFile<impl Fn(String) + Send + 'static>,
        notify: N,
    ) -> LogFile<N> {
        let mut file = LogFile::new(first.path.clone(), Arc::default(), notify);
        file.open();
        file
    }

    #[test]
    fn a_new_file_is_readable_for_owner_and_group_only() {
        let (mut file, setting) = open("app.log");
        assert!(file.write_line(b"a\n"));
        let mode = fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        assert!(setting.said().is_empty());
    }

    #[test]
    fn lines_are_added_to_a_file_that_exists() {
        let (mut first, _setting) = open("app.log");
        let mut second = beside(&first, |_| {});
        assert!(first.write_line(b"a\n") && second.write_line(b"b\n") && first.write_line(b"c\n"));
        assert_eq!(fs::read_to_string(&first.path).unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn a_rotated_file_is_left_when_somebody_asks() {
        let (mut file, setting) = open("app.log");
        let old = setting.dir.path().join("app.log.1");
        assert!(file.write_line(b"a\n"));
        fs::rename(&file.path, &old).unwrap();
        assert!(file.write_line(b"b\n"));
        setting.reopen.store(true, Ordering::Relaxed);
        assert!(file.write_line(b"c\n"));
        assert_eq!(fs::read_to_string(&old).unwrap(), "a\nb\n");
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "c\n");
    }

    #[test]
    fn a_rotated_file_is_left_within_a_second_by_itself() {
        let (mut file, _setting) = open("app.log");
        fs::remove_file(&file.path).unwrap();
        assert!(file.write_line(b"lost with its file\n"));
        file.checked = file.checked.checked_sub(CHECK_INTERVAL).unwrap();
        assert!(file.write_line(b"a\n"));
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "a\n");
    }

    #[test]
    fn a_missing_directory_is_said_once_and_its_end_too() {
        let (mut file, setting) = open("logs/app.log");
        assert!(!file.write_line(b"a\n") && !file.write_line(b"b\n"));
        let path = file.path.display().to_string();
        assert_eq!(
            setting.said(),
            [format!(
                "log file: cannot open {path}: No such file or directory; lines are lost until it \
                 can be opened"
            )]
        );
        fs::create_dir(setting.dir.path().join("logs")).unwrap();
        setting.reopen.store(true, Ordering::Relaxed);
        assert!(file.write_line(b"c\n") && file.write_line(b"d\n"));
        assert_eq!(
            setting.said(),
            ["log file: it can be written again; 2 log lines were lost"]
        );
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "c\nd\n");
    }

    #[test]
    fn a_full_disk_is_said_once_and_stops_nothing() {
        let (mut file, setting) = open("/dev/full");
        assert!(!file.write_line(b"a\n") && !file.write_line(b"b\n"));
        assert_eq!(
            setting.said(),
            ["log file: No space left on device; lines are lost until there is space"]
        );
        file.path = setting.dir.path().join("app.log");
        setting.reopen.store(true, Ordering::Relaxed);
        assert!(file.write_line(b"c\n"));
        assert_eq!(
            setting.said(),
            ["log file: it can be written again; 2 log lines were lost"]
        );
    }

    #[test]
    fn of_those_who_have_the_file_one_tells_until_it_is_over() {
        let (mut first, setting) = open("app.log");
        let (sender, told) = channel();
        let notify = move |message| drop(sender.send(message));
        let mut second = beside(&first, notify);
        let is_first = first.is_first();
        first.begin_outage("full", is_first);
        let is_first = second.is_first();
        second.begin_outage("full", is_first);
        (first.outage, second.outage) = (Some(1), Some(2));
        assert_eq!((setting.said().len(), told.try_iter().count()), (1, 0));
        // Both tell what they have lost.
        assert!(first.write_line(b"a\n") && second.write_line(b"b\n"));
        assert_eq!(
            setting.said(),
            ["log file: it can be written again; 1 log line was lost"]
        );
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            ["log file: it can be written again; 2 log lines were lost"]
        );
        let is_first = second.is_first();
        second.begin_outage("full again", is_first);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["full again"]);
    }

    #[test]
    fn of_a_file_that_cannot_be_opened_the_master_tells_for_all() {
        let (mut master, setting) = open("logs/app.log");
        let (sender, told) = channel();
        let mut worker = beside(&master, move |message| drop(sender.send(message)));
        assert!(!worker.write_line(b"a\n"));
        assert_eq!((setting.said().len(), told.try_iter().count()), (1, 0));
        fs::create_dir(setting.dir.path().join("logs")).unwrap();
        let wait = |file: &mut Instant| *file = file.checked_sub(CHECK_INTERVAL).unwrap();
        // The master has nothing to write, and finds out nonetheless.
        wait(&mut master.checked);
        master.look_after();
        wait(&mut worker.checked);
        assert!(worker.write_line(b"b\n"));
        assert_eq!(
            setting.said(),
            ["log file: it can be written again; 0 log lines were lost"]
        );
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            ["log file: it can be written again; 1 log line was lost"]
        );
    }

    #[test]
    fn who_has_no_line_to_write_finds_out_nonetheless() {
        let (mut file, setting) = open("app.log");
        fs::remove_file(&file.path).unwrap();
        fs::create_dir(&file.path).unwrap();
        file.look_after();
        assert!(setting.said().is_empty(), "it looks once a second");
        file.checked = file.checked.checked_sub(CHECK_INTERVAL).unwrap();
        file.look_after();
        let [said] = &setting.said()[..] else {
            panic!("one line")
        };
        assert!(said.contains("Is a directory"), "{said}");
    }

    #[test]
    fn a_line_after_a_torn_one_begins_on_its_own() {
        let (mut file, _setting) = open("app.log");
        fs::write(&file.path, "2022-09-26T09:06").unwrap();
        file.torn = true;
        assert!(file.write_line(b"a\n") && file.write_line(b"b\n"));
        assert_eq!(
            fs::read_to_string(&file.path).unwrap(),
            "2022-09-26T09:06\na\nb\n"
        );
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (mut file, setting) = open(&path);
        assert!(!file.write_line(b"a\n"));
        assert_eq!(setting.said().len(), 1);
    }
}
