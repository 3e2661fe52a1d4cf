//! How the doctor looks at the machine: nothing is changed, and nothing is waited for without end.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may take. systemd and directories of users answer within milliseconds, or not at all.
const COMMAND: Duration = Duration::from_secs(5);
/// How much of an answer or a file is read.
const MOST: u64 = 1 << 20;
/// Where commands of the system are that a user's PATH may not have.
const SYSTEM: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What `look` gives, if it does so in this time; a file system or a pipe may never answer.
pub(super) fn within<T: Send + 'static>(
    time: Duration,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Nobody waits for one that hangs; it ends with the process.
    thread::Builder::new()
        .spawn(move || {
            let _ = sender.send(look());
        })
        .ok()?;
    receiver.recv_timeout(time).ok()
}

/// What a command said, and whether it succeeded; nothing when there is none, or it takes too long.
pub(super) fn command(line: &[&str]) -> Option<(String, bool)> {
    command_within(line, COMMAND)
}

fn command_within(line: &[&str], time: Duration) -> Option<(String, bool)> {
    let (program, arguments) = line.split_first()?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", SYSTEM)
        .env("LC_ALL", "C.UTF-8")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let end = Instant::now() + time;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let said = pipes.and_then(|(out, err)| {
        let readers = [Box::new(out) as Box<dyn Read + Send>, Box::new(err)];
        let [out, err] = readers.map(|pipe| {
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.take(MOST).read_to_end(&mut bytes);
                let _ = sender.send(bytes);
            });
            receiver
        });
        let left = || end.saturating_duration_since(Instant::now());
        let mut said = out.recv_timeout(left()).ok()?;
        said.extend(err.recv_timeout(left()).ok()?);
        Some(said)
    });
    // It may have closed its output and go on.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            _ => break None,
        }
    };
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    let said = String::from_utf8_lossy(&said?).into_owned();
    Some((said, status.success()))
}

/// A file's text, if it is one and can be read.
pub(super) fn file(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    // What is no file may wait for somebody who writes.
    std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether there is such a program.
pub(super) fn has_program(name: &str) -> bool {
    SYSTEM
        .split(':')
        .any(|directory| Path::new(directory).join(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_heard_on_both_outputs() {
        let (said, good) = command(&["sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap();
        assert_eq!((said.as_str(), good), ("out\nerr\n", false));
        assert_eq!(command(&["true"]), Some((String::new(), true)));
        assert_eq!(command(&["/nonexistent/command"]), None);
    }

    #[test]
    fn what_hangs_is_given_up() {
        let began = Instant::now();
        let time = Duration::from_millis(100);
        for script in ["sleep 60", "exec >&- 2>&-; sleep 60", "sleep 60 & exit"] {
            assert_eq!(
                command_within(&["sh", "-c", script], time),
                None,
                "{script}"
            );
        }
        assert_eq!(within(time, || thread::sleep(Duration::from_mins(1))), None);
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn only_files_are_read() {
        assert!(file("/proc/self/status").unwrap().starts_with("Name:"));
        assert_eq!(file("/dev/zero"), None);
        assert_eq!(file("/proc"), None);
    }
}
