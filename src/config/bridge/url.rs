//! The address of the server that joins the machines. It holds no password, ever: so it may be shown in logs,
//! in the status and among a process's arguments.

mod parse;

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// What needs no escape in a name, nor in a path.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &NAME.remove(b'/');

/// A host and a port of TCP. The name is looked up at each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Where a Postgres is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PostgresServer {
    /// Over TCP, with TLS unless `sslmode=disable` says otherwise.
    Tcp {
        /// Where it listens.
        at: HostPort,
        /// Whether it is spoken to over TLS, with a certificate that is verified.
        tls: bool,
    },
    /// Over its Unix socket, `.s.PGSQL.PORT` in this directory.
    Unix {
        /// The directory, a full path.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

/// The server that joins the machines, as `[bridge] url` has it. A user without a password is one whose
/// password, if any, comes from the secret file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum BridgeUrl {
    /// `redis://` and `rediss://`: Redis or Valkey over TCP.
    Redis {
        /// Where it listens.
        at: HostPort,
        /// Whether it is spoken to over TLS.
        tls: bool,
        /// The user of its access control lists; `None`: `default`.
        user: Option<String>,
    },
    /// `redis+unix://`: Redis over its Unix socket.
    RedisUnix {
        /// The socket, a full path.
        path: PathBuf,
        /// As above.
        user: Option<String>,
    },
    /// `redis+sentinel://` and `rediss+sentinel://`: whichever Redis these name at the moment.
    Sentinel {
        /// The sentinels, in the order in which they are asked. Never empty.
        sentinels: Vec<HostPort>,
        /// What they call the Redis.
        name: String,
        /// Whether they and the Redis are spoken to over TLS.
        tls: bool,
        /// The user of the Redis.
        user: Option<String>,
    },
    /// `postgres://`.
    Postgres {
        /// Where it is.
        server: PostgresServer,
        /// The role; `None`: the name of this process's user, as Postgres' own clients have it.
        user: Option<String>,
        /// The database; `None`: called as the role.
        database: Option<String>,
    },
}

/// Why a text is no such address. No variant holds a piece of the text: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BridgeUrlError {
    /// What stands before `://` is not known.
    #[error(
        "write redis://HOST, rediss://HOST (with TLS), redis+unix:///PATH, \
         redis+sentinel://HOST,HOST/NAME or postgres://USER@HOST/DATABASE"
    )]
    Scheme,
    /// A password would be seen by whoever may read the configuration, and in errors.
    #[error(
        "a password; leave it out, write it alone into a file and name that in bridge.secret_file"
    )]
    Password,
    /// The host is none, or holds what no host name holds.
    #[error("not a host; write a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The port is no number from 1 on.
    #[error("not a port; write a number from 1 to 65535 after the host and a colon")]
    Port,
    /// More than one host where there can be one.
    #[error("more than one host; only redis+sentinel:// takes several")]
    Hosts,
    /// Redis has one set of channels for all of its databases.
    #[error(
        "a database other than 0; Redis' channels are the same in all of them: leave it out, and set \
         bridge.prefix to keep deployments apart"
    )]
    RedisDatabase,
    /// The path of a Unix socket or its directory is missing, or too long for the system.
    #[error("not the full path of a Unix socket, of 107 bytes at most, such as {0}")]
    Path(&'static str),
    /// Sentinels are asked for a name.
    #[error(
        "the name is missing that the sentinels have for the Redis: redis+sentinel://HOST,HOST/NAME"
    )]
    SentinelName,
    /// There is no such option.
    #[error("an unknown option after \"?\"; {0}")]
    Option(&'static str),
    /// Neither of what `sslmode` can be.
    #[error(
        "sslmode is \"verify-full\" (the default: TLS, and the certificate must be the host's) or \
         \"disable\""
    )]
    SslMode,
    /// What stands behind a percent sign is wrong, or is not UTF-8, or a control character.
    #[error("holds what no URL holds; write other characters as %XX")]
    Escape,
}

impl BridgeUrl {
    /// Whether this is a Redis, or something like it.
    pub(crate) fn is_redis(&self) -> bool {
        !matches!(self, Self::Postgres { .. })
    }

    /// Whether certificates are verified on the way to it.
    pub(crate) fn has_tls(&self) -> bool {
        match self {
            Self::Redis { tls, .. } | Self::Sentinel { tls, .. } => *tls,
            Self::RedisUnix { .. } => false,
            Self::Postgres { server, .. } => {
                matches!(server, PostgresServer::Tcp { tls: true, .. })
            }
        }
    }

    /// Whose password it is, if a user is named.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Redis { user, .. }
            | Self::RedisUnix { user, .. }
            | Self::Sentinel { user, .. }
            | Self::Postgres { user, .. } => user.as_deref(),
        }
    }

    /// The Unix socket that is connected to, if it is one.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::RedisUnix { path, .. } => Some(path.clone()),
            Self::Postgres {
                server: PostgresServer::Unix { directory, port },
                ..
            } => Some(directory.join(format!(".s.PGSQL.{port}"))),
            _ => None,
        }
    }

    /// The hosts that are connected to, over TCP; none for a Unix socket.
    pub(crate) fn hosts(&self) -> &[HostPort] {
        match self {
            Self::Redis { at, .. }
            | Self::Postgres {
                server: PostgresServer::Tcp { at, .. },
                ..
            } => std::slice::from_ref(at),
            Self::Sentinel { sentinels, .. } => sentinels,
            _ => &[],
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// As it can be read again: without what is the default, but with the port, for whoever looks for it.
impl fmt::Display for BridgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.has_tls() { "s" } else { "" };
        match self {
            Self::Redis { at, user, .. } => write!(f, "redis{secure}://{}{at}", At(user)),
            Self::RedisUnix { path, user } => {
                write!(f, "redis+unix://{}{}", At(user), escaped_path(path))
            }
            Self::Sentinel {
                sentinels,
                name,
                user,
                ..
            } => {
                let hosts: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
                let name = utf8_percent_encode(name, NAME);
                let hosts = hosts.join(",");
                write!(f, "redis{secure}+sentinel://{}{hosts}/{name}", At(user))
            }
            Self::Postgres {
                server,
                user,
                database,
            } => {
                let database = utf8_percent_encode(database.as_deref().unwrap_or_default(), NAME);
                write!(f, "postgres://{}", At(user))?;
                match server {
                    PostgresServer::Tcp { at, tls: true } => write!(f, "{at}/{database}"),
                    PostgresServer::Tcp { at, tls: false } => {
                        write!(f, "{at}/{database}?sslmode=disable")
                    }
                    PostgresServer::Unix { directory, port } => {
                        let directory = escaped_path(directory);
                        write!(f, "/{database}?host={directory}&port={port}")
                    }
                }
            }
        }
    }
}

/// A user as a URL has it.
struct At<'a>(&'a Option<String>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(user) => write!(f, "{}@", utf8_percent_encode(user, NAME)),
            None => Ok(()),
        }
    }
}

fn escaped_path(path: &Path) -> String {
    utf8_percent_encode(&path.to_string_lossy(), PATH).to_string()
}

impl TryFrom<String> for BridgeUrl {
    type Error = BridgeUrlError;

    fn try_from(text: String) -> Result<Self, BridgeUrlError> {
        text.parse()
    }
}

impl From<BridgeUrl> for String {
    fn from(url: BridgeUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests;
