//! Postgres: NOTIFY in one session, LISTEN in another one. No table, nothing to be created or cleaned up.
//!
//! A notification is text of less than 8,000 bytes, so messages are cut to 5,980 bytes and written in base64; what
//! waits is published by one statement. The server takes such commits one after the other, over all of its clients:
//! one of ours is under way at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::channels::{Names, quoted};
use super::dial::{self, Stream};
use super::inbox::Inbox;
use super::outbox::{Outbox, Outgoing};
use super::secret::{Secret, Secrets};
use super::{Channel, Event, PATIENCE, Receipt, Transport, TransportError};
use crate::config::{BridgeUrl, PostgresServer};

/// What a notification carries, in bytes: 7,976 characters of base64. With what tells it from its equals it is below
/// 8,000.
const PIECE: usize = 5_980;
/// What one statement publishes, in bytes.
const BATCH: usize = 1024 * 1024;
/// A notification to ourselves takes this long at most. The server writes it out when its commit is done.
const ECHO: Duration = Duration::from_secs(2);
/// As `pg_stat_activity` shows us.
const NAME: &str = "my-app-bridge";

/// What a session is set to; what this server does not know is left out. A commit that notifies shall not wait for
/// the disk: nothing is stored. A listener that vanished is ended before it fills the queue that all share
/// (`tcp_user_timeout`, ms): over TCP; nothing does it for a Unix socket, whose listener is on the server's own machine. A session that only listens is not idle.
const SETTINGS: &str = "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES \
    ('synchronous_commit', 'off'), ('tcp_user_timeout', '20000'), ('idle_session_timeout', '0')) v(name, value) \
    ON s.name = v.name";

/// Publishes in the order of the arrays: an aggregate reads its rows in the order in which they come.
const NOTIFY: &str =
    "SELECT count(pg_notify(t.channel, t.payload)) FROM unnest($1, $2) AS t(channel, payload)";

/// See the module's text.
#[derive(Debug)]
pub(in crate::bridge) struct Postgres {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    listener: Client,
    names: Arc<Names>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

/// Who waits for a notification to itself, and by which channel it comes.
#[derive(Debug, Default)]
struct Echo(Mutex<Option<(String, oneshot::Sender<()>)>>);

impl Echo {
    fn expect(&self, channel: String) -> oneshot::Receiver<()> {
        let (heard, echo) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((channel, heard));
        echo
    }

    /// Whether it was that.
    fn is(&self, channel: &str) -> bool {
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let it_is = expected.as_ref().is_some_and(|(name, _)| name == channel);
        if it_is && let Some((_, heard)) = expected.take() {
            // Too late is as good as never.
            let _ = heard.send(());
        }
        it_is
    }
}

/// What a session's messages become.
struct Hears {
    inbox: Arc<Inbox>,
    names: Arc<Names>,
    echo: Arc<Echo>,
}

impl Postgres {
    /// Opens two sessions, and sees that one hears the other.
    ///
    /// # Errors
    /// What went wrong first.
    pub(super) async fn connect(
        url: &BridgeUrl,
        secrets: &Secrets,
        ca_file: Option<&Path>,
    ) -> Result<Self, TransportError> {
        let deadline = Instant::now() + PATIENCE;
        let secret = secrets.read()?;
        let tls = url.has_tls().then(|| dial::authorities(ca_file));
        let tls = tls.transpose()?;
        let tls = tls.map(|config| MakeRustlsConnect::new((*config).clone()));
        let hears = Hears {
            inbox: Arc::default(),
            names: Arc::default(),
            echo: Arc::default(),
        };
        let (inbox, names, echo) = (
            Arc::clone(&hears.inbox),
            Arc::clone(&hears.names),
            Arc::clone(&hears.echo),
        );
        let mut tasks = JoinSet::new();
        let mut hears = Some(hears);
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let ended = Arc::clone(&inbox);
            let opened = open(
                url,
                secret.as_ref(),
                tls.as_ref(),
                ended,
                hears.take(),
                &mut tasks,
            );
            let client = timeout_at(deadline, opened)
                .await
                .map_err(|_| TransportError::late(url.to_string()))??;
            sessions.push(client);
        }
        let (Some(publisher), Some(listener)) = (sessions.pop(), sessions.pop()) else {
            return Err(TransportError::Closed);
        };
        let who = getrandom::u64().unwrap_or_default();
        let echoed = hear_oneself(url, &publisher, &listener, &echo, who);
        timeout_at(deadline + ECHO, echoed)
            .await
            .map_err(|_| TransportError::late(url.to_string()))??;
        let outbox = Arc::new(Outbox::new(who, PIECE));
        tasks.spawn(publish(Arc::clone(&outbox), Arc::clone(&inbox), publisher));
        Ok(Self {
            inbox,
            outbox,
            listener,
            names,
            _tasks: tasks,
        })
    }

    async fn tell_all(&self, word: &str, channels: &[Channel]) -> Result<(), TransportError> {
        let mut statement = String::new();
        for channel in channels {
            let Channel::Exact(name) = channel else {
                return Err(TransportError::Unsupported("patterns of channels"));
            };
            let name = self.names.on_the_wire(name);
            statement.extend([word, " ", &quoted(&name), ";"]);
        }
        let _asked = self.inbox.asked();
        let answer = timeout(PATIENCE, self.listener.batch_execute(&statement));
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let reason = TransportError::postgres(word, &error);
                Err(match reason {
                    TransportError::Lost(_) => self.inbox.ended().unwrap_or(reason),
                    _ => reason,
                })
            }
            Err(_) => Err(TransportError::late(word)),
        }
    }
}

/// One session: connected, authenticated, set.
async fn open(
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
fn refused(url: &BridgeUrl, step: &str, error: &tokio_postgres::Error) -> TransportError {
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

impl Hears {
    fn take(&self, channel: &str, text: &str) {
        if self.echo.is(channel) {
            return;
        }
        let channel = self.names.of(channel);
        // What is none of ours is for whoever counts such things.
        let payload = read(text).unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes()));
        self.inbox.push(channel, None, payload);
    }
}

/// As a notification has it: equal ones of one transaction are delivered once (NOTIFY, "Notes"), so each has a number.
fn write(number: u32, payload: &[u8]) -> String {
    let mut text = format!("{number:x}.");
    BASE64_STANDARD.encode_string(payload, &mut text);
    text
}

fn read(text: &str) -> Option<Bytes> {
    let (_, payload) = text.split_once('.')?;
    BASE64_STANDARD.decode(payload).ok().map(Bytes::from)
}

/// One session notifies, and the other one has to hear it.
async fn hear_oneself(
    url: &BridgeUrl,
    publisher: &Client,
    listener: &Client,
    echo: &Echo,
    who: u64,
) -> Result<(), TransportError> {
    let failed = |error: tokio_postgres::Error| refused(url, &url.to_string(), &error);
    let standby = publisher.query_typed_one("SELECT pg_is_in_recovery()", &[]);
    let standby = standby.await.map_err(failed)?;
    if standby.try_get::<_, bool>(0).map_err(failed)? {
        return Err(TransportError::Standby(url.to_string()));
    }
    let channel = format!("{NAME}-{who:016x}");
    let heard = echo.expect(channel.clone());
    let name = quoted(&channel);
    let listen = format!("LISTEN {name}");
    listener.batch_execute(&listen).await.map_err(failed)?;
    let notify = format!("NOTIFY {name}");
    publisher.batch_execute(&notify).await.map_err(failed)?;
    if !matches!(timeout(ECHO, heard).await, Ok(Ok(()))) {
        return Err(TransportError::Pooled);
    }
    let unlisten = format!("UNLISTEN {name}");
    listener.batch_execute(&unlisten).await.map_err(failed)
}

/// Publishes what is in the outbox, one commit at a time.
async fn publish(outbox: Arc<Outbox>, inbox: Arc<Inbox>, publisher: Client) {
    let mut number: u32 = 0;
    let error = loop {
        let batch = outbox.batch(BATCH).await;
        let channels: Vec<_> = batch
            .iter()
            .map(|outgoing| super::channels::short(&outgoing.channel))
            .collect();
        let mut next = |outgoing: &Outgoing| {
            number = number.wrapping_add(1);
            if outgoing.piece.head.is_empty() {
                write(number, &outgoing.piece.body)
            } else {
                write(number, &outgoing.piece.bytes())
            }
        };
        let payloads: Vec<_> = batch.iter().map(&mut next).collect();
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&channels, Type::TEXT_ARRAY), (&payloads, Type::TEXT_ARRAY)];
        let answer = publisher.query_typed(NOTIFY, &values);
        let error = match timeout(PATIENCE, answer).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                let reason = TransportError::postgres("NOTIFY", &error);
                // What the session was told when it ended says more.
                Some(match reason {
                    TransportError::Lost(_) => inbox.ended().unwrap_or(reason),
                    _ => reason,
                })
            }
            Err(_) => Some(TransportError::late("NOTIFY")),
        };
        for outgoing in batch {
            outbox.answer(outgoing, error.clone().map_or(Ok(0), Err));
        }
        if let Some(error) = error {
            break error;
        }
    };
    inbox.end(error.clone());
    outbox.end(&error);
}

impl Transport for Postgres {
    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        self.tell_all("LISTEN", channels).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        self.tell_all("UNLISTEN", channels).await
    }

    fn publish(&self, channel: &str, payload: Bytes) -> Receipt {
        self.outbox.publish(channel, payload, false)
    }

    /// Nobody but us is spoken to by this: it is cut as all else.
    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt {
        self.outbox.publish(channel, payload, false)
    }

    fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    async fn room(&self) {
        self.outbox.room().await;
    }

    async fn event(&self) -> Event {
        let event = self.inbox.next().await;
        if let Event::Ended(error) = &event {
            self.outbox.end(error);
        }
        event
    }

    async fn numsub(&self, _channel: &str) -> Result<u64, TransportError> {
        Err(TransportError::Unsupported("count of those who listen"))
    }

    fn silence(&self, _has_worked: bool) -> &'static str {
        "the server answers, but what this machine publishes does not come back to it: a pooler may lend its sessions \
         to others (pgbouncer with pool_mode = transaction), or a session that listens does not read and holds up all \
         others (pg_notification_queue_usage())"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::transport::pieces::Cutter;

    #[test]
    fn no_notification_is_longer_than_postgres_takes_and_no_two_are_equal() {
        let message = Bytes::from(vec![0xFF; 100_000]);
        for piece in Cutter::new(1, PIECE).cut(message) {
            let text = write(u32::MAX, &piece.bytes());
            assert!(text.len() < 8_000, "{}", text.len());
            assert_eq!(read(&text), Some(piece.bytes()));
        }
        assert_ne!(write(1, b"same"), write(2, b"same"));
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for text in ["", "x", "1.", "hello.world!", "1.====", "\u{e9}.AA=="] {
            let bytes = read(text);
            assert!(bytes.is_none_or(|bytes| bytes.len() < 2), "{text}");
        }
    }

    #[test]
    fn this_user_has_a_name() {
        assert!(own_name().is_some_and(|name| !name.is_empty()));
    }
}
