//! What systemd says about itself in the environment of a service. Only read, never changed.

use std::env;
use std::os::fd::AsFd;

/// Whether systemd started this process as a service.
pub(super) fn under_systemd() -> bool {
    // See `sd_notify(3)` and `sd_listen_fds(3)`.
    ["NOTIFY_SOCKET", "LISTEN_FDS"]
        .iter()
        .any(|name| env::var_os(name).is_some())
        || under_journal()
}

/// Whether standard output or standard error is the journal's.
///
/// The variable alone proves nothing: a shell in a desktop's terminal inherits it from the service
/// that the terminal is, so systemd.exec(5) asks to compare device and inode.
pub(crate) fn under_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    stream.as_deref().and_then(parse).is_some_and(|stream| {
        is_stream(std::io::stdout(), stream) || is_stream(std::io::stderr(), stream)
    })
}

/// Device and inode of the stream that the variable names.
fn parse(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn is_stream(descriptor: impl AsFd, (device, inode): (u64, u64)) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_device_and_inode_are_the_journals_stream() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let named = parse(&format!("{}:{}", stat.st_dev, stat.st_ino)).unwrap();
        assert!(is_stream(&file, named));
        assert!(!is_stream(&file, (named.0, named.1 + 1)));
    }

    #[test]
    fn a_variable_of_another_form_names_no_stream() {
        for text in ["", "1", "1:", ":1", "a:b", "1:2:3", "-1:2"] {
            assert_eq!(parse(text), None);
        }
    }
}
