//! From text to an address. Every mistake has its own answer, and none repeats the text.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::BridgeUrlError as Error;
use super::{BridgeUrl, HostPort, PostgresServer};
use crate::config::listen::{is_host, parse_port};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const POSTGRES_PORT: u16 = 5432;

/// Where Debian's Postgres has its socket.
const POSTGRES_DIRECTORY: &str = "/var/run/postgresql";

/// The longest path of a Unix socket, in bytes (unix(7)).
const UNIX_PATH_MAX: usize = 107;

impl FromStr for BridgeUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text.split_once("://").ok_or(Error::Scheme)?;
        let parts = Parts::of(rest)?;
        match scheme {
            "redis" | "rediss" => parts.redis(scheme == "rediss"),
            "redis+unix" | "unix" => parts.redis_unix(),
            "redis+sentinel" | "rediss+sentinel" => parts.sentinel(scheme == "rediss+sentinel"),
            "postgres" | "postgresql" => parts.postgres(),
            _ => Err(Error::Scheme),
        }
    }
}

/// A URL's pieces behind its scheme, as they are written.
struct Parts<'a> {
    user: Option<String>,
    hosts: &'a str,
    /// From the slash on.
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, Error> {
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) || rest.contains('#') {
            return Err(Error::Escape);
        }
        // "/" and "@" in a password are often not escaped; whatever stands before the last "@" may be secret.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(Error::Password),
            Some((user, rest)) if !user.contains('/') => (Some(decoded(user)?), rest),
            _ => (None, rest),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok(Self {
            user: user.filter(|user| !user.is_empty()),
            hosts,
            path,
            query,
        })
    }

    fn redis(self, tls: bool) -> Result<BridgeUrl, Error> {
        self.no_options()?;
        if !matches!(self.path, "" | "/" | "/0") {
            return Err(Error::RedisDatabase);
        }
        Ok(BridgeUrl::Redis {
            at: one_host(self.hosts, REDIS_PORT)?,
            tls,
            user: self.user,
        })
    }

    fn redis_unix(self) -> Result<BridgeUrl, Error> {
        self.no_options()?;
        let path = decoded(self.path)?;
        let fits = path.len() <= UNIX_PATH_MAX && path.len() > 1 && !path.ends_with('/');
        if !self.hosts.is_empty() || !fits {
            return Err(Error::Path("redis+unix:///run/redis/redis-server.sock"));
        }
        Ok(BridgeUrl::RedisUnix {
            path: path.into(),
            user: self.user,
        })
    }

    fn sentinel(self, tls: bool) -> Result<BridgeUrl, Error> {
        self.no_options()?;
        let sentinels = self.hosts.split(',');
        let sentinels = sentinels
            .map(|host| host_port(host, SENTINEL_PORT))
            .collect::<Result<_, _>>()?;
        let name = decoded(self.path.strip_prefix('/').unwrap_or_default())?;
        if name.is_empty() || name.contains('/') {
            return Err(Error::SentinelName);
        }
        Ok(BridgeUrl::Sentinel {
            sentinels,
            name,
            tls,
            user: self.user,
        })
    }

    fn postgres(self) -> Result<BridgeUrl, Error> {
        let options = PostgresOptions::of(self.query)?;
        let database = decoded(self.path.strip_prefix('/').unwrap_or_default())?;
        if database.contains('/') {
            return Err(Error::Escape);
        }
        let unix_port = options.port.unwrap_or(POSTGRES_PORT);
        let server = match options.directory {
            Some(directory) if self.hosts.is_empty() => unix(directory, unix_port)?,
            Some(_) => return Err(Error::Hosts),
            None if self.hosts.is_empty() => unix(POSTGRES_DIRECTORY.to_owned(), unix_port)?,
            // As Postgres' own clients have it: a host that is a path, with its slashes escaped.
            None if self.hosts.starts_with('%') => match self.hosts.split_once(':') {
                Some((directory, text)) => unix(decoded(directory)?, port(text)?)?,
                None => unix(decoded(self.hosts)?, unix_port)?,
            },
            None => PostgresServer::Tcp {
                at: one_host(self.hosts, options.port.unwrap_or(POSTGRES_PORT))?,
                tls: options.tls,
            },
        };
        Ok(BridgeUrl::Postgres {
            server,
            user: self.user,
            database: Some(database).filter(|name| !name.is_empty()),
        })
    }

    fn no_options(&self) -> Result<(), Error> {
        match self.query {
            None | Some("") => Ok(()),
            Some(_) => Err(Error::Option("Redis' addresses have none")),
        }
    }
}

/// What may stand behind the `?` of a Postgres: of the many options of its own clients, those that make sense here.
struct PostgresOptions {
    directory: Option<String>,
    port: Option<u16>,
    tls: bool,
}

impl PostgresOptions {
    fn of(query: Option<&str>) -> Result<Self, Error> {
        let mut options = Self {
            directory: None,
            port: None,
            tls: true,
        };
        let given = query.unwrap_or_default().split('&');
        for option in given.filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            match name {
                "host" => options.directory = Some(value),
                "port" => options.port = Some(port(&value)?),
                "sslmode" => {
                    // The laxer ones that still ask for TLS get more than they ask for.
                    options.tls = match value.as_str() {
                        "verify-full" | "verify-ca" | "require" => true,
                        "disable" => false,
                        _ => return Err(Error::SslMode),
                    }
                }
                "password" => return Err(Error::Password),
                _ => {
                    return Err(Error::Option(
                        "host=/DIRECTORY, port= and sslmode= are known",
                    ));
                }
            }
        }
        Ok(options)
    }
}

fn unix(directory: String, port: u16) -> Result<PostgresServer, Error> {
    // ".s.PGSQL.65535" behind a slash.
    if !directory.starts_with('/') || directory.len() + 15 > UNIX_PATH_MAX {
        return Err(Error::Path("postgres:///DATABASE?host=/var/run/postgresql"));
    }
    Ok(PostgresServer::Unix {
        directory: directory.into(),
        port,
    })
}

fn one_host(text: &str, default: u16) -> Result<HostPort, Error> {
    if text.contains(',') {
        return Err(Error::Hosts);
    }
    host_port(text, default)
}

fn host_port(text: &str, default: u16) -> Result<HostPort, Error> {
    let after_address = text.rfind(']').unwrap_or(0);
    let (host, port) = match text.rfind(':').filter(|at| *at > after_address) {
        Some(at) => {
            let (host, port_text) = text.split_at(at);
            (host, port(port_text.trim_start_matches(':'))?)
        }
        None => (text, default),
    };
    if !is_host(host) {
        return Err(Error::Host);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

fn port(text: &str) -> Result<u16, Error> {
    parse_port(text).filter(|port| *port > 0).ok_or(Error::Port)
}

/// `text` with its escapes undone.
fn decoded(text: &str) -> Result<String, Error> {
    let escaped = text.split('%').skip(1);
    let whole = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) if escaped.into_iter().all(whole) && !decoded.contains(char::is_control) => {
            Ok(decoded.into_owned())
        }
        _ => Err(Error::Escape),
    }
}
