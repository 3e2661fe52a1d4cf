//! An address to listen at, as the configuration file and the command line write it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// The longest path that fits `sockaddr_un` with its final NUL: 108 bytes on Linux, see unix(7).
const UNIX_PATH_MAX: usize = 107;

/// An address to listen at. It is a name until the master binds it: no lookup happens here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum ListenAddr {
    /// `host:port`, an IPv6 address in brackets. Port 0 lets the system choose one.
    Tcp(String),
    /// The path of a Unix stream socket, written `unix:PATH`.
    Unix(PathBuf),
}

/// Why a text is not an address to listen at; the text of the error says how to write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListenAddrError {
    /// There is no colon, or nothing that could be a port behind it.
    #[error(
        "not an address; write host:port such as \"127.0.0.1:3000\" or \"[::1]:3000\", \
         or unix:PATH"
    )]
    Form,
    /// Node writes a bare port; here the host decides who can connect, so it is asked for.
    #[error(
        "a port alone; write \"127.0.0.1:{0}\" for this machine only or \"0.0.0.0:{0}\" for all"
    )]
    PortAlone(String),
    /// The host is none, or holds what no host name holds.
    #[error("not a host; write a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The port is not a number of 16 bits.
    #[error("not a port; write a number from 0 to 65535 after the last colon")]
    Port,
    /// The path of a Unix socket is empty or holds a NUL.
    #[error("no path; write the path of the socket after \"unix:\"")]
    Path,
    /// The path does not fit the system's address structure.
    #[error("a path of {0} bytes; a Unix socket's has at most {UNIX_PATH_MAX}")]
    PathLength(usize),
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path.len() {
                0 => Err(ListenAddrError::Path),
                _ if path.contains('\0') => Err(ListenAddrError::Path),
                length if length > UNIX_PATH_MAX => Err(ListenAddrError::PathLength(length)),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ListenAddrError::PortAlone(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or(ListenAddrError::Form)?;
        if !is_host(host) {
            return Err(ListenAddrError::Host);
        }
        if parse_port(port).is_none() {
            return Err(ListenAddrError::Port);
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

/// Where each worker has a port of its own: worker n at `port` + n.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerListen {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    /// That of worker 0; never 0.
    port: u16,
}

impl WorkerListen {
    /// The address of the worker `slot`; none if there is no such port.
    pub(crate) fn of(&self, slot: u16) -> Option<ListenAddr> {
        let port = self.port.checked_add(slot)?;
        Some(ListenAddr::Tcp(format!("{}:{port}", self.host)))
    }

    /// Which of so many workers has this port, if one has it.
    pub(crate) fn slot_at(&self, port: u16, workers: u16) -> Option<u16> {
        let slot = port.checked_sub(self.port)?;
        (slot < workers).then_some(slot)
    }

    /// The last port of so many workers; none if there is no such port.
    pub(super) fn last_port(&self, workers: u16) -> Option<u16> {
        self.port.checked_add(workers.saturating_sub(1))
    }

    /// Would this address be one of so many workers' own? Names are not looked up, so only what is written alike, or
    /// stands for all addresses, is told.
    pub(super) fn overlaps(&self, address: &ListenAddr, workers: u16) -> bool {
        let ListenAddr::Tcp(text) = address else {
            return false;
        };
        let Some((host, port)) = text.rsplit_once(':') else {
            return false;
        };
        let everywhere = |host: &str| matches!(host, "0.0.0.0" | "[::]");
        let port = parse_port(port).and_then(|port| self.slot_at(port, workers));
        let same_host = host == self.host || everywhere(host) || everywhere(&self.host);
        port.is_some() && same_host
    }
}

impl fmt::Display for WorkerListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for WorkerListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write host:port, the port of worker 0, such as \"127.0.0.1:3100\", \
                            or \"\" for no such ports";
        match text
            .parse()
            .map_err(|error: ListenAddrError| error.to_string())?
        {
            ListenAddr::Tcp(text) => {
                let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
                let port = parse_port(port).filter(|port| *port != 0).ok_or(FORM)?;
                let host = host.to_owned();
                Ok(Self { host, port })
            }
            ListenAddr::Unix(_) => Err(FORM.to_owned()),
        }
    }
}

impl TryFrom<String> for ListenAddr {
    type Error = ListenAddrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddr> for String {
    fn from(address: ListenAddr) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Whether `host` can stand before a port: an IPv6 address in brackets, an IPv4 address, a name.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(inside) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let numeric = !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    // The length limit is RFC 1035's; underscores are no host name's, but resolvers know them.
    (1..=253).contains(&host.len())
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// The port that `text` writes, in digits only (`u16::from_str` alone takes a plus sign, too).
pub(super) fn parse_port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ListenAddr, ListenAddrError> {
        text.parse()
    }

    #[test]
    fn addresses_are_shown_as_they_are_written() {
        for text in [
            "127.0.0.1:3000",
            "[::1]:3000",
            "localhost:0",
            "unix:/run/my-app/http.sock",
            "unix:my.sock",
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<ListenAddr>(&json).unwrap(), address);
        }
    }

    #[test]
    fn every_mistake_has_its_own_answer() {
        for (text, error) in [
            ("", ListenAddrError::Form),
            ("localhost", ListenAddrError::Form),
            ("3000", ListenAddrError::PortAlone("3000".into())),
            ("::1:3000", ListenAddrError::Host),
            ("*:3000", ListenAddrError::Host),
            (":3000", ListenAddrError::Host),
            ("256.1.1.1:80", ListenAddrError::Host),
            ("[::g]:80", ListenAddrError::Host),
            ("my host:80", ListenAddrError::Host),
            ("localhost:", ListenAddrError::Port),
            ("localhost:+80", ListenAddrError::Port),
            ("localhost:65536", ListenAddrError::Port),
            ("unix:", ListenAddrError::Path),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn each_worker_has_the_port_of_its_number() {
        let ports: WorkerListen = "127.0.0.1:3100".parse().unwrap();
        assert_eq!(ports.of(3), Some(parse("127.0.0.1:3103").unwrap()));
        assert_eq!(ports.slot_at(3103, 4), Some(3));
        for other in [3099, 3104] {
            assert_eq!(ports.slot_at(other, 4), None, "{other}");
        }
        let last: WorkerListen = "[::1]:65535".parse().unwrap();
        assert_eq!(last.last_port(1), Some(65535));
        assert_eq!(last.last_port(2), None);
        assert_eq!(last.of(1), None);
        assert_eq!(last.to_string(), "[::1]:65535");
        for wrong in ["3100", "localhost", "127.0.0.1:0", "unix:/a", ":3100"] {
            assert!(wrong.parse::<WorkerListen>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_listens_at_a_workers_own_port_is_told() {
        let ports: WorkerListen = "127.0.0.1:3100".parse().unwrap();
        for (address, overlaps) in [
            ("127.0.0.1:3099", false),
            ("127.0.0.1:3100", true),
            ("127.0.0.1:3103", true),
            ("127.0.0.1:3104", false),
            ("0.0.0.0:3101", true),
            ("[::]:3101", true),
            ("10.0.0.1:3101", false),
            ("unix:/run/a:3101", false),
        ] {
            let address = parse(address).unwrap();
            assert_eq!(ports.overlaps(&address, 4), overlaps, "{address}");
        }
        let everywhere: WorkerListen = "0.0.0.0:3100".parse().unwrap();
        assert!(everywhere.overlaps(&parse("10.0.0.1:3101").unwrap(), 2));
    }

    #[test]
    fn a_socket_path_must_fit_the_systems_structure() {
        assert!(parse(&format!("unix:/{}", "a".repeat(106))).is_ok());
        assert_eq!(
            parse(&format!("unix:/{}", "a".repeat(107))),
            Err(ListenAddrError::PathLength(108))
        );
    }
}
