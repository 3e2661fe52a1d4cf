//! Postgres: NOTIFY in one session, LISTEN in another one. No table, nothing to be created or cleaned up.
//!
//! A notification is text of less than 8,000 bytes, so messages are cut to 5,980 bytes and written in base64; what
//! waits is published by one statement. The server takes such commits one after the other, over all of its clients:
//! one of ours is under way at a time.

mod hear;
mod open;
mod publish;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::hear::{ECHO, Hears, hear_oneself};
use self::open::open;
use self::publish::{PIECE, publish};
use super::channels::{Names, quoted};
use super::outbox::Outbox;
use super::queues::Queues;
use super::secret::Secrets;
use super::{Channel, PATIENCE, Receipt, Transport, TransportError, dial};
use crate::config::BridgeUrl;

/// See the module's text.
#[derive(Debug)]
pub(in crate::bridge) struct Postgres {
    queues: Queues,
    listener: Client,
    names: Arc<Names>,
    /// They end with it.
    _tasks: JoinSet<()>,
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
            queues: Queues { inbox, outbox },
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
        let _asked = self.queues.inbox.asked();
        let answer = timeout(PATIENCE, self.listener.batch_execute(&statement));
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let error = TransportError::postgres(word, &error);
                Err(self.queues.inbox.reason(error))
            }
            Err(_) => Err(TransportError::late(word)),
        }
    }
}

impl Transport for Postgres {
    fn queues(&self) -> &Queues {
        &self.queues
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        self.tell_all("LISTEN", channels).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        self.tell_all("UNLISTEN", channels).await
    }

    /// Nobody but us is spoken to by this: it is cut as all else.
    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt {
        self.queues.outbox.publish(channel, payload, false)
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
