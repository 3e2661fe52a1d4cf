//! `my-app check`: is the configuration good? Will nginx's do?

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{CheckArgs, Exit, files, nginx};
use crate::config::{Config, ConfigError, Loaded, STANDARD_FILE};
use crate::systemd;

/// Where socket units are, see systemd.unit(5).
const UNIT_DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Reads the configuration and tells what it finds: that it is good and what is worth knowing, on
/// standard output; or every fault with its line, on standard error, as compilers do.
#[must_use]
pub(crate) fn check(args: &CheckArgs) -> Exit {
    let loaded = Config::load(args.config.as_deref());
    let mut out = io::stdout().lock();
    let mut err = io::stderr().lock();
    let files = loaded.as_ref().map(files_of_the_service);
    let files = files.unwrap_or_default();
    // What root has read is not good when the service cannot read it.
    if !files.faults.is_empty() {
        for fault in &files.faults {
            let _ = writeln!(err, "{fault}");
        }
        return Exit::Config;
    }
    let exit = report(&loaded, systemd_listens(), &mut out, &mut err);
    if let Ok(loaded) = &loaded {
        for note in files.notes.into_iter().chain(nginx::notes(&loaded.config)) {
            let _ = writeln!(out, "note: {note}");
        }
    }
    exit
}

/// Whether the service can use its files, if it is the service's configuration that was read.
fn files_of_the_service(loaded: &Loaded) -> files::Findings {
    let is_another = |file: &Path| file != Path::new(STANDARD_FILE);
    if loaded.file.as_deref().is_some_and(is_another) {
        return files::Findings::default();
    }
    // Without a file the service has the default, whatever a server that is run by hand has.
    let log = match &loaded.file {
        Some(_) => loaded.config.log.file.clone(),
        None => Config::default().log.file,
    };
    files::findings(log.as_deref())
}

/// Writes the report. Writing fails when nobody reads any more, which changes no answer.
fn report(
    loaded: &Result<Loaded, ConfigError>,
    systemd_listens: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Exit {
    match loaded {
        Ok(loaded) => {
            let _ = out.write_all(good(loaded, systemd_listens).as_bytes());
            let _ = out.flush();
            Exit::Ok
        }
        Err(error) => {
            let _ = err.write_all(format!("{error}\n").as_bytes());
            Exit::Config
        }
    }
}

fn good(loaded: &Loaded, systemd_listens: bool) -> String {
    let mut text = match &loaded.file {
        Some(file) => format!("{}: good\n", file.display()),
        None => format!("{STANDARD_FILE}: good: there is no such file, so the defaults hold\n"),
    };
    let mut note = |note: &str| text.extend(["note: ", note, "\n"]);
    if loaded.sets("listen") && systemd_listens {
        note(
            "listen is not used in the service: systemd's listeners (the my-app socket units) take \
             its place",
        );
    }
    if loaded
        .config
        .limits
        .trusted_proxies
        .iter()
        .any(|network| network.prefix_len() == 0)
    {
        note(
            "limits.trusted_proxies trusts every address, so clients can write any address into \
             X-Forwarded-For",
        );
    }
    text
}

/// Whether this process got listeners from systemd, or the service on this machine would.
fn systemd_listens() -> bool {
    systemd::passes_listeners()
        || UNIT_DIRECTORIES
            .iter()
            .any(|directory| has_socket_unit(Path::new(directory)))
}

fn has_socket_unit(directory: &Path) -> bool {
    let is_ours = |name: &str| name.starts_with("my-app") && name.ends_with(".socket");
    fs::read_dir(directory).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.file_name().to_str().is_some_and(is_ours)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a check of a file with `text` writes to both outputs.
    fn checked(text: &str, systemd_listens: bool) -> (Exit, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("my-app.toml");
        fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let loaded = Config::load(Some(&path));
        let exit = report(&loaded, systemd_listens, &mut out, &mut err);
        let tidy = |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(path.to_str().unwrap(), "FILE")
        };
        (exit, tidy(out), tidy(err))
    }

    #[test]
    fn a_good_file_is_called_good() {
        assert_eq!(
            checked("workers = 2", true),
            (Exit::Ok, "FILE: good\n".into(), String::new())
        );
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let (exit, out, err) = checked("worker = 2\nbalance = 1\n", false);
        assert_eq!((exit, out.as_str()), (Exit::Config, ""));
        assert_eq!(
            err,
            "FILE: line 1: worker: unknown key; did you mean workers?\n\
             FILE: line 2: balance = 1: expected a string, found a whole number\n"
        );
    }

    #[test]
    fn listen_is_said_to_be_unused_when_systemd_listens() {
        let text = "listen = [\"127.0.0.1:80\"]";
        assert!(checked(text, true).1.contains("note: listen is not used"));
        assert_eq!(checked(text, false).1, "FILE: good\n");
    }

    #[test]
    fn trust_in_everybody_is_worth_a_note() {
        let text = "limits.trusted_proxies = [\"0.0.0.0/0\"]";
        assert!(
            checked(text, false)
                .1
                .contains("note: limits.trusted_proxies trusts every")
        );
    }

    #[test]
    fn a_reader_who_has_gone_changes_no_answer() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let missing = Config::load(Some(Path::new("/nonexistent")));
        assert_eq!(
            report(&missing, false, &mut Closed, &mut Closed),
            Exit::Config
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.toml");
        fs::write(&path, "").unwrap();
        let good = Config::load(Some(&path));
        assert_eq!(report(&good, false, &mut Closed, &mut Closed), Exit::Ok);
    }

    #[test]
    fn only_our_socket_units_count() {
        let dir = tempfile::tempdir().unwrap();
        for other in ["other.socket", "my-app.service"] {
            fs::write(dir.path().join(other), "").unwrap();
        }
        assert!(!has_socket_unit(dir.path()));
        fs::write(dir.path().join("my-app-http.socket"), "").unwrap();
        assert!(has_socket_unit(dir.path()));
    }
}
