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
    let why = format!(
        "log file: cannot open {path}: No such file or directory; lines are lost until it can be opened"
    );
    assert_eq!(file.trouble().get().as_ref(), Some(&why));
    assert_eq!(setting.said(), [why]);
    fs::create_dir(setting.dir.path().join("logs")).unwrap();
    setting.reopen.store(true, Ordering::Relaxed);
    assert!(file.write_line(b"c\n") && file.write_line(b"d\n"));
    assert_eq!(file.trouble().get(), None);
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
