//! Redis, Valkey and what speaks like them: PUBLISH on one connection, SUBSCRIBE on another one.
//!
//! Pieces are of 256 KiB: one PUBLISH of more than `client-output-buffer-limit pubsub` (32 MiB) cuts off every
//! subscriber before a byte of it arrives, and many at once do the same to one that is a little slow.

mod hear;
mod open;
mod publish;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::open::{Place, check_role, demoted, open};
use self::publish::{PIECE, publish};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::queues::Queues;
use super::secret::Secrets;
use super::watched::{Side, Watched};
use super::{Channel, PATIENCE, Receipt, Transport, TransportError, dial};
use crate::config::BridgeUrl;

/// See the module's text.
#[derive(Debug)]
pub(in crate::bridge) struct Redis {
    queues: Queues,
    commands: MultiplexedConnection,
    subscriber: MultiplexedConnection,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Redis {
    /// Connects twice, and asks whether it is a primary.
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
        let trusted = url
            .has_tls()
            .then(|| dial::authorities(ca_file))
            .transpose()?;
        let mut place = Place::find(url, trusted.as_ref(), secret.as_ref(), deadline).await?;
        let inbox = Arc::new(Inbox::default());
        let mut tasks = JoinSet::new();
        let mut opened = Vec::new();
        for side in [Side::Publishing, Side::Subscribed] {
            let stream = place.dial(trusted.as_ref(), deadline).await?;
            let stream = Watched::new(stream, Arc::clone(&inbox), side);
            let (connection, driver) = open(url, secret.as_ref(), stream, &inbox, deadline).await?;
            let ended = Arc::clone(&inbox);
            tasks.spawn(async move {
                driver.await;
                ended.end(TransportError::Closed);
            });
            opened.push(connection);
        }
        let (Some(subscriber), Some(mut commands)) = (opened.pop(), opened.pop()) else {
            return Err(TransportError::Closed);
        };
        let checked = timeout_at(deadline, check_role(&mut commands, url));
        let knows_roles = checked
            .await
            .map_err(|_| TransportError::late(url.to_string()))??;
        let who = getrandom::u64().unwrap_or_default();
        let outbox = Arc::new(Outbox::new(who, PIECE));
        tasks.spawn(publish(
            Arc::clone(&outbox),
            Arc::clone(&inbox),
            commands.clone(),
        ));
        if knows_roles {
            let (inbox, commands, url) = (Arc::clone(&inbox), commands.clone(), url.clone());
            tasks.spawn(async move { inbox.end(demoted(commands, &url).await) });
        }
        Ok(Self {
            queues: Queues { inbox, outbox },
            commands,
            subscriber,
            _tasks: tasks,
        })
    }

    /// Why this step failed.
    fn reason(&self, step: &str, error: &RedisError) -> TransportError {
        let error = TransportError::redis(step, error);
        self.queues.inbox.reason(error)
    }
}

/// The names of those that are of this kind.
fn names(channels: &[Channel], patterns: bool) -> Vec<&str> {
    let of_kind = |channel: &&Channel| matches!(channel, Channel::Pattern(_)) == patterns;
    channels.iter().filter(of_kind).map(Channel::name).collect()
}

impl Transport for Redis {
    fn queues(&self) -> &Queues {
        &self.queues
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        let _asked = self.queues.inbox.asked();
        let mut connection = self.subscriber.clone();
        let failed = |error| self.reason("subscribing", &error);
        let exact = names(channels, false);
        if !exact.is_empty() {
            connection.subscribe(exact).await.map_err(failed)?;
        }
        let patterns = names(channels, true);
        if !patterns.is_empty() {
            connection.psubscribe(patterns).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        let _asked = self.queues.inbox.asked();
        let mut connection = self.subscriber.clone();
        let failed = |error| self.reason("unsubscribing", &error);
        let exact = names(channels, false);
        if !exact.is_empty() {
            connection.unsubscribe(exact).await.map_err(failed)?;
        }
        let patterns = names(channels, true);
        if !patterns.is_empty() {
            connection.punsubscribe(patterns).await.map_err(failed)?;
        }
        Ok(())
    }

    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt {
        self.queues.outbox.publish(channel, payload, true)
    }

    async fn numsub(&self, channel: &str) -> Result<u64, TransportError> {
        let mut connection = self.commands.clone();
        let mut command = redis::cmd("PUBSUB");
        command.arg("NUMSUB").arg(channel);
        let answer = command.query_async::<(String, u64)>(&mut connection).await;
        let answer = answer.map_err(|error| self.reason("PUBSUB NUMSUB", &error));
        answer.map(|(_, count)| count)
    }

    fn silence(&self, has_worked: bool) -> &'static str {
        if has_worked {
            return "the server answers, but the connection with what is published there is too slow for what all \
                    machines send, or brings nothing any more";
        }
        "the server answers, but what this machine publishes does not come back to it: both connections must reach \
         the same server, and its user must be allowed to read the channels (ACL SETUSER ... &<prefix>/*)"
    }
}
