//! The `[bridge]` section: what joins this machine with others, and where the bridge's end of the bus is.

mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, Control, runtime_directory};
use crate::systemd;

pub(crate) use url::{BridgeUrl, HostPort, PostgresServer};

/// Where the packaged service has its end of the bus for the bridge: in a runtime directory of its own, so
/// that the bridge's unit can restart without it.
const PACKAGED_BUS: &str = "/run/my-app-bus/bus.sock";

/// The longest `prefix`, in bytes. A channel of Postgres is an identifier of 63 bytes at most, and holds
/// a bridge's id as well.
const LONGEST_PREFIX: usize = 24;

/// The settings of the bridge to other machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BridgeConfig {
    /// The server that joins the machines; `None`: this machine is alone.
    pub url: Option<BridgeUrl>,
    /// The file with the password, a full path; `None`: systemd's credential, if there is one.
    pub secret_file: Option<PathBuf>,
    /// The file with the authorities that are trusted with TLS, a full path; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// What the names of the channels begin with: what has another prefix is another deployment.
    pub prefix: String,
    /// This machine's number, below 4096; 0: made from /etc/machine-id.
    pub machine: u16,
    /// How long what was sent is kept for machines that did not hear it.
    pub catch_up: Duration,
    /// Whether events of Node's `@socket.io/redis-emitter` are taken.
    pub emitter: bool,
    /// The `key` of those emitters, and of Node's servers.
    pub emitter_prefix: String,
    /// Whether the wire of Node's `@socket.io/redis-adapter` is spoken as well.
    pub node: bool,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            url: None,
            secret_file: None,
            ca_file: None,
            prefix: "my-app".to_owned(),
            machine: 0,
            catch_up: Duration::from_mins(1),
            emitter: true,
            emitter_prefix: "socket.io".to_owned(),
            node: false,
        }
    }
}

impl Config {
    /// Where the hub takes the bridge's connection.
    ///
    /// The packaged service has a directory for it. Whoever has moved the control socket, or runs the server by
    /// hand, has the bus beside it.
    pub(crate) fn bus_socket(&self) -> PathBuf {
        bus_socket(self.control.socket.as_deref(), systemd::is_parent())
    }

    /// What tells this server from another one on the same machine, for the machine's number: nothing for the
    /// packaged service, which is the only one of its kind.
    pub(crate) fn instance(&self) -> Option<&Path> {
        let own = self.control.socket.as_deref();
        own.filter(|own| Some(*own) != Control::default().socket.as_deref())
    }
}

fn bus_socket(control: Option<&Path>, under_systemd: bool) -> PathBuf {
    match control {
        Some(path) if Some(path) == Control::default().socket.as_deref() => PACKAGED_BUS.into(),
        Some(path) if path.ends_with("control.sock") => path.with_file_name("bus.sock"),
        Some(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".bus");
            name.into()
        }
        None if under_systemd => PACKAGED_BUS.into(),
        None => runtime_directory().join("bus.sock"),
    }
}

/// The server's address: none for the empty string.
pub(super) fn address(text: &str) -> Result<Option<BridgeUrl>, url::BridgeUrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some)
}

/// What the names of our channels begin with. Their parts are joined by slashes.
pub(super) fn prefix(text: &str) -> Result<String, &'static str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if text.is_empty() || !text.bytes().all(known) {
        return Err("write letters, digits, \"-\", \"_\", \".\" and \":\" only, at least one");
    }
    if text.len() > LONGEST_PREFIX {
        return Err("too long; a prefix has 24 bytes at most");
    }
    Ok(text.to_owned())
}

/// What the channels of Node's emitters and servers begin with, their option `key`.
pub(super) fn emitter_prefix(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > 200 || text.contains(char::is_control) {
        return Err("write the option `key` of the emitters, such as \"socket.io\"");
    }
    // Their channels are subscribed to by a pattern.
    if text.contains(['*', '?', '[', ']', '\\']) {
        return Err("holds what is a pattern to Redis (* ? [ ] \\); give the emitters another key");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_is_beside_the_control_socket_but_the_packaged_one() {
        for (control, bus) in [
            ("/run/my-app-ctl/control.sock", "/run/my-app-bus/bus.sock"),
            ("/tmp/a/control.sock", "/tmp/a/bus.sock"),
            ("/tmp/a.sock", "/tmp/a.sock.bus"),
        ] {
            for under_systemd in [false, true] {
                let socket = bus_socket(Some(Path::new(control)), under_systemd);
                assert_eq!(socket, Path::new(bus));
            }
        }
        assert_eq!(bus_socket(None, true), Path::new(PACKAGED_BUS));
        let own = runtime_directory().join("bus.sock");
        assert_eq!(bus_socket(None, false), own);
    }

    #[test]
    fn two_servers_of_one_machine_are_told_apart_by_their_control_sockets() {
        let mut config = Config::default();
        assert_eq!(config.instance(), None);
        config.control.socket = Some("/tmp/a.sock".into());
        assert_eq!(config.instance(), Some(Path::new("/tmp/a.sock")));
    }

    #[test]
    fn a_prefix_is_short_and_has_no_slash() {
        assert_eq!(prefix("my-app:2"), Ok("my-app:2".into()));
        let long = "a".repeat(25);
        for wrong in ["", "a/b", "a b", "é", "a*", long.as_str()] {
            assert!(prefix(wrong).is_err(), "{wrong:?}");
        }
        assert!(prefix(&long[..24]).is_ok());
    }

    #[test]
    fn an_emitters_prefix_is_its_key_without_patterns() {
        assert_eq!(emitter_prefix("socket.io"), Ok("socket.io".into()));
        assert_eq!(emitter_prefix("my key"), Ok("my key".into()));
        for wrong in ["", "a*", "a[b", "a\\b", "a\nb", &"a".repeat(201)] {
            assert!(emitter_prefix(wrong).is_err(), "{wrong:?}");
        }
    }
}
