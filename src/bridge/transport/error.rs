//! What can go wrong with the server between the machines, and what to do.

use std::io;

use tokio_postgres::error::DbError;

use super::advice;
use super::secret::SecretError;

/// The longest text of a server that is passed on, in characters.
const LONGEST: usize = 300;

/// Its text says which step failed, why, and what to do about it. It never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TransportError {
    /// The connection is gone without a reason.
    #[error("the connection ended")]
    Closed,
    /// The server ended it, or the way to it did.
    #[error("the connection ended: {0}")]
    Lost(String),
    /// A step took longer than its deadline.
    #[error(
        "{0}: no answer within {1} s; the server hangs, or something between drops what is sent (a firewall?)"
    )]
    Timeout(String, u64),
    /// More was published than is kept while the server does not answer.
    #[error("the server does not answer, and no more is kept for it")]
    Full,
    /// This server cannot do that.
    #[error("this server has no {0}")]
    Unsupported(&'static str),
    /// The password cannot be had.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The name has no address.
    #[error(
        "{0} has no address ({1}); is the name right, and does `getent hosts` find it on this machine?"
    )]
    Name(String, String),
    /// Nobody listens.
    #[error(
        "{0} refuses connections; does the server run, and does it listen on this address and port?"
    )]
    Refused(String),
    /// There is no way to it.
    #[error(
        "cannot connect to {0}: {1}; is there a way to it, and does a firewall let it through?"
    )]
    Connect(String, String),
    /// There is no such Unix socket.
    #[error(
        "there is no socket {0}; does the server run, and is this what its configuration says (unixsocket, unix_socket_directories)?"
    )]
    NoSocket(String),
    /// The Unix socket is not for this user.
    #[error(
        "this process may not open the socket {0}; add its user to the group that may (for Debian's Redis: unixsocketperm 770 and `adduser my-app redis`)"
    )]
    SocketPermission(String),
    /// The authorities cannot be read.
    #[error(
        "no certificates of authorities in {0}: {1}; install ca-certificates, or name a file in PEM in bridge.ca_file"
    )]
    Authorities(String, String),
    /// Signed by somebody who is not trusted.
    #[error(
        "the certificate of {0} is signed by an unknown authority; name the authority's own certificate in bridge.ca_file"
    )]
    Issuer(String),
    /// For another name.
    #[error(
        "the certificate of {0} is not for that name{1}; connect by a name that is in it, or give the server a certificate with this one (an address needs an entry of its own)"
    )]
    CertificateName(String, String),
    /// Too old, or too new.
    #[error("the certificate of {0} is not valid now; renew it, or set this machine's clock")]
    Expired(String),
    /// It took the connection and ended it without a word.
    #[error(
        "{0} ended the connection at our first word; if that port wants TLS, write {1} into bridge.url; else its log says why"
    )]
    Silent(String, &'static str),
    /// What answered is no TLS.
    #[error("{0} does not speak TLS on that port; take the port that does, or {1}")]
    NotTls(String, &'static str),
    /// Something else about TLS.
    #[error("TLS with {0} failed: {1}")]
    Tls(String, String),
    /// The server said no.
    #[error("{step}: the server says \"{said}\"; {advice}")]
    Server {
        /// What was asked.
        step: String,
        /// Its words.
        said: String,
        /// What to do.
        advice: &'static str,
        /// Whether this one thing was not allowed, and all else goes on.
        refusal: bool,
    },
    /// It copies another server, where what is published reaches nobody else.
    #[error(
        "{0} is a replica: what is published there does not reach the other machines; connect to the primary, by redis+sentinel:// where that changes"
    )]
    Replica(String),
    /// It is a hot standby, which has no NOTIFY.
    #[error(
        "{0} is a standby, and only a primary passes on what is published; connect to the primary"
    )]
    Standby(String),
    /// The protocol is too old.
    #[error("{0} is older than Redis 6, which the bridge needs (RESP3); update it")]
    TooOld(String),
    /// LISTEN without a session.
    #[error(
        "what is published by one connection does not come back by the other one. That is what a pooler does that lends connections for a transaction only (pgbouncer with pool_mode = transaction): LISTEN needs a session; connect to the server itself, or to a pool with pool_mode = session"
    )]
    Pooled,
    /// None of the sentinels says where the primary is.
    #[error("no sentinel says where \"{0}\" is: {1}")]
    Sentinels(String, String),
}

impl TransportError {
    /// Whether the server understood and said no to this one thing: the connections live on.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Server { refusal: true, .. } | Self::Unsupported(_)
        )
    }

    /// A step took too long.
    pub(super) fn late(step: impl Into<String>) -> Self {
        Self::Timeout(step.into(), super::PATIENCE.as_secs())
    }

    /// A step of Redis' protocol failed.
    pub(super) fn redis(step: impl Into<String>, error: &redis::RedisError) -> Self {
        let step = step.into();
        if error.is_timeout() {
            return Self::late(step);
        }
        if error.kind() == redis::ErrorKind::RESP3NotSupported {
            return Self::TooOld(step);
        }
        let Some(code) = error.code() else {
            return if error.is_connection_dropped() || error.is_io_error() {
                Self::Lost(format!("{step}: {}", tidy(&error.to_string())))
            } else {
                let said = tidy(&error.to_string());
                Self::said(
                    step,
                    &said,
                    "is it a Redis, and is it the right port?",
                    false,
                )
            };
        };
        let said = format!("{code} {}", error.detail().unwrap_or_default());
        let advice = advice::redis(code, &said);
        Self::said(step, &said, advice, code == "NOPERM")
    }

    /// A step of Postgres' protocol failed.
    pub(super) fn postgres(step: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        let step = step.into();
        if let Some(said) = error.as_db_error() {
            return Self::postgres_said(step, said);
        }
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        let reason = tidy(&reason);
        if error.is_closed() {
            return Self::Lost(format!("{step}: the server ended it"));
        }
        if reason.contains("password missing") {
            let advice = "write the password into bridge.secret_file";
            return Self::said(step, "a password is needed", advice, false);
        }
        Self::Lost(format!("{step}: {reason}"))
    }

    /// An error that Postgres sent.
    pub(super) fn postgres_said(step: impl Into<String>, said: &DbError) -> Self {
        let code = said.code().code();
        // Of a full disk the message says nothing, and the detail all.
        let words = match said.detail() {
            Some(detail) => format!("{}: {detail}", said.message()),
            None => said.message().to_owned(),
        };
        Self::said(
            step.into(),
            &words,
            advice::postgres(code, said.message()),
            code == "42501",
        )
    }

    /// The system said no while connecting over TCP.
    pub(super) fn tcp(at: String, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(at),
            io::ErrorKind::TimedOut => Self::late(at),
            _ => Self::Connect(at, error.to_string()),
        }
    }

    /// The handshake of TLS failed.
    pub(super) fn tls(at: String, error: &io::Error, without: &'static str) -> Self {
        use rustls::CertificateError as Bad;
        let cause = error.get_ref().and_then(|error| error.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(bad)) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => Self::Issuer(at),
                Bad::NotValidForName => Self::CertificateName(at, String::new()),
                Bad::NotValidForNameContext { presented, .. } => {
                    let names = if presented.is_empty() {
                        ", nor for any".to_owned()
                    } else {
                        let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                        format!(" but for {}", tidy(&names.join(", ")))
                    };
                    Self::CertificateName(at, names)
                }
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => Self::Expired(at),
                other => Self::Tls(at, tidy(&other.to_string())),
            },
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls(at, without),
            Some(other) => Self::Tls(at, tidy(&other.to_string())),
            None => Self::Tls(at, tidy(&error.to_string())),
        }
    }

    fn said(step: String, said: &str, advice: &'static str, refusal: bool) -> Self {
        Self::Server {
            step,
            said: tidy(said),
            advice,
            refusal,
        }
    }
}

/// A name without what rustls puts around it: `DnsName("example.org")`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// A stranger's text on one line, and not too long.
fn tidy(text: &str) -> String {
    let clean = |c: char| match c {
        '"' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    let text: String = text.trim().chars().take(LONGEST).map(clean).collect();
    text.trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis_says(code: &str, detail: &str) -> TransportError {
        let error = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
        TransportError::redis("redis://h:1", &error)
    }

    #[test]
    fn what_redis_says_comes_with_what_to_do() {
        for (code, detail, advice) in [
            ("NOAUTH", "Authentication required.", "secret_file"),
            ("WRONGPASS", "invalid username-password pair", "password"),
            ("NOPERM", "this user has no permissions", "ACL SETUSER"),
            ("LOADING", "Redis is loading the dataset", "by itself"),
            ("READONLY", "You can't write", "primary"),
            ("MASTERDOWN", "Link with MASTER is down", "primary"),
            ("MISCONF", "Redis is configured to save", "disk"),
            ("OOM", "command not allowed", "maxmemory"),
            (
                "DENIED",
                "Redis is running in protected mode",
                "requirepass",
            ),
            ("ERR", "max number of clients reached", "maxclients"),
            ("CLUSTERDOWN", "The cluster is down", "cluster"),
            ("ERR", "something that nobody knows", "log"),
        ] {
            let error = redis_says(code, detail);
            let text = error.to_string();
            assert!(text.contains(advice), "{text}");
            assert!(text.contains("redis://h:1"), "{text}");
            assert_eq!(error.is_refusal(), code == "NOPERM", "{text}");
        }
    }

    #[test]
    fn what_postgres_says_comes_with_what_to_do() {
        for (code, message, word) in [
            ("28P01", "", "password"),
            ("28000", "no pg_hba.conf entry", "pg_hba.conf"),
            ("28000", "role does not exist", "role"),
            ("3D000", "", "createdb"),
            ("53100", "could not access status", "room"),
            ("53300", "", "max_connections"),
            ("57P03", "", "by itself"),
            ("57P01", "", "by itself"),
            ("25006", "", "primary"),
            ("42501", "", "GRANT"),
            (
                "54000",
                "too many notifications in the NOTIFY queue",
                "pg_stat_activity",
            ),
            ("08P01", "", "log"),
        ] {
            let advice = advice::postgres(code, message);
            assert!(advice.contains(word), "{code}: {advice}");
        }
    }

    #[test]
    fn a_servers_text_is_one_short_line() {
        let text = redis_says("ERR", &format!("a\nb\u{1b}[31m{}", "x".repeat(1000))).to_string();
        assert!(!text.contains(char::is_control), "{text}");
        assert!(text.len() < 500, "{text}");
    }

    #[test]
    fn a_certificate_for_others_says_for_whom() {
        let presented = ["DnsName(\"a.example\")", "IpAddress(10.0.0.1)", "odd"];
        let error = rustls::CertificateError::NotValidForNameContext {
            expected: "b.example".try_into().unwrap(),
            presented: presented.map(str::to_owned).into(),
        };
        let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::from(error));
        let text = TransportError::tls("b.example:1".to_owned(), &error, "").to_string();
        assert!(text.contains("but for a.example, 10.0.0.1, odd;"), "{text}");
    }

    #[test]
    fn tls_that_fails_says_why() {
        use rustls::{CertificateError, Error, InvalidMessage};
        for (error, why) in [
            (CertificateError::UnknownIssuer.into(), "bridge.ca_file"),
            (
                CertificateError::NotValidForName.into(),
                "not for that name",
            ),
            (CertificateError::Expired.into(), "renew"),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "redis://",
            ),
            (Error::General("odd".to_owned()), "odd"),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            let text = TransportError::tls("h:1".to_owned(), &error, "redis://").to_string();
            assert!(text.contains(why) && text.contains("h:1"), "{text}");
        }
    }
}
