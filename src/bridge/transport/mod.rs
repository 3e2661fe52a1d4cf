//! The server between the machines: what is published on a channel reaches whoever is subscribed to it at that
//! moment. A transport loses without a word; numbers, repair and the own echo are the core's.
//!
//! Two connections: one publishes, the other one is subscribed. Both end together: what went wrong is
//! [`Event::Ended`], after which the transport is dropped and a new one made. Messages that are larger than the
//! server takes are cut here and joined here.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::config::BridgeUrl;

mod advice;
mod channels;
mod dial;
mod error;
mod inbox;
mod outbox;
mod pieces;
mod postgres;
mod queues;
mod redis;
mod secret;
mod sentinel;
mod watched;

pub(super) use error::TransportError;
use queues::Queues;
pub(super) use secret::Secrets;

/// A step of connecting, or an answer, takes this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of published messages that the server has not answered yet. See [`Transport::has_room`].
pub(super) const IN_FLIGHT: usize = 4 * 1024 * 1024;

/// What to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    /// A channel by its name.
    Exact(String),
    /// All channels whose names match, as Redis' PSUBSCRIBE has it. Postgres has no such thing.
    Pattern(String),
}

impl Channel {
    /// The name, or the pattern.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Pattern(name) => name,
        }
    }
}

/// What comes from the server.
#[derive(Debug)]
pub(super) enum Event {
    /// A message, whole.
    Message {
        /// Where it was published.
        channel: String,
        /// The subscription that it came by, where that is a pattern: a message comes once for each
        /// subscription that matches.
        pattern: Option<String>,
        /// What was published.
        payload: Bytes,
    },
    /// The transport is of no more use, and says nothing more. What was published and has not been answered
    /// may have arrived or not.
    Ended(TransportError),
}

/// The server that a URL names, connected.
#[derive(Debug)]
pub(super) enum Server {
    /// Redis, by whichever way.
    Redis(redis::Redis),
    /// Postgres.
    Postgres(postgres::Postgres),
}

impl Server {
    /// Connects: names are looked up, sentinels asked and the password read anew. It takes 7 s at most.
    ///
    /// # Errors
    /// What went wrong first, and what to do about it.
    pub(super) async fn connect(
        url: &BridgeUrl,
        secrets: &Secrets,
        ca_file: Option<&Path>,
    ) -> Result<Self, TransportError> {
        if url.is_redis() {
            let redis = redis::Redis::connect(url, secrets, ca_file).await?;
            Ok(Self::Redis(redis))
        } else {
            let postgres = postgres::Postgres::connect(url, secrets, ca_file).await?;
            Ok(Self::Postgres(postgres))
        }
    }
}

/// What the server says to a message: how many subscribers it was passed to, where the server knows that (Redis;
/// Postgres: 0). It may be dropped.
#[derive(Debug)]
#[must_use = "whether the message was taken is known by this alone"]
pub(super) struct Receipt(oneshot::Receiver<Result<u64, TransportError>>);

impl Future for Receipt {
    type Output = Result<u64, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Who would have answered is gone with its connection.
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(TransportError::Closed)))
    }
}

/// A connected transport. Every wait has a deadline: connecting takes 5 s at most, an answer, too.
pub(super) trait Transport {
    /// What came and what goes.
    fn queues(&self) -> &Queues;

    /// Listens to `channels`. When it returns, what is published from now on arrives.
    ///
    /// # Errors
    /// The server refuses. Where that is the subscriber's rights ([`TransportError::is_refusal`]) the transport
    /// is as good as before.
    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError>;

    /// Listens to `channels` no more.
    ///
    /// # Errors
    /// The server does not answer.
    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError>;

    /// Publishes `payload`, in the order of the calls; sent at once, whether the receipt is polled or not.
    /// However large it is, receivers get it whole: for our own channels only, whose receivers join.
    fn publish(&self, channel: &str, payload: Bytes) -> Receipt {
        self.queues().outbox.publish(channel, payload, false)
    }

    /// As [`publish`](Self::publish), in one piece: for channels that strangers read.
    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt;

    /// Whether less than [`IN_FLIGHT`] bytes are unanswered. Publish no more until then: what goes far beyond
    /// is refused.
    fn has_room(&self) -> bool {
        self.queues().outbox.has_room()
    }

    /// Waits until there is room. A call that is dropped loses nothing.
    async fn room(&self) {
        self.queues().outbox.room().await;
    }

    /// The next event. A call that is dropped loses nothing.
    async fn event(&self) -> Event {
        self.queues().event().await
    }

    /// How many connections are subscribed to `channel` by its name (Redis).
    ///
    /// # Errors
    /// The server does not answer, or cannot say it.
    async fn numsub(&self, channel: &str) -> Result<u64, TransportError>;

    /// What it probably is when the own messages do not come back while the connections seem to live; and whether
    /// these same connections have brought them before.
    fn silence(&self, has_worked: bool) -> &'static str;
}

impl Transport for Server {
    fn queues(&self) -> &Queues {
        match self {
            Self::Redis(redis) => redis.queues(),
            Self::Postgres(postgres) => postgres.queues(),
        }
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        match self {
            Self::Redis(redis) => redis.subscribe(channels).await,
            Self::Postgres(postgres) => postgres.subscribe(channels).await,
        }
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        match self {
            Self::Redis(redis) => redis.unsubscribe(channels).await,
            Self::Postgres(postgres) => postgres.unsubscribe(channels).await,
        }
    }

    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt {
        match self {
            Self::Redis(redis) => redis.publish_whole(channel, payload),
            Self::Postgres(postgres) => postgres.publish_whole(channel, payload),
        }
    }

    async fn numsub(&self, channel: &str) -> Result<u64, TransportError> {
        match self {
            Self::Redis(redis) => redis.numsub(channel).await,
            Self::Postgres(postgres) => postgres.numsub(channel).await,
        }
    }

    fn silence(&self, has_worked: bool) -> &'static str {
        match self {
            Self::Redis(redis) => redis.silence(has_worked),
            Self::Postgres(postgres) => postgres.silence(has_worked),
        }
    }
}
