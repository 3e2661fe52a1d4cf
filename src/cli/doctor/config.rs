//! The configuration alone: its faults, and what is good and yet not meant so.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::finding::{Finding, Id};
use crate::config::{ConfigError, Loaded};
use crate::systemd;

/// Where socket units are, see systemd.unit(5).
const UNIT_DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Why the service does not start with this file, a finding for each fault. Each begins with the file's name and
/// the line, the form that editors and `grep` understand.
pub(super) fn faults(error: &ConfigError) -> Vec<Finding> {
    let why = "the server does not start with it";
    let fault = |what: String, remedy: String| Finding::fault(Id::Configuration, what, why, remedy);
    match error {
        ConfigError::Faults { path, faults } => {
            let path = path.display();
            let faults = faults.iter();
            faults
                .map(|it| {
                    let edit = format!("editor +{} {path}", it.line);
                    fault(format!("{path}: {it}"), edit)
                })
                .collect()
        }
        ConfigError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            vec![fault(
                error.to_string(),
                "look as root: sudo my-app check".into(),
            )]
        }
        ConfigError::Read { path, .. } | ConfigError::TooLarge { path } => {
            vec![fault(
                error.to_string(),
                format!("ls -l {}", path.display()),
            )]
        }
        ConfigError::NotUtf8 { path, line } => {
            let edit = format!("editor +{line} {}", path.display());
            vec![fault(error.to_string(), edit)]
        }
    }
}

/// What is worth knowing about a good file.
pub(super) fn remarks(loaded: &Loaded, systemd_listens: bool, has_client: bool) -> Vec<Finding> {
    let mut remarks = Vec::new();
    let file = loaded.file.as_deref().unwrap_or(Path::new("")).display();
    if loaded.sets("listen") && systemd_listens {
        remarks.push(Finding::note(
            Id::ListenUnused,
            "listen is not used in the service: systemd's listeners (the my-app socket units) take its place",
            "what it names is not opened",
            "systemctl edit my-app-tcp.socket, as /usr/share/doc/my-app/examples/public-port.conf does",
        ));
    }
    let everybody = |network: &ipnet::IpNet| network.prefix_len() == 0;
    if loaded.config.limits.trusted_proxies.iter().any(everybody) {
        remarks.push(Finding::warning(
            Id::TrustsEverybody,
            "limits.trusted_proxies trusts every address",
            "clients can write any address into X-Forwarded-For, and so pass limits by address",
            format!("name the networks of your proxies alone: editor {file}"),
        ));
    }
    let engine = &loaded.config.engine;
    if engine.serve_client && !has_client {
        remarks.push(Finding::note(
            Id::NoClientFiles,
            "this program was built without the browser's client",
            format!("pages that load {}socket.io.js get 404", engine.path),
            "make client, where it is built; or serve_client = false",
        ));
    }
    remarks
}

/// Whether this process got listeners from systemd, or the service on this machine would.
pub(super) fn systemd_listens() -> bool {
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
    use crate::config::Config;

    /// What is found in a file with `text`.
    fn found(text: &str, systemd_listens: bool) -> Vec<Finding> {
        found_by(text, systemd_listens, true)
    }

    fn found_by(text: &str, systemd_listens: bool, has_client: bool) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("my-app.toml");
        fs::write(&path, text).unwrap();
        let mut found = match Config::load(Some(&path)) {
            Ok(loaded) => remarks(&loaded, systemd_listens, has_client),
            Err(error) => faults(&error),
        };
        for finding in &mut found {
            for text in [&mut finding.what, &mut finding.remedy] {
                *text = text.replace(path.to_str().unwrap(), "FILE");
            }
        }
        found
    }

    #[test]
    fn nothing_is_found_in_a_good_file() {
        assert_eq!(found("workers = 2", true), []);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let found = found("worker = 2\nbalance = 1\n", false);
        let told = found.iter().map(|it| [&it.what[..], &it.remedy]);
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                [
                    "FILE: line 1: worker: unknown key; did you mean workers?",
                    "editor +1 FILE"
                ],
                [
                    "FILE: line 2: balance = 1: expected a string, found a whole number",
                    "editor +2 FILE"
                ],
            ]
        );
        let missing = Config::load(Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(
            faults(&missing)[0]
                .what
                .starts_with("/nonexistent: cannot read")
        );
    }

    #[test]
    fn listen_is_said_to_be_unused_when_systemd_listens() {
        let text = "listen = [\"127.0.0.1:80\"]";
        assert_eq!(found(text, true)[0].id, Id::ListenUnused);
        assert_eq!(found(text, false), []);
    }

    #[test]
    fn trust_in_everybody_is_worth_a_warning() {
        let text = "limits.trusted_proxies = [\"0.0.0.0/0\"]";
        assert_eq!(found(text, false)[0].id, Id::TrustsEverybody);
    }

    #[test]
    fn a_program_without_the_client_says_how_to_have_it() {
        let note = &found_by("engine.path = \"/chat\"", false, false)[0];
        assert_eq!(note.id, Id::NoClientFiles);
        assert_eq!(note.why, "pages that load /chat/socket.io.js get 404");
        assert!(note.remedy.contains("make client"), "{}", note.remedy);
        assert_eq!(found_by("engine.serve_client = false", false, false), []);
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
