//! Opens a session of Postgres, and moves its bytes.

use std::sync::Arc;
use std::task::ready;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hear::Hears;
use crate::bridge::transport::dial::{self, Stream};
use crate::bridge::transport::inbox::Inbox;
use crate::bridge::transport::secret::Secret;
use crate::bridge::transport::{PATIENCE, TransportError};
use crate::config::{BridgeUrl, PostgresServer};

/// As `pg_stat_activity` shows us.
pub(super) const NAME: &str = "my-app-bridge";

/// What a session is set to; what this server does not know is left out. A commit that notifies shall not wait for
/// the disk: nothing is stored. A listener that vanished is ended before it fills the queue that all share
/// (`tcp_user_timeout`, ms): over TCP; nothing does it for a Unix socket, whose listener is on the server's own machine. A session that only listens is not idle.
const SETTINGS: &str = "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES \
    ('synchronous_commit', 'off'), ('tcp_user_timeout', '20000'), ('idle_session_timeout', '0')) v(name, value) \
    ON s.name = v.name";

/// One session: connected, authenticated, set.
pub(super) async fn open(
    url: &BridgeUrl,
    secret: Option<&Secret>,
    tls: Option<&MakeRustlsConnect>,
    inbox: Arc<Inbox>,
    hears: Option<Hears>,
    tasks: &mut JoinSet<()>,
) -> Result<Client, TransportError> {
    let BridgeUrl::Postgres {
        server,
        user,
        database,
    } = url
    else {
        return Err(TransportError::Unsupported("Postgres"));
    };
    let user = user.clone().or_else(own_name);
    let user = user.ok_or(TransportError::Unsupported(
        "role in bridge.url, and this process' user has no name",
    ))?;
    let mut config = Config::new();
    config.application_name(NAME);
    config.dbname(database.as_deref().unwrap_or(&user));
    config.user(user);
    if let Some(secret) = secret {
        config.password(secret.reveal());
    }
    let deadline = Instant::now() + PATIENCE;
    let step = url.to_string();
    let failed = |error: tokio_postgres::Error| refused(url, &step, &error);
    let client = match server {
        PostgresServer::Unix { .. } => {
            let path = url.socket().unwrap_or_default();
            let stream = dial::unix(&path, deadline).await?;
            config.ssl_mode(SslMode::Disable);
            let made = config.connect_raw(stream, NoTls).await.map_err(failed)?;
            drive(made, inbox, hears, tasks)
        }
        PostgresServer::Tcp { at, .. } => {
            let addresses = dial::resolve(at, deadline).await?;
            let stream = Stream::Tcp(dial::tcp(at, &addresses, deadline).await?);
            if let Some(tls) = tls {
                let mut tls = tls.clone();
                let connector = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, &at.host);
                let connector = connector
                    .map_err(|error| TransportError::Tls(at.to_string(), error.to_string()))?;
                config.ssl_mode(SslMode::Require);
                let made = config.connect_raw(stream, connector);
                drive(made.await.map_err(failed)?, inbox, hears, tasks)
            } else {
                config.ssl_mode(SslMode::Disable);
                let made = config.connect_raw(stream, NoTls).await.map_err(failed)?;
                drive(made, inbox, hears, tasks)
            }
        }
    };
    client.batch_execute(SETTINGS).await.map_err(failed)?;
    Ok(client)
}

/// What TLS says is told as what TLS says.
pub(super) fn refused(
    url: &BridgeUrl,
    step: &str,
    error: &tokio_postgres::Error,
) -> TransportError {
    let at = url.hosts().first().map(ToString::to_string);
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    if let Some(at) = at
        && let Some(cause) = cause
    {
        let cause: &std::io::Error = cause;
        let inner = cause.get_ref().and_then(|inner| inner.downcast_ref());
        let inner: Option<&rustls::Error> = inner;
        if inner.is_some() {
            return TransportError::tls(at, cause, "sslmode=disable");
        }
    }
    match TransportError::postgres(step, error) {
        TransportError::Lost(reason) if reason.contains("does not support TLS") => {
            TransportError::NotTls(step.to_owned(), "sslmode=disable")
        }
        reason => reason,
    }
}

/// The name of this process' user, as Postgres' own clients take it for the role.
fn own_name() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1) == Some(&uid)).then(|| name.to_owned())
    })
}

/// Moves a session's bytes, until it ends; then `inbox` knows why.
fn drive<S, T>(
    (client, mut connection): (Client, Connection<S, T>),
    inbox: Arc<Inbox>,
    hears: Option<Hears>,
    tasks: &mut JoinSet<()>,
) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tasks.spawn(async move {
        let message = std::future::poll_fn(|cx| {
            loop {
                if hears.is_some() {
                    ready!(inbox.poll_room(cx));
                }
                match ready!(connection.poll_message(cx)) {
                    Some(Ok(AsyncMessage::Notification(said))) => {
                        if let Some(hears) = &hears {
                            hears.take(said.channel(), said.payload());
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        return std::task::Poll::Ready(TransportError::postgres(
                            "a session",
                            &error,
                        ));
                    }
                    None => return std::task::Poll::Ready(TransportError::Closed),
                }
            }
        });
        let error = message.await;
        inbox.end(error);
    });
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_user_has_a_name() {
        assert!(own_name().is_some_and(|name| !name.is_empty()));
    }
}
